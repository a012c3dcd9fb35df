"""Runs of the leaderboard: planned from run files, kept when finished, done again only on request."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoo.experiments.folder import write_atomic
from zoo.experiments.jobs import FIT, Check, Job, read_state
from zoo.leaderboard.runfile import RunFile
from zoo.options import option_names
from zoo.provenance import WHERE, code_version, config_hash, is_sealed

RUN = "run.json"
"""The run file as it was when it was last run, beside the folders of the seeds."""


BEGUN = "begun.json"
"""The code that began a run: none goes on with what other code has trained."""


class Planned(NamedTuple):
    """The runs of a run file."""

    file: RunFile
    jobs: list[Job]
    config: str
    """Digest of the configuration."""
    code: str
    """Digest of the sources."""


class Stale(NamedTuple):
    """A run that is there and is not what would be run now."""

    job: Job
    why: list[str]


def jobs_of(file: RunFile, seeds: int, out: Path, typed: Sequence[str]) -> list[Job]:
    """The runs of a run file, one a seed.

    Args:
        file: Of the model and the data.
        seeds: Runs, of seeds from 0; what ranks without training has one.
        out: Folder of the leaderboard.
        typed: Options of the user, which go over those of the file.
    """
    folder = out / file.board / file.name
    if file.ranker:
        words = (f"--data={file.data}", *file.options, *_of_data(typed), f"--ranker={file.ranker}")
        return [Job(f"{file.key}/seed-0", folder / "seed-0", words, action=("data", "baseline"))]
    given = set(option_names(typed))
    line = [word for word in file.line() if word.partition("=")[0].removeprefix("--") not in given]
    weights = [] if "weights" in given else ["--weights=true"]
    return [
        Job(
            f"{file.key}/seed-{seed}",
            folder / f"seed-{seed}",
            (*line, *typed, *weights, f"--seed_everything={seed}"),
        )
        for seed in range(seeds)
    ]


def other_words(file: RunFile, seed: int, options: Sequence[str]) -> list[str]:
    """In what a run is other than its run file says; where and how fast it runs does not count.

    >>> file = RunFile("toy", "morec", "MoRec", "demo", "morec", options=("--model.lr=0.1",))
    >>> other_words(file, 0, ["--model=morec", "--data=demo", "--model.lr=0.2", "--data.root=x"])
    ['--model.lr=0.2']
    >>> other_words(file, 0, ["--model=morec", "--data=demo", "--model.lr=0.1", "--model.text.name=/a/bert"])
    ['--model.text.name=bert']
    """
    (*_, job) = jobs_of(file, seed + 1, Path(), [])
    given = set(option_names(options))
    missing = [f"without {word}" for word in job.options if not given & set(option_names([word]))]
    more = [word for word in options if word not in job.options]
    return [
        _without_folders(word)
        for word in (*more, *missing)
        if not WHERE & set(option_names([word.removeprefix("without ")]))
    ]


def _without_folders(word: str) -> str:
    """An option whose value is a path of one machine, such as a tower's, with the path's end alone."""
    name, equals, value = word.partition("=")
    return f"{name}={Path(value).name}" if equals and Path(value).is_absolute() else word


def _of_data(words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith("--data.")]


def plan(
    files: Sequence[RunFile], seeds: int | None, out: Path, typed: Sequence[str], check: Check
) -> list[Planned]:
    """What is to be run; every line is parsed before anything runs.

    Raises:
        ValueError: The command would refuse one.
    """
    planned = []
    digests: dict[frozenset[str], str] = {}
    for file in files:
        jobs = jobs_of(file, seeds or file.seeds, out, typed)
        if jobs[0].action != FIT:
            planned.append(
                Planned(file, jobs, ranker_config(file.ranker or ""), _code({"datamodules"}, digests))
            )
            continue
        try:
            config = check(["fit", *jobs[0].options])
        except ValueError as error:
            raise ValueError(f"{error}\n(Nothing was run. The line was that of {file.key}.)") from error
        values = config if isinstance(config, Mapping) else {}
        planned.append(Planned(file, jobs, config_hash(values), _code(_packages(values), digests)))
    return planned


def ranker_config(ranker: str) -> str:
    """Digest that stands for the configuration of what ranks without training."""
    return config_hash({"ranker": ranker})


def _packages(config: Mapping[str, Any]) -> set[str]:
    """Packages that a run's model and data come from."""
    parts = [config.get("model"), config.get("data")]
    paths = [str(part.get("class_path", "")) for part in parts if isinstance(part, Mapping)]
    return {path.partition(".")[0] for path in paths if "." in path}


def _code(packages: set[str], known: dict[frozenset[str], str]) -> str:
    """Digest of the sources of packages, looked at once."""
    key = frozenset(packages)
    if key not in known:
        known[key] = str(code_version(packages)["digest"])
    return known[key]


def stale_runs(planned: Sequence[Planned]) -> list[Stale]:
    """Runs in the folders that are other than those that would be run now."""
    found = []
    for plan_ in planned:
        for job in plan_.jobs:
            why = differences(job, plan_)
            if why:
                found.append(Stale(job, why))
    return found


def differences(job: Job, planned: Planned) -> list[str]:
    """In what a run that is there differs; nothing where there is none, or it is the same."""
    state = read_state(job.folder)
    if state is None:
        return []
    why = []
    if state.get("options") != list(job.options):
        why.append("other options")
    content = read_results(job.results_file) if state.get("finished") else None
    if content is None:
        begun = (read_results(job.folder / BEGUN) or {}).get("code", planned.code)
        half_done = (job.folder / "checkpoints" / "last.ckpt").is_file()
        return [*why, "begun by other code"] if half_done and begun != planned.code else why
    if not is_sealed(content):
        return [*why, "edited by hand, or made by an older version"]
    if content.get("config") != planned.config and not why:
        why.append("another configuration")
    code = content.get("code") or {}
    if code.get("digest") != planned.code:
        commit = str(code.get("commit") or "")[:10]
        why.append(f"other code ({commit or code.get('version', 'unknown')})")
    return why


def read_results(path: Path) -> dict[str, Any] | None:
    """Content of a ``results.json``; None where there is none, or it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def clear(stale: Iterable[Stale]) -> None:
    """Removes runs that are to be done again: folders that hold a run of ours, and nothing else."""
    for each in stale:
        if read_state(each.job.folder) is not None:
            shutil.rmtree(each.job.folder)


def to_run(planned: Sequence[Planned], stale: Sequence[Stale]) -> list[Job]:
    """Runs that are missing, were interrupted or failed; what is there and differs is left alone.

    A seed of every run file comes before the second seed of any: a board that is not finished yet says
    something of all models.
    """
    left = {each.job.name for each in stale}
    jobs = [(at, job) for each in planned for at, job in enumerate(each.jobs) if job.name not in left]
    return [job for _, job in sorted(jobs, key=lambda pair: pair[0])]


def note_begun(planned: Sequence[Planned], jobs: Iterable[Job]) -> None:
    """Keeps which code begins the runs that are not begun yet."""
    code = {job.name: each.code for each in planned for job in each.jobs}
    for job in jobs:
        if not job.finished() and not (job.folder / "checkpoints" / "last.ckpt").is_file():
            write_atomic(job.folder / BEGUN, json.dumps({"code": code[job.name]}) + "\n")


def note(planned: Sequence[Planned]) -> None:
    """Keeps the run files beside their runs."""
    for each in planned:
        text = json.dumps(each.file.plain(), indent=2) + "\n"
        write_atomic(each.jobs[0].folder.parent / RUN, text)

"""``mmzoo transfer``: what training on one platform is worth on another, in one table."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from zoo.experiments.command import add_runner_options, finish_command, runner_of, split_line
from zoo.experiments.folder import experiment_folder
from zoo.experiments.jobs import Check, Job, Outcome, Runner, require_none_of_ours, run_jobs
from zoo.experiments.matrix import TRANSFERRED, Arm, Cell, Matrix, Place, Share, arm_of
from zoo.experiments.matrix_table import Run, caption, gains_of, table_of, write
from zoo.experiments.stats import require_metric
from zoo.experiments.study import load_study
from zoo.options import flatten

STUDY = (
    *("model", "id_model", "sources", "targets", "fractions", "arms", "seeds", "parts", "freeze"),
    *("source_options", "options", "metric"),
)
"""Keys of a study."""
DEFAULTS: dict[str, Any] = {
    "fractions": "0.01,0.1,1",
    "arms": ",".join(get_args(Arm)),
    "seeds": 1,
    "parts": "full",
    "freeze": "item",
    "id_model": "idrec",
    "metric": "hr@10",
}


def main(argv: Sequence[str], command: Sequence[str], check: Check) -> None:
    """Runs ``mmzoo transfer``.

    Args:
        argv: The words after ``transfer``.
        command: Program and first arguments of the command that trains.
        check: Parses a line of that command without running it.

    Raises:
        ValueError: Nothing was run: the line, the study or the folder is not right.
        SystemExit: A run failed, or the command was asked to stop.
    """
    arguments, typed = split_line(parser(), argv)
    study = load_study(arguments.study, "transfer", STUDY) if arguments.study else {}
    matrix = plan(arguments, study, typed)
    metric = choice(arguments, study, "metric")
    name = Path(arguments.study).stem if arguments.study else f"{matrix.model}-{matrix.targets[0].name}"
    out = Path(arguments.out or f"runs/transfer/{name}")
    require_metric(metric)
    with experiment_folder(out, matrix.settings()):
        check_lines(matrix, out, check)
        runs = run_matrix(matrix, out, runner_of(arguments, command))
        found = gains_of(matrix, runs, metric)
        text = f"{table_of(matrix, runs, found, metric).markdown()}\n\n{caption(matrix, found)}"
        write(out, matrix, runs, found, text)
    print(f"\n{text}\n")
    every = [run for each in runs.values() for run in each]
    finish_command(out, [run.job.name for run in every if not run.outcome.good], len(every))


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    found = argparse.ArgumentParser(
        prog="mmzoo transfer",
        description="Trains a model on each source, goes on with it on each target, and prints one table: "
        "from scratch, frozen, fine-tuned and ids only, at several shares of the target's users.",
        epilog="Every other option goes to every fit, --model.* not to the ID arm. Options of one arm or one "
        "share stand in a study. What is finished in --out is not run again; what was interrupted goes on.",
        allow_abbrev=False,
    )
    found.add_argument("--model", help="a content model's short name, class path or file")
    found.add_argument("--sources", help="data sets to train on first: demo,nineRec")
    found.add_argument("--targets", help="data sets to go on on: demo_b")
    found.add_argument("--study", help="a study's short name (mmzoo list) or file")
    found.add_argument("--source_ckpt", help="checkpoints or run folders instead of training, one a source")
    found.add_argument("--fractions", help="shares of the target's users (default: 0.01,0.1,1)")
    found.add_argument("--arms", help=f"out of {','.join(get_args(Arm))} (default: all)")
    found.add_argument("--parts", help="components transferred, as --model.transfer has them (default: full)")
    found.add_argument("--freeze", help="components the frozen arm does not train (default: item)")
    found.add_argument("--id_model", help="model of the ID arm (default: idrec)")
    found.add_argument("--metric", help="metric of the table (default: hr@10)")
    add_runner_options(found, "runs/transfer/<study, or model and target>")
    return found


def choice(arguments: argparse.Namespace, study: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401
    """What was typed, else what the study says, else the default."""
    typed = getattr(arguments, name)
    return typed if typed is not None else study.get(name, DEFAULTS.get(name))


def plan(arguments: argparse.Namespace, study: Mapping[str, Any], typed: list[str]) -> Matrix:
    """What the command line and the study ask for; the command line wins.

    Raises:
        ValueError: They do not fit together.
    """

    def chosen(name: str) -> Any:  # noqa: ANN401
        return choice(arguments, study, name)

    if not all(chosen(name) for name in ("model", "sources", "targets")):
        raise ValueError("transfer: give --model, --sources and --targets, or a --study that names them.")
    sources, targets = places(chosen("sources"), "sources"), places(chosen("targets"), "targets")
    options = list(flatten(study.get("options") or {}))
    require_none_of_ours([*options, *typed])
    given = study.get("arms") if isinstance(study.get("arms"), Mapping) else {}
    arms = {arm_of(name): list(flatten((given or {}).get(name) or {})) for name in names(chosen("arms"))}
    matrix = Matrix(
        model=chosen("model"),
        id_model=chosen("id_model"),
        sources=sources,
        targets=targets,
        shares=shares(chosen("fractions"), study.get("fractions")),
        arms=arms,
        seeds=chosen("seeds"),
        parts=_words(chosen("parts")),
        freeze=_words(chosen("freeze")),
        source_ckpt=checkpoints(arguments.source_ckpt, sources),
        source_options=list(flatten(study.get("source_options") or {})),
        options=options,
        typed=typed,
    )
    if not matrix.pairs():
        raise ValueError("transfer: the only target is the source itself. Name another data set.")
    return matrix


def names(value: str | Iterable[Any]) -> list[str]:
    """Names of a list, a mapping or a text with commas."""
    return [str(v).strip() for v in (value.split(",") if isinstance(value, str) else value)]


def _words(value: str | Iterable[Any]) -> str:
    return ",".join(names(value))


def places(value: str | Iterable[Any], what: str) -> list[Place]:
    """Data sets: names, or in a study names of one's own with their options.

    Raises:
        ValueError: One is given twice, or names no data.
    """
    found = []
    for name in names(value):
        given = value.get(name) if isinstance(value, Mapping) else None
        found.append(Place(name, list(flatten(given or {"data": name}))))
        if not any(word.startswith("--data=") for word in found[-1].options):
            raise ValueError(f"transfer: {what}: '{name}' names no data set: add data: NAME to its options.")
    if len({place.name for place in found}) < len(found):
        raise ValueError(f"transfer: {what}: a data set is given twice.")
    return found


def shares(value: object, study: object) -> list[Share]:
    """Shares of the target's users, the smallest first.

    Raises:
        ValueError: One is no number above 0 and up to 1.
    """
    options = {float(k): v for k, v in study.items()} if isinstance(study, Mapping) else {}
    try:
        fractions = sorted({float(name) for name in names(cast("str | list[Any]", value))})
    except (TypeError, ValueError):
        fractions = [0.0]
    if not all(0 < fraction <= 1 for fraction in fractions):
        raise ValueError(f"transfer: expected fractions above 0 and up to 1 (0.01,0.1,1), found {value}.")
    return [Share(fraction, list(flatten(options.get(fraction) or {}))) for fraction in fractions]


def checkpoints(value: str | None, sources: Sequence[Place]) -> dict[str, str]:
    """Checkpoints that were given, by source.

    Raises:
        ValueError: They are not as many as the sources, or one is not there.
    """
    if value is None:
        return {}
    paths = names(value)
    if len(paths) != len(sources):
        raise ValueError(f"--source_ckpt: expected {len(sources)}, one a source, found {len(paths)}.")
    for path in paths:
        if not Path(path).expanduser().exists():
            raise ValueError(f"--source_ckpt: there is no {path}.")
    return dict(zip((source.name for source in sources), paths, strict=True))


def check_lines(matrix: Matrix, out: Path, check: Check) -> None:
    """Parses one line of each cell and source before anything is run.

    Raises:
        ValueError: The command would refuse one.
    """
    jobs = [*matrix.source_jobs(out).values(), *(matrix.cell_jobs(out, cell) for cell in matrix.cells())]
    for each in jobs:
        if all(job.finished() for job in each):
            continue
        try:
            check(["fit", *each[0].options])
        except ValueError as error:
            raise ValueError(f"{error}\n(Nothing was run. The line was that of {each[0].name}.)") from error


def run_matrix(matrix: Matrix, out: Path, runner: Runner) -> dict[Cell, list[Run]]:
    """Trains the sources, then the cells; a cell whose source failed is not run, and failed."""
    sources = matrix.source_jobs(out)
    before = run_jobs([job for jobs in sources.values() for job in jobs], runner) if sources else {}
    ready: dict[Cell, list[Job]] = {cell: matrix.cell_jobs(out, cell) for cell in matrix.cells()}
    lost: dict[str, Outcome] = {}
    for cell, jobs in ready.items():
        if cell.arm in TRANSFERRED and cell.source in sources:
            for job, source in zip(jobs, sources[cell.source], strict=True):
                if not before[source.name].good:
                    lost[job.name] = Outcome("failed", {}, f"Its source failed: {source.name}.")
    outcomes = lost | run_jobs([j for jobs in ready.values() for j in jobs if j.name not in lost], runner)
    return {cell: [Run(job, outcomes[job.name]) for job in jobs] for cell, jobs in ready.items()}

"""RecBole's SASRec as a row of the leaderboard, trained by RecBole and ranked by us.

    python -m benchmarks.peers.board ml100k --data.root ~/ml-100k
    mmzoo leaderboard show ml100k

RecBole trains in an environment of its own on the interactions that train ours; its scores of the whole
catalogue are ranked by the board's rule. What was interrupted goes on after its last whole epoch.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.board_data import histories_of, read_rows
from benchmarks.peers.contender import Contender, Entry, WorkerError
from benchmarks.peers.environments import PEERS, Environments
from benchmarks.peers.gate import LEAST_EPOCHS, Course, Judge, Rules, train_epoch
from benchmarks.peers.histories import Histories
from benchmarks.peers.protocol import Setting
from cli import expand_names
from datamodules.base import RecDataModule
from datamodules.module import DataModule
from datamodules.tools.baseline import Ranked
from zoo.data_command import run
from zoo.experiments.command import positive, split_line
from zoo.experiments.folder import FILE, experiment_folder, require_same_experiment
from zoo.experiments.jobs import Job, write_state
from zoo.leaderboard.command import OUT, joined
from zoo.leaderboard.ranked import record_ranks
from zoo.leaderboard.runfile import DEFAULT_FOLDER, RunFile, find_runs
from zoo.leaderboard.running import Planned, note
from zoo.provenance import code_version, config_hash, library_versions
from zoo.types import ModelNeeds

NAME = "recbole_sasrec"
"""Of its run files, and of its folders."""
ENTRY = Entry(PEERS["recbole"].name, "recbole", PEERS["recbole"].worker)
COURSE = "course.json"
SIZES = ("width", "blocks", "heads", "max_len", "batch", "lr", "dropout")
"""Of ``Setting``: what decides the result beside the seed."""


class Order(NamedTuple):
    """What is asked for."""

    file: RunFile
    out: Path
    """Folder of the leaderboard."""
    environments: Environments
    seeds: int = 1
    patience: int = LEAST_EPOCHS
    """Epochs without a better validation after which training ends."""
    most: int = Rules._field_defaults["most"]
    """Epochs at most."""
    entry: Entry = ENTRY
    words: tuple[str, ...] = ()
    """Options of the data."""

    def versions(self) -> dict[str, str]:
        """Of what trains."""
        return self.environments.versions(self.entry.peer) if self.entry.peer else library_versions()


@dataclass
class Training(Course):
    """A way to the best epoch, and what it cost; all of it is kept between attempts."""

    wall_seconds: float = 0.0
    """Of training with its validations."""
    parameters: int = 0
    before_mb: float | None = None
    peak_mb: float | None = None

    def waited(self, order: Order) -> bool:
        """Whether validation has not improved for as many epochs as it is given."""
        return len(self.points) - 1 - self.best >= order.patience

    def over(self, order: Order) -> bool:
        """Whether there is nothing more to train."""
        return self.waited(order) or len(self.points) >= order.most


def train(histories: Histories, folder: Path, order: Order, setting: Setting) -> Training:
    """Trains until validation has not improved for some epochs, going on where an earlier attempt ended.

    Args:
        histories: All interactions.
        folder: Of the run; course and state are kept here.
        order: Who trains, and how long.
        setting: Sizes and seed; its paths are replaced.

    Raises:
        WorkerError: The worker ended, or its training diverged.
    """
    kept = folder / COURSE
    training = Training.load(kept) if kept.is_file() else Training()
    if training.over(order):
        return training
    judge = Judge(histories)
    entry = order.entry
    python = order.environments.interpreter(entry.peer) if entry.peer else Path(sys.executable)
    with TemporaryDirectory() as scratch:
        resume = str(state_file(folder, training).resolve()) if training.points else ""
        data, worker = Path(scratch) / "histories.npz", Path(scratch) / "worker"
        setting = setting._replace(data=data, folder=worker, resume=resume)
        histories.save(setting.data)
        with Contender(entry, python, setting) as contender:
            training.parameters = contender.about["parameters"]
            training.before_mb = contender.about.get("before_mb")
            while not training.over(order):
                since = time.monotonic()
                train_epoch(contender, training, judge)
                training.wall_seconds += time.monotonic() - since
                contender.save(state_file(folder, training))
                training.save(kept)  # behind the state: what the course counts, there is a state of
                drop_states(folder, state_file(folder, training))
            training.peak_mb = contender.stop()
            training.save(kept)
    return training


def state_file(folder: Path, training: Training) -> Path:
    """Where what follows the last epoch begins."""
    return folder / f"epoch-{len(training.points)}.state"


def drop_states(folder: Path, kept: Path | None = None) -> None:
    """Removes states that nothing goes on from."""
    for path in folder.glob("epoch-*.state*"):
        if path != kept:
            path.unlink()


def record(data: RecDataModule, folder: Path, training: Training, more: dict[str, Any]) -> Path:
    """Writes results as a test of ours does.

    Returns:
        The file.
    """
    test = read_rows(data.test_dataloader())
    seen_U = (test.hidden_BH == test.target_B[:, None]).any(1)
    rank_U = np.where(seen_U, data.spec.n_items, np.array(training.rank_U, dtype=np.int64))
    known_U = (test.hidden_BH > 0).sum(1)
    ranked = Ranked(NAME, test.user_B, test.target_B, rank_U, seen_U, known_U, training.wall_seconds)
    cost = {
        "parameters": training.parameters,
        "trainable": training.parameters,
        "train_seconds": round(training.wall_seconds, 3),
        "train_cpu_seconds": round(training.seconds, 3),
        "test_seconds": None,
        "memory_bytes": None if training.peak_mb is None else int(training.peak_mb * 1e6),
        "memory_before_bytes": None if training.before_mb is None else int(training.before_mb * 1e6),
    }
    best = training.points[training.best].validation
    origin = {
        "model": "recbole.model.sequential_recommender.SASRec",
        "epoch": training.best,
        "monitor": {"name": "val/ndcg@10", "mode": "max", "value": best},
        "code": code_version([type(data).__module__, __package__]),
        "ranked_with": library_versions(),
        "threads": 1,
        "precision": "32-true",
        **more,
    }
    return record_ranks(folder, data, ranked, cost, origin)


def make_rows(data: DataModule, order: Order) -> int:
    """Trains and ranks what is missing of the seeds.

    Args:
        data: The board's data; prepared if they are not.
        order: What is asked for.

    Returns:
        0.

    Raises:
        ValueError: The data are others than RecBole could be given, or a folder holds another run.
        WorkerError: The worker ended, or its training diverged.
    """
    if not isinstance(data, RecDataModule):
        raise ValueError(f"Expected a data set of histories, found {type(data).__name__}, which deals pairs.")
    data.bind(ModelNeeds({}))
    data.prepare_data()
    data.setup()
    histories = histories_of(data)
    setting = Setting(Path(), Path(), max_len=data.max_len)
    trained = {name: getattr(setting, name) for name in SIZES}
    trained["patience"] = order.patience
    trained["requirements"] = PEERS[order.entry.peer].wanted().split() if order.entry.peer else []
    same = {"data": data.data_fingerprint, "protocol": data.protocol_text, "trained": trained}
    config = config_hash({"command": NAME, **trained})
    jobs = take_folder(order, config)
    for seed, job in enumerate(jobs):
        with experiment_folder(job.folder, same):
            if job.finished() and Training.load(job.folder / COURSE).over(order):
                print(f"{job.name} is finished.")
                continue
            write_state(job, finished=False)
            try:
                training = train(histories, job.folder, order, setting._replace(seed=seed))
            except WorkerError as error:
                write_state(job, finished=False, failed=str(error))
                raise
            ended = "patience" if training.waited(order) else "most"
            more = {"seed": seed, "config": config, "versions": order.versions()}
            more["trained"] = {**trained, "epochs": len(training.points), "ended_by": ended}
            print(record(data, job.folder, training, more))
            write_state(job, finished=True)
            if ended == "patience":  # what --most has ended goes on when it is raised
                drop_states(job.folder)
    return 0


def take_folder(order: Order, config: str) -> list[Job]:
    """The runs of all seeds, in the leaderboard's folder, beside which the run file is kept.

    Raises:
        ValueError: The folder holds something else.
    """
    leaderboard = {"command": "leaderboard"}
    require_same_experiment(order.out, leaderboard)
    if not (order.out / FILE).is_file():  # else its own command may be at work there, on other rows
        with experiment_folder(order.out, leaderboard):
            pass
    folder = order.out / order.file.board / order.file.name
    jobs = [
        Job(f"{order.file.key}/seed-{seed}", folder / f"seed-{seed}", (*order.words, f"--seed={seed}"))
        for seed in range(order.seeds)
    ]
    note([Planned(order.file, jobs, config, "")])
    return jobs


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.board",
        description="RecBole's SASRec as a row of a board, trained by RecBole and ranked by us.",
        epilog="Every other option is one of the data: --data.root ~/ml-100k.",
        allow_abbrev=False,
    )
    found.add_argument("board", metavar="DATA", help=f"the board: there is a run file DATA/{NAME}.yaml")
    found.add_argument("--seeds", type=positive, help="runs, of seeds 0, 1, ... (default: the run file's)")
    found.add_argument(
        "--patience",
        type=positive,
        default=LEAST_EPOCHS,
        help="epochs without a better validation NDCG@10 before the end; default: %(default)s",
    )
    most = Rules._field_defaults["most"]
    found.add_argument(
        "--most",
        type=positive,
        default=most,
        help="epochs at most, may be raised later; default: %(default)s",
    )
    found.add_argument(
        "--peers", type=Path, default=Path(".peers"), help="folder of the libraries' environments"
    )
    found.add_argument(
        "--peers-python", type=Path, default=Path(sys.executable), help="interpreter to make them with: 3.11"
    )
    found.add_argument("--runs", type=Path, default=DEFAULT_FOLDER, help="folder of the run files")
    found.add_argument(
        "--out", type=Path, default=OUT, help="folder of the leaderboard; default: %(default)s"
    )
    return found


def refuse_others(words: Iterable[str]) -> None:
    """Refuses options that no data set has.

    Raises:
        ValueError: There is one.
    """
    for word in words:
        if not word.startswith("--data."):
            raise ValueError(
                f"there is no option {word.partition('=')[0]}. See -h; the data's are --data.NAME."
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Makes the row."""
    try:
        arguments, typed = split_line(parser(), joined(sys.argv[1:] if argv is None else argv))
        refuse_others(typed)
        (file,) = find_runs(arguments.runs, [f"{arguments.board}/{NAME}"])
        words = (f"--data={file.data}", *file.options, *typed)
        expanded = expand_names(["fit", *words])
    except (ValueError, OSError) as error:
        sys.exit(f"board: {error}")
    environments = Environments(arguments.peers, arguments.peers_python)
    order = Order(
        file,
        arguments.out,
        environments,
        arguments.seeds or file.seeds,
        arguments.patience,
        arguments.most,
        words=words,
    )
    run(DataModule, make_rows, expanded.argv[1:], [], expanded.data, {"order": order})


if __name__ == "__main__":
    main()

"""The quality gate: a speed counts only beside the quality it buys.

On MovieLens-100K, which RecBole's wheel ships, everybody trains until validation has not improved for some
steps. One evaluator ranks everybody's scores of the same targets; CPU time is that of training alone.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.measure import Row, Spread
from benchmarks.peers.contender import ENTRIES, Contender, Entry, running
from benchmarks.peers.environments import Environments
from benchmarks.peers.histories import Histories
from benchmarks.peers.judge import Floats, gains, paired_interval, ranks
from benchmarks.peers.protocol import Setting, Stage
from benchmarks.peers.rows import EXTRA
from zoo.experiments.folder import write_atomic

GATED = tuple(entry for entry in ENTRIES if entry.name != "plain")
NEAR = 0.95
"""Share of the lowest contender's best validation NDCG that the time to a quality is taken at."""
LEAST_EPOCHS = 3
"""Without a better validation before a contender is done."""


def movielens_100k(environments: Environments) -> Histories:
    """All ratings as interactions, in the order of their times, then of the file."""
    path = environments.packages("recbole") / "recbole" / "dataset_example" / "ml-100k" / "ml-100k.inter"
    table = pl.read_csv(path, separator="\t").rename(lambda name: name.partition(":")[0])
    table = table.sort("user_id", "timestamp", maintain_order=True)
    items = table["item_id"].rank("dense").to_numpy().astype(np.int64) - 1
    lengths = table.group_by("user_id", maintain_order=True).len()["len"].to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Histories(offsets, items, int(items.max()) + 1)


class Point(NamedTuple):
    """After an epoch."""

    steps: int
    """Optimiser steps so far: an epoch of copied prefixes has many, one of whole histories few."""
    seconds: float
    """CPU time of training so far."""
    validation: float
    """NDCG@10."""


@dataclass
class Course:
    """One contender's way to its best epoch."""

    points: list[Point] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    """Labels per CPU second, an epoch each."""
    best: int = -1
    test_U: Floats = field(default_factory=lambda: np.zeros(0))
    """NDCG@10 of every user's test target at the best epoch."""
    rank_U: list[int] = field(default_factory=list)
    """Rank of the same."""

    def save(self, path: Path) -> None:
        """Writes one, all or nothing."""
        plain = {**vars(self), "test_U": self.test_U.tolist()}
        write_atomic(path, json.dumps(plain))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads one."""
        plain: dict[str, Any] = json.loads(path.read_text("utf-8"))
        plain["points"] = [Point(*values) for values in plain["points"]]
        return cls(**{**plain, "test_U": np.array(plain["test_U"])})

    @property
    def seconds(self) -> float:
        """CPU time of training so far."""
        return self.points[-1].seconds if self.points else 0.0

    def seconds_to(self, quality: float) -> float:
        """CPU seconds of training until validation first reaches a quality; infinite where it never does."""
        return next((point.seconds for point in self.points if point.validation >= quality), float("inf"))

    def stale(self, patience: int) -> bool:
        """Whether the last so many steps, and some epochs at least, brought nothing."""
        since = self.points[self.best + 1 :]
        return len(since) >= LEAST_EPOCHS and self.points[-1].steps - self.points[self.best].steps >= patience


class Judge:
    """Ranks targets among the whole catalogue with the whole history hidden.

    Args:
        histories: All interactions, also those that nobody trains on.
    """

    def __init__(self, histories: Histories) -> None:
        self.users = histories.n_users
        self.targets: dict[Stage, np.ndarray] = {
            "val": histories.target("val"),
            "test": histories.target("test"),
        }
        self.hidden = {stage: histories.read(stage) for stage in self.targets}

    def ranks(self, contender: Contender, stage: Stage) -> npt.NDArray[np.int64]:
        """Rank of every user's target."""
        return ranks(contender.scores(stage, self.users), self.targets[stage], self.hidden[stage])


def train_epoch(contender: Contender, course: Course, judge: Judge) -> None:
    """One epoch more, and what it brought."""
    done = contender.ask("epoch")
    before = course.points[-1] if course.points else Point(0, 0.0, 0.0)
    validation = float(gains(judge.ranks(contender, "val")).mean())
    point = Point(before.steps + done["steps"], before.seconds + done["seconds"], validation)
    if course.best < 0 or point.validation > course.points[course.best].validation:
        rank_U = judge.ranks(contender, "test")
        course.best, course.test_U, course.rank_U = len(course.points), gains(rank_U), rank_U.tolist()
    course.points.append(point)
    course.rates.append(done["labels"] / done["seconds"])
    print(
        f"{contender.name}, seed {contender.setting.seed}, epoch {len(course.points)}: validation NDCG@10 "
        f"{point.validation:.4f} after {point.seconds:,.0f} CPU-s of training",
        file=sys.stderr,
        flush=True,
    )


class Rules(NamedTuple):
    """Who takes part in the gate, and how long."""

    entries: tuple[Entry, ...] = GATED
    patience: int = 80
    """Steps without a better validation after which a contender is done."""
    most: int = 200
    """Epochs at most."""
    seeds: tuple[int, ...] = (0,)


def run_courses(
    histories: Histories, folder: Path, environments: Environments, seed: int, rules: Rules, kept: Path
) -> None:
    """Goes everybody's way to their best epoch, in turns of an epoch; those that are kept are not run again.

    Args:
        histories: All interactions.
        folder: Empty, for files of all.
        environments: Of the libraries.
        seed: Of everybody.
        rules: Who takes part, and how long.
        kept: Where finished ones are written.
    """
    entries = [entry for entry in rules.entries if not course_file(kept, entry.name, seed).exists()]
    folder.mkdir(parents=True)
    setting = Setting(folder / "histories.npz", folder, seed=seed)
    histories.last(setting.max_len + EXTRA).save(setting.data)
    judge, found = Judge(histories), {entry.name: Course() for entry in entries}
    with running(entries, setting, environments) as contenders:
        active = list(contenders)
        while active:
            # The turn is whose training has taken least so far.
            contender = min(active, key=lambda one: found[one.name].seconds)
            course = found[contender.name]
            train_epoch(contender, course, judge)
            if course.stale(rules.patience) or len(course.points) == rules.most:
                contender.stop()
                active.remove(contender)
                course.save(course_file(kept, contender.name, seed))


def course_file(kept: Path, name: str, seed: int) -> Path:
    """Where a contender's course is kept."""
    return kept / f"{name} {seed}.json"


def gate_rows(
    histories: Histories,
    folder: Path,
    environments: Environments,
    rules: Rules,
    kept: Path,
) -> list[Row]:
    """Quality, time to a common quality, and speed, over several seeds.

    Args:
        histories: All interactions.
        folder: Empty, for files of all.
        environments: Of the libraries.
        rules: Who takes part, and how long.
        kept: Where finished courses are; a gate that was stopped goes on there.
    """
    for seed in rules.seeds:
        run_courses(histories, folder / str(seed), environments, seed, rules, kept)
    names = [entry.name for entry in rules.entries]
    runs = [{name: Course.load(course_file(kept, name, seed)) for name in names} for seed in rules.seeds]
    common = NEAR * min(run[name].points[run[name].best].validation for run in runs for name in names)
    shape: dict[str, float | int | str] = {
        "users": histories.n_users,
        "items": histories.n_items,
        "interactions": len(histories.items),
        "seeds": len(rules.seeds),
    }
    case = f"{histories.n_users:,} users"
    check = "one evaluator, the same targets, the whole catalogue, all of the history hidden"

    def row(what: str, unit: str, rates: dict[str, list[float]], notes: dict[str, str], less: bool) -> Row:
        spreads = {name: Spread.of(values) for name, values in rates.items()}
        return Row("gate", f"{case}, {what}", unit, shape, spreads, check, notes=notes, less_is_better=less)  # type: ignore[arg-type]

    tests = {name: np.mean([run[name].test_U for run in runs], axis=0) for name in names}
    gaps = {
        f"ours less {name}": "{:+.4f} to {:+.4f} (95 %)".format(*paired_interval(tests["ours"], tests[name]))
        for name in names[1:]
    }
    epochs = {f"{name}: best epochs": ", ".join(str(run[name].best + 1) for run in runs) for name in names}
    quality = {name: [float(run[name].test_U.mean()) for run in runs] for name in names}
    times = {name: [run[name].seconds_to(common) for run in runs] for name in names}
    best = {name: [run[name].points[run[name].best].seconds for run in runs] for name in names}
    rates = {
        name: [rate for run in runs for rate in run[name].rates[1:] or run[name].rates] for name in names
    }
    return [
        row("test", "NDCG@10", quality, gaps | epochs, False),
        row(f"to validation NDCG@10 of {common:.4f}", "CPU-s of training", times, {}, True),
        row("to the best epoch", "CPU-s of training", best, {}, True),
        row("full softmax", "labels per CPU-s", rates, {}, False),
    ]

"""A run killed with SIGKILL anywhere and resumed equals one that was never interrupted, bit for bit."""

import json
import math
import multiprocessing as mp
import random
import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data_makers.toy_run import Plan, run_quietly

Outcome = tuple[dict[str, Any], dict[str, Any]]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "validation within epochs": {"val_check_interval": 0.3},
    "validation across epochs": {"check_val_every_n_epoch": None, "val_check_interval": 7},
    "every second epoch validated": {"check_val_every_n_epoch": 2},
    "part of the epoch": {"limit_train_batches": 7},
    "fixed number of steps": {"max_steps": 23},
    "as many steps as epochs have": {"max_steps": 20},
    "no early stop before": {"min_epochs": 6},
}
MOMENTS = ("step", "validation", "epoch_end", "epoch_start", "save")


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    # Importing Lightning takes seconds; the fork server imports it once, and children are cheap to kill.
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["torch", "lightning.pytorch"])
    return context


@pytest.fixture(scope="module")
def uninterrupted(
    context: ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> dict[Plan, Outcome]:
    return {}


def train(context: ForkServerContext, plan: Plan) -> int:
    process = context.Process(target=run_quietly, args=(plan,))
    process.start()
    process.join(600)
    if process.exitcode is None:
        process.kill()
        pytest.fail(f"still running after two minutes: {plan}")
    if process.exitcode not in (0, -signal.SIGKILL):
        pytest.fail((Path(plan.folder) / "log.txt").read_text()[-3000:])
    return process.exitcode


def read(folder: Path) -> Outcome:
    events: dict[str, Any] = {}
    for line in (folder / "chronicle.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert events.setdefault(record["key"], record) == record  # what is done twice is done alike
    return torch.load(folder / "outcome.pt", weights_only=True), events


def equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def check(
    context: ForkServerContext,
    reference: dict[Plan, Outcome],
    folder: Path,
    plan: Plan,
    deaths: list[tuple[str, int]],
) -> int:
    """Kills a run at the given moments, resumes it, and compares; returns how often it was killed."""
    key = plan._replace(folder="", workers=0, persistent=False, every_n_steps=2)
    if key not in reference:
        (folder / "whole").mkdir(parents=True)
        train(context, plan._replace(folder=str(folder / "whole"), workers=0))
        reference[key] = read(folder / "whole")
    (folder / "killed").mkdir(parents=True)
    plan = plan._replace(folder=str(folder / "killed"))
    killed = 0
    for moment, count in deaths:
        if train(context, plan._replace(die=moment, die_after=count)) == 0:
            break  # it was done before it could die
        killed += 1
    else:
        assert train(context, plan) == 0
    outcome, events = read(folder / "killed")
    wanted, wanted_events = reference[key]
    # A session that finds everything done validates nothing and leaves the epoch where it was.
    names = wanted.keys() - {"epoch", "val"}
    assert [name for name in names if not equal(outcome[name], wanted[name])] == [], deaths
    assert events == wanted_events
    assert not list((folder / "killed").glob("*.part"))
    return killed


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_run_equals_uninterrupted(
    context: ForkServerContext,
    uninterrupted: dict[Plan, Outcome],
    tmp_path: Path,
    accumulate: int,
    workers: int,
) -> None:
    plan = Plan("", workers=workers, persistent=workers > 0 and accumulate > 1, accumulate=accumulate)
    deaths = [("step", 5), ("save", 3), ("validation", 2), ("epoch_end", 1), ("epoch_start", 2), ("step", 10)]
    assert check(context, uninterrupted, tmp_path, plan, deaths) == len(deaths)


def test_run_stopped_early_stays_stopped(context: ForkServerContext, tmp_path: Path) -> None:
    plan = Plan(str(tmp_path))
    train(context, plan)
    before, events = read(tmp_path)
    assert before["wait_count"] == plan.patience
    assert before["epoch"] < plan.max_epochs
    train(context, plan)
    after, events_after = read(tmp_path)
    assert events_after == events
    assert math.isnan(after.pop("val"))  # nothing was validated again
    before.pop("val")
    assert equal(after, before)
    train(context, plan._replace(patience=plan.patience + 1))
    assert read(tmp_path)[0]["epoch"] == before["epoch"] + 1  # more patience lets it go on


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("options", OPTIONS)
def test_killed_at_random(
    context: ForkServerContext,
    uninterrupted: dict[Plan, Outcome],
    tmp_path: Path,
    options: str,
    accumulate: int,
) -> None:
    draw = random.Random(f"{options} {accumulate}")
    plan = Plan("", accumulate=accumulate, trainer=tuple(OPTIONS[options].items()))
    for trial in range(5):
        deaths = [(draw.choice(MOMENTS), draw.randint(1, 8)) for _ in range(3)]
        plan = plan._replace(workers=draw.choice([0, 0, 2]), every_n_steps=draw.choice([1, 2, 5]))
        check(context, uninterrupted, tmp_path / str(trial), plan, deaths)

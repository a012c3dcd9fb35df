"""Rows of the report: other libraries' training and evaluation beside ours, in turns."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measure import Row, Spread, require
from benchmarks.peers.contender import ENTRIES, Contender, Entry, running
from benchmarks.peers.environments import PEERS, Environments
from benchmarks.peers.histories import Histories
from benchmarks.peers.judge import gains, ranks
from benchmarks.peers.protocol import Setting
from benchmarks.shapes import SHAPES, make_histories

EXTRA = 3
"""Interactions of a history beyond its length L: its last label, and two that are held out."""
HIDES = frozenset({"ours", "RePlay", "RecTools"})
"""Whose own evaluation leaves a user's history out; RecBole's of sequences does not."""
AGREES = 1e-6


def shape_histories(shape: str, max_len: int) -> Histories:
    """Histories of a synthetic shape, as much of them as all contenders use."""
    offsets, items = make_histories(SHAPES[shape])
    return Histories(offsets, items.astype(np.int64), SHAPES[shape].items).last(max_len + EXTRA)


def training_row(
    case: str,
    histories: Histories,
    folder: Path,
    environments: Environments,
    turns: int,
    entries: Sequence[Entry] = ENTRIES,
    steps: int = 2,
    warm_ups: int = 5,
) -> Row:
    """Labels per CPU second of everybody's training, steps in turns.

    Args:
        case: What is trained on.
        histories: Interactions.
        folder: Empty, for files of all.
        environments: Of the libraries.
        turns: Timed turns of each.
        entries: Who takes part.
        steps: Batches a turn.
        warm_ups: Batches of each before.
    """
    folder.mkdir(parents=True)
    histories.save(folder / "histories.npz")
    setting = Setting(folder / "histories.npz", folder)
    rates: dict[str, list[float]] = {entry.name: [] for entry in entries}
    with running(entries, setting, environments) as contenders:
        for contender in contenders:
            contender.ask("steps", count=warm_ups)
        for _ in range(turns):
            for contender in contenders:
                found = contender.ask("steps", count=steps)
                rates[contender.name].append(found["labels"] / found["seconds"])
        about = {c.name: c.about["parameters"] for c in contenders}
        peaks = {contender.name: contender.stop() for contender in contenders}
    lengths = np.diff(histories.offsets) - EXTRA
    return Row(
        kind="peers",
        case=f"{case}, full softmax",
        unit="labels per CPU-s",
        shape={
            "users": histories.n_users,
            "items": histories.n_items,
            "length": setting.max_len,
            "batch": setting.batch,
            "width": setting.width,
            "filled": round(float(lengths.mean()) / setting.max_len, 3),
        },
        rates={name: Spread.of(values) for name, values in rates.items()},
        check="the same interactions; quality beside it in the gate's rows",
        peak_mb=peaks,
        notes={f"{name}: parameters": count for name, count in about.items()}
        | _versions(entries, environments),
    )


def _versions(entries: Sequence[Entry], environments: Environments) -> dict[str, str]:
    used = sorted({entry.peer for entry in entries if entry.peer in PEERS})
    return {
        f"{PEERS[key].name} runs": ", ".join(f"{n} {v}" for n, v in environments.versions(key).items())
        for key in used
    }


def evaluation_row(
    shape: str,
    checked: str,
    folder: Path,
    environments: Environments,
    turns: int,
    entries: Sequence[Entry] = (ENTRIES[0], *ENTRIES[2:5]),
) -> Row:
    """Users per CPU second of everybody's own evaluation of all test targets, from histories to metrics.

    Before, on a small shape, everybody's metrics are found equal to those of our evaluator on their scores.

    Args:
        shape: What is evaluated.
        checked: The small shape.
        folder: Empty, for files of all.
        environments: Of the libraries.
        turns: Timed evaluations of each, after one that is not.
        entries: Who takes part.
    """
    check = _check_metrics(checked, folder / "check", environments, entries)
    histories = shape_histories(shape, Setting._field_defaults["max_len"])
    rates: dict[str, list[float]] = {entry.name: [] for entry in entries}
    (folder / "timed").mkdir(parents=True)
    histories.save(folder / "timed" / "histories.npz")
    setting = Setting(folder / "timed" / "histories.npz", folder / "timed")
    with running(entries, setting, environments, "evaluate") as contenders:
        for turn in range(turns + 1):
            for contender in contenders:
                found = contender.ask("evaluate")
                if turn:
                    rates[contender.name].append(found["users"] / found["seconds"])
        peaks = {contender.name: contender.stop() for contender in contenders}
    return Row(
        kind="peers_evaluation",
        case=f"evaluation, {shape}: {histories.n_items:,} items",
        unit="users per CPU-s",
        shape={"users": histories.n_users, "items": histories.n_items, "length": setting.max_len},
        rates={name: Spread.of(values) for name, values in rates.items()},
        check=check,
        peak_mb=peaks,
        notes={"RecBole": "ranks the user's history too: its evaluation of sequences hides nothing"},
    )


def _check_metrics(shape: str, folder: Path, environments: Environments, entries: Sequence[Entry]) -> str:
    folder.mkdir(parents=True)
    histories = shape_histories(shape, Setting._field_defaults["max_len"])
    histories.save(folder / "histories.npz")
    setting = Setting(folder / "histories.npz", folder)
    with running(entries, setting, environments, "evaluate") as contenders:
        gaps = [_gap(contender, histories) for contender in contenders]
        for contender in contenders:
            contender.stop()
    return f"everybody's NDCG@10 and recall@10 equal to ours on their scores, to {max(gaps):.0e}, on {shape}"


def _gap(contender: Contender, histories: Histories) -> float:
    """How far a library's own metrics are from our evaluator's on the library's scores.

    Raises:
        Unequal: Further than rounding.
    """
    scores_UI = contender.scores("test", histories.n_users)
    hidden = histories.read("test") if contender.name in HIDES else None
    rank_U = ranks(scores_UI, histories.target("test"), hidden)
    own = contender.ask("evaluate")["metrics"]
    expected = {"ndcg@10": gains(rank_U).mean(), "recall@10": (rank_U <= 10).mean()}
    gap = max(abs(float(own[name]) - float(value)) for name, value in expected.items())
    require(gap < AGREES, f"{contender.name} reports {own}, our evaluator {expected} on its scores")
    return gap

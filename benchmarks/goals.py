"""The goals that speed is held to, each beside what a report measured."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Found = Mapping[str, Any]
"""A row as the report's JSON has it."""
MISSING = "not measured in this run"
STATES_LIMIT = 45_000
"""Bytes an item may take in the cache of two modalities."""


class Goal(NamedTuple):
    """What is wanted, and what says whether it was reached."""

    what: str
    wanted: str
    rows: str
    """Of ``benchmarks.speed``; or the whole command."""
    measured: Callable[[Sequence[Found]], Iterator[str]]


def of_kind(rows: Sequence[Found], kind: str, case: str = "") -> list[Found]:
    """Rows of a kind whose case begins in some way."""
    return [row for row in rows if row["row"] == kind and row["case"].startswith(case)]


def _peers(rows: Sequence[Found]) -> Iterator[str]:
    for row in of_kind(rows, "peers"):
        yield f"{row['case'].partition(',')[0]}: " + ", ".join(
            f"{times:.1f} times {name}" for name, times in row["ours_over"].items()
        )
    for row in of_kind(rows, "labels"):
        if "full" in row["case"]:
            yield f"{row['case']}: {row['check']}"


def _encodes(rows: Sequence[Found]) -> Iterator[str]:
    for row in of_kind(rows, "encodes"):
        yield f"{row['case']}: {row['ours_over']['plain']:.1f} times"


def _evaluation(rows: Sequence[Found]) -> Iterator[str]:
    for row in of_kind(rows, "evaluation"):
        peak = f", peak {row['peak_mb']['ours']:,.0f} MB" if "ours" in row["peak_mb"] else ""
        yield f"{row['shape']['items']:,} items: {row['rates']['ours']['median']:,.0f}{peak}"
    for row in of_kind(rows, "evaluation")[:1]:
        yield row["check"]


def _states(rows: Sequence[Found]) -> Iterator[str]:
    for row in of_kind(rows, "frozen", "states"):
        size = 2 * row["notes"]["bytes_per_item"]
        yield f"{row['case']}: {row['rates']['ours']['median']:,.0f}, {size / 1000:.1f} KB for two modalities"


def _pictures(rows: Sequence[Found]) -> Iterator[str]:
    for row in of_kind(rows, "input", "pictures"):
        yield ", ".join(f"{times:.1f} times {name}" for name, times in row["ours_over"].items())


def _preparation(rows: Sequence[Found]) -> Iterator[str]:
    for row in of_kind(rows, "input", "prepared"):
        yield f"{row['rates']['ours']['median'] / 1e6:.2f} M interactions per CPU-s"


def _no_gpu(rows: Sequence[Found]) -> Iterator[str]:
    yield "no GPU was lent: not measured"


def _start(rows: Sequence[Found]) -> Iterator[str]:
    for row in of_kind(rows, "start"):
        yield (
            f"{row['case']}: {row['rates']['ours']['median']:.2f} CPU-s; towers' libraries it imports: "
            f"{row['notes'][IMPORTS]}"
        )


IMPORTS = "imports of towers' libraries"
GOALS = (
    Goal(
        "training SASRec, full softmax, by the real command",
        "≥ 2 times RePlay on long histories, ≥ 10 times on short ones; the same loss to 1e-6",
        "peers,labels",
        _peers,
    ),
    Goal(
        "encodes",
        "each distinct real item once a batch: ≥ 2.3, 4, 10 times fewer than slots at length 10, 20, 50",
        "encodes",
        _encodes,
    ),
    Goal(
        "exact evaluation, users per CPU-s",
        "≥ 25,000 at 12,000 items; a million items in memory that does not grow with users "
        "times items; ranks equal to brute force, ties included",
        "evaluation",
        _evaluation,
    ),
    Goal(
        "cache of frozen states, rows per CPU-s",
        f"≥ 30,000; ≤ {STATES_LIMIT // 1000} KB an item for two modalities at full width",
        "frozen",
        _states,
    ),
    Goal("pictures", "≥ 20 times the authors' arrays in LMDB", "input", _pictures),
    Goal(
        "preparation",
        "≥ 2 M interactions a second; 100 M in under 8 GB, 1 G in under 24 GB on two cores",
        "input",
        _preparation,
    ),
    Goal(
        "training encoders on one H200", "≥ 40 % of its bf16 peak, ViT-B/16 and BERT-base", "labels", _no_gpu
    ),
    Goal("start", "`mmzoo --help` in under 2 s, no library of towers until needed", "start", _start),
)


def goal_lines(rows: Sequence[Found]) -> Iterator[str]:
    """A Markdown table: goals, what the rows of a report say of them, and the command of each.

    Args:
        rows: As the report's JSON has them.
    """
    yield "| what | goal | measured | command |"
    yield "|---|---|---|---|"
    for goal in GOALS:
        found = "; ".join(goal.measured(rows)) or MISSING
        yield f"| {goal.what} | {goal.wanted} | {found} | `python -m benchmarks.speed --rows {goal.rows}` |"

"""Histograms of what a data set is made of, as plain numbers, and how they want to be drawn."""

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
BARS = 40
UNITS = ((10**8, 10**11, 1), (10**11, 10**14, 10**3), (10**14, 10**17, 10**6))
"""From, to, and how many of it make a second: what times since 1970 are counted in."""
_TAIL = 0.0005
_TICKS = 4


class Panel(NamedTuple):
    """One picture of numbers."""

    title: str
    across: str
    upward: str
    kind: Literal["bars", "line"]
    x: list[float]
    """Edges of the bars, one more than there are; or where the line's points are."""
    y: list[float]
    log_across: bool = False
    log_upward: bool = False
    ticks: list[tuple[float, str]] = []  # noqa: RUF012  # a named tuple's defaults are never changed
    """Where to write what below; by default round numbers."""


def summary(values: Numbers) -> dict[str, float]:
    """Mean and quantiles; empty where there is nothing.

    >>> summary(np.array([1, 2, 3]))["median"]
    2.0
    """
    if not len(values):
        return {}
    points = np.quantile(values, [0, 0.25, 0.5, 0.75, 0.95, 1]).tolist()
    names = ("smallest", "lower quarter", "median", "upper quarter", "95 %", "largest")
    return {"mean": round(float(np.mean(values)), 4), **dict(zip(names, points, strict=True))}


def whole_numbers(values: Numbers, title: str, across: str, upward: str) -> Panel:
    """How often each of some whole numbers occurs: bars of equal width, or on a long tail of equal ratio."""
    low, high = int(values.min()), int(values.max())
    long_tail = low > 0 and high > 4 * BARS
    if long_tail:
        edges = np.unique(np.geomspace(low, high + 1, BARS + 1).astype(np.int64))
        edges[-1] = high + 1
    else:
        step = max(1, -(-(high + 1 - low) // BARS))
        edges = np.arange(low, high + 1 + step, step)
    counts, _ = np.histogram(values, bins=edges)
    # A bar of the number 5 stands around it, from 4.5 to 5.5; on a logarithmic axis it begins at it.
    shift = 0.0 if long_tail else 0.5
    return Panel(
        title, across, upward, "bars", (edges - shift).tolist(), counts.tolist(), log_across=long_tail
    )


def popularity(counts_I: Numbers) -> Panel:
    """Interactions of items by rank, on two logarithmic axes; a power law is a straight line there."""
    counts = np.sort(counts_I[counts_I > 0])[::-1]
    ranks = np.unique(np.geomspace(1, len(counts), 200).round().astype(np.int64))
    return Panel(
        "Item popularity",
        "rank of the item",
        "interactions",
        "line",
        ranks.astype(float).tolist(),
        counts[ranks - 1].astype(float).tolist(),
        log_across=True,
        log_upward=True,
    )


def per_second(times: Numbers) -> int | None:
    """How many of a time's units make a second, told by the size of the numbers; None if they tell not."""
    middle = float(np.median(np.abs(times)))
    return next((parts for low, high, parts in UNITS if low <= middle < high), None)


def date(seconds: float, form: str = "%Y-%m-%d %H:%M") -> str:
    """A moment in universal time.

    >>> date(0)
    '1970-01-01 00:00'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime(form)


def over_time(times: Numbers) -> Panel:
    """Interactions over time, from the first to the last but for strays far outside.

    One time of 0 among millions of this century would leave a single bar.
    """
    parts = per_second(times)
    seconds = times / (parts or 1)
    low, high = float(seconds.min()), float(seconds.max())
    inner = np.quantile(seconds, [_TAIL, 1 - _TAIL])
    if high - low > 2 * (inner[1] - inner[0]) > 0:
        low, high = inner
    if high <= low:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(np.clip(seconds, low, high), bins=BARS)
    ticks: list[tuple[float, str]] = []
    if parts is not None:
        days = (high - low) / 86_400
        form = "%Y-%m" if days > 700 else "%Y-%m-%d" if days > 3 else "%m-%d %H:%M"
        ticks = [(float(at), date(at, form)) for at in np.linspace(low, high, _TICKS)]
    across = "universal time" if parts is not None else "time as the file counts it"
    strays = int(((seconds < low) | (seconds > high)).sum())
    if strays:
        across += f"; the outer bars hold {strays:,} beyond"
    return Panel(
        "Interactions over time", across, "interactions", "bars", edges.tolist(), counts.tolist(), ticks=ticks
    )

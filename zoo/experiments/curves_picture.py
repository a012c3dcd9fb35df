"""Curves as a picture: a colour an arm, means with their standard deviations."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from PIL import Image

from zoo.experiments.picture import (
    COLOURS,
    INK,
    PAPER,
    Canvas,
    Range,
    Tick,
    even,
    logarithmic,
    text_width,
)
from zoo.experiments.stats import MeanSd

LEFT, TOP, BOTTOM = 70, 56, 66
WIDE, HIGH = 560, 360
"""Of the plot without what is around it."""
RADIUS, CAP, APART, ROW = 4.5, 3.5, 5.0, 20.0
"""Points: of a mark, of the ends of its bars, between arms at one level, between lines of the legend."""
SMALL, NEAR = 10, 40
"""Height of the letters beside marks; distance from which two numbers under the axis can be read."""
DECADES = 50.0
"""Ratio of the largest to the smallest x from which a scale of logarithms is easier to read."""


class Mark(NamedTuple):
    """A point of a curve."""

    x: MeanSd | None
    """None for an arm that is what it is at any x."""
    y: MeanSd
    label: str = ""
    """Written beside it."""


class Curve(NamedTuple):
    """An arm; its marks are joined in their order."""

    label: str
    marks: list[Mark]


def draw_curves(
    curves: Sequence[Curve], x_title: str, y_title: str, note: str, exact: bool, beside: str = ""
) -> Image.Image:
    """Marks with bars of a standard deviation, joined by lines, and a legend.

    Args:
        curves: With at least one mark; no value is NaN, but standard deviations of single runs are.
        x_title: Under the horizontal axis.
        y_title: Over the vertical one.
        note: Over the legend.
        exact: Whether x is what was set, the same for all arms, and not measured.
        beside: What is written beside the marks, told below the legend.
    """
    marks = [mark for curve in curves for mark in curve.marks]
    legend = max(text_width(text) for text in (note, beside, *(curve.label for curve in curves))) + 52
    canvas = Canvas(LEFT + WIDE + 24 + legend, TOP + HIGH + BOTTOM)
    x_ends = [end for mark in marks if mark.x is not None for end in _ends(mark.x)]
    logs = bool(x_ends) and min(x_ends) > 0 and max(x_ends) / min(x_ends) >= DECADES
    across = _range([_log(end) for end in x_ends] if logs else x_ends, LEFT, LEFT + WIDE)
    upward = _range([end for mark in marks for end in _ends(mark.y)], TOP + HIGH, TOP)
    columns = _columns(across, marks if exact else [], logs) if x_ends else []
    canvas.grid(across, upward, columns, even(upward))
    canvas.text((LEFT + WIDE / 2, TOP + HIGH + 36), x_title, "ma")
    canvas.text((LEFT - 40, TOP - 34), y_title, "la")
    canvas.text((LEFT + WIDE + 24, TOP - 34), note, "la")
    for place, curve in enumerate(curves):
        colour = COLOURS[place % len(COLOURS)]
        fill = colour if place < len(COLOURS) else PAPER  # colours come back as rings
        aside = (place - (len(curves) - 1) / 2) * min(APART, 24 / len(curves)) if exact else 0.0
        _draw_curve(canvas, curve, across, upward, (colour, fill), aside, logs)
        y = TOP + 10 + ROW * place
        at = LEFT + WIDE + 24
        canvas.line((at, y), (at + 24, y), colour, 2)
        canvas.disc((at + 12, y), RADIUS, fill, colour)
        canvas.text((at + 32, y), curve.label, "lm")
    if beside:
        canvas.text((LEFT + WIDE + 24, TOP + 10 + ROW * (len(curves) + 0.5)), beside, "lm", size=SMALL)
    return canvas.image


def _draw_curve(
    canvas: Canvas,
    curve: Curve,
    across: Range,
    upward: Range,
    colours: tuple[str, str],
    aside: float,
    logs: bool,
) -> None:
    """Bars below, then the line, then the marks."""
    colour, fill = colours
    placed = []
    for mark in curve.marks:
        y = upward.at(mark.y.mean)
        if mark.x is None:
            canvas.dashes((across.start, y), (across.end, y), colour, 1.5)
            continue
        x = across.at(_log(mark.x.mean) if logs else mark.x.mean) + aside
        placed.append((x, y, mark.label))
        if not math.isnan(mark.y.sd):
            low, high = (upward.at(end) for end in _ends(mark.y))
            canvas.line((x, low), (x, high), colour)
            for end in (low, high):
                canvas.line((x - CAP, end), (x + CAP, end), colour)
        if not math.isnan(mark.x.sd):
            low, high = (across.at(_log(end) if logs else end) for end in _ends(mark.x))
            canvas.line((low, y), (high, y), colour)
            for end in (low, high):
                canvas.line((end, y - CAP), (end, y + CAP), colour)
    for (x0, y0, _), (x1, y1, _) in pairwise(placed):
        canvas.line((x0, y0), (x1, y1), colour, 2)
    for x, y, label in placed:
        canvas.disc((x, y), RADIUS, fill, colour)
        if label:
            canvas.text((x - RADIUS - 1, y - RADIUS), label, "rs", INK, SMALL)  # where a line seldom rises


def _columns(across: Range, marks: Sequence[Mark], logs: bool) -> list[Tick]:
    """Grid lines at the levels, if these stand far enough apart; else at round numbers."""
    levels = sorted({mark.x.mean for mark in marks if mark.x is not None})
    ticks = [Tick(_log(value) if logs else value, f"{value:g}") for value in levels]
    places = [across.at(tick.value) for tick in ticks]
    if not ticks or any(b - a < NEAR for a, b in pairwise(places)):
        return logarithmic(across) if logs else even(across)
    return ticks


def _ends(value: MeanSd) -> tuple[float, float]:
    sd = 0.0 if math.isnan(value.sd) else value.sd
    return value.mean - sd, value.mean + sd


def _range(values: Sequence[float], start: float, end: float) -> Range:
    values = values or [0.0]
    room = 0.06 * (max(values) - min(values)) or 0.05 * abs(values[0]) or 0.05
    return Range.around(values, room, start, end)


def _log(value: float) -> float:
    return math.log10(value)

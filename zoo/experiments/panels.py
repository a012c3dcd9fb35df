"""Several small pictures of numbers in one: bars and lines on even or logarithmic axes."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Protocol

from PIL import Image

from zoo.experiments.picture import COLOURS, Canvas, Range, Tick, even_ticks, log_ticks

WIDE, TALL, LEFT, RIGHT, TOP, BELOW = 340, 190, 76, 24, 40, 52
"""Points: the axes of a panel, and the room around them."""
TITLE, SMALL = 14, 11
DECADES = 1.6
"""Decades from which on only powers of ten are written."""


class Panel(Protocol):
    """What is drawn; the arrays are plain lists of numbers."""

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def across(self) -> str: ...  # noqa: D102
    @property
    def upward(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> Literal["bars", "line"]: ...  # noqa: D102
    @property
    def x(self) -> Sequence[float]:
        """Edges of the bars, one more than there are; or where the line's points are."""
        ...

    @property
    def y(self) -> Sequence[float]: ...  # noqa: D102
    @property
    def log_across(self) -> bool: ...  # noqa: D102
    @property
    def log_upward(self) -> bool: ...  # noqa: D102
    @property
    def ticks(self) -> Sequence[tuple[float, str]]:
        """What to write where below; nothing for round numbers."""
        ...


def draw_panels(panels: Sequence[Panel], columns: int = 2) -> Image.Image:
    """Draws panels in rows from left to right.

    Args:
        panels: At least one.
        columns: Panels in a row.
    """
    columns = min(columns, len(panels))
    lines = math.ceil(len(panels) / columns)
    width, height = LEFT + WIDE + RIGHT, TOP + TALL + BELOW
    canvas = Canvas(columns * width, lines * height)
    for place, panel in enumerate(panels):
        line, column = divmod(place, columns)
        _draw(canvas, panel, column * width + LEFT, line * height + TOP)
    return canvas.image


def _draw(canvas: Canvas, panel: Panel, left: float, top: float) -> None:
    xs = [_scaled(x, panel.log_across) for x in panel.x]
    ys = [_scaled(y, panel.log_upward) for y in panel.y]
    low_x, high_x = min(xs), max(xs)
    if low_x == high_x:
        low_x, high_x = low_x - 0.5, high_x + 0.5
    across = Range(low_x, high_x, left, left + WIDE)
    low_y, high_y = (min(ys), max(ys)) if panel.log_upward else (0.0, max(ys))
    upward = Range(low_y, low_y + 1.05 * ((high_y - low_y) or 1.0), top + TALL, top)
    columns = [Tick(_scaled(x, panel.log_across), text) for x, text in panel.ticks]
    columns = columns or _ticks(across, panel.log_across)
    canvas.grid(across, upward, columns, _ticks(upward, panel.log_upward))
    if panel.kind == "bars":
        _bars(canvas, [across.at(x) for x in xs], [upward.at(y) for y in ys], upward.start)
    else:
        points = [(across.at(x), upward.at(y)) for x, y in zip(xs, ys, strict=True)]
        for start, end in pairwise(points):
            canvas.line(start, end, COLOURS[0], 2)
        for point in points:
            canvas.disc(point, 1.5, COLOURS[0], COLOURS[0])
    canvas.text((left, top - 14), panel.title, "ls", size=TITLE)
    canvas.text((left + WIDE / 2, top + TALL + 26), panel.across, "ma", size=SMALL)
    canvas.text((left + WIDE, top - 14), panel.upward, "rs", size=SMALL)


def _bars(canvas: Canvas, edges: Sequence[float], tops: Sequence[float], floor: float) -> None:
    for (start, end), top in zip(pairwise(edges), tops, strict=True):
        wide = max(end - start - (1 if end - start > 4 else 0), 1)
        if top < floor:
            canvas.line(((start + end) / 2, floor), ((start + end) / 2, top), COLOURS[0], wide)


def _ticks(scale: Range, logs: bool) -> list[Tick]:
    if not logs:
        return [Tick(value, short(value)) for value in even_ticks(scale.low, scale.high)]
    values = log_ticks(10**scale.low, 10**scale.high)
    if scale.high - scale.low > DECADES:
        values = [value for value in values if math.log10(value).is_integer()]
    return [Tick(math.log10(value), short(value)) for value in values]


def short(value: float) -> str:
    """A number in few letters.

    >>> short(1500), short(20_000_000), short(0.25)
    ('1.5k', '20M', '0.25')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _scaled(value: float, logs: bool) -> float:
    return math.log10(value) if logs else float(value)

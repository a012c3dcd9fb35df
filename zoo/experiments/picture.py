"""What the pictures of the commands are drawn with, measured in points."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

SCALE = 2
"""Pixels a point."""
FONT = 12
"""Height of the letters."""
PAPER, INK, PALE = "white", "#202020", "#dddddd"
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#97bbf5", "#9c6b4e")

Spot = tuple[float, float]
"""To the right and down, from the upper left corner."""


class Range(NamedTuple):
    """From values to points."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], margin: float, start: float, end: float) -> "Range":
        """Takes all values in, and some room on both sides."""
        return cls(min(values) - margin, max(values) + margin, start, end)

    def at(self, value: float) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


class Tick(NamedTuple):
    """A line of the grid."""

    value: float
    label: str


class Canvas:
    """A white picture.

    Args:
        width: In points.
        height: In points.
    """

    def __init__(self, width: float, height: float) -> None:
        self.image = Image.new("RGB", (round(width * SCALE), round(height * SCALE)), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def line(self, start: Spot, end: Spot, colour: str, width: float = 1) -> None:
        """A straight line."""
        self._draw.line([_pixels(start), _pixels(end)], fill=colour, width=round(SCALE * width))

    def dashes(self, start: Spot, end: Spot, colour: str, width: float = 1, dash: float = 5) -> None:
        """A broken line."""
        length = math.dist(start, end)
        across, down = (end[0] - start[0]) / length, (end[1] - start[1]) / length
        for at in range(0, math.ceil(length / dash), 2):
            parts = (at * dash, min((at + 1) * dash, length))
            first, last = ((start[0] + part * across, start[1] + part * down) for part in parts)
            self.line(first, last, colour, width)

    def disc(self, at: Spot, radius: float, fill: str, outline: str = INK) -> None:
        """A filled disc."""
        corners = (at[0] - radius, at[1] - radius), (at[0] + radius, at[1] + radius)
        self._draw.ellipse([_pixels(corner) for corner in corners], fill=fill, outline=outline, width=SCALE)

    def text(self, at: Spot, text: str, anchor: str, colour: str = INK, size: float = FONT) -> None:
        """A line of text; ``anchor`` is Pillow's."""
        self._draw.text(
            _pixels(at), text, fill=colour, font=ImageFont.load_default(size * SCALE), anchor=anchor
        )

    def grid(self, across: Range, upward: Range, columns: Sequence[Tick], rows: Sequence[Tick]) -> None:
        """Grid, axes and the numbers beside them."""
        for tick in columns:
            x = across.at(tick.value)
            self.line((x, upward.end), (x, upward.start), PALE)
            self.text((x, upward.start + 6), tick.label, "ma")
        for tick in rows:
            y = upward.at(tick.value)
            self.line((across.start, y), (across.end, y), PALE)
            self.text((across.start - 8, y), tick.label, "rm")
        corner = (across.start, upward.start)
        self.line(corner, (across.end, upward.start), INK)
        self.line(corner, (across.start, upward.end), INK)


def text_width(text: str, size: float = FONT) -> float:
    """Points that a line of text takes."""
    return float(ImageFont.load_default(size * SCALE).getlength(text)) / SCALE


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... between two positive numbers.

    >>> log_ticks(0.4, 30)
    [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]


def even_ticks(low: float, high: float) -> list[float]:
    """Three to nine round numbers at equal distances.

    >>> even_ticks(0.02, 0.11)
    [0.02, 0.04, 0.06, 0.08, 0.1]
    """
    rough = (high - low) / 8
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * decade for digit in (1, 2, 5, 10) if digit * decade >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def even(scale: Range) -> list[Tick]:
    """Ticks of a range at equal distances."""
    return [Tick(value, f"{value:g}") for value in even_ticks(scale.low, scale.high)]


def logarithmic(scale: Range) -> list[Tick]:
    """Ticks of a range of decimal logarithms."""
    return [Tick(math.log10(value), f"{value:g}") for value in log_ticks(10**scale.low, 10**scale.high)]


def _pixels(at: Spot) -> Spot:
    return SCALE * at[0], SCALE * at[1]

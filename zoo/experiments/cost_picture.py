"""Quality against cost as a picture: one disc a model."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, SCALE = 760, 460, 2
"""Points, and pixels a point."""
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 60
SMALLEST, LARGEST = 5, 22
"""Radius of a disc in points."""
PAPER, INK, PALE = "white", "#202020", "#dddddd"
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#97bbf5", "#9c6b4e")


class Disc(NamedTuple):
    """One model."""

    label: str
    cost: float
    quality: float
    memory: float
    """The disc's area is in proportion to it."""
    tpme: float


class Axis(NamedTuple):
    """From values to points."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def draw_costs(discs: Sequence[Disc], cost_title: str, quality_title: str) -> Image.Image:
    """Cost to the right on a scale of logarithms, quality upwards, memory as area.

    Args:
        discs: At least one, with positive costs.
        cost_title: Under the horizontal axis.
        quality_title: Over the vertical one.
    """
    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), PAPER)
    draw = ImageDraw.Draw(image)
    costs = [math.log10(disc.cost) for disc in discs]
    qualities = [disc.quality for disc in discs]
    across = _axis(costs, 0.3, LEFT, WIDTH - RIGHT)
    upward = _axis(qualities, max(0.1 * (max(qualities) - min(qualities)), 0.005), HEIGHT - BOTTOM, TOP)
    for tick in log_ticks(10**across.low, 10**across.high):
        x = across.at(math.log10(tick))
        _line(draw, (x, TOP), (x, HEIGHT - BOTTOM), PALE)
        _text(draw, (x, HEIGHT - BOTTOM + 6), f"{tick:g}", "ma")
    for tick in even_ticks(upward.low, upward.high):
        y = upward.at(tick)
        _line(draw, (LEFT, y), (WIDTH - RIGHT, y), PALE)
        _text(draw, (LEFT - 8, y), f"{tick:g}", "rm")
    _line(draw, (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM), INK)
    _line(draw, (LEFT, TOP), (LEFT, HEIGHT - BOTTOM), INK)
    _text(draw, ((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 28), f"{cost_title} (area: memory)", "ma")
    _text(draw, (LEFT, TOP - 24), quality_title, "la")
    largest = max(disc.memory for disc in discs)
    taken: list[float] = []
    for place in sorted(range(len(discs)), key=lambda i: -discs[i].quality):
        disc, colour = discs[place], COLOURS[place % len(COLOURS)]
        x, y = across.at(costs[place]), upward.at(disc.quality)
        radius = (
            max(SMALLEST, LARGEST * math.sqrt(max(disc.memory, 0.0) / largest)) if largest > 0 else SMALLEST
        )
        _disc(draw, x, y, radius, colour)
        label_y = max(y, taken[-1] + 15) if taken else y  # labels stand below each other
        taken.append(label_y)
        _line(draw, (x + radius, y), (WIDTH - RIGHT + 6, label_y), colour)
        _text(draw, (WIDTH - RIGHT + 10, label_y), f"{disc.label}  {disc.tpme:.2f}", "lm")
    _text(draw, (WIDTH - RIGHT + 10, TOP - 24), "model  TPME", "la")
    return image


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... between two positive numbers.

    >>> log_ticks(0.4, 30)
    [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]


def even_ticks(low: float, high: float) -> list[float]:
    """Four to ten round numbers at equal distances.

    >>> even_ticks(0.02, 0.11)
    [0.02, 0.04, 0.06, 0.08, 0.1]
    """
    rough = (high - low) / 5
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * decade for digit in (1, 2, 5, 10) if digit * decade >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _axis(values: Sequence[float], margin: float, start: float, end: float) -> Axis:
    return Axis(min(values) - margin, max(values) + margin, start, end)


def _line(
    draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], colour: str
) -> None:
    draw.line([tuple(SCALE * v for v in start), tuple(SCALE * v for v in end)], fill=colour, width=SCALE)


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: str) -> None:
    box = (x - radius, y - radius, x + radius, y + radius)
    draw.ellipse(tuple(SCALE * v for v in box), fill=colour, outline=INK, width=SCALE)


def _text(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, anchor: str) -> None:
    font = ImageFont.load_default(12 * SCALE)
    draw.text((SCALE * at[0], SCALE * at[1]), text, fill=INK, font=font, anchor=anchor)

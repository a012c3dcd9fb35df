"""Quality against cost as a picture: one disc a model."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from zoo.experiments.picture import COLOURS, Canvas, Range, even, logarithmic

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 60
SMALLEST, LARGEST = 5, 22
"""Radius of a disc."""


class Disc(NamedTuple):
    """One model."""

    label: str
    cost: float
    quality: float
    memory: float
    """The disc's area is in proportion to it."""
    tpme: float


def draw_costs(discs: Sequence[Disc], cost_title: str, quality_title: str) -> Image.Image:
    """Cost to the right on a scale of logarithms, quality upwards, memory as area.

    Args:
        discs: At least one, with positive costs.
        cost_title: Under the horizontal axis.
        quality_title: Over the vertical one.
    """
    canvas = Canvas(WIDTH, HEIGHT)
    costs = [math.log10(disc.cost) for disc in discs]
    qualities = [disc.quality for disc in discs]
    across = Range.around(costs, 0.3, LEFT, WIDTH - RIGHT)
    room = max(0.1 * (max(qualities) - min(qualities)), 0.005)
    upward = Range.around(qualities, room, HEIGHT - BOTTOM, TOP)
    canvas.grid(across, upward, logarithmic(across), even(upward))
    canvas.text(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 28), f"{cost_title} (area: memory)", "ma")
    canvas.text((LEFT, TOP - 24), quality_title, "la")
    largest = max(disc.memory for disc in discs)
    taken: list[float] = []
    for place in sorted(range(len(discs)), key=lambda i: -discs[i].quality):
        disc, colour = discs[place], COLOURS[place % len(COLOURS)]
        x, y = across.at(costs[place]), upward.at(disc.quality)
        radius = (
            max(SMALLEST, LARGEST * math.sqrt(max(disc.memory, 0.0) / largest)) if largest > 0 else SMALLEST
        )
        canvas.disc((x, y), radius, colour)
        label_y = max(y, taken[-1] + 15) if taken else y  # labels stand below each other
        taken.append(label_y)
        canvas.line((x + radius, y), (WIDTH - RIGHT + 6, label_y), colour)
        canvas.text((WIDTH - RIGHT + 10, label_y), f"{disc.label}  {disc.tpme:.2f}", "lm")
    canvas.text((WIDTH - RIGHT + 10, TOP - 24), "model  TPME", "la")
    return canvas.image

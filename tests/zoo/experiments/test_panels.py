"""Panels are drawn whatever their numbers are."""

from typing import Literal, NamedTuple

import numpy as np

from zoo.experiments.panels import draw_panels
from zoo.experiments.picture import COLOURS


class Panel(NamedTuple):
    kind: Literal["bars", "line"]
    x: list[float]
    y: list[float]
    log_across: bool = False
    log_upward: bool = False
    ticks: tuple[tuple[float, str], ...] = ()
    title: str = "title"
    across: str = "across"
    upward: str = "upward"


def coloured(panel: Panel) -> float:
    """Share of the picture in the colour of bars and lines."""
    pixels = np.asarray(draw_panels([panel]))
    colour = [int(COLOURS[0][at : at + 2], 16) for at in (1, 3, 5)]
    return float((pixels == colour).all(axis=-1).mean())


def test_a_full_bar_is_larger_than_half_a_bar() -> None:
    whole = coloured(Panel("bars", [0, 1, 2], [4, 4]))
    half = coloured(Panel("bars", [0, 1, 2], [0, 4]))
    assert 0.45 < half / whole < 0.55


def test_lines_and_logarithmic_axes() -> None:
    assert coloured(Panel("line", [1, 10, 100], [1000, 10, 1], log_across=True, log_upward=True)) > 0.001
    assert coloured(Panel("bars", [1, 10, 100], [3, 1], log_across=True)) > 0.01


def test_single_and_equal_values() -> None:
    point = Panel("line", [1], [1], log_across=True, log_upward=True)
    nothing = Panel("bars", [0, 1], [0], ticks=((0.5, "here"),))
    assert 0 < coloured(point) < 0.001
    assert coloured(nothing) == 0


def test_panels_stand_side_by_side() -> None:
    one, three = (draw_panels([Panel("bars", [0, 1], [1])] * n).size for n in (1, 3))
    assert three == (2 * one[0], 2 * one[1])

"""Plots as SVG text: points, groups and lines, in the colours of the page around them.

Whatever comes from data is escaped. Series differ by colour and by shape, so that a grey print is readable.
"""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from zoo.experiments.panels import short
from zoo.experiments.picture import even_ticks, log_ticks

WIDE, TALL = 760.0, 380.0
LEFT, RIGHT, TOP, BELOW = 64.0, 24.0, 16.0, 52.0
LETTER, LINE = 6.6, 13.0
"""Width of a letter and height of a line of labels."""
COLOURS = 8
DECADES = 1.6
"""From which on only powers of ten are written."""
LEGEND_ROW = 20.0
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


class Spot(NamedTuple):
    """A value with the ends of its interval, which are NaN where there is none."""

    x: float
    y: float
    low: float = math.nan
    high: float = math.nan
    label: str = ""
    kind: int = 0
    """Colour and shape."""


class Series(NamedTuple):
    """Several values under one name."""

    name: str
    spots: Sequence[Spot]


class Scale(NamedTuple):
    """From values to places, evenly or by their logarithms."""

    low: float
    high: float
    start: float
    end: float
    logs: bool = False

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float, logs: bool = False) -> "Scale":
        """Takes all values in, with a margin."""
        found = [math.log10(value) if logs else value for value in values if not math.isnan(value)]
        low, high = (min(found), max(found)) if found else (0.0, 1.0)
        room = 0.06 * (high - low) or (0.3 if logs else 0.1 * abs(high) or 1.0)
        return cls(low - room, high + room, start, end, logs)

    def at(self, value: float) -> float:
        """Where a value lies."""
        scaled = math.log10(value) if self.logs else value
        return self.start + (scaled - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values to be written."""
        if not self.logs:
            return even_ticks(self.low, self.high)
        low, high = 10**self.low, 10**self.high
        found = log_ticks(low, high)
        if self.high - self.low > DECADES:
            powers = [value for value in found if math.log10(value).is_integer()]
            found = powers if len(powers) > 1 else found
        return found if len(found) > 1 else even_ticks(low, high)  # between 1, 2 and 5 there is none to write


def scatter(spots: Sequence[Spot], across: str, upward: str, logs: bool, name: str) -> str:
    """Points with their names, as far as there is room for these.

    Args:
        spots: At least one; x above 0 where it goes by logarithms.
        across: What is drawn to the right.
        upward: What is drawn upwards.
        logs: Whether x goes by logarithms.
        name: What the whole picture shows, for those who do not see it.
    """
    x = Scale.around([spot.x for spot in spots], LEFT, WIDE - RIGHT, logs)
    y = Scale.around([value for spot in spots for value in (spot.y, spot.low, spot.high)], TALL - BELOW, TOP)
    parts = axes(x, y, across, upward)
    places = [(x.at(spot.x), y.at(spot.y)) for spot in spots]
    taken: list[Box] = [(px - 6, py - 6, px + 6, py + 6) for px, py in places]
    whiskers = [
        (px - 2, y.at(spot.high), px + 2, y.at(spot.low))
        for spot, (px, _) in zip(spots, places, strict=True)
        if not (math.isnan(spot.low) or math.isnan(spot.high))
    ]
    for spot, (px, py) in zip(spots, places, strict=True):
        parts += whisker(px, y, spot)
        parts.append(mark(px, py, spot.kind, f"{spot.label}: {spot.y:.4f} at {short(round(spot.x, 2))}"))
        parts += label(spot.label, px, py, taken, whiskers) or label(spot.label, px, py, taken)
    return picture(parts, TALL, name)


def groups(names: Sequence[str], series: Sequence[Series], upward: str, name: str) -> str:
    """Values of several series in named groups, beside each other within a group.

    Args:
        names: Of the groups; a spot's x is the number of its group.
        series: What is compared.
        upward: What is drawn upwards.
        name: What the whole picture shows.
    """
    values = [v for each in series for s in each.spots for v in (s.y, s.low, s.high)]
    tall = TALL + legend_height([each.name for each in series])
    y = Scale.around([*values, 0.0], TALL - BELOW, TOP)
    wide = (WIDE - LEFT - RIGHT) / max(1, len(names))
    parts = grid_rows(y, upward)
    for at, text in enumerate(names):
        middle = LEFT + (at + 0.5) * wide
        lines = wrap(text, max(4, int(wide / LETTER)))
        parts += [
            words(middle, TALL - BELOW + 18 + LINE * row, line, "middle")
            for row, line in enumerate(lines[:3])
        ]
    step = min(22.0, 0.8 * wide / max(1, len(series)))
    for kind, each in enumerate(series):
        for spot in each.spots:
            px = LEFT + (spot.x + 0.5) * wide + (kind - (len(series) - 1) / 2) * step
            tip = f"{each.name}, {names[int(spot.x)]}: {spot.y:.4f}"
            parts += [*whisker(px, y, spot._replace(kind=kind)), mark(px, y.at(spot.y), kind, tip)]
    parts += legend([each.name for each in series], TALL + 10)
    return picture(parts, tall, name)


def lines(series: Sequence[Series], across: str, upward: str, name: str) -> str:
    """Series of points joined by lines.

    Args:
        series: Each with its points; a single point is drawn as such.
        across: What is drawn to the right.
        upward: What is drawn upwards.
        name: What the whole picture shows.
    """
    spots = [spot for each in series for spot in each.spots]
    tall = TALL + legend_height([each.name for each in series])
    x = Scale.around([spot.x for spot in spots], LEFT, WIDE - RIGHT)
    y = Scale.around([v for spot in spots for v in (spot.y, spot.low, spot.high)], TALL - BELOW, TOP)
    parts = axes(x, y, across, upward)
    for kind, each in enumerate(series):
        places = [(x.at(spot.x), y.at(spot.y)) for spot in each.spots]
        way = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        parts.append(f'<polyline class="path s{kind % COLOURS}" points="{way}"/>')
        for spot, (px, py) in zip(each.spots, places, strict=True):
            tip = f"{each.name}: {spot.y:.4f} at {short(spot.x)}"
            parts += [*whisker(px, y, spot._replace(kind=kind)), mark(px, py, kind, tip)]
    parts += legend([each.name for each in series], TALL + 10)
    return picture(parts, tall, name)


def axes(x: Scale, y: Scale, across: str, upward: str) -> list[str]:
    """Grid, numbers and titles of both axes."""
    parts = grid_rows(y, upward)
    for value in x.ticks():
        px = x.at(value)
        parts.append(f'<line class="grid" x1="{px:.1f}" y1="{TOP}" x2="{px:.1f}" y2="{TALL - BELOW}"/>')
        parts.append(words(px, TALL - BELOW + 18, short(value), "middle"))
    parts.append(words((LEFT + WIDE - RIGHT) / 2, TALL - 10, across, "middle", "axis"))
    return parts


def grid_rows(y: Scale, upward: str) -> list[str]:
    """Lines to the right, their numbers, and the title of the upward axis."""
    parts = []
    ticks = y.ticks()
    digits = max((len(f"{value:.10g}".partition(".")[2]) for value in ticks if abs(value) < 1000), default=0)
    for value in ticks:
        py = y.at(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{py:.1f}" x2="{WIDE - RIGHT}" y2="{py:.1f}"/>')
        parts.append(words(LEFT - 8, py + 4, f"{value:.{digits}f}" if digits < 6 else f"{value:g}", "end"))
    middle = (TOP + TALL - BELOW) / 2
    turned = f'transform="rotate(-90 14 {middle:.1f})"'
    parts.append(words(14, middle, upward, "middle", "axis", turned))
    return parts


def whisker(px: float, y: Scale, spot: Spot) -> list[str]:
    """The line of an interval, if there is one."""
    if math.isnan(spot.low) or math.isnan(spot.high):
        return []
    top, bottom = y.at(spot.high), y.at(spot.low)
    kind = spot.kind % COLOURS
    return [f'<line class="whisker s{kind}" x1="{px:.1f}" y1="{top:.1f}" x2="{px:.1f}" y2="{bottom:.1f}"/>']


def mark(px: float, py: float, kind: int, tip: str) -> str:
    """A point in the colour and the shape of its series; its text shows when it is pointed at."""
    shapes: list[Callable[[], str]] = [
        lambda: f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5"',
        lambda: f'<rect x="{px - 4.5:.1f}" y="{py - 4.5:.1f}" width="9" height="9"',
        lambda: _polygon([(px, py - 6), (px + 6, py + 5), (px - 6, py + 5)]),
        lambda: _polygon([(px, py - 6.5), (px + 6.5, py), (px, py + 6.5), (px - 6.5, py)]),
    ]
    shape = shapes[kind % len(shapes)]()
    return f'{shape} class="mark s{kind % COLOURS}"><title>{escape(tip)}</title></{shape[1:].split()[0]}>'


def _polygon(corners: Sequence[tuple[float, float]]) -> str:
    return '<polygon points="' + " ".join(f"{x:.1f},{y:.1f}" for x, y in corners) + '"'


def label(text: str, px: float, py: float, taken: list[Box], avoided: Sequence[Box] = ()) -> list[str]:
    """A name beside its point where nothing else stands; none where there is no room.

    Args:
        text: The name.
        px: Where the point is.
        py: Where it is.
        taken: Points and names; the new one is added.
        avoided: What it should not cross either.
    """
    wide = len(text) * LETTER
    spots = [(px + 10, py + 4, "start"), (px - 10, py + 4, "end"), (px, py - 11, "middle")]
    spots += [(px, py + 19, "middle"), (px + 9, py - 8, "start"), (px + 9, py + 15, "start")]
    spots += [(px - 9, py - 8, "end"), (px - 9, py + 15, "end")]
    for x, y, anchor in spots:
        left = x - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
        box = left, y - LINE + 3, left + wide, y + 3
        inside = box[0] >= LEFT and box[2] <= WIDE and box[1] >= 0 and box[3] <= TALL - BELOW
        if inside and not any(_meet(box, other) for other in (*taken, *avoided)):
            taken.append(box)
            return [words(x, y, text, anchor)]
    return []


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def legend(names: Sequence[str], top: float) -> list[str]:
    """Marks and names of series, in rows."""
    parts = []
    for kind, (px, row) in enumerate(legend_places(names)):
        py = top + row * LEGEND_ROW
        parts += [mark(px + 6, py, kind, names[kind]), words(px + 18, py + 4, names[kind], "start")]
    return parts


def legend_places(names: Sequence[str]) -> list[tuple[float, int]]:
    """Where the names of a legend begin: to the right, and in which row."""
    places, px, row = [], LEFT, 0
    for name in names:
        wide = 40 + len(name) * 1.12 * LETTER
        if px + wide > WIDE and px > LEFT:
            px, row = LEFT, row + 1
        places.append((px, row))
        px += wide
    return places


def legend_height(names: Sequence[str]) -> float:
    """What a legend takes below its picture."""
    return LEGEND_ROW * (1 + max((row for _, row in legend_places(names)), default=0)) + 6


def words(x: float, y: float, text: str, anchor: str, kind: str = "note", more: str = "") -> str:
    """A line of text."""
    inner = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}" {more}'.rstrip()
    return f"<text {inner}>{escape(text)}</text>"


def wrap(text: str, letters: int) -> list[str]:
    """A text in lines of at most so many letters, cut between words where it can be.

    >>> wrap("never trained (n = 12)", 14)
    ['never trained', '(n = 12)']
    """
    found: list[str] = []
    for word in text.split():
        if found and len(found[-1]) + 1 + len(word) <= letters:
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def picture(parts: Sequence[str], tall: float, name: str) -> str:
    """The whole picture; it takes the width it is given."""
    inner = "".join(parts)
    return (
        f'<svg viewBox="0 0 {WIDE:g} {tall:g}" role="img" aria-label="{escape(name, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg">{inner}</svg>'
    )

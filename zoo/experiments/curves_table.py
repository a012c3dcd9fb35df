"""What was found along curves: table, files, picture, and the paired differences of arms."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoo.experiments.curve_runs import ONLY, Curves, Key, Runs
from zoo.experiments.curves_picture import Curve, Mark, draw_curves
from zoo.experiments.folder import write_atomic
from zoo.experiments.matrix_table import p_text
from zoo.experiments.quantity import Quantity
from zoo.experiments.stats import Contrast, MeanSd, holm, mean_sd, number, paired_t
from zoo.experiments.tables import Table, write_csv

FILES = "curves.md, curves.csv, results.json and curves.png"


class Axes(NamedTuple):
    """What is drawn against what."""

    x: Quantity | None
    """None for the level's own number."""
    y: Quantity
    level: str
    """What a level sets, heading its column."""
    level_title: str
    """The same in words, for the picture."""

    @property
    def measured(self) -> list[Quantity]:
        """What is read from the runs, y in front."""
        return [self.y] if self.x is None else [self.y, self.x]


class Point(NamedTuple):
    """What the runs of an arm at a level found."""

    values: dict[str, dict[int, float]]
    """Quantity -> seed -> value."""
    failed: dict[str, str]
    """Run -> the end of its log."""

    def sum_up(self, quantity: Quantity) -> MeanSd:
        """Mean over the finished seeds."""
        return mean_sd(list(self.values[quantity.name].values()))


class Difference(NamedTuple):
    """A point minus its partner's, at the seeds that both finished."""

    contrast: Contrast
    seeds: int
    p_holm: float


Points = dict[Key, Point]
Differences = dict[str, dict[Key, Difference]]
"""Quantity -> point -> its difference."""


def points_of(runs: Runs, axes: Axes) -> Points:
    """Reads what was measured.

    Raises:
        ValueError: A run measured something else.
    """
    return {
        key: Point(
            {
                q.name: {
                    seed: q.read(run.job, run.outcome) for seed, run in enumerate(each) if run.outcome.good
                }
                for q in axes.measured
            },
            {run.job.name: run.outcome.message for run in each if not run.outcome.good},
        )
        for key, each in runs.items()
    }


def differences_of(curves: Curves, points: Points, axes: Axes) -> Differences:
    """Each arm against its partner at equal level and seed; p values are corrected within a quantity."""
    found: Differences = {}
    for quantity in axes.measured:
        raw: dict[Key, tuple[Contrast, int]] = {}
        for key, point in points.items():
            partner = curves.partner_of(key)
            if partner is None:
                continue
            mine, other = point.values[quantity.name], points[partner].values[quantity.name]
            both = sorted(mine.keys() & other.keys())
            if both:
                contrast = paired_t([mine[seed] for seed in both], [other[seed] for seed in both])
                raw[key] = contrast, len(both)
        corrected = holm([contrast.p for contrast, _ in raw.values()])
        found[quantity.name] = {
            key: Difference(contrast, seeds, p)
            for (key, (contrast, seeds)), p in zip(raw.items(), corrected, strict=True)
        }
    return found


def table_of(points: Points, differences: Differences, axes: Axes) -> Table:
    """The table that is printed: a line a point."""
    quantities = axes.measured[::-1]
    header = ["arm", axes.level, *(q.title for q in quantities)]
    header += [f"{q.title}: {part}" for q in axes.measured for part in ("minus partner", "95 %", "p")]
    rows = []
    for key, point in points.items():
        cells = [*key, *(point.sum_up(q).text() for q in quantities)]
        if point.failed:
            total = len(point.failed) + len(point.values[axes.y.name])
            some = f"{cells[-1]} ({len(point.failed)} of {total} failed)"
            cells[-1] = some if point.values[axes.y.name] else "failed"
        for quantity in axes.measured:
            cells += _cells(differences[quantity.name].get(key))
        rows.append(cells)
    return Table(header, rows, left=2)


def _cells(found: Difference | None) -> list[str]:
    if found is None:
        return ["", "", ""]
    contrast = found.contrast
    return [f"{contrast.difference:+.4f}", contrast.interval(), p_text(found.p_holm)]


def caption(curves: Curves, differences: Differences, axes: Axes) -> str:
    """How to read the table."""
    text = f"Mean ± standard deviation over {curves.seeds} seed{'s' * (curves.seeds > 1)}."
    found = differences[axes.y.name]
    if found:
        partners: dict[str, list[str]] = {}
        for key in found:
            partner = curves.partner_of(key)
            assert partner is not None  # whoever has a difference has one
            partners.setdefault(partner.arm, [])
            if key.arm not in partners[partner.arm]:
                partners[partner.arm].append(key.arm)
        who = "; ".join(f"of {', '.join(arms)}: {partner}" for partner, arms in partners.items())
        text += f" Partner {who}; at equal level and seed."
    tests = sum(not math.isnan(each.p_holm) for each in found.values())
    if tests:
        text += (
            f" Paired t over seeds, two-sided, corrected for {tests} comparison{'s' * (tests > 1)} of a "
            "quantity (Holm)."
        )
    return text


def write(out: Path, curves: Curves, points: Points, differences: Differences, axes: Axes, text: str) -> None:
    """Writes ``curves.md``, ``curves.csv`` (a line a point), ``results.json`` and ``curves.png``."""
    write_atomic(out / "curves.md", text + "\n")
    lines = []
    for key, point in points.items():
        x, y = _x(key, point, axes) or mean_sd([]), point.sum_up(axes.y)
        n = len(point.values[axes.y.name])
        line: dict[str, str | float | int | None] = {**key._asdict()}
        for name, value in (("x", x), ("y", y)):
            line |= {f"{name}_mean": number(value.mean), f"{name}_sd": number(value.sd)}
        lines.append({**line, "n": n, "failed": len(point.failed)})
    write_csv(out / "curves.csv", lines)
    content: dict[str, Any] = {
        **curves.settings(),
        "seeds": curves.seeds,
        "x": axes.level if axes.x is None else axes.x.name,
        "y": axes.y.name,
        "points": [{**line, "values": points[key].values} for line, key in zip(lines, points, strict=True)],
        "differences": [
            {"quantity": name, **key._asdict(), "partner": curves.arms[key.arm].partner, **_plain(each)}
            for name, found in differences.items()
            for key, each in found.items()
        ],
        "failed": {name: message for point in points.values() for name, message in point.failed.items()},
    }
    write_atomic(out / "results.json", json.dumps(content, indent=2) + "\n")
    drawn = curves_of(points, axes)
    if drawn:
        x_title = axes.level_title if axes.x is None else axes.x.long_title
        note = f"mean ± sd of {curves.seeds} seeds" if curves.seeds > 1 else "one seed"
        part = out / "curves.png.part"
        beside = f"beside marks: {axes.level_title}" if curves.levels and axes.x is not None else ""
        image = draw_curves(drawn, x_title, axes.y.long_title, note, axes.x is None, beside)
        image.save(part, format="PNG")
        part.replace(out / "curves.png")


def curves_of(points: Points, axes: Axes) -> list[Curve]:
    """What is drawn: points with at least one finished run."""
    found: dict[str, Curve] = {}
    for key, point in points.items():
        if point.values[axes.y.name]:
            label = "" if axes.x is None or key.level == ONLY else key.level
            mark = Mark(_x(key, point, axes), point.sum_up(axes.y), label)
            found.setdefault(key.arm, Curve(key.arm, [])).marks.append(mark)
    return list(found.values())


def _x(key: Key, point: Point, axes: Axes) -> MeanSd | None:
    """None for an arm without levels where x is the level."""
    if axes.x is not None:
        return point.sum_up(axes.x)
    return None if key.level == ONLY else MeanSd(float(key.level), math.nan)


def _plain(found: Difference) -> dict[str, float | int | None]:
    values = {name: number(value) for name, value in found.contrast._asdict().items()}
    return {**values, "p_holm": number(found.p_holm), "seeds": found.seeds}


def require_numbers(levels: Sequence[str]) -> None:
    """Refuses levels that have no place on an axis.

    Raises:
        ValueError: One is no finite number, or there is none.
    """
    if not levels:
        raise ValueError(
            "curves: nothing to draw against. Give --x OPTION=A,B,..., or a measured --x such as auc:gender."
        )
    for level in levels:
        try:
            finite = math.isfinite(float(level))
        except ValueError:
            finite = False
        if not finite:
            raise ValueError(
                f"curves: the level '{level}' is no number to draw against. Label levels by numbers, or give "
                "a measured --x such as auc:gender."
            )

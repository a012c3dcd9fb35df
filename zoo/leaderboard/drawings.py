"""The figures of the page: quality against cost, slices, curves."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from zoo.experiments.tables import title
from zoo.leaderboard.board import Row, best_baseline, main_metrics
from zoo.leaderboard.panels import CurvePanel
from zoo.leaderboard.records import Board
from zoo.leaderboard.svg import Series, Spot, groups, lines, scatter

ROLES = ("paper", "control", "baseline")
SHOWN = 6
"""Models in a picture of slices."""
SLICES = {
    "popularity": "by popularity of the target",
    "cold": "by how often the target trained",
    "activity": "by activity of the user",
    "missing": "by what the target lacks",
    "repeat": "by whether the user had seen the target",
}


def cost_figures(board: Board, rows: Sequence[Row]) -> list[str]:
    """Quality against seconds, and against trained parameters."""
    metric = main_metrics(board.records)[0]
    axes: tuple[tuple[str, str, Callable[[Row], float]], ...] = (
        ("seconds of training", "Quality against time", lambda row: row.costs.train_seconds),
        ("trained parameters", "Quality against size", lambda row: row.costs.trainable),
    )
    found = []
    for across, name, cost in axes:
        spots = [
            Spot(cost(row), each.mean, each.low, each.high, row.model, ROLES.index(row.role))
            for row in rows
            if (each := row.metrics.get(metric)) is not None and row.costs.trainable > 0 and cost(row) > 0
        ]
        if len(spots) > 1:
            drawn = scatter(spots, across, title(metric), logs=True, name=f"{name} on {board.name}")
            found.append(_figure(f"{name}. Circles: papers, squares: controls, triangles: baselines.", drawn))
    return found


def slice_figures(board: Board, rows: Sequence[Row]) -> list[str]:
    """One picture a slice: the best models and the best baseline, group by group."""
    metric = main_metrics(board.records)[0]
    chosen = slice_rows(rows, metric)
    names = dict.fromkeys(name for row in chosen for name in row.slices)
    found = []
    for name in names:
        with_it = [row for row in chosen if name in row.slices]
        labels = list(dict.fromkeys(group for row in with_it for group in row.slices[name]))
        shown = _metric_of(with_it, name, metric)
        if not labels or shown is None:
            continue
        series = [
            Series(
                row.model,
                [s for at, g in enumerate(labels) for s in _spot(row.slices[name].get(g), shown, at)],
            )
            for row in with_it
        ]
        counted = [f"{group} ({_count(with_it, name, group)})" for group in labels]
        heading = SLICES.get(name, f"by {name}")
        drawn = groups(counted, series, title(shown), f"{title(shown)} {heading} on {board.name}")
        found.append(_figure(f"{title(shown)} {heading}", drawn))
    return found


def slice_rows(rows: Sequence[Row], metric: str) -> list[Row]:
    """The best models that have slices, and the best baseline among them."""
    sliced = [row for row in rows if row.slices and metric in row.metrics]
    sliced.sort(key=lambda row: -row.metrics[metric].mean)
    base = best_baseline(sliced, metric)
    chosen = sliced[:SHOWN]
    if base is not None and base not in chosen:
        chosen = [*chosen[: SHOWN - 1], base]
    return chosen


def _metric_of(rows: Sequence[Row], name: str, wanted: str) -> str | None:
    """The metric that is drawn of a slice: the board's, else the first that is there."""
    known = [key for row in rows for group in row.slices[name].values() for key in group if key != "n"]
    if wanted in known:
        return wanted
    return known[0] if known else None


def _spot(group: Mapping[str, Any] | None, metric: str, at: int) -> list[Spot]:
    value = None if group is None else group.get(metric)
    if value is None or any(math.isnan(number) for number in value):
        return []
    mean, low, high = value
    return [Spot(at, mean, low, high)]


def _count(rows: Sequence[Row], name: str, group: str) -> str:
    n = next((row.slices[name][group].get("n") for row in rows if group in row.slices[name]), None)
    return "n unknown" if n is None else f"n = {n:,}"


def curve_figure(panel: CurvePanel) -> str:
    """Curves of an experiment."""
    if not panel.series:
        return "<p>No run of it finished.</p>"
    drawn = lines(panel.series, panel.across, title(panel.upward), f"{panel.upward} against {panel.across}")
    return f'<div class="figures">{_figure(f"{title(panel.upward)} against {panel.across}", drawn)}</div>'


def _figure(text: str, drawn: str) -> str:
    return f"<figure><figcaption>{escape(text)}</figcaption>{drawn}</figure>"

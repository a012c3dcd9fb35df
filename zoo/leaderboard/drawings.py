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
            best, least = max(spots, key=lambda spot: spot.y), min(spots, key=lambda spot: spot.x)
            said = (
                f"{name} on {board.name}, {len(spots)} models: the best is {best.label} with {title(metric)} "
                f"{best.y:.4f}, the cheapest {least.label} with {least.y:.4f}; all are in the table above."
            )
            drawn = scatter(spots, across, title(metric), logs=True, name=said)
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
        if len(labels) < 2 or shown is None:  # one group is everybody: the table has that
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
        said = f"{title(shown)} {heading} on {board.name}; the numbers are below"
        drawn = groups(counted, series, title(shown), said)
        lines = [
            [
                each.name,
                *(_cell(next((s for s in each.spots if s.x == at), None)) for at in range(len(labels))),
            ]
            for each in series
        ]
        numbers = _numbers(["model", *counted], lines)
        found.append(_figure(f"{title(shown)} {heading}", drawn + numbers))
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
    heading = f"{title(panel.upward)} against {panel.across}"
    drawn = lines(panel.series, panel.across, title(panel.upward), f"{heading}; the numbers are below")
    points = [[each.name, f"{spot.x:g}", _cell(spot)] for each in panel.series for spot in each.spots]
    drawn += _numbers(["", panel.across, f"{title(panel.upward)} ± standard deviation"], points)
    return f'<div class="figures">{_figure(heading, drawn)}</div>'


def _cell(spot: Spot | None) -> str:
    if spot is None:
        return "-"
    if math.isnan(spot.low) or math.isnan(spot.high):
        return f"{spot.y:.4f}"
    even = math.isclose(spot.y - spot.low, spot.high - spot.y, rel_tol=1e-6, abs_tol=1e-12)
    return f"{spot.y:.4f} " + (
        f"± {spot.high - spot.y:.4f}" if even else f"[{spot.low:.4f}, {spot.high:.4f}]"
    )


def _numbers(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """What a picture shows as a table, for those who do not see it or want to copy it."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(line[0])}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in line[1:])
        + "</tr>"
        for line in lines
    )
    return (
        '<details><summary>The numbers</summary><div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _figure(text: str, drawn: str) -> str:
    return f"<figure><figcaption>{escape(text)}</figcaption>{drawn}</figure>"

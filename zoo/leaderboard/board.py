"""What a board says: means with intervals over seeds and users, tests against the best baseline, verdicts."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, variance
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from zoo.experiments.stats import Contrast, gains, holm, paired_bootstrap, paired_t, student_quantile
from zoo.leaderboard.published import Figure, Verdict, verdict
from zoo.leaderboard.records import Board, Record
from zoo.leaderboard.runfile import Role, RunFile

RANKS = "ranks.parquet"
METRICS = ("hr@10", "ndcg@10")
METRICS_OF_PAIRS = ("recall@20", "ndcg@20")
"""The same where users have several targets."""
NORMAL = 1.959964
MANY = 200
"""Degrees of freedom from which on Student's t is the normal one."""
Values = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean and the ends of its 95 % interval over seeds and users."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


class Versus(NamedTuple):
    """A row against the best baseline, p values corrected for the number of rows."""

    over_users: Contrast
    over_seeds: Contrast
    seeds: int
    p_users: float
    p_seeds: float


class Beside(NamedTuple):
    """A published figure of one metric, and what is said of it."""

    figure: Figure
    metric: str
    published: float
    verdict: Verdict


class Costs(NamedTuple):
    """Means over the seeds; NaN where nothing was measured."""

    train_seconds: float
    test_seconds: float
    memory_bytes: float
    """At the peak, less what was there before."""
    parameters: float
    trainable: float


class Row(NamedTuple):
    """A model on a board."""

    model: str
    title: str
    role: Role
    paper: str
    notes: str
    modalities: tuple[str, ...]
    ids: bool
    seeds: tuple[int, ...]
    """Seeds that finished."""
    failed: tuple[int, ...]
    unfinished: tuple[int, ...]
    metrics: dict[str, Estimate]
    costs: Costs
    versus: Versus | None
    beside: tuple[Beside, ...]
    slices: dict[str, dict[str, dict[str, Any]]]
    """Slice -> group -> ``n``, and metric -> mean and ends of its interval; means over the seeds."""

    @property
    def done(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.metrics)


class Filters(NamedTuple):
    """Which rows are shown."""

    modalities: frozenset[str] = frozenset()
    """All of these are read by the model; ``ids`` stands for learned item ids."""
    max_parameters: float = math.inf

    def lets(self, row: Row) -> bool:
        """Whether a row is shown; one that was never run has nothing to be judged by."""
        reads = {*row.modalities, *(["ids"] if row.ids else [])}
        unknown = math.isnan(row.costs.parameters)
        if not row.done:
            return self == Filters()
        return self.modalities <= reads and (unknown or row.costs.parameters <= self.max_parameters)


def main_metrics(records: Sequence[Record]) -> tuple[str, ...]:
    """The metrics of the table."""
    found = {name for record in records for name in record.metrics}
    return METRICS_OF_PAIRS if METRICS_OF_PAIRS[0] in found else METRICS


def rows_of(board: Board, figures: Mapping[str, Figure], everything: bool) -> list[Row]:
    """The rows of a board, best first; those that were never run behind them, if asked for."""
    metrics = main_metrics(board.records)
    models = {record.model for record in (*board.records, *board.lost)}
    if everything:
        models |= board.files.keys()
    values = {
        model: {metric: user_values(_of(board.records, model), metric) for metric in metrics}
        for model in sorted(models)
    }
    rows = [_row(board, model, metrics, values[model], figures) for model in sorted(models)]
    rows = compare(rows, values, metrics[0], board)
    first = metrics[0]
    return sorted(rows, key=lambda row: (-row.metrics[first].mean if row.done else math.inf, row.model))


def _of(records: Sequence[Record], model: str) -> list[Record]:
    return [record for record in records if record.model == model]


def _row(
    board: Board,
    model: str,
    metrics: Sequence[str],
    values: Mapping[str, Values | None],
    figures: Mapping[str, Figure],
) -> Row:
    records = _of(board.records, model)
    file = board.files.get(model) or RunFile(board.name, model, model, "")
    lost = _of(board.lost, model)
    found = {
        name: estimate([r.metrics[name] for r in records], values.get(name), intervals(records, name))
        for name in (records[0].metrics if records else ())
        if all(name in record.metrics for record in records)
    }
    content = records[0].content if records else {}
    return Row(
        model=model,
        title=file.title,
        role=file.role,
        paper=file.paper,
        notes=file.notes,
        modalities=tuple(content.get("modalities") or ()),
        ids=bool(content.get("ids")),
        seeds=tuple(record.seed for record in records),
        failed=tuple(record.seed for record in lost if record.state == "failed"),
        unfinished=tuple(record.seed for record in lost if record.state == "unfinished"),
        metrics=found,
        costs=costs_of(records),
        versus=None,
        beside=beside(file, figures, found, metrics),
        slices=slices_of(records),
    )


def user_values(records: Sequence[Record], metric: str) -> Values | None:
    """What every user adds to a metric, (seeds, users); None where that was not kept of every seed."""
    files = [record.users for record in records]
    if not files or any(file is None for file in files):
        return None
    paths = [file for file in files if file is not None]
    if paths[0].name == RANKS:
        return gains(paths, metric)[1]
    tables = [pl.read_parquet(path, columns=["user", metric]).sort("user") for path in paths]
    return np.stack([table[metric].to_numpy().astype(np.float64) for table in tables])


def intervals(records: Sequence[Record], metric: str) -> list[float]:
    """Half the width of the interval over users that each run gave itself."""
    found = []
    for record in records:
        rows: list[dict[str, Any]] = record.content.get("rows") or []
        row = next((row for row in rows if row.get("slice_name") == "all"), {})
        low, high = (row.get("intervals") or {}).get(metric, (math.nan, math.nan))
        found.append((high - low) / 2)
    return found


def estimate(means: Sequence[float], value_SU: Values | None, halves: Sequence[float]) -> Estimate:
    """Mean over seeds, with an interval for other seeds and other users at once.

    Its variance is that of the seeds' means over their number, plus that of the users' means (over seeds)
    over theirs; degrees of freedom by Welch and Satterthwaite. With one seed only the users count.

    Args:
        means: One a seed.
        value_SU: What every user adds, seed by seed; without it, the intervals of the runs count instead.
        halves: Half the widths of those.

    >>> estimate([0.5, 0.5], np.array([[1.0, 0.0] * 50] * 2), [])  # doctest: +ELLIPSIS
    Estimate(mean=0.5, low=0.400..., high=0.599...)
    """
    seeds = len(means)
    of_seeds = variance(means) / seeds if seeds > 1 else 0.0
    if value_SU is None:
        of_users = (fmean(halves) / NORMAL) ** 2 if halves else math.nan
        users = math.inf
    else:
        users = value_SU.shape[1]
        of_users = float(value_SU.mean(0).var(ddof=1)) / users if users > 1 else math.nan
    total = of_seeds + of_users
    freedom = math.inf
    spread = (of_seeds**2 / (seeds - 1) if seeds > 1 else 0.0) + of_users**2 / (users - 1)
    if spread > 0:
        freedom = total**2 / spread
    times = NORMAL if freedom > MANY else student_quantile(0.95, max(1, int(freedom)))
    margin = times * math.sqrt(total)
    mean = fmean(means)
    return Estimate(mean, mean - margin, mean + margin)


def costs_of(records: Sequence[Record]) -> Costs:
    """Means over the seeds."""

    def mean(name: str) -> float:
        found = [(record.content.get("cost") or {}).get(name) for record in records]
        numbers = [float(value) for value in found if value is not None]
        return fmean(numbers) if numbers else math.nan

    before = mean("memory_before_bytes")
    found = Costs(*(mean(name) for name in Costs._fields))
    return found if math.isnan(before) else found._replace(memory_bytes=found.memory_bytes - before)


def beside(
    file: RunFile, figures: Mapping[str, Figure], found: Mapping[str, Estimate], metrics: Sequence[str]
) -> tuple[Beside, ...]:
    """The published figures of a run, those of the table's metrics in front."""
    result = []
    for name in file.published:
        figure = figures.get(name)
        if figure is None:
            continue
        for metric, value in figure.metrics.items():
            ours = found.get(metric)
            if found and ours is None:
                continue
            said = verdict(value, *((ours.mean, ours.low, ours.high) if ours else (None, None, None)))
            result.append(Beside(figure, metric, value, said))
    return tuple(sorted(result, key=lambda each: each.metric not in metrics))


def slices_of(records: Sequence[Record]) -> dict[str, dict[str, dict[str, Any]]]:
    """Means over the seeds of what runs found for groups of users; groups that all seeds have."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    parts = [record.content.get("slices") or {} for record in records]
    for name, groups in (parts[0] if parts else {}).items():
        for group, first in groups.items():
            each = [part.get(name, {}).get(group) for part in parts]
            if any(value is None for value in each):
                continue
            merged: dict[str, Any] = {"n": first.get("n")}
            for metric in (key for key in first if key != "n"):
                merged[metric] = [fmean(one[metric][at] for one in each) for at in range(3)]
            found.setdefault(name, {})[group] = merged
    return found


def best_baseline(rows: Sequence[Row], metric: str) -> Row | None:
    """The baseline that the others are compared with."""
    found = [row for row in rows if row.role == "baseline" and row.done]
    return max(found, key=lambda row: row.metrics[metric].mean, default=None)


def compare(
    rows: Sequence[Row], values: Mapping[str, Mapping[str, Values | None]], metric: str, board: Board
) -> list[Row]:
    """Adds the tests against the best baseline; p values are corrected over the board's rows (Holm)."""
    base = best_baseline(rows, metric)
    if base is None:
        return list(rows)
    tests: dict[str, tuple[Contrast, Contrast, int]] = {}
    for row in rows:
        if row.done and row is not base:
            over_users = _over_users(values[row.model][metric], values[base.model][metric])
            mine, other = (_by_seed(board.records, model, metric) for model in (row.model, base.model))
            if base.model in board.files and board.files[base.model].ranker:  # it is the same for every seed
                other = dict.fromkeys(mine, next(iter(other.values())))
            both = sorted(mine.keys() & other.keys())
            over_seeds = paired_t([mine[s] for s in both], [other[s] for s in both])
            tests[row.model] = over_users, over_seeds, len(both)
    p_users = dict(zip(tests, holm([test[0].p for test in tests.values()]), strict=True))
    p_seeds = dict(zip(tests, holm([test[1].p for test in tests.values()]), strict=True))
    return [
        row._replace(versus=Versus(*tests[row.model], p_users[row.model], p_seeds[row.model]))
        if row.model in tests
        else row
        for row in rows
    ]


def _over_users(better_SU: Values | None, worse_SU: Values | None) -> Contrast:
    """Bootstrap over the users, who are the same: both were tested on the data of one fingerprint."""
    if better_SU is None or worse_SU is None or better_SU.shape[1] != worse_SU.shape[1]:
        return Contrast(math.nan, math.nan, math.nan, math.nan)
    return paired_bootstrap(better_SU.mean(0, keepdims=True), worse_SU.mean(0, keepdims=True))


def _by_seed(records: Sequence[Record], model: str, metric: str) -> dict[int, float]:
    return {record.seed: record.metrics[metric] for record in _of(records, model)}

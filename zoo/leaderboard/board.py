"""What a board says: means with intervals over seeds and users, tests against the best baseline, verdicts."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from zoo.experiments.stats import Contrast, holm, paired_bootstrap, paired_t
from zoo.leaderboard.estimates import Estimate, PerUser, estimate, intervals, user_values
from zoo.leaderboard.published import Figure, Verdict, verdict
from zoo.leaderboard.records import Board, Record
from zoo.leaderboard.runfile import Role, RunFile
from zoo.leaderboard.running import other_words

METRICS = ("hr@10", "ndcg@10")
METRICS_OF_PAIRS = ("recall@20", "ndcg@20")
"""The same where users have several targets."""


class Versus(NamedTuple):
    """A row against the best baseline of its board, p values corrected for the number of tested rows."""

    base: str
    """The baseline."""
    over_users: Contrast
    over_seeds: Contrast
    seeds: int
    p_users: float
    p_seeds: float
    tests_users: int
    """Rows of the board that were tested over users, whether they are shown or not."""
    tests_seeds: int


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
    changed: tuple[str, ...] = ()
    """Options of its runs that are not those of its run file."""
    is_base: bool = False
    """Whether the other rows of its board are compared with it."""

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
    return sorted(
        rows, key=lambda row: (-row.metrics[first].mean if first in row.metrics else math.inf, row.model)
    )


def _of(records: Sequence[Record], model: str) -> list[Record]:
    return [record for record in records if record.model == model]


def _row(
    board: Board,
    model: str,
    metrics: Sequence[str],
    values: Mapping[str, PerUser | None],
    figures: Mapping[str, Figure],
) -> Row:
    records = _of(board.records, model)
    file = board.files.get(model) or RunFile(board.name, model, model, "")
    lost = _of(board.lost, model)
    found = {}
    for name in records[0].metrics if records else ():
        if all(name in record.metrics for record in records):
            users = values.get(name)
            means = [record.metrics[name] for record in records]
            found[name] = estimate(means, users and users.value_SU, intervals(records, name))
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
        changed=changed_options(board.files.get(model), records),
    )


def changed_options(file: RunFile | None, records: Sequence[Record]) -> tuple[str, ...]:
    """What was typed for runs over the options of their run file, or was another one in it by then."""
    if file is None or not (file.model or file.ranker):
        return ()
    words = (other_words(file, max(0, r.seed), r.options) for r in records if r.options is not None)
    return tuple(dict.fromkeys(word for each in words for word in each))


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
            for metric in (key for key in first if key != "n" and all(key in one for one in each)):
                merged[metric] = [fmean(one[metric][at] for one in each) for at in range(3)]
            found.setdefault(name, {})[group] = merged
    return found


def best_baseline(rows: Sequence[Row], metric: str) -> Row | None:
    """The baseline that the others are compared with."""
    found = [row for row in rows if row.role == "baseline" and metric in row.metrics]
    return max(found, key=lambda row: row.metrics[metric].mean, default=None)


def compare(
    rows: Sequence[Row], values: Mapping[str, Mapping[str, PerUser | None]], metric: str, board: Board
) -> list[Row]:
    """Adds the tests against the best baseline; p values are corrected over the board's rows (Holm)."""
    base = best_baseline(rows, metric)
    if base is None:
        return list(rows)
    tests: dict[str, tuple[Contrast, Contrast, int]] = {}
    for row in rows:
        if metric in row.metrics and row is not base:
            over_users = _over_users(values[row.model][metric], values[base.model][metric])
            mine, other = (_by_seed(board.records, model, metric) for model in (row.model, base.model))
            if base.model in board.files and board.files[base.model].ranker:  # it is the same for every seed
                other = dict.fromkeys(mine, next(iter(other.values())))
            both = sorted(mine.keys() & other.keys())
            over_seeds = paired_t([mine[s] for s in both], [other[s] for s in both])
            tests[row.model] = over_users, over_seeds, len(both)
    p_users = dict(zip(tests, holm([test[0].p for test in tests.values()]), strict=True))
    p_seeds = dict(zip(tests, holm([test[1].p for test in tests.values()]), strict=True))
    counts = [sum(not math.isnan(p) for p in found.values()) for found in (p_users, p_seeds)]
    result = []
    for row in rows:
        if row.model in tests:
            both_p = p_users[row.model], p_seeds[row.model]
            row = row._replace(versus=Versus(base.model, *tests[row.model], *both_p, *counts))
        result.append(row._replace(is_base=row is base))
    return result


def _over_users(better: PerUser | None, worse: PerUser | None) -> Contrast:
    """Bootstrap over the users, matched by name; nothing where they are others.

    The data's fingerprint says that histories and targets are the same, not what the users are called.
    """
    if better is None or worse is None or better.names != worse.names:
        return Contrast(math.nan, math.nan, math.nan, math.nan)
    return paired_bootstrap(*(each.value_SU.mean(0, keepdims=True) for each in (better, worse)))


def _by_seed(records: Sequence[Record], model: str, metric: str) -> dict[int, float]:
    return {r.seed: r.metrics[metric] for r in _of(records, model) if metric in r.metrics}

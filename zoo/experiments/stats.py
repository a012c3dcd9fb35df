"""Means over seeds, and whether a difference is more than chance."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

DRAWS = 10_000
"""Resamplings of the bootstrap: its smallest p is 2 / (DRAWS + 1)."""
MAX_CELLS = 2**22
"""Counts drawn at a time."""


class MeanSd(NamedTuple):
    """Mean of some runs and their standard deviation (over n - 1), NaN where there are too few."""

    mean: float
    sd: float

    def text(self, digits: int = 4) -> str:
        """For a table.

        >>> MeanSd(0.25, 0.0123).text(), MeanSd(0.25, math.nan).text(), MeanSd(math.nan, math.nan).text()
        ('0.2500 ± 0.0123', '0.2500', '-')
        """
        if math.isnan(self.mean):
            return "-"
        return f"{self.mean:.{digits}f}" + ("" if math.isnan(self.sd) else f" ± {self.sd:.{digits}f}")


class Contrast(NamedTuple):
    """A difference, an interval of 95 % around it, and its two-sided p."""

    difference: float
    lower: float
    upper: float
    p: float

    def interval(self, form: str = "[{:+.4f}, {:+.4f}]") -> str:
        """The interval for a table; - where it is not known.

        >>> Contrast(0.1, 0.05, 0.15, 0.01).interval(), Contrast(0.1, math.nan, math.nan, math.nan).interval()
        ('[+0.0500, +0.1500]', '-')
        """
        return "-" if math.isnan(self.lower) else form.format(self.lower, self.upper)


def mean_sd(values: Sequence[float]) -> MeanSd:
    """Mean and standard deviation.

    >>> mean_sd([1.0, 3.0])
    MeanSd(mean=2.0, sd=1.4142135623730951)
    """
    if not values:
        return MeanSd(math.nan, math.nan)
    mean = fmean(values)
    return MeanSd(mean, stdev(values) if len(values) > 1 and math.isfinite(mean) else math.nan)


def number(value: float) -> float | None:
    """A number for a file: what is not there is None, because JSON has no NaN."""
    return None if math.isnan(value) else value


def paired_t(better: Sequence[float], worse: Sequence[float]) -> Contrast:
    """Student's paired test of two rows, seed by seed.

    Args:
        better: One value a seed.
        worse: As many, of the same seeds.

    Returns:
        Mean of ``better - worse``; interval and p are NaN for fewer than two seeds, and where all seeds give
        one and the same difference: how far it varies is then unknown, and two seeds of a metric with few
        values often agree by chance.

    >>> found = paired_t([0.30, 0.42, 0.35], [0.21, 0.30, 0.25])
    >>> round(found.difference, 4), round(found.p, 4)
    (0.1033, 0.0072)
    """
    differences = [b - w for b, w in zip(better, worse, strict=True)]
    n = len(differences)
    if n < 2:
        return Contrast(fmean(differences) if n else math.nan, math.nan, math.nan, math.nan)
    mean = fmean(differences)
    error = stdev(differences) / math.sqrt(n) if math.isfinite(mean) else math.nan
    if mean == error == 0:
        return Contrast(0.0, 0.0, 0.0, 1.0)
    if not error > 1e-12 * abs(mean):  # no number, or equal but for rounding
        return Contrast(mean, math.nan, math.nan, math.nan)
    margin = error * student_quantile(0.95, n - 1)
    return Contrast(mean, mean - margin, mean + margin, student_p(mean / error, n - 1))


def student_p(t: float, freedom: int) -> float:
    """Two-sided p of Student's t, by the finite series for whole degrees of freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.

    >>> round(student_p(2.0, 10), 6), round(student_p(12.7062, 1), 6)
    (0.073388, 0.05)
    """
    angle = math.atan(abs(t) / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    series = 0.0
    for k in range(1 + odd, freedom, 2):  # k counts the factors: 1, 3, ... or 2, 4, ...
        series += term
        term *= k / (k + 1) * cosine**2
    inside = math.sin(angle) * series
    return max(0.0, 1.0 - (2 / math.pi * (angle + inside) if odd else inside))


def student_quantile(level: float, freedom: int) -> float:
    """The t that an interval of a level reaches, by halving.

    >>> round(student_quantile(0.95, 4), 4)
    2.7764
    """
    low, high = 0.0, 1.0
    while student_p(high, freedom) > 1 - level:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if student_p(middle, freedom) > 1 - level else (low, middle)
    return high


def paired_bootstrap(
    better_SU: npt.NDArray[np.float64], worse_SU: npt.NDArray[np.float64], draws: int = DRAWS, seed: int = 0
) -> Contrast:
    """Bootstrap over users of the difference that they see, averaged over the seeds first.

    A resampling of the users is a multinomial draw over the distinct differences. What is drawn is who is
    served, not how the models were trained; ``paired_t`` over seeds asks that.

    Args:
        better_SU: What every user adds to the metric, seed by seed (S seeds, U users).
        worse_SU: The same users and seeds of the other row.
        draws: Resamplings.
        seed: Of the resampling.

    Returns:
        Mean of ``better - worse``, percentile interval, and the p at which the interval would reach zero.

    >>> better = np.array([[1.0, 1, 1, 0] * 50])
    >>> worse = np.array([[1.0, 0, 0, 0] * 50])
    >>> found = paired_bootstrap(better, worse)
    >>> found.difference, found.p < 0.001
    (0.5, True)
    """
    users = better_SU.shape[1]
    difference_U = (better_SU - worse_SU).mean(0).round(12)  # equal but for rounding is equal
    value_K, count_K = np.unique(difference_U, return_counts=True)
    rng = np.random.default_rng(seed)
    chunk = max(1, MAX_CELLS // len(value_K))
    means = np.concatenate(
        [
            rng.multinomial(users, count_K / users, size=min(chunk, draws - done)) @ value_K / users
            for done in range(0, draws, chunk)
        ]
    )
    lower, upper = np.quantile(means, [0.025, 0.975])
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (draws + 1))
    return Contrast(float(value_K @ count_K / users), float(lower), float(upper), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects the p values of several tests for their number (Holm 1979); NaN stays, and does not count.

    >>> holm([0.01, 0.04, math.nan, 0.03])
    [0.03, 0.06, nan, 0.06]
    """
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    corrected, highest = list(p_values), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * p_values[i]))
        corrected[i] = highest
    return corrected


def gains(files: Sequence[Path], metric: str) -> tuple[list[str], npt.NDArray[np.float64]]:
    """What every user adds to a metric in several runs.

    Args:
        files: ``ranks.parquet`` of each run.
        metric: Such as ``hr@10``.

    Returns:
        Names of the users, and the gains (S runs, U users).

    Raises:
        ValueError: The runs were tested on different users or targets, or the metric is unknown.
    """
    from zoo.metrics.ranking import CUTOFFS, metric_gains

    require_metric(metric)
    names, gain_RM = metric_gains()
    tables = [pl.read_parquet(file).sort("user", maintain_order=True) for file in files]
    asked = tables[0].select("user", "target")
    for file, table in zip(files, tables, strict=True):
        if not table.select("user", "target").equals(asked):
            raise ValueError(f"{file} and {files[0]} rank other users or targets: they cannot be paired.")
    rank_SU = np.stack([table["rank"].to_numpy() for table in tables])
    rank_SU = np.where(rank_SU > CUTOFFS[-1], 0, rank_SU)
    return asked["user"].to_list(), gain_RM[rank_SU, names.index(metric)]


def require_metric(metric: str) -> None:
    """Refuses what is no metric.

    Raises:
        ValueError: It is none; the message names those there are.
    """
    from zoo.metrics.ranking import metric_gains

    names = metric_gains()[0]
    if metric not in names:
        raise ValueError(f"Expected a metric out of {', '.join(names)}, found '{metric}'.")

"""Means with intervals for other seeds and other users at once, and what every user adds to them."""

import math
from collections.abc import Sequence
from statistics import fmean, variance
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from zoo.experiments.stats import gains, student_quantile
from zoo.leaderboard.records import Record

RANKS = "ranks.parquet"
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


class PerUser(NamedTuple):
    """What every user adds to a metric."""

    names: list[str]
    """Of the users, sorted: what is compared user by user is matched by these."""
    value_SU: Values
    """Seeds, users."""


def user_values(records: Sequence[Record], metric: str) -> PerUser | None:
    """What every user adds to a metric; None where that was not kept of every seed, or of other users."""
    files = [record.users for record in records]
    if not files or any(file is None for file in files):
        return None
    paths = [file for file in files if file is not None]
    if paths[0].name == RANKS:
        return PerUser(*gains(paths, metric))
    tables = [pl.read_parquet(path, columns=["user", metric]).sort("user") for path in paths]
    names = tables[0]["user"].to_list()
    if any(table["user"].to_list() != names for table in tables):
        return None
    return PerUser(names, np.stack([table[metric].to_numpy().astype(np.float64) for table in tables]))


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
    spread = (of_seeds**2 / (seeds - 1) if seeds > 1 else 0.0) + of_users**2 / max(1, users - 1)
    if spread > 0:
        freedom = total**2 / spread
    times = NORMAL if freedom > MANY else student_quantile(0.95, max(1, int(freedom)))
    margin = times * math.sqrt(total)
    mean = fmean(means)
    return Estimate(mean, mean - margin, mean + margin)

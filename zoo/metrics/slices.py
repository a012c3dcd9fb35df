"""Metrics of groups of targets and of users: where a model is good, and where it is not.

What is cut is a list of targets with their ranks, one a user or several (then a target's rank is its place
among the user's recommendations). Groups are masks over that list, so nothing grows with users times items.

Slices: ``popularity`` (fifths of the targets by how often they trained), ``cold`` (never trained, fewer than
ten times, more), ``activity`` (quarters of the users by the interactions that are known of them), ``missing``
(targets that lack a modality; a target may be in several of these groups), ``repeat`` (targets that the user
had already seen; these are ranked enabled again, because hidden they are all lost).

Intervals are of 95 % over users. A hit rate has Wilson's, NDCG and recall the normal one. A user's targets
are not independent: the variance of means over targets is that of the users' sums, and Wilson's interval
takes the number of independent targets that would have it (Korn and Graubard, Survey Methodology 24, 1998).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Group = dict[str, int | list[float]]
"""``n``, and metric -> mean, lower and upper end of the interval."""
Slices = dict[str, dict[str, Group]]
"""Slice -> group -> what was found there; groups without a member are left out."""

COLD_BELOW = 10
"""An item with fewer training interactions is cold (MoRec, appendix A.1)."""
Z = 1.959964
POPULARITY_GROUPS, ACTIVITY_GROUPS = 5, 4


class Targets(NamedTuple):
    """Ranked targets R, one a user or several."""

    user_R: Ints
    item_R: Ints
    rank_R: Ints
    """From 1; 0 where the target is beyond every cut-off."""
    repeat_R: Ints
    """The same with a target enabled that the user had already seen."""
    seen_R: Mask
    """Whether the user had already seen the target."""


class UserValues(NamedTuple):
    """Metrics of users who have several targets each."""

    activity_U: Ints
    """Interactions of the user that are known when he is tested."""
    values: Mapping[str, npt.NDArray[np.float64]]


class Catalogue(NamedTuple):
    """What is known of the items."""

    counts_I: Ints
    """Training interactions."""
    present: Mapping[str, Mask]
    """Modality -> which items have it."""


def item_slices(targets: Targets, catalogue: Catalogue, cutoffs: Sequence[int] = (10,)) -> Slices:
    """Slices by what the target is."""
    count_R = catalogue.counts_I[targets.item_R]
    cut: dict[str, dict[str, Mask]] = {
        "popularity": quantile_groups(count_R, POPULARITY_GROUPS, count_R > 0),
        "cold": {
            "never trained": count_R == 0,
            f"1-{COLD_BELOW - 1}": (count_R > 0) & (count_R < COLD_BELOW),
            f"{COLD_BELOW} or more": count_R >= COLD_BELOW,
        },
        "missing": missing_groups(targets.item_R, catalogue.present),
        "repeat": {"first time": ~targets.seen_R, "seen before": targets.seen_R},
    }
    enabled = targets._replace(rank_R=targets.repeat_R)
    return {
        name: {
            group: summary(enabled if name == "repeat" else targets, mask_R, cutoffs)
            for group, mask_R in groups.items()
            if mask_R.any()
        }
        for name, groups in cut.items()
        if any(mask_R.any() for mask_R in groups.values())
    }


def target_activity(targets: Targets, activity_R: Ints, cutoffs: Sequence[int] = (10,)) -> Slices:
    """The slice by user activity, where every user has one target."""
    groups = quantile_groups(activity_R, ACTIVITY_GROUPS)
    return {"activity": {name: summary(targets, mask_R, cutoffs) for name, mask_R in groups.items()}}


def user_activity(users: UserValues) -> Slices:
    """The slice by user activity, where users have several targets."""
    groups = quantile_groups(users.activity_U, ACTIVITY_GROUPS)
    return {"activity": {name: user_summary(users, mask_U) for name, mask_U in groups.items()}}


def quantile_groups(values_R: Ints, n: int, among_R: Mask | None = None) -> dict[str, Mask]:
    """Groups of about equal size by a count, named by the smallest and largest count in them.

    Equal counts are never parted, so that there may be fewer groups.

    Args:
        values_R: Counts.
        n: Groups wanted.
        among_R: Which are grouped; by default all.

    >>> groups = quantile_groups(np.array([1, 1, 1, 1, 2, 3, 9, 30]), 4)
    >>> {name: int(mask.sum()) for name, mask in groups.items()}
    {'1': 4, '2-3': 2, '9-30': 2}
    """
    among_R = np.ones(len(values_R), dtype=bool) if among_R is None else among_R
    if not among_R.any():
        return {}
    among = values_R[among_R]
    edges = np.unique(np.quantile(among, np.arange(1, n) / n, method="inverted_cdf"))
    place_R = np.searchsorted(edges, values_R, side="left")
    groups = {}
    for place in range(len(edges) + 1):
        mask_R = among_R & (place_R == place)
        if mask_R.any():
            low, high = int(values_R[mask_R].min()), int(values_R[mask_R].max())
            groups[str(low) if low == high else f"{low}-{high}"] = mask_R
    return groups


def missing_groups(item_R: Ints, present: Mapping[str, Mask]) -> dict[str, Mask]:
    """Targets that lack a modality, modality by modality, and those that lack none."""
    if not present:
        return {}
    lacking = {f"no {modality}": ~present_I[item_R] for modality, present_I in present.items()}
    complete_R = ~np.logical_or.reduce(list(lacking.values()))
    return {**lacking, "complete": complete_R}


def summary(targets: Targets, mask_R: Mask, cutoffs: Sequence[int]) -> Group:
    """Hit rate and NDCG of some targets, each taken as the only one."""
    rank_R, user_R = targets.rank_R[mask_R], targets.user_R[mask_R]
    found: Group = {"n": len(rank_R)}
    for cutoff in cutoffs:
        hit_R = ((rank_R > 0) & (rank_R <= cutoff)).astype(np.float64)
        gain_R = hit_R / np.log2(np.maximum(rank_R, 1) + 1.0)
        found[f"hr@{cutoff}"] = hit_interval(hit_R, user_R)
        found[f"ndcg@{cutoff}"] = mean_interval(gain_R, user_R)
    return found


def user_summary(users: UserValues, mask_U: Mask) -> Group:
    """Means over some users."""
    every_U = np.arange(int(mask_U.sum()))
    found: Group = {"n": len(every_U)}
    return found | {name: mean_interval(value_U[mask_U], every_U) for name, value_U in users.values.items()}


def hit_interval(hit_R: npt.NDArray[np.float64], user_R: Ints) -> list[float]:
    """Mean of hits, and Wilson's interval for as many independent ones as they are worth.

    >>> [round(value, 4) for value in hit_interval(np.array([1.0, 0, 0, 0]), np.arange(4))]
    [0.25, 0.0456, 0.6994]
    """
    mean, error = mean_error(hit_R, user_R)
    n: float = len(np.unique(user_R))
    if 0 < mean < 1 and error > 0:
        n = min(len(hit_R), mean * (1 - mean) / error**2)
    return wilson(mean, n)


def wilson(mean: float, n: float) -> list[float]:
    """Wilson's interval for a mean of n independent zeros and ones; never of width zero."""
    centre = (mean + Z**2 / (2 * n)) / (1 + Z**2 / n)
    margin = Z / (1 + Z**2 / n) * math.sqrt(mean * (1 - mean) / n + Z**2 / (4 * n**2))
    return [mean, max(0.0, min(mean, centre - margin)), min(1.0, max(mean, centre + margin))]


def mean_interval(values_R: npt.NDArray[np.float64], user_R: Ints) -> list[float]:
    """Mean of values between 0 and 1, and the normal interval; Wilson's where all users are alike.

    A normal interval has no width there, however few they are, and values between 0 and 1 vary no more than
    zeros and ones of the same mean.

    >>> [round(value, 4) for value in mean_interval(np.zeros(4), np.arange(4))]
    [0.0, 0.0, 0.4899]
    """
    mean, error = mean_error(values_R, user_R)
    if error <= 1e-12:
        return wilson(mean, len(np.unique(user_R)))
    return [mean, max(0.0, mean - Z * error), min(1.0, mean + Z * error)]


def mean_error(values_R: npt.NDArray[np.float64], user_R: Ints) -> tuple[float, float]:
    """Mean, and its standard error over users: of a ratio of sums, where users have several values.

    >>> mean_error(np.array([1.0, 1, 0, 0]), np.array([5, 5, 7, 7]))  # two users, not four
    (0.5, 0.5)
    """
    mean = float(values_R.mean())
    _, place_R = np.unique(user_R, return_inverse=True)
    off_U = np.bincount(place_R, values_R - mean)
    n = len(off_U)
    if n < 2:
        return mean, 0.0
    # With one value a user, the deviation is over n: Wilson's interval then takes the n there are.
    spread = float(off_U @ off_U) * (n / (n - 1) if n < len(values_R) else 1.0)
    return mean, math.sqrt(spread) / len(values_R)

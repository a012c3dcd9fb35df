"""Groups of targets and users: a plain reference, names of groups, intervals."""

import math
from typing import Any

import numpy as np
import pytest

from zoo.metrics.slices import (
    Catalogue,
    Ints,
    Slices,
    Targets,
    UserValues,
    hit_interval,
    item_slices,
    mean_interval,
    quantile_groups,
    target_activity,
    user_activity,
)


def case(pairs: bool, n: int = 400) -> tuple[Targets, Catalogue, Ints]:
    """Targets of users, one each or several, and what is known of the users."""
    rng = np.random.default_rng(0)
    user_R = np.sort(rng.integers(1, n // 4, n)) if pairs else np.arange(1, n + 1)
    rank_R = rng.integers(0, 21, n)
    seen_R = rng.random(n) < 0.2
    targets = Targets(
        user_R, rng.integers(1, 60, n), np.where(seen_R, 0, rank_R), rank_R, seen_R.astype(np.bool_)
    )
    count_I = rng.integers(0, 40, 60) * (rng.random(60) < 0.8)
    present = {"text": rng.random(60) < 0.9, "image": rng.random(60) < 0.7}
    return targets, Catalogue(count_I, present), rng.integers(1, 300, n // 4 + 1)[user_R % (n // 4)]


def test_groups_of_users_who_are_all_alike_have_intervals_of_some_width() -> None:
    for values, users in (([0.0] * 5, 5), ([1.0] * 5, 5), ([0.63] * 3, 3), ([0.63], 1), ([0.2, 0.6], 1)):
        mean, low, high = mean_interval(np.array(values), np.arange(len(values)) % users)
        assert 0 <= low < high <= 1
        assert low <= mean <= high
        assert high - low > 0.3


def mean_of(ranks: list[int], cutoff: int) -> tuple[float, float]:
    """Hit rate and NDCG of targets that are alone."""
    hits = [1 <= rank <= cutoff for rank in ranks]
    gains = [1 / math.log2(rank + 1) if hit else 0.0 for rank, hit in zip(ranks, hits, strict=True)]
    return sum(hits) / len(ranks), sum(gains) / len(ranks)


def require_group(found: dict[str, Any], ranks: list[int], cutoff: int) -> None:
    assert found["n"] == len(ranks)
    for name, expected in zip((f"hr@{cutoff}", f"ndcg@{cutoff}"), mean_of(ranks, cutoff), strict=True):
        mean, low, high = found[name]
        assert mean == pytest.approx(expected, abs=1e-12)
        assert 0 <= low <= mean <= high <= 1


@pytest.mark.parametrize("pairs", [False, True])
def test_item_slices_are_those_of_a_plain_reference(pairs: bool) -> None:
    targets, catalogue, _ = case(pairs)
    found = item_slices(targets, catalogue, (10, 20))
    lines = list(zip(*(column.tolist() for column in targets), strict=True))
    counts = catalogue.counts_I.tolist()

    def ranks(chosen: Any, repeat: bool = False) -> list[int]:  # noqa: ANN401
        return [line[3 if repeat else 2] for line in lines if chosen(line[1], line[4])]

    for cutoff in (10, 20):
        cold = found["cold"]
        require_group(cold["never trained"], ranks(lambda item, _: counts[item] == 0), cutoff)
        require_group(cold["1-9"], ranks(lambda item, _: 1 <= counts[item] <= 9), cutoff)
        require_group(cold["10 or more"], ranks(lambda item, _: counts[item] >= 10), cutoff)
        require_group(found["repeat"]["seen before"], ranks(lambda _, seen: seen, True), cutoff)
        require_group(found["repeat"]["first time"], ranks(lambda _, seen: not seen, True), cutoff)
        for modality, present in catalogue.present.items():
            lacks = ranks(lambda item, _, present=present: not present[item])
            require_group(found["missing"][f"no {modality}"], lacks, cutoff)
        whole = ranks(lambda item, _: all(present[item] for present in catalogue.present.values()))
        require_group(found["missing"]["complete"], whole, cutoff)
        for group, metrics in found["popularity"].items():
            low, _, high = group.partition("-")
            within = range(int(low), int(high or low) + 1)
            require_group(metrics, ranks(lambda item, _, within=within: counts[item] in within), cutoff)
    trained = sum(counts[line[1]] > 0 for line in lines)
    assert sum(int(str(group["n"])) for group in found["popularity"].values()) == trained
    assert len(found["popularity"]) == 5


def test_activity_by_targets_and_by_users() -> None:
    targets, _, known_R = case(pairs=False)
    found = target_activity(targets, known_R)["activity"]
    assert sum(int(str(group["n"])) for group in found.values()) == len(known_R)
    for group, metrics in found.items():
        low, high = map(int, group.split("-"))
        chosen = [
            r
            for r, known in zip(targets.rank_R.tolist(), known_R.tolist(), strict=True)
            if low <= known <= high
        ]
        require_group(metrics, chosen, 10)
    values = np.linspace(0, 1, len(known_R))
    by_users: Slices = user_activity(UserValues(known_R, {"recall@20": values}))
    for group, metrics in by_users["activity"].items():
        low, high = map(int, group.split("-"))
        mask = (known_R >= low) & (known_R <= high)
        mean, lower, upper = metrics["recall@20"]  # type: ignore[misc]
        error = values[mask].std() / math.sqrt(mask.sum())
        assert mean == pytest.approx(values[mask].mean())
        assert (upper - lower) / 2 == pytest.approx(1.959964 * error, rel=1e-6)


def test_what_is_not_there_has_no_group() -> None:
    targets, _, _ = case(pairs=False)
    nothing_cold = Catalogue(np.full(60, 50), {})
    found = item_slices(targets._replace(seen_R=np.zeros(400, dtype=np.bool_)), nothing_cold)
    assert list(found["cold"]) == ["10 or more"]
    assert list(found["popularity"]) == ["50"]
    assert list(found["repeat"]) == ["first time"]
    assert "missing" not in found
    assert quantile_groups(np.array([3, 4]), 4, np.zeros(2, dtype=np.bool_)) == {}


def test_targets_of_one_user_are_not_independent() -> None:
    hit_R = np.tile([1.0, 0.0], 100)
    alone = hit_interval(hit_R, np.arange(200))
    # A hundred users of whom one half has two hits, the other none: a hundred independent cases.
    together = hit_interval(np.repeat([1.0, 0.0], 100), np.arange(200) // 2)
    assert alone[0] == together[0] == 0.5
    assert together[2] - together[1] == pytest.approx((alone[2] - alone[1]) * math.sqrt(2), rel=0.02)
    spread = hit_interval(hit_R, np.arange(200) // 2)  # every user has one hit and one miss
    assert spread[1] < 0.5 < spread[2]
    assert hit_interval(np.ones(1), np.zeros(1, dtype=np.int64))[1] < 0.5


def test_no_hit_has_an_interval() -> None:
    mean, low, high = hit_interval(np.zeros(50), np.arange(50))
    assert (mean, low) == (0.0, 0.0)
    assert 0.03 < high < 0.12

"""Several targets a user: a worked example, a plain reference, ties, many processes."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo.metrics.topk import NAMES, TopKMean, target_hits, user_values


def plain(ranked: list[int], targets: set[int], cutoff: int) -> dict[str, float]:
    """The metrics of one user by their definitions."""
    hits = [item in targets for item in ranked[:cutoff]]
    best = min(cutoff, len(targets))
    precision = [sum(hits[: r + 1]) / (r + 1) for r in range(len(hits))]
    ideal = sum(1 / math.log2(r + 2) for r in range(best))
    return {
        "recall": sum(hits) / len(targets),
        "ndcg": sum(hit / math.log2(r + 2) for r, hit in enumerate(hits)) / ideal,
        "precision": sum(hits) / cutoff,
        "map": sum(p for p, hit in zip(precision, hits, strict=True) if hit) / best,
    }


def means(hits: list[str], targets: list[int]) -> dict[str, float]:
    """Means over users whose hits at the first places are given as digits."""
    hits_BK = torch.zeros(len(hits), 50, dtype=torch.bool)
    for user, places in enumerate(hits):
        hits_BK[user, : len(places)] = torch.tensor([place == "1" for place in places])
    metric, targets_B = TopKMean(), torch.tensor(targets)
    metric.update(user_values(hits_BK, targets_B), targets_B)
    return metric.compute()


def test_worked_example() -> None:
    found = means(["10100", "00010", "00000"], [3, 1, 2])
    expected = {"recall": 0.555556, "ndcg": 0.378198, "precision": 0.2, "map": 0.268519}
    assert {name: found[f"{name}@5"] for name in expected} == pytest.approx(expected, abs=1e-6)


def catalogue(n_users: int = 40, n_items: int = 130) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vectors, targets and hidden items; user 0 has no target, user 1 a hidden one."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    target_BP, hidden_BH = torch.zeros(n_users, 70, dtype=torch.int64), torch.zeros(n_users, 9).long()
    for user in range(1, n_users):
        drawn = torch.from_numpy(rng.permutation(n_items - 1) + 1)
        n_targets, n_hidden = int(rng.integers(1, 71)), int(rng.integers(0, 10))
        target_BP[user, :n_targets] = drawn[:n_targets]
        hidden_BH[user, :n_hidden] = drawn[n_targets : n_targets + n_hidden]
    hidden_BH[1, 0] = target_BP[1, 0]
    return torch.randn(n_users, 8), torch.randn(n_items, 8), target_BP, hidden_BH


def test_plain_reference() -> None:
    user_BD, table_ID, target_BP, hidden_BH = catalogue()
    targets_B = (target_BP > 0).sum(1)
    found_BM = user_values(target_hits(user_BD, table_ID, target_BP, hidden_BH), targets_B)
    assert not found_BM[0].any()
    for user in range(1, len(user_BD)):
        hidden, targets = set(hidden_BH[user].tolist()), set(target_BP[user].tolist()) - {0}
        order = (table_ID @ user_BD[user]).argsort(descending=True).tolist()
        ranked = [item for item in order if item and item not in hidden]
        expected = [plain(ranked, targets, k)[name] for name, _, k in _split_names()]
        torch.testing.assert_close(found_BM[user], torch.tensor(expected), atol=1e-5, rtol=0)


def _split_names() -> list[tuple[str, str, int]]:
    return [(name, "@", int(k)) for name, _, k in (full.partition("@") for full in NAMES)]


def test_targets_lose_ties_and_numbers_that_are_none() -> None:
    targets = torch.tensor([[2, 3]])
    none = torch.zeros(1, 0, dtype=torch.int64)
    same = target_hits(torch.ones(1, 1), torch.ones(101, 1), targets, none)
    assert not same.any(), "A model that tells nothing apart hits nothing."
    broken = target_hits(torch.ones(1, 1), torch.full((4, 1), float("nan")), targets, none)
    assert broken.shape == (1, 50)
    assert not broken.any()
    few = target_hits(torch.ones(1, 1), torch.ones(4, 1), targets, none)
    assert few[0].nonzero()[:, 0].tolist() == [1, 2], "Three items: the one that is no target comes first."


def test_processes_agree_with_one_to_the_last_bit() -> None:
    user_BD, table_ID, target_BP, hidden_BH = catalogue()
    targets_B = (target_BP > 0).sum(1)
    values_BM = user_values(target_hits(user_BD, table_ID, target_BP, hidden_BH), targets_B)
    whole, ranks = TopKMean(), [TopKMean() for _ in range(3)]
    whole.update(values_BM, targets_B)
    for batch in range(10):  # other batches on other processes
        rows = slice(batch * 4, batch * 4 + 4)
        ranks[batch % 3].update(values_BM[rows].flip(0), targets_B[rows].flip(0))
    for name in ("sum_M", "squares_M", "users"):
        setattr(ranks[0], name, torch.stack([getattr(rank, name) for rank in ranks]).sum(0))
    assert ranks[0].compute() == whole.compute()
    assert ranks[0].intervals() == whole.intervals()
    assert whole.n_users() == 39
    for index, name in enumerate(NAMES):
        value_B = values_BM[1:, index].double()
        error = value_B.std(unbiased=False).item() / math.sqrt(39)
        assert whole.compute()[name] == pytest.approx(value_B.mean().item(), abs=1e-9)
        low, high = whole.intervals()[name]
        middle = value_B.mean().item()
        assert (low, high) == pytest.approx(
            (max(0.0, middle - 1.959964 * error), min(1.0, middle + 1.959964 * error)), abs=1e-7
        )


def test_nobody_gives_no_number() -> None:
    metric = TopKMean()
    with pytest.raises(RuntimeError, match=r"compute\(\) first"):
        metric.intervals()
    assert all(math.isnan(value) for value in metric.compute().values())

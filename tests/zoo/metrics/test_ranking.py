"""Exact ranks and metrics against plain numpy references."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from zoo.metrics import ranking
from zoo.metrics.ranking import (
    RankHistogram,
    block_rows,
    bootstrap_interval,
    metrics_from_histogram,
    target_rank,
    top_k,
)


def sorted_rank(
    user_BD: Tensor, table_ID: Tensor, target_B: Tensor, hidden_BH: Tensor, *, repeat: bool
) -> list[int]:
    """Sorts every user's candidates, the target after all that score the same."""
    ranks = []
    for user, target in enumerate(target_B.tolist()):
        hidden = set(hidden_BH[user].tolist())
        if not repeat and target in hidden:
            ranks.append(max(len(table_ID), 21))
            continue
        scores = (table_ID.numpy() @ user_BD[user].numpy()).tolist()
        candidates = [i for i in range(1, len(table_ID)) if i == target or i not in hidden]
        candidates.sort(key=lambda item: (-scores[item], item == target))
        ranks.append(1 + candidates.index(target))
    return ranks


def make_case(seed: int, n_users: int, n_items: int, n_hidden: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Small whole numbers: sums are exact, and duplicated items tie exactly."""
    generator = torch.Generator().manual_seed(seed)
    user_BD = torch.randint(-2, 3, (n_users, 4), generator=generator).float()
    table_ID = torch.randint(-2, 3, (n_items, 4), generator=generator).float()
    table_ID[n_items // 2 :] = table_ID[: n_items - n_items // 2].clone()
    target_B = torch.randint(1, n_items, (n_users,), generator=generator)
    hidden_BH = torch.randint(0, n_items, (n_users, n_hidden), generator=generator)
    return user_BD, table_ID, target_B, hidden_BH


@pytest.mark.parametrize(
    ("n_users", "n_items", "n_hidden", "block"),
    [(23, 57, 6, 32), (23, 57, 6, 5), (23, 57, 0, 7), (1, 2, 1, 32), (40, 9, 3, 3), (64, 300, 150, 64)],
)
def test_equals_sorting(
    n_users: int, n_items: int, n_hidden: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "block_rows", lambda n_items, device: block)
    for seed in range(3):
        case = make_case(seed, n_users, n_items, n_hidden)
        rank_B, repeat_B = target_rank(*case)
        assert rank_B.tolist() == sorted_rank(*case, repeat=False)
        assert repeat_B.tolist() == sorted_rank(*case, repeat=True)


def test_collapsed_model_is_last() -> None:
    rank_B, _ = target_rank(
        torch.ones(2, 3), torch.ones(50, 3), torch.tensor([1, 49]), torch.tensor([[0, 0], [2, 3]])
    )
    assert rank_B.tolist() == [49, 47]


def test_hidden_target_is_a_miss_or_enabled_again() -> None:
    table_ID = torch.tensor([[9.0], [1.0], [2.0], [3.0]])
    rank_B, repeat_B = target_rank(torch.ones(1, 1), table_ID, torch.tensor([2]), torch.tensor([[2, 3]]))
    assert repeat_B.item() == 1
    assert rank_B.item() == 21, "beyond the last cut-off even where the catalogue is shorter"


def test_candidates_limit_the_others_but_not_the_target() -> None:
    user_BD, table_ID, target_B, hidden_BH = make_case(0, 20, 60, 4)
    trained_I = torch.arange(60) < 25
    rank_B, repeat_B = target_rank(user_BD, table_ID, target_B, hidden_BH, trained_I)
    for user in range(20):
        # A catalogue made of the trained items and the target alone has the same rank.
        kept = [i for i in range(60) if trained_I[i] or i == target_B[user]]
        place = {item: row for row, item in enumerate(kept)}
        hidden = torch.tensor([[place.get(item, 0) for item in hidden_BH[user].tolist()]])
        target = torch.tensor([place[int(target_B[user])]])
        alone_B, alone_repeat_B = target_rank(user_BD[user : user + 1], table_ID[kept], target, hidden)
        assert repeat_B[user] == alone_repeat_B[0]
        assert rank_B[user] == alone_B[0] or (rank_B[user] == 60 and alone_B[0] >= 21)


def test_nan_never_wins() -> None:
    table_ID = torch.tensor([[0.0], [math.nan], [2.0], [1.0]])
    user_BD = torch.tensor([[1.0], [1.0], [math.nan], [1.0]])
    rank_B, repeat_B = target_rank(
        user_BD, table_ID, torch.tensor([1, 2, 2, 0]), torch.zeros(4, 1, dtype=torch.int64)
    )
    miss = 21
    assert rank_B.tolist() == [miss, 2, miss, miss], "NaN target, NaN rival, NaN user, no target"
    assert repeat_B.tolist() == rank_B.tolist()


def test_inputs_stay_as_they_were() -> None:
    case = make_case(0, 10, 30, 4)
    copies = [tensor.clone() for tensor in case]
    target_rank(*case)
    top_k(case[0], case[1], case[3], 5)
    for tensor, copy in zip(case, copies, strict=True):
        assert torch.equal(tensor, copy)


def test_half_precision_vectors_are_scored_in_float32() -> None:
    user_BD, table_ID, target_B, hidden_BH = make_case(0, 10, 30, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = target_rank(user_BD.bfloat16(), table_ID.bfloat16(), target_B, hidden_BH)
    assert torch.equal(half[0], target_rank(user_BD, table_ID, target_B, hidden_BH)[0])


def test_top_k_equals_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "block_rows", lambda n_items, device: 4)
    generator = torch.Generator().manual_seed(0)
    user_BD, table_ID = torch.randn(10, 4, generator=generator), torch.randn(30, 4, generator=generator)
    hidden_BH = torch.randint(0, 30, (10, 6), generator=generator)
    item_BK, score_BK = top_k(user_BD, table_ID, hidden_BH, 7)
    for user in range(10):
        scores = user_BD[user] @ table_ID.T
        candidates = sorted(
            set(range(1, 30)) - set(hidden_BH[user].tolist()), key=lambda i: -float(scores[i])
        )
        assert item_BK[user].tolist() == candidates[:7]
        torch.testing.assert_close(score_BK[user], scores[candidates[:7]])


def test_top_k_of_too_few_candidates_ends_with_padding() -> None:
    table_ID = torch.tensor([[9.0], [1.0], [math.nan], [3.0]])
    item_BK, score_BK = top_k(torch.ones(1, 1), table_ID, torch.tensor([[1]]), 3)
    assert item_BK.tolist() == [[3, 0, 0]]
    assert score_BK.tolist() == [[3.0, -math.inf, -math.inf]]


@pytest.mark.parametrize("k", [0, 4])
def test_top_k_refuses(k: int) -> None:
    with pytest.raises(ValueError, match="expected k from 1 to the 3 items"):
        top_k(torch.ones(1, 1), torch.ones(4, 1), torch.zeros(1, 1, dtype=torch.int64), k)


def test_a_block_is_bounded() -> None:
    for n_items, device in itertools.product([10, 1_000, 12_034, 10**5, 10**6], ["cpu", "cuda"]):
        rows = block_rows(n_items, device)
        assert rows >= 32
        assert rows * n_items <= 2**27


def test_catalogue_beyond_exact_counts_is_refused() -> None:
    user_BD, table_ID = torch.empty(1, 0), torch.empty(2**24 + 1, 0)
    with pytest.raises(ValueError, match="at most 16,777,216 catalogue rows"):
        target_rank(user_BD, table_ID, torch.ones(1).long(), torch.zeros(1, 0).long())


def reference_metrics(ranks: list[int]) -> dict[str, float]:
    """Averages over users, one user after the other."""
    values: dict[str, float] = {}
    for k in (5, 10, 20):
        values[f"hr@{k}"] = float(np.mean([rank <= k for rank in ranks]))
        values[f"ndcg@{k}"] = float(np.mean([1 / np.log2(rank + 1) if rank <= k else 0 for rank in ranks]))
        values[f"mrr@{k}"] = float(np.mean([1 / rank if rank <= k else 0 for rank in ranks]))
    return values


def make_ranks(n: int) -> list[int]:
    return [int(rank) for rank in np.random.default_rng(0).geometric(0.08, n)]


def test_metrics_equal_averages_over_users() -> None:
    ranks = make_ranks(101)
    metric = RankHistogram()
    for start in range(0, 101, 16):
        metric.update(torch.tensor(ranks[start : start + 16]))
    assert metric.compute() == pytest.approx(reference_metrics(ranks), abs=1e-12)
    assert metric.histogram().sum() == 101
    assert metric.histogram()[0] == sum(rank > 20 for rank in ranks)


def test_two_processes_give_the_same_bits_as_one() -> None:
    ranks = make_ranks(101)
    one, left, right = RankHistogram(), RankHistogram(), RankHistogram()
    one.update(torch.tensor(ranks))
    left.update(torch.tensor(ranks[::2]))
    right.update(torch.tensor(ranks[1::2]))
    values = one.compute()
    gathered = RankHistogram()
    gathered.dist_sync_fn = lambda state, group: [left.counts, right.counts]
    gathered.distributed_available_fn = lambda: True
    gathered.update(torch.tensor(ranks[::2]))
    assert gathered.compute() == values
    assert torch.equal(gathered.histogram(), one.histogram())
    assert torch.equal(gathered.counts, left.counts), "the process keeps its own users"


def test_empty_updates_and_no_users() -> None:
    metric = RankHistogram()
    metric.update(torch.empty(0, dtype=torch.int64))
    assert all(math.isnan(value) for value in metric.compute().values())
    nothing = bootstrap_interval(metric.histogram())
    assert all(math.isnan(low) and math.isnan(high) for low, high in nothing.values())


def test_reset_forgets_and_histogram_needs_compute() -> None:
    metric = RankHistogram()
    metric.update(torch.tensor([1]))
    metric.compute()
    metric.reset()
    with pytest.raises(RuntimeError, match=r"call compute\(\) first"):
        metric.histogram()
    metric.update(torch.tensor([2, 2]))
    assert metric.compute()["mrr@5"] == 0.5
    metric.update(torch.tensor([2, 99]))
    assert metric.compute()["mrr@5"] == pytest.approx(0.375)


def test_checkpoint_holds_no_metric_state() -> None:
    metric = RankHistogram()
    metric.update(torch.tensor([1]))
    assert not metric.state_dict()


def test_bootstrap_equals_resampling_of_users() -> None:
    ranks = np.array(make_ranks(400))
    metric = RankHistogram()
    metric.update(torch.from_numpy(ranks))
    values = metric.compute()
    intervals = bootstrap_interval(metric.histogram(), n=2000, seed=3)
    rng = np.random.default_rng(4)
    drawn = [reference_metrics(rng.choice(ranks, 400).tolist()) for _ in range(200)]
    for name, (low, high) in intervals.items():
        assert low < values[name] < high
        expected = np.quantile([one[name] for one in drawn], [0.025, 0.975])
        assert [low, high] == pytest.approx(expected, abs=0.02)


def test_bootstrap_is_seeded_and_widens_with_the_level() -> None:
    histogram = torch.zeros(21, dtype=torch.int64)
    histogram[0], histogram[1] = 60, 40
    assert bootstrap_interval(histogram, seed=1) == bootstrap_interval(histogram, seed=1)
    narrow, wide = (bootstrap_interval(histogram, level=level)["hr@5"] for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < 0.4 < narrow[1] < wide[1]
    assert metrics_from_histogram(histogram)["ndcg@20"] == pytest.approx(0.4)


def test_never_asks_the_device_for_a_value() -> None:
    case = make_case(0, 10, 30, 4)
    with FakeTensorMode() as mode:  # its tensors have shapes only: reading a value is an error
        rank_B, _ = target_rank(*(mode.from_tensor(tensor) for tensor in case))
    assert rank_B.shape == (10,)

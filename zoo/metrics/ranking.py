"""Full-catalogue ranking of one held-out item a user, as a count instead of a sort, and its metrics.

The rank of the target is one more than the number of candidates that do not score below it: the target loses
ties, so a collapsed model that gives all items one score is at the bottom, where it belongs. Metrics are read
from a histogram of ranks: integers, so that one process and many agree to the last bit, and enough to
resample the users.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

CUTOFFS = (5, 10, 20)
"""Where metrics are cut off; ranks beyond the last one are not told apart."""
MIN_BLOCK_ROWS = 32
"""Users scored together whatever the catalogue's size: fewer make the product slow."""
MAX_ITEMS = 2**24
"""Counts are float32 sums of ones, exact up to here."""


def target_rank(
    user_BD: Tensor,
    table_ID: Tensor,
    target_B: Tensor,
    hidden_BH: Tensor,
    candidates_I: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rank of every user's target among the catalogue without the items hidden from that user.

    Two readings of a target that is itself hidden (repeat consumption): a miss, as in the papers' code, or
    enabled again. A miss has a rank beyond every cut-off. A target that is 0 (no target), or whose score is
    NaN or -inf, is a miss in both; another item's NaN score counts as ahead of the target. Memory does not
    grow with users times items.

    Args:
        user_BD: User vectors.
        table_ID: Item vectors; row 0 is padding and never a candidate.
        target_B: Catalogue ids of the targets.
        hidden_BH: Catalogue ids that may not be recommended, 0-padded; H may be 0.
        candidates_I: True where an item may be recommended; by default all may. The target always is.

    Returns:
        Ranks by the first and by the second reading, (B,) int64 each, 1 is best.

    Raises:
        ValueError: The catalogue is too large for exact counts.

    >>> user_BD = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> table_ID = torch.tensor([[9.0, 9.0], [3.0, 0.0], [2.0, 5.0], [1.0, 5.0]])
    >>> rank_B, rank_repeat_B = target_rank(user_BD, table_ID, torch.tensor([2, 3]), torch.tensor([[1], [3]]))
    >>> rank_B.tolist(), rank_repeat_B.tolist()
    ([1, 21], [1, 2])
    """
    n_items = table_ID.shape[0]
    if n_items > MAX_ITEMS:
        msg = (
            f"Exact ranks need at most {MAX_ITEMS:,} catalogue rows, found {n_items:,}; shard the catalogue."
        )
        raise ValueError(msg)
    repeat_B = torch.empty_like(target_B)
    lost_B = target_B == 0
    for rows, scores_RI in score_blocks(user_BD, table_ID):
        target_R1 = target_B[rows, None]
        # The target's score comes from the same product: another one may round differently and break ties.
        target_score_R1 = scores_RI.gather(1, target_R1)
        hide(scores_RI, hidden_BH[rows], candidates_I)
        scores_RI.scatter_(1, target_R1, target_score_R1)
        # Written over the scores: a float sum of ones is several times faster than a count of booleans.
        below_R = torch.lt(scores_RI, target_score_R1, out=scores_RI).sum(1)
        repeat_B[rows] = n_items - below_R.long()
        lost_B[rows] |= ~(target_score_R1 > float("-inf"))[:, 0]
    miss = max(n_items, CUTOFFS[-1] + 1)
    repeat_B.masked_fill_(lost_B, miss)
    return repeat_B.masked_fill((hidden_BH == target_B[:, None]).any(1), miss), repeat_B


def top_k(user_BD: Tensor, table_ID: Tensor, hidden_BH: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best items of every user, without the hidden ones.

    Args:
        user_BD: User vectors.
        table_ID: Item vectors; row 0 is padding and never recommended.
        hidden_BH: Catalogue ids that may not be recommended, 0-padded.
        k: Items a user, fewer than catalogue rows.

    Returns:
        Catalogue ids, best first, and their scores, (B, k) each. Where a user has fewer candidates, the rest
        is id 0 with score -inf; items whose score is NaN are no candidates.

    Raises:
        ValueError: k is not between 1 and the number of items.
    """
    if not 1 <= k < table_ID.shape[0]:
        msg = f"top_k: expected k from 1 to the {table_ID.shape[0] - 1} items of the catalogue, found {k}."
        raise ValueError(msg)
    items, scores = [], []
    for rows, scores_RI in score_blocks(user_BD, table_ID):
        hide(scores_RI, hidden_BH[rows], None)
        scores_RI.nan_to_num_(float("-inf"), float("inf"), float("-inf"))  # a sort would put NaN first
        best_RK, item_RK = scores_RI.topk(k)
        items.append(item_RK.masked_fill(best_RK == float("-inf"), 0))
        scores.append(best_RK)
    return torch.cat(items), torch.cat(scores)


def hide(scores_RI: Tensor, hidden_RH: Tensor, candidates_I: Tensor | None) -> None:
    """Writes -inf over the padding item, each user's hidden items and what is no candidate, in place."""
    scores_RI[:, 0] = float("-inf")
    scores_RI.scatter_(1, hidden_RH, float("-inf"))
    if candidates_I is not None:
        scores_RI.masked_fill_(~candidates_I, float("-inf"))


def score_blocks(user_BD: Tensor, table_ID: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Scores of all items for one block of users after the other, float32, in one reused buffer.

    Args:
        user_BD: User vectors.
        table_ID: Item vectors.

    Yields:
        The users' rows, and their scores (R, I), which may be overwritten but not kept.
    """
    n_users, n_items = user_BD.shape[0], table_ID.shape[0]
    block = block_rows(n_items, user_BD.device.type)
    with torch.no_grad(), torch.autocast(user_BD.device.type, enabled=False):
        user_BD, table_ID = user_BD.float(), table_ID.float()
        buffer_RI = user_BD.new_empty(min(block, n_users), n_items)
        for start in range(0, n_users, block):
            rows = slice(start, min(start + block, n_users))
            yield rows, torch.mm(user_BD[rows], table_ID.T, out=buffer_RI[: rows.stop - start])


def block_rows(n_items: int, device: str) -> int:
    """Users whose scores are held at once.

    A CPU is fastest while the scores stay in its cache; an accelerator wants large products. At a million
    items a block takes 128 MB on a CPU and 536 MB elsewhere, and no more on smaller catalogues.

    Args:
        n_items: Catalogue rows.
        device: Device type, as in ``torch.device.type``.

    >>> block_rows(12_000, "cpu"), block_rows(1_000_000, "cpu"), block_rows(1_000_000, "cuda")
    (128, 32, 134)
    """
    if device != "cpu":
        return max(MIN_BLOCK_ROWS, 2**27 // n_items)
    return max(MIN_BLOCK_ROWS, min(2**23 // n_items, max(128, 2**20 // n_items)))


def metrics_from_histogram(histogram: Tensor) -> dict[str, float]:
    """Hit rate, NDCG and MRR at every cut-off, with one relevant item a user.

    Args:
        histogram: (21,) users by rank of their target; those beyond rank 20 are at index 0.

    Returns:
        ``hr@5``, ``ndcg@5``, ``mrr@5`` and so on; NaN where no user was counted.

    >>> histogram = torch.zeros(21, dtype=torch.int64)
    >>> histogram[0], histogram[2] = 3, 1
    >>> metrics_from_histogram(histogram)["mrr@10"]
    0.125
    """
    names, gains = metric_gains()
    counts = histogram.cpu().numpy().astype(np.float64)
    users = counts.sum()
    values = counts @ gains / users if users else np.full(len(names), math.nan)
    return dict(zip(names, values.tolist(), strict=True))


def bootstrap_interval(
    histogram: Tensor, n: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap over users: users drawn with replacement are a multinomial draw of the histogram.

    Args:
        histogram: (21,) users by rank of their target; those beyond rank 20 are at index 0.
        n: Resamplings.
        level: Coverage of the interval.
        seed: Of the resampling.

    Returns:
        Metric -> (lower, upper); NaN where no user was counted.

    >>> histogram = torch.zeros(21, dtype=torch.int64)
    >>> histogram[0], histogram[1] = 50, 50
    >>> lower, upper = bootstrap_interval(histogram)["hr@5"]
    >>> lower < 0.5 < upper
    True
    """
    names, gains = metric_gains()
    counts = histogram.cpu().numpy()
    users = int(counts.sum())
    if users == 0:
        return dict.fromkeys(names, (math.nan, math.nan))
    draws = np.random.default_rng(seed).multinomial(users, counts / users, size=n)  # (n, 21)
    tail = (1 - level) / 2
    lower, upper = np.quantile(draws @ gains / users, [tail, 1 - tail], axis=0)
    return dict(zip(names, zip(lower.tolist(), upper.tolist(), strict=True), strict=True))


def metric_gains() -> tuple[list[str], np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Names of the metrics and what a user adds to each by rank, (21, metrics); row 0 is beyond rank 20."""
    rank = np.arange(CUTOFFS[-1] + 1, dtype=np.float64)
    rank[0] = np.inf
    gains = {}
    for cutoff in CUTOFFS:
        hit = (rank <= cutoff).astype(np.float64)
        gains[f"hr@{cutoff}"] = hit
        gains[f"ndcg@{cutoff}"] = hit / np.log2(rank + 1)
        gains[f"mrr@{cutoff}"] = hit / rank
    return list(gains), np.stack(list(gains.values()), axis=1)


class RankHistogram(Metric):
    """Counts users by the rank of their target; HR, NDCG and MRR at 5, 10 and 20 come from the counts.

    Its state is 21 integers, summed over processes and never part of a checkpoint.

    >>> metric = RankHistogram()
    >>> metric.update(torch.tensor([1, 7, 500]))
    >>> round(metric.compute()["hr@5"], 4), round(metric.compute()["hr@10"], 4)
    (0.3333, 0.6667)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        zeros = torch.zeros(CUTOFFS[-1] + 1, dtype=torch.int64)
        self.add_state("counts", zeros, dist_reduce_fx="sum", persistent=False)
        self._reduced: Tensor | None = None

    def update(self, rank_B: Tensor) -> None:
        """Adds users.

        Args:
            rank_B: Ranks from 1, int64; may be empty.
        """
        beyond_B = rank_B > CUTOFFS[-1]
        self.counts = self.counts.scatter_add(0, rank_B.masked_fill(beyond_B, 0), torch.ones_like(rank_B))

    def compute(self) -> dict[str, float]:
        """Metrics over the users of all processes, see ``metrics_from_histogram``."""
        self._reduced = self.counts.clone()
        return metrics_from_histogram(self._reduced)

    def histogram(self) -> Tensor:
        """The counts ``compute`` saw, those of all processes: (21,) int64, index 0 holds ranks beyond 20.

        Raises:
            RuntimeError: ``compute`` has not run since the last reset.
        """
        if self._reduced is None:
            msg = "RankHistogram.histogram() gives the counts of all processes; call compute() first."
            raise RuntimeError(msg)
        return self._reduced

    def reset(self) -> None:
        """Forgets all users."""
        super().reset()
        self._reduced = None

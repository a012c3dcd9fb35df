"""Full-catalogue ranking of several held-out items a user: recall, NDCG, precision and MAP.

The best items of a user are found block by block, without a matrix of users times items. Targets lose ties,
as in ``zoo.metrics.ranking``: a collapsed model that gives all items one score has no hit. What is kept of
the users are sums of integers (a user's value in steps of 2 ** -36), so that one process and many agree to
the last bit, whatever the order.

Definitions: enoche/MMRec (e775373), ``utils/metrics.py``.
"""

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.metrics.ranking import hide, score_blocks

CUTOFFS = (5, 10, 20, 50)
"""Where metrics are cut off."""
NAMES = tuple(f"{name}@{cutoff}" for cutoff in CUTOFFS for name in ("recall", "ndcg", "precision", "map"))
"""The metrics M, in the order of their values."""
STEPS = 2.0**36
"""Steps between 0 and 1 that a user's value is rounded to: sums of 2 ** 26 users fit into 64 bits."""


def target_places(
    user_BD: Tensor, table_ID: Tensor, target_BP: Tensor, hidden_BH: Tensor, k: int = CUTOFFS[-1]
) -> Tensor:
    """Where among every user's best k items each of the targets stands.

    A target that is itself hidden, or whose score is NaN or -inf, stands nowhere.

    Args:
        user_BD: User vectors.
        table_ID: Item vectors; row 0 is padding and never a candidate.
        target_BP: Catalogue ids of the targets, distinct, 0-padded.
        hidden_BH: Catalogue ids that may not be recommended, 0-padded; H may be 0.
        k: Items looked at.

    Returns:
        Places from 1, (B, P) int32; 0 where a target is not among the best k, and where there is none.

    >>> user_BD, table_ID = torch.ones(1, 1), torch.tensor([[9.0], [4.0], [3.0], [2.0], [3.0]])
    >>> target_places(user_BD, table_ID, torch.tensor([[2, 3, 0]]), torch.tensor([[1]]), k=3).tolist()
    [[2, 3, 0]]
    """
    n_items = table_ID.shape[0]
    place_BP = torch.zeros(target_BP.shape, dtype=torch.int32, device=user_BD.device)
    best = min(k, n_items - 1)
    place_K = torch.arange(1, best + 1, dtype=torch.float32, device=user_BD.device)
    for rows, scores_RI in score_blocks(user_BD, table_ID):
        target_RP = target_BP[rows]
        hide(scores_RI, hidden_BH[rows], None)
        scores_RI.nan_to_num_(float("-inf"), float("inf"), float("-inf"))  # a sort would put NaN first
        # The next smaller number, so that an item of equal score comes before a target.
        below_RP = torch.nextafter(scores_RI.gather(1, target_RP), scores_RI.new_tensor(float("-inf")))
        scores_RI.scatter_(1, target_RP, below_RP)
        best_RK, item_RK = scores_RI.topk(best)
        # The scores are not needed any more: places are written over them.
        scores_RI.zero_().scatter_(1, item_RK, place_K * (best_RK > float("-inf")))
        place_BP[rows] = scores_RI.gather(1, target_RP).int()
    return place_BP


def hits_at(place_BP: Tensor, k: int = CUTOFFS[-1]) -> Tensor:
    """Which of the best k places hold a target, (B, k) bool, best place first.

    Args:
        place_BP: What ``target_places`` gives.
        k: Places.

    >>> hits_at(torch.tensor([[2, 3, 0]]), k=3).tolist()
    [[False, True, True]]
    """
    hits_BK = torch.zeros(len(place_BP), k + 1, dtype=torch.bool, device=place_BP.device)
    return hits_BK.scatter_(1, place_BP.long(), True)[:, 1:]


def target_hits(
    user_BD: Tensor, table_ID: Tensor, target_BP: Tensor, hidden_BH: Tensor, k: int = CUTOFFS[-1]
) -> Tensor:
    """Which of every user's best k items are among the targets, (B, k) bool; see ``target_places``."""
    return hits_at(target_places(user_BD, table_ID, target_BP, hidden_BH, k), k)


def user_values(hits_BK: Tensor, targets_B: Tensor) -> Tensor:
    """The metrics of every user.

    With hits h at ranks r and n targets: recall = sum h / n; NDCG = sum h / log2(r + 1) over the same sum of
    min(K, n) hits at the top; precision = sum h / K; MAP = sum of h times the precision at r over min(K, n).

    Args:
        hits_BK: Which of the best 50 items are targets.
        targets_B: Number of targets; 0 gives zeros.

    Returns:
        Values between 0 and 1 in the order of ``NAMES``, (B, M) float32.
    """
    n_ranks = hits_BK.shape[1]
    rank_K = torch.arange(1, n_ranks + 1, device=hits_BK.device)
    gain_K = 1.0 / torch.log2(rank_K + 1.0)
    hit_BK = hits_BK.float()
    found_BK = hit_BK.cumsum(1)
    gained_BK = (hit_BK * gain_K).cumsum(1)
    averaged_BK = (hit_BK * found_BK / rank_K).cumsum(1)
    best_K = gain_K.cumsum(0)
    n_B = targets_B.clamp(min=1)
    columns = []
    for cutoff in CUTOFFS:
        at = cutoff - 1
        most_B = n_B.clamp(max=cutoff)
        columns += [
            found_BK[:, at] / n_B,
            gained_BK[:, at] / best_K[most_B - 1],
            found_BK[:, at] / cutoff,
            averaged_BK[:, at] / most_B,
        ]
    return torch.stack(columns, dim=1) * (targets_B > 0)[:, None]


class TopKMean(Metric):
    """Means of the users' values, and how far they may be off.

    Its state is integers, summed over processes and never part of a checkpoint.

    >>> metric = TopKMean()
    >>> hits_BK = torch.zeros(2, 50, dtype=torch.bool)
    >>> hits_BK[0, 0] = True
    >>> targets_B = torch.tensor([1, 2])
    >>> metric.update(user_values(hits_BK, targets_B), targets_B)
    >>> metric.compute()["recall@5"], round(metric.compute()["precision@10"], 6)
    (0.5, 0.05)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    sum_M: Tensor
    squares_M: Tensor
    users: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, shape in (("sum_M", (len(NAMES),)), ("squares_M", (len(NAMES),)), ("users", ())):
            zeros = torch.zeros(shape, dtype=torch.int64)
            self.add_state(name, zeros, dist_reduce_fx="sum", persistent=False)
        self._reduced: tuple[Tensor, Tensor, Tensor] | None = None

    def update(self, values_BM: Tensor, targets_B: Tensor) -> None:
        """Adds users; those without a target are left out.

        Args:
            values_BM: What ``user_values`` gives.
            targets_B: Number of targets.
        """
        self.sum_M = self.sum_M + _steps(values_BM).sum(0)
        self.squares_M = self.squares_M + _steps(values_BM.square()).sum(0)
        self.users = self.users + (targets_B > 0).sum()

    def compute(self) -> dict[str, float]:
        """Metric -> mean over the users of all processes; NaN where there was none."""
        self._reduced = (self.sum_M.clone(), self.squares_M.clone(), self.users.clone())
        return {name: mean for name, (mean, _) in self._moments().items()}

    def _moments(self) -> dict[str, tuple[float, float]]:
        """Metric -> mean, and its standard error.

        Raises:
            RuntimeError: ``compute`` has not run since the last reset.
        """
        if self._reduced is None:
            raise RuntimeError("TopKMean speaks of the users of all processes; call compute() first.")
        sums, squares = self._reduced[0].tolist(), self._reduced[1].tolist()
        users = int(self._reduced[2])
        found = {}
        for name, total, square in zip(NAMES, sums, squares, strict=True):
            mean = total / STEPS / users if users else math.nan
            variance = max(0.0, square / STEPS / users - mean**2) if users else math.nan
            found[name] = (mean, math.sqrt(variance / users) if users else math.nan)
        return found

    def intervals(self, z: float = 1.959964) -> dict[str, tuple[float, float]]:
        """Metric -> ends of the 95 % confidence interval over users, by the normal approximation."""
        ends = {name: (mean - z * error, mean + z * error) for name, (mean, error) in self._moments().items()}
        return {name: (max(0.0, low), min(1.0, high)) for name, (low, high) in ends.items()}

    def n_users(self) -> int:
        """Users that ``compute`` saw, those of all processes."""
        return 0 if self._reduced is None else int(self._reduced[2])

    def reset(self) -> None:
        """Forgets all users."""
        super().reset()
        self._reduced = None


def _steps(values_BM: Tensor) -> Tensor:
    """Values as whole steps; a float32 times a power of two is exact."""
    return (values_BM * STEPS).long()

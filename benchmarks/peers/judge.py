"""One evaluator for everybody's scores: exact ranks over the whole catalogue, history hidden."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def ranks(
    scores_UI: npt.NDArray[np.float32],
    target_U: npt.NDArray[np.int64],
    hidden: Sequence[npt.NDArray[np.int64]] | None,
) -> npt.NDArray[np.int64]:
    """Rank of every target, 1 is best; it loses ties, as in ``zoo.metrics.ranking``.

    Args:
        scores_UI: Scores; -inf for items that a model does not know.
        target_U: Items from 0.
        hidden: Each user's items that may not be recommended; None where nothing is hidden.
    """
    scores_UI = scores_UI.copy()
    users = np.arange(len(target_U))
    target_score_U = scores_UI[users, target_U]
    if hidden is not None:
        rows = np.repeat(users, [len(items) for items in hidden])
        scores_UI[rows, np.concatenate(hidden)] = -np.inf
    scores_UI[users, target_U] = target_score_U
    rank_U: npt.NDArray[np.int64] = (scores_UI >= target_score_U[:, None]).sum(1)
    return np.where(np.isneginf(target_score_U), scores_UI.shape[1], rank_U)


def gains(rank_U: npt.NDArray[np.int64], cutoff: int = 10) -> Floats:
    """NDCG@cutoff of every user.

    >>> gains(np.array([1, 3, 11])).tolist()
    [1.0, 0.5, 0.0]
    """
    return np.where(rank_U <= cutoff, 1 / np.log2(rank_U + 1), 0.0)


def paired_interval(
    ours_U: Floats, theirs_U: Floats, seed: int = 0, draws: int = 2_000
) -> tuple[float, float]:
    """95 % interval of the mean difference, users drawn again with replacement."""
    gap_U = ours_U - theirs_U
    rng = np.random.default_rng(seed)
    means = [gap_U[rng.integers(0, len(gap_U), len(gap_U))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)

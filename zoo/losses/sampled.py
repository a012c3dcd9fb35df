"""Losses against sampled negatives, one for each positive.

The rows are whatever the caller scores: every real position of a history (sequence to sequence), the last
position of each user (sequence to one), or user-item pairs. All are in float32 whatever the autocast state.
"""

from torch import Tensor
from torch.nn import functional as F

from zoo.losses.rows import require_rows


def bce(user_PD: Tensor, positive_PD: Tensor, negative_PD: Tensor) -> Tensor:
    """Binary cross-entropy as SASRec and MoRec write it: the two means are added, not averaged.

    Args:
        user_PD: User states.
        positive_PD: Vectors of the true next items.
        negative_PD: Vectors of the sampled items.

    Returns:
        A scalar; 2 log 2 where all scores are zero.

    Raises:
        ValueError: There is no row.
    """
    positive_P, negative_P = pair_scores(user_PD, positive_PD, negative_PD)
    return F.softplus(-positive_P).mean() + F.softplus(negative_P).mean()


def bce_pairs(user_BD: Tensor, positive_BD: Tensor, negative_BD: Tensor) -> Tensor:
    """Binary cross-entropy as DSSM writes it: one mean over the 2 B logits, half the scale of ``bce``.

    Args:
        user_BD: User vectors.
        positive_BD: Vectors of the items the users took.
        negative_BD: Vectors of the sampled items.

    Returns:
        A scalar; log 2 where all scores are zero.

    Raises:
        ValueError: There is no row.
    """
    return bce(user_BD, positive_BD, negative_BD) / 2


def bpr(user_PD: Tensor, positive_PD: Tensor, negative_PD: Tensor) -> Tensor:
    """Bayesian personalised ranking: the positive should outscore the negative.

    Source: "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009,
    https://arxiv.org/abs/1205.2618.

    Args:
        user_PD: User states.
        positive_PD: Vectors of the true next items.
        negative_PD: Vectors of the sampled items.

    Returns:
        Mean of -log sigmoid(positive - negative), a scalar.

    Raises:
        ValueError: There is no row.
    """
    positive_P, negative_P = pair_scores(user_PD, positive_PD, negative_PD)
    return F.softplus(negative_P - positive_P).mean()


def pair_scores(user_PD: Tensor, positive_PD: Tensor, negative_PD: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products of users with positives and with negatives, (P,) each, float32.

    Raises:
        ValueError: There is no row.
    """
    require_rows(user_PD)
    user_PD = user_PD.float()
    return (user_PD * positive_PD.float()).sum(-1), (user_PD * negative_PD.float()).sum(-1)

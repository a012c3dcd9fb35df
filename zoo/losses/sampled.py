"""Losses against sampled negatives, one for each positive.

The rows are whatever the caller scores: every real position of a history (sequence to sequence), the last
position of each user (sequence to one), hidden slots, or user-item pairs. All are in float32 whatever the
autocast state. Where the host does not know which rows count, it scores more and gives the others weight 0.
"""

from torch import Tensor
from torch.nn import functional as F

from zoo.losses.rows import mean_of, require_rows


def bce(user_PD: Tensor, positive_PD: Tensor, negative_PD: Tensor, weight_P: Tensor | None = None) -> Tensor:
    """Binary cross-entropy as SASRec and MoRec write it: the two means are added, not averaged.

    Args:
        user_PD: User states.
        positive_PD: Vectors of the true next items.
        negative_PD: Vectors of the sampled items.
        weight_P: 1 where a row counts and 0 where not; by default all do.

    Returns:
        A scalar; 2 log 2 where all scores are zero, 0 where no row counts.

    Raises:
        ValueError: There is no row.
    """
    return gbce(user_PD, positive_PD, negative_PD, beta=1.0, weight_P=weight_P)


def gbce(
    user_PD: Tensor,
    positive_PD: Tensor,
    negative_PD: Tensor,
    beta: float,
    weight_P: Tensor | None = None,
) -> Tensor:
    """Generalised binary cross-entropy: the positive's probability is raised to the power ``beta``.

    Few negatives make a model too sure of its positives; a power below 1 takes that back. Source: "gSASRec:
    Reducing Overconfidence in Sequential Recommendation Trained with Negative Sampling", RecSys 2023,
    https://arxiv.org/abs/2307.07165. As in ``bce`` the means of the two terms are added, so that a ``beta``
    of 1 is that loss; the paper averages over the logits of a position, which is half of it.

    Args:
        user_PD: User states.
        positive_PD: Vectors of the true next items.
        negative_PD: Vectors of the sampled items.
        beta: The power, see ``calibrated_power``.
        weight_P: 1 where a row counts and 0 where not; by default all do.

    Returns:
        A scalar; 0 where no row counts.

    Raises:
        ValueError: There is no row.
    """
    positive_P, negative_P = pair_scores(user_PD, positive_PD, negative_PD)
    return mean_of(beta * F.softplus(-positive_P), weight_P) + mean_of(F.softplus(negative_P), weight_P)


def calibrated_power(t: float, rate: float) -> float:
    """The ``beta`` of ``gbce`` from how far to calibrate and the sampling rate.

    Args:
        t: 0 leaves binary cross-entropy as it is, 1 makes its probabilities those of the whole catalogue; the
            paper recommends 0.75.
        rate: Sampled negatives of a positive as a share of all other items.

    Raises:
        ValueError: A number outside its range.

    >>> calibrated_power(0.0, 0.01), calibrated_power(1.0, 0.01), round(calibrated_power(0.75, 0.01), 4)
    (1.0, 0.01, 0.2575)
    """
    if not 0 <= t <= 1 or not 0 < rate <= 1:
        raise ValueError(f"Expected 0 <= t <= 1 and 0 < rate <= 1, found t {t} and rate {rate}.")
    return rate * (t * (1 - 1 / rate) + 1 / rate)


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


def bpr(user_PD: Tensor, positive_PD: Tensor, negative_PD: Tensor, weight_P: Tensor | None = None) -> Tensor:
    """Bayesian personalised ranking: the positive should outscore the negative.

    Source: "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009,
    https://arxiv.org/abs/1205.2618.

    Args:
        user_PD: User states.
        positive_PD: Vectors of the true next items.
        negative_PD: Vectors of the sampled items.
        weight_P: 1 where a row counts and 0 where not; by default all do.

    Returns:
        Mean of -log sigmoid(positive - negative), a scalar; 0 where no row counts.

    Raises:
        ValueError: There is no row.
    """
    positive_P, negative_P = pair_scores(user_PD, positive_PD, negative_PD)
    return mean_of(F.softplus(negative_P - positive_P), weight_P)


def pair_scores(user_PD: Tensor, positive_PD: Tensor, negative_PD: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products of users with positives and with negatives, (P,) each, float32.

    Raises:
        ValueError: There is no row.
    """
    require_rows(user_PD)
    user_PD = user_PD.float()
    return (user_PD * positive_PD.float()).sum(-1), (user_PD * negative_PD.float()).sum(-1)

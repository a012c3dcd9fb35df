"""Softmax over the slots of a batch as shares of its distinct items, and one such softmax teaching another.

"Online Distillation-enhanced Multi-modal Transformer for Sequential Recommendation", ACM MM 2023,
https://arxiv.org/abs/2308.04067, official code https://github.com/xyliugo/ODMT (``model/model.py``). There
every slot of the batch is a candidate and an item in five slots is five equal columns; here it is one column
that counts five times in the normaliser and in the sum, as in ``zoo.losses.in_batch``: the same loss and the
same gradients.
"""

import math

import torch
from torch import Tensor

from zoo.losses.in_batch import slot_statistics
from zoo.losses.rows import require_rows, target_slots


def candidate_log_counts(slots_BS: Tensor, positions_P: Tensor, log_count_N: Tensor) -> Tensor:
    """How many slots of a distinct item are candidates at each position, as a logarithm.

    Args:
        slots_BS: Row of each slot among the N distinct items; 0 is padding.
        positions_P: Flat indices into (B, L) of the real positions.
        log_count_N: Log multiplicity of the items in the batch; -inf for padding.

    Returns:
        (P, N): -inf for the items of the row's own user, whose slots are no candidates, but 0 for the next
        item: the one slot that is right.
    """
    own_PS = slots_BS[positions_P // (slots_BS.shape[1] - 1)]
    target_P1 = target_slots(slots_BS, positions_P)[:, None]
    log_count_PN = log_count_N.repeat(len(positions_P), 1)
    return log_count_PN.scatter_(1, own_PS, -math.inf).scatter_(1, target_P1, 0.0)


def slot_scores(
    user_MPD: Tensor, item_MND: Tensor, slots_BS: Tensor, positions_P: Tensor, log_pop_BS: Tensor
) -> tuple[Tensor, Tensor]:
    """Scores of the batch's items in M views, corrected for popularity, and the candidates' counts.

    Args:
        user_MPD: User states at the real positions, in each view.
        item_MND: Vectors of the distinct items; row 0 is padding and is no candidate.
        slots_BS: Row of each slot among them.
        positions_P: Flat indices into (B, L) of the real positions.
        log_pop_BS: Log share of the training interactions of each slot's item.

    Returns:
        Scores (M, P, N), in float32 at least whatever the autocast state; ``candidate_log_counts`` (P, N).

    Raises:
        ValueError: The batch has no position.
    """
    require_rows(user_MPD[0])
    dtype = torch.promote_types(user_MPD.dtype, torch.float32)  # the logarithms do not survive half precision
    log_count_N, log_pop_N = slot_statistics(slots_BS, log_pop_BS.to(dtype), item_MND.shape[1])
    with torch.autocast(user_MPD.device.type, enabled=False):
        score_MPN = user_MPD.to(dtype) @ item_MND.to(dtype).transpose(1, 2) - log_pop_N
    return score_MPN, candidate_log_counts(slots_BS, positions_P, log_count_N)


def log_shares(score_PN: Tensor, log_count_PN: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-softmax over slots: what one slot of each item gets.

    Args:
        score_PN: Scores; further dimensions may stand before.
        log_count_PN: Logarithm of the slots an item has among the candidates, -inf for none.
        temperature: Scores are divided by it; the number of slots is not.

    Returns:
        As the scores. Finite also where there is no slot, so that nothing times it is zero and not NaN.

    >>> log_shares(torch.zeros(1, 3), torch.tensor([[1.0, 3.0, 0.0]]).log()).exp()
    tensor([[0.2500, 0.2500, 0.2500]])
    """
    score_PN = score_PN / temperature
    return score_PN - torch.logsumexp(score_PN + log_count_PN, dim=-1, keepdim=True)


def slot_ce(score_MPN: Tensor, log_count_PN: Tensor, target_P: Tensor) -> Tensor:
    """Cross-entropy of the next item in each view, from scores that are there anyway.

    Args:
        score_MPN: Scores.
        log_count_PN: As given to ``log_shares``; 0 for the target.
        target_P: Column of the next item.

    Returns:
        (M,) means over the P positions; ``zoo.losses.in_batch.in_batch_ce`` of each view.
    """
    index_MP1 = target_P[None, :, None].expand(len(score_MPN), -1, 1)
    right_MP = score_MPN.gather(2, index_MP1)[..., 0]
    return (torch.logsumexp(score_MPN + log_count_PN, dim=-1) - right_MP).mean(dim=-1)


def distillation_ce(
    student_PN: Tensor, teacher_PN: Tensor, log_count_PN: Tensor, temperature: float = 1.0
) -> Tensor:
    """Cross-entropy of the student's shares under the teacher's: KL divergence plus the teacher's entropy.

    Nothing is detached: gradients reach the teacher unless it comes detached.

    Args:
        student_PN: ``log_shares`` of the student at this temperature.
        teacher_PN: Those of the teacher.
        log_count_PN: As given to ``log_shares``.
        temperature: Its square scales the loss, so that gradients keep their size.

    Returns:
        Mean over the P positions, a scalar.

    >>> even = log_shares(torch.zeros(1, 4), torch.zeros(1, 4))
    >>> distillation_ce(even, even, torch.zeros(1, 4)).exp()
    tensor(4.)
    """
    mass_PN = (teacher_PN + log_count_PN).exp()
    return -(temperature**2) * (mass_PN * student_PN).sum(-1).mean()


def distillation_ramp(epoch: int, alpha: float) -> float:
    """Weight of the distillation in an epoch: rising over ``alpha`` epochs from exp(-5), or constant below 1.

    Args:
        epoch: Counted from 1.
        alpha: Length of the ramp in epochs; below 1, the weight itself.

    >>> [round(distillation_ramp(epoch, 20), 4) for epoch in (1, 5, 20, 30)], distillation_ramp(1, 0.02)
    ([0.011, 0.0601, 1.0, 1.0], 0.02)
    """
    if alpha < 1:
        return alpha
    return math.exp(-5.0 * (1.0 - min(epoch, alpha) / alpha) ** 2)

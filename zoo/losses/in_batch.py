"""In-batch softmax with popularity correction, over the distinct items of the batch.

"Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019,
https://doi.org/10.1145/3298689.3346996, in the form used by MoRec, https://arxiv.org/abs/2303.13835, official
code https://github.com/westlake-repl/IDvs.MoRec. There every slot of the batch is a candidate, so an item
that stands in five users' histories is five equal columns. Here it is one column raised by log 5: the same
softmax, the same gradients, and a matrix as narrow as the batch is repetitive.
"""

import torch
from torch import Tensor

from zoo.losses.fused import fused_cross_entropy
from zoo.losses.rows import target_slots


def in_batch_ce(
    user_PD: Tensor, item_ND: Tensor, slots_BS: Tensor, positions_P: Tensor, log_pop_BS: Tensor
) -> Tensor:
    """Cross-entropy of the next item against the other users' items, corrected for popularity.

    A row's candidates are the slots of the batch that hold none of the row's own user's items, and the target
    slot itself. Every logit is lowered by the log of the item's share of the training interactions.

    Scores are in float32 whatever the autocast state: the logarithms do not survive half precision. No (P, N)
    matrix is stored, and the device is asked for nothing.

    Args:
        user_PD: User states at the real positions.
        item_ND: Vectors of the distinct items; row 0 is padding and is no candidate.
        slots_BS: Row of ``item_ND`` each slot holds; 0 is padding.
        positions_P: Flat indices into (B, L) of the real positions, matching ``user_PD``.
        log_pop_BS: Log share of the training interactions of each slot's item.

    Returns:
        Mean loss over the P positions, a scalar.

    Raises:
        ValueError: The batch has no position.
    """
    target_P = target_slots(slots_BS, positions_P)
    own_PS = slots_BS[positions_P // (slots_BS.shape[1] - 1)]
    return debiased_ce(user_PD, item_ND, target_P, own_PS, slots_BS, log_pop_BS)


def debiased_ce(
    user_PD: Tensor,
    item_ND: Tensor,
    target_P: Tensor,
    own_PS: Tensor,
    slots_BS: Tensor,
    log_pop_BS: Tensor,
    weight_P: Tensor | None = None,
) -> Tensor:
    """What ``in_batch_ce`` computes, of rows whose targets the caller knows.

    Args:
        user_PD: User states.
        item_ND: Vectors of the distinct items; row 0 is padding and is no candidate.
        target_P: Row of ``item_ND`` that is right.
        own_PS: Rows of ``item_ND`` in the slots of the same user: no candidates, but for the target.
        slots_BS: Row of ``item_ND`` each slot holds; 0 is padding.
        log_pop_BS: Log share of the training interactions of each slot's item.
        weight_P: 1 where a row counts and 0 where not; by default all do.

    Returns:
        Mean loss over the rows that count, a scalar.

    Raises:
        ValueError: There is no row.
    """
    log_count_N, log_pop_N = slot_statistics(slots_BS, log_pop_BS.float(), item_ND.shape[0])
    # The positive is one slot: its copies are the user's own items, so its column loses its log multiplicity.
    return fused_cross_entropy(
        user_PD,
        item_ND,
        target_P,
        removed_PS=own_PS,
        bias_N=log_count_N - log_pop_N,
        shift_P=-log_count_N[target_P],
        weight_P=weight_P,
    )


def slot_statistics(slots_BS: Tensor, log_pop_BS: Tensor, n_items: int) -> tuple[Tensor, Tensor]:
    """Log multiplicity and log popularity of each distinct item of the batch.

    Args:
        slots_BS: Row of each slot among the distinct items; 0 is padding.
        log_pop_BS: Log popularity of each slot's item.
        n_items: Distinct items N, padding included.

    Returns:
        Two (N,) tensors. The log multiplicity is -inf for padding and for items in no slot, as negatives are.
    """
    slots = slots_BS.flatten()
    count_N = log_pop_BS.new_zeros(n_items).scatter_add(0, slots, torch.ones_like(log_pop_BS).flatten())
    count_N[0].zero_()
    log_pop_N = log_pop_BS.new_zeros(n_items).scatter(0, slots, log_pop_BS.flatten())
    return count_N.log(), log_pop_N

"""Losses of models that hide items of a history and guess them, as BERT4Rec does.

Which slots are hidden is drawn on the device, so the host does not know how many there are. All real slots,
whose number it does know, are scored, and those in view get weight 0: no step waits for the device, and a
batch in which nothing happens to be hidden has a loss of 0.
"""

from torch import Tensor

from zoo.losses.full import FullKernel, full_ce
from zoo.losses.in_batch import debiased_ce
from zoo.losses.rows import real_slots
from zoo.losses.sampled import bpr, gbce
from zoo.types import SequenceBatch

MASKED_LOSSES = frozenset({"in_batch", "bce", "bpr", "gbce", "full"})
"""Losses that hidden items can be guessed with."""


def masked_loss(
    loss: str,
    user_BSD: Tensor,
    item_ND: Tensor,
    batch: SequenceBatch,
    hidden_BS: Tensor,
    beta: float = 1.0,
    kernel: FullKernel = "own",
) -> Tensor:
    """A loss over the hidden slots of a batch.

    Args:
        loss: One of ``MASKED_LOSSES``.
        user_BSD: State at every slot, of histories whose hidden items were replaced.
        item_ND: Vectors of the batch's distinct items; of the catalogue for ``full``.
        batch: Where the items and, for the sampled losses, their negatives of every slot are; ``slots_BS``
            are rows of ``item_ND``.
        hidden_BS: True where an item is hidden.
        beta: Power of ``gbce``.
        kernel: What computes ``full`` on a GPU.

    Returns:
        Mean over the hidden slots, a scalar; 0 where none is.

    Raises:
        ValueError: Another loss, or a batch without real slots.
    """
    n_users, n_slots = batch.slots_BS.shape
    rows_R = real_slots(batch.positions_P, n_users, n_slots)
    user_RD, target_R = user_BSD.flatten(0, 1)[rows_R], batch.slots_BS.flatten()[rows_R]
    weight_R = hidden_BS.flatten()[rows_R].float()
    match loss:
        case "in_batch":
            own_RS = batch.slots_BS[rows_R // n_slots]
            return debiased_ce(user_RD, item_ND, target_R, own_RS, batch.slots_BS, batch.log_pop_BS, weight_R)
        case "full":
            return full_ce(user_RD, item_ND, target_R, weight_R, kernel)
        case "bce" | "gbce" | "bpr":
            assert batch.negative_slots_BL is not None
            positive_RD, negative_RD = item_ND[target_R], item_ND[batch.negative_slots_BL.flatten()[rows_R]]
            if loss == "bpr":
                return bpr(user_RD, positive_RD, negative_RD, weight_R)
            return gbce(user_RD, positive_RD, negative_RD, beta if loss == "gbce" else 1.0, weight_R)
    raise ValueError(f"Hidden items are guessed with {', '.join(sorted(MASKED_LOSSES))}; found {loss!r}.")

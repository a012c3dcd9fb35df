"""The next-item losses a sequential model can be trained with, by name."""

from typing import Literal

from torch import Tensor

from zoo.losses.full import FullKernel, full_ce
from zoo.losses.in_batch import in_batch_ce
from zoo.losses.rows import newest_rows, target_slots
from zoo.losses.sampled import bce, bpr, gbce
from zoo.types import SequenceBatch

Loss = Literal["in_batch", "bce", "last_bce", "bpr", "gbce", "full"]
"""Debiased in-batch softmax; BCE, BPR and generalised BCE with one negative a position; BCE at the last
position only; softmax over the catalogue."""
SAMPLED = frozenset({"bce", "last_bce", "bpr", "gbce"})
"""Losses that need sampled negatives."""


def next_item_loss(
    loss: Loss,
    user: Tensor,
    item_ND: Tensor,
    batch: SequenceBatch,
    beta: float = 1.0,
    kernel: FullKernel = "own",
) -> Tensor:
    """A loss over the real positions of a batch.

    Args:
        loss: Its name.
        user: States at the real positions (P, D), or at all (B, L, D).
        item_ND: Vectors of the batch's distinct items; of the catalogue for ``full``.
        batch: Where the labels and negatives are; ``slots_BS`` are rows of ``item_ND``.
        beta: Power of ``gbce``, see ``zoo.losses.sampled.calibrated_power``.
        kernel: What computes ``full`` on a GPU.

    Returns:
        A scalar.

    Raises:
        ValueError: The batch has no position.
    """
    user_PD = user if user.ndim == 2 else user.flatten(0, 1)[batch.positions_P]
    match loss:
        case "in_batch":
            return in_batch_ce(user_PD, item_ND, batch.slots_BS, batch.positions_P, batch.log_pop_BS)
        case "full":
            target_P = target_slots(batch.slots_BS, batch.positions_P)
            return full_ce(user_PD, item_ND, target_P, kernel=kernel)
    assert batch.negative_slots_BL is not None
    positive_BL, negative_BL = batch.slots_BS[:, 1:], batch.negative_slots_BL
    if loss == "last_bce":
        user_BD = user_PD[newest_rows(batch.positions_P, positive_BL)]
        return bce(user_BD, item_ND[positive_BL[:, -1]], item_ND[negative_BL[:, -1]])
    positive_PD = item_ND[positive_BL.flatten()[batch.positions_P]]
    negative_PD = item_ND[negative_BL.flatten()[batch.positions_P]]
    if loss == "bpr":
        return bpr(user_PD, positive_PD, negative_PD)
    return gbce(user_PD, positive_PD, negative_PD, beta if loss == "gbce" else 1.0)

"""Softmax over the whole catalogue, in memory that does not grow with labels times items."""

from torch import Tensor

from zoo.losses.fused import fused_cross_entropy


def full_ce(user_PD: Tensor, table_ID: Tensor, target_P: Tensor) -> Tensor:
    """Cross-entropy of the next item against every item of the catalogue.

    Args:
        user_PD: User states at the real positions.
        table_ID: Item vectors of the whole catalogue; row 0 is padding and is no candidate.
        target_P: Catalogue ids of the next items.

    Returns:
        Mean loss over the P positions, a scalar.

    Raises:
        ValueError: The batch has no position.

    >>> import torch
    >>> full_ce(torch.zeros(2, 3), torch.ones(5, 3), torch.tensor([1, 4])).exp()
    tensor(4.)
    """
    padding_P1 = target_P.new_zeros(target_P.shape[0], 1)
    return fused_cross_entropy(user_PD, table_ID, target_P, removed_PS=padding_P1)

"""Where the labels of a batch are: from flat positions to the slots of their targets."""

from torch import Tensor


def target_slots(slots_BS: Tensor, positions_P: Tensor) -> Tensor:
    """The slot value one step after each position: what the state there should predict.

    Args:
        slots_BS: Ids, or rows among the distinct items, of the S = L + 1 slots.
        positions_P: Flat indices into (B, L).

    Returns:
        (P,) values of ``slots_BS``.

    >>> import torch
    >>> target_slots(torch.tensor([[0, 7, 8], [4, 5, 6]]), torch.tensor([1, 2, 3]))
    tensor([8, 5, 6])
    """
    length = slots_BS.shape[1] - 1
    # Position b L + t has its target at slot b (L + 1) + t + 1.
    return slots_BS.flatten()[positions_P + positions_P // length + 1]


def require_rows(user_PD: Tensor) -> None:
    """Refuses a batch without a label: its mean loss would be 0 / 0.

    Raises:
        ValueError: There is no row.
    """
    if user_PD.shape[0] == 0:
        msg = (
            "The batch has no position with a next item, so there is nothing to learn from it. "
            "Expected at least one user with two training interactions; drop shorter histories from the data."
        )
        raise ValueError(msg)

"""Where the labels of a batch are: from flat positions to the slots of their targets."""

import torch
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


def real_slots(positions_P: Tensor, n_users: int, n_slots: int) -> Tensor:
    """Flat indices into (B, S) of the slots that hold an item; their number is known without the device.

    Args:
        positions_P: Flat indices into (B, L) of the positions that hold an item and have a next one.
        n_users: Users B.
        n_slots: Slots S = L + 1.

    Returns:
        (P + B,) indices: those of the positions, then each user's last slot, which a training history fills.

    >>> import torch
    >>> real_slots(torch.tensor([1, 2, 3]), n_users=2, n_slots=3)  # of [[0, 7, 8], [4, 5, 6]]
    tensor([1, 3, 4, 2, 5])
    """
    last_B = torch.arange(1, n_users + 1, device=positions_P.device) * n_slots - 1
    # Position b L + t is slot b (L + 1) + t.
    return torch.cat([positions_P + positions_P // (n_slots - 1), last_B])


def newest_rows(positions_P: Tensor, batch_BL: Tensor) -> Tensor:
    """Which of the real positions is each user's newest; a training history has one.

    Args:
        positions_P: Flat indices into (B, L), in order.
        batch_BL: Anything of that shape.

    Returns:
        (B,) indices into P.

    >>> import torch
    >>> newest_rows(torch.tensor([1, 2, 5]), torch.zeros(2, 3))
    tensor([1, 2])
    """
    n_users, length = batch_BL.shape
    newest_B = torch.arange(1, n_users + 1, device=positions_P.device) * length - 1
    return torch.searchsorted(positions_P, newest_B)


def mean_of(value_P: Tensor, weight_P: Tensor | None) -> Tensor:
    """Mean of the rows, or of those with weight 1; 0 where no row has.

    Args:
        value_P: One value a row.
        weight_P: 1 where a row counts and 0 where not; None where all do.

    >>> import torch
    >>> mean_of(torch.tensor([2.0, 4.0]), None), mean_of(torch.tensor([2.0, 4.0]), torch.tensor([0.0, 1.0]))
    (tensor(3.), tensor(4.))
    """
    if weight_P is None:
        return value_P.mean()
    return (value_P * weight_P).sum() / weight_P.sum().clamp(min=1)


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

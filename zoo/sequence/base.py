"""What every sequence backbone looks like, and the attention mask they share."""

from typing import Protocol

import torch
from torch import Tensor


class SequenceBackbone(Protocol):
    """Turns item vectors in order into one user state a position.

    Any module with this signature fits; nothing has to be inherited. Constructors take plain values:
    ``width``, ``max_len`` and what the paper adds. The state at a position depends on the items up to it and
    on nothing that stands at padded positions.
    """

    max_len: int
    """The longest history L accepted; the data must not send a longer one."""

    def forward(self, item_BLD: Tensor, real_BL: Tensor) -> Tensor:
        """Reads the histories.

        Args:
            item_BLD: Item vectors, left-padded, trimmed on the left or not: the last slot is the newest item.
            real_BL: True where a slot holds an item, false where it is padding.

        Returns:
            (B, L, D) user states; what stands at padded positions is finite and means nothing.
        """
        ...

    def __call__(self, item_BLD: Tensor, real_BL: Tensor) -> Tensor:
        """Calls ``forward``, as modules do."""
        ...


def causal_mask(real_BL: Tensor) -> Tensor:
    """Which key each query may look at: real ones up to itself. A padded query looks at itself only.

    Letting the padded query see itself keeps its softmax over a non-empty set, so no NaN arises there to
    spoil gradients, and nothing else ever reads it.

    Args:
        real_BL: True where a slot holds an item.

    Returns:
        (B, 1, L, L) bool, query by key, true where attention is allowed; broadcasts over heads.

    >>> causal_mask(torch.tensor([[False, True, True]])).int()
    tensor([[[[1, 0, 0],
              [0, 1, 0],
              [0, 1, 1]]]], dtype=torch.int32)
    """
    length = real_BL.shape[1]
    past_LL = torch.ones(length, length, dtype=torch.bool, device=real_BL.device).tril()
    self_LL = torch.eye(length, dtype=torch.bool, device=real_BL.device)
    both_BLL = real_BL[:, :, None] & real_BL[:, None, :]
    return ((both_BLL & past_LL) | self_LL)[:, None]  # (B, L, L) -> (B, 1, L, L)

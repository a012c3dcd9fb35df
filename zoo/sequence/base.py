"""What every sequence backbone looks like, and the attention masks they share."""

from typing import ClassVar, Literal, Protocol, TypeGuard

import torch
from torch import Tensor, nn

from zoo.sequence.layout import Layout

Padding = Literal["skip", "vector"]
"""What a backbone without an attention mask does about padded slots: see ``zoo.sequence.padding``."""


class SequenceBackbone(Protocol):
    """Turns item vectors in order into one user state a position.

    Any module with this signature fits; nothing has to be inherited. Constructors take plain values:
    ``width``, ``max_len`` and what the paper adds. The state at a position depends on nothing that stands at
    padded positions and, unless the backbone is ``masked``, on the items up to it only.
    """

    max_len: int
    """The longest history L accepted; the data must not send a longer one."""

    masked: ClassVar[bool]
    """Whether it reads in both directions and learns by guessing hidden items (``MaskedBackbone``)."""

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


class PackingBackbone(SequenceBackbone, Protocol):
    """A backbone that can also be given the real positions of a batch alone."""

    @property
    def packs(self) -> bool:
        """Whether it can, as it was made."""
        ...

    def at_positions(self, item_PD: Tensor, layout: Layout) -> Tensor:
        """What ``forward`` gives at the real positions, (P, D), without computing the others.

        Args:
            item_PD: Item vectors.
            layout: Where they stand.
        """
        ...

    def newest(self, item_PD: Tensor, layout: Layout) -> Tensor:
        """What ``at_positions`` gives at the newest position of every user, (B, D)."""
        ...


class MaskedBackbone(SequenceBackbone, Protocol):
    """A backbone that hides items of a history behind a learned vector and guesses them.

    It reads up to S = ``max_len`` + 1 slots: all of a training window, or a history and the item to guess.
    """

    def draw(self, real_BS: Tensor) -> Tensor:
        """Which real slots of a training batch to hide, (B, S) bool, at random."""
        ...

    def hide(self, item_BSD: Tensor, hidden_BS: Tensor) -> Tensor:
        """Item vectors with the learned vector at the hidden slots."""
        ...

    def next_state(self, item_BLD: Tensor, real_BL: Tensor) -> Tensor:
        """State (B, D) at a hidden slot appended to the histories: the user vector."""
        ...


def is_masked(backbone: nn.Module) -> TypeGuard[MaskedBackbone]:
    """Whether a backbone learns by guessing hidden items; one that does not say reads forward only."""
    return getattr(backbone, "masked", False) is True


def is_packing(backbone: nn.Module) -> TypeGuard[PackingBackbone]:
    """Whether a backbone can be given the real positions alone."""
    return getattr(backbone, "packs", False) is True


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


def mutual_mask(real_BL: Tensor) -> Tensor:
    """Like ``causal_mask`` without the order: real queries look at all real keys.

    >>> mutual_mask(torch.tensor([[False, True, True]])).int()
    tensor([[[[1, 0, 0],
              [0, 1, 1],
              [0, 1, 1]]]], dtype=torch.int32)
    """
    self_LL = torch.eye(real_BL.shape[1], dtype=torch.bool, device=real_BL.device)
    both_BLL = real_BL[:, :, None] & real_BL[:, None, :]
    return (both_BLL | self_LL)[:, None]  # (B, L, L) -> (B, 1, L, L)


def too_long(name: str, slots: int, length: int) -> ValueError:
    """The error of histories that are longer than a backbone was built for."""
    return ValueError(
        f"{name} has {slots} positions but got histories of length {length}; "
        "give model and data the same max_len."
    )


def one_of(name: str, option: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuses an unknown value of an option that comes from a config.

    Raises:
        ValueError: The value is none of the choices.
    """
    if value not in choices:
        raise ValueError(f"{name}: {option} is one of {', '.join(choices)}; found {value!r}.")

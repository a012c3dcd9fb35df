"""What fusions share: checks of the number of parts, and parts as tokens."""

import torch
from torch import Tensor

from zoo.encoders.base import Encoded

ANY_NUMBER = "add, cat, sum, concat and merge_attn"
"""The fusions that take any number of parts."""


def require_pair(name: str, n_parts: int, why: str) -> None:
    """Refuses anything but two parts.

    Args:
        name: The fusion.
        n_parts: Parts the model has.
        why: What the two are for.

    Raises:
        ValueError: There are more or fewer.
    """
    if n_parts != 2:
        raise ValueError(
            f"The fusion {name!r} takes exactly two parts ({why}), but the model has {n_parts}. Leave out "
            f"modalities or item_id until two are left, or use one of {ANY_NUMBER}, which take any number."
        )


def require_several(name: str, n_parts: int) -> None:
    """Refuses a fusion of fewer than two parts.

    Raises:
        ValueError: There is nothing to fuse.
    """
    if n_parts < 2:
        raise ValueError(
            f"The fusion {name!r} needs at least two parts, but the model has {n_parts}. A single part is "
            "the item vector as it is: make no fusion for it."
        )


def require_parts(name: str, expected: int, parts: list[Encoded]) -> None:
    """Refuses a call with another number of parts than the fusion was made for.

    Raises:
        ValueError: There are more or fewer.
    """
    if len(parts) != expected:
        raise ValueError(f"The fusion {name!r} was made for n_parts={expected} but got {len(parts)}.")


def part_tokens(part: Encoded) -> Tensor:
    """The tokens (N, T, D) of a part; a part without tokens, such as an item id, is one token."""
    return part.pooled_ND[:, None] if part.tokens_NTD is None else part.tokens_NTD


def part_mask(part: Encoded) -> Tensor | None:
    """Which of ``part_tokens`` are real, (N, T) bool; None where all are."""
    return None if part.tokens_NTD is None else part.mask_NT


def side_by_side(parts: list[Encoded]) -> tuple[Tensor, Tensor | None]:
    """The tokens of all parts in one row an item, and which of them are real (None: all).

    >>> text = Encoded(torch.zeros(1, 2), torch.zeros(1, 3, 2), torch.tensor([[True, True, False]]))
    >>> tokens_NTD, mask_NT = side_by_side([text, Encoded(torch.ones(1, 2))])
    >>> tuple(tokens_NTD.shape), mask_NT.int().tolist()
    ((1, 4, 2), [[1, 1, 0, 1]])
    """
    tokens = [part_tokens(part) for part in parts]
    masks = [part_mask(part) for part in parts]
    tokens_NTD = torch.cat(tokens, dim=1)
    if all(mask_NT is None for mask_NT in masks):
        return tokens_NTD, None
    filled = [
        torch.ones(part_NTD.shape[:2], dtype=torch.bool, device=part_NTD.device)
        if mask_NT is None
        else mask_NT
        for part_NTD, mask_NT in zip(tokens, masks, strict=True)
    ]
    return tokens_NTD, torch.cat(filled, dim=1)

"""Histories as a distillation asks for them, and what a student's step has encoded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.content import ContentRecommender
from zoo.encoders.base import Encoded
from zoo.types import Content


class Encodings(NamedTuple):
    """What a student's step encoded."""

    ids_N: Tensor
    """Sorted distinct items, the padding item first."""
    parts: dict[str, Encoded]
    """Modalities of all but the padding item."""


@contextmanager
def encodings(host: ContentRecommender) -> Iterator[list[Encodings]]:
    """Remembers what a student encodes meanwhile, so that nothing is encoded twice."""
    seen: list[Encodings] = []
    encode = host.encode_parts

    def remember(ids_N: Tensor, content: dict[str, Content]) -> dict[str, Encoded]:
        parts = encode(ids_N, content)
        seen.append(Encodings(ids_N, parts))
        return parts

    host.encode_parts = remember  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        del host.encode_parts  # the class's shows again


def last_histories(items_BS: Tensor, positions: int) -> tuple[Tensor, Tensor]:
    """Histories before the last items of training rows, and what each counts.

    Args:
        items_BS: Left-padded histories with their last targets.
        positions: How many histories a row gives: before its last item, before the one before it, and so on.

    Returns:
        Histories (R, L), R = B x positions; shares (R,) that add up to 1, 0 for empty histories.

    >>> items_RL, share_R = last_histories(torch.tensor([[0, 7, 8], [4, 5, 6]]), 2)
    >>> items_RL.tolist(), share_R.tolist()
    ([[0, 7], [4, 5], [0, 0], [0, 4]], [0.3333333432674408, 0.3333333432674408, 0.0, 0.3333333432674408])
    """
    length = items_BS.shape[1] - 1
    parts = [F.pad(items_BS[:, : length - k], (k, 0)) for k in range(min(positions, length))]
    items_RL = torch.cat(parts)
    real_R = (items_RL[:, -1] != 0).float()
    return items_RL, real_R / real_R.sum().clamp(min=1)

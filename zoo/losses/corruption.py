"""Histories with some items shuffled and some replaced, for objectives that must notice it.

Histories are rows of indices into the distinct items of a batch, so corrupting them costs no encoder pass:
the vectors are gathered from other rows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

UNCHANGED, SHUFFLED, REPLACED = 0, 1, 2
"""Labels of a slot."""


class Corrupted(NamedTuple):
    """Corrupted histories and what happened to each input."""

    slots_BS: Tensor
    """Row of the distinct items each slot now holds; padding and the last slot stay."""
    label_BL: Tensor
    """``UNCHANGED``, ``SHUFFLED`` or ``REPLACED``; ``UNCHANGED`` where padded."""


def corrupt(
    slots_BS: Tensor, n_items: int, shuffle_ratio: float = 0.15, replace_ratio: float = 0.05
) -> Corrupted:
    """Shuffles some of each user's inputs among themselves and replaces some others.

    Of a user's n inputs, round(shuffle_ratio n) pass their items round in a circle, which of all permutations
    leaves none in its place; a single one has no partner and stays. An input that receives an equal item
    counts as unchanged. round(replace_ratio n) others get items of other users that are nowhere in the user's
    own history, drawn by how often they stand in the batch, each at most once a user; where too few exist,
    inputs stay. Halves are rounded to even.

    The draws come from the default generator of the device.

    Args:
        slots_BS: Row among the distinct items each slot holds, 0 is padding; the last is the final target and
            is not corrupted.
        n_items: Distinct items N, padding included.
        shuffle_ratio: Share of the inputs that are shuffled.
        replace_ratio: Share of the inputs that are replaced; the two are at most 1 together.

    Returns:
        The histories and the labels of their inputs.
    """
    slots_BL = slots_BS[:, :-1]
    real_BL = slots_BL != 0
    count_B1 = real_BL.sum(1, keepdim=True)
    shuffled_B1 = (shuffle_ratio * count_B1).round().long()
    shuffled_B1 = torch.where(shuffled_B1 < 2, 0, shuffled_B1)
    replaced_B1 = (replace_ratio * count_B1).round().long()
    # A random order of the real inputs, padding last: the first are shuffled, the next replaced.
    key_BL = torch.rand(slots_BL.shape, device=slots_BL.device).masked_fill(~real_BL, 2.0)
    order_BL = key_BL.argsort(1)
    rank_BL = order_BL.argsort(1)
    is_shuffled_BL = rank_BL < shuffled_B1
    source_BL = order_BL.gather(1, (rank_BL + 1) % shuffled_B1.clamp(min=1))
    noised_BL = torch.where(is_shuffled_BL, slots_BL.gather(1, source_BL), slots_BL)
    label_BL = (is_shuffled_BL & (noised_BL != slots_BL)) * SHUFFLED

    strangers_BR = draw_strangers(slots_BS, n_items, int(replace_ratio * slots_BL.shape[1]) + 1)
    turn_BL = rank_BL - shuffled_B1
    enough_BL = turn_BL < strangers_BR.shape[1]
    stranger_BL = strangers_BR.gather(1, turn_BL.clamp(0, strangers_BR.shape[1] - 1))
    is_replaced_BL = (turn_BL >= 0) & (turn_BL < replaced_B1) & real_BL & enough_BL & (stranger_BL != 0)
    noised_BL = torch.where(is_replaced_BL, stranger_BL, noised_BL)
    label_BL = torch.where(is_replaced_BL, REPLACED, label_BL)
    return Corrupted(torch.cat([noised_BL, slots_BS[:, -1:]], dim=1), label_BL)


def draw_strangers(slots_BS: Tensor, n_items: int, n_draws: int) -> Tensor:
    """Items of other users that a user has not, without repetition, by how often they stand in the batch.

    Args:
        slots_BS: Row among the distinct items each slot holds; 0 is padding.
        n_items: Distinct items N, padding included.
        n_draws: Items R wanted a user; never more than N come.

    Returns:
        (B, R) rows among the distinct items; 0 where a user has too few strangers.
    """
    own_BN = occurrences(slots_BS, n_items)
    weight_BN = own_BN.sum(0).expand_as(own_BN).masked_fill(own_BN > 0, 0.0)
    # Waiting times at rates proportional to the weights: the first to arrive are a weighted draw.
    arrival_BN = torch.empty_like(own_BN).exponential_() / weight_BN
    arrival_BR, item_BR = arrival_BN.topk(min(n_draws, n_items), dim=1, largest=False)
    return item_BR.masked_fill(arrival_BR.isinf(), 0)


def occurrences(slots_BS: Tensor, n_items: int) -> Tensor:
    """How often each user holds each distinct item: (B, N) float32, 0 for padding.

    >>> occurrences(torch.tensor([[0, 2, 2], [1, 2, 0]]), n_items=3).int()
    tensor([[0, 0, 2],
            [0, 1, 1]], dtype=torch.int32)
    """
    count_BN = torch.zeros(slots_BS.shape[0], n_items, device=slots_BS.device)
    return count_BN.scatter_add(1, slots_BS, (slots_BS != 0).float())

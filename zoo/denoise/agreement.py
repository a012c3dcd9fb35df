"""How well an item's modalities agree with each other and with a user, and what an interaction counts then.

GUIDER ("Teach Me How to Denoise", WSDM 2025, https://doi.org/10.1145/3701551.3703507), as its released code
(https://github.com/Neon-Jing/Guider, ``models/guider.py``) has it, and our correction of it. All inputs are
vectors of one width; nothing here is trained by its result.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NOISY_FROM = 0.7
"""Relative distance of an item's modalities from which its interactions are called noisy."""
SELF_TERM = 1e-4
"""What the debiased divergence of two single points, of blur 0.1, is less than their distance."""
MARGIN = 0.2
"""By how much the right item's similarity must exceed a drawn one's, and the temperature of both."""


class RowWeights(NamedTuple):
    """What the interactions of a batch count, and why."""

    weight_P: Tensor
    """Weight of the loss, between 0 and 1."""
    clean_P: Tensor
    """False where the interaction is called noisy."""
    distance_P: Tensor
    """Distance of the item's modalities, 0 for the least of the batch, 1 for the largest."""


def modal_distance(parts: Sequence[Tensor]) -> Tensor:
    """How far an item's modalities are apart (N,), without gradient; of more than two, the mean of all pairs.

    The released code asks a Sinkhorn divergence for it; between single points that is their distance.

    Args:
        parts: Projected vectors (N, D) of each modality, at least two.

    >>> modal_distance([torch.tensor([[1.0, 2.0, 2.0]]), torch.zeros(1, 3)])
    tensor([2.9999])
    """
    pairs = combinations([part.detach() for part in parts], 2)
    apart = [torch.linalg.vector_norm(one_ND - other_ND, dim=1) for one_ND, other_ND in pairs]
    return torch.stack(apart).mean(0) - SELF_TERM


def relative_distance(distance_P: Tensor) -> Tensor:
    """Distances between the least and the largest of them as 0 to 1; all 0 where they are equal."""
    low, high = distance_P.amin(), distance_P.amax()
    return (distance_P - low) / (high - low + 1e-7)


def sign_codes(layer: nn.Module, vector_ND: Tensor) -> Tensor:
    """Signs of a linear image of vectors (N, K), without gradient; the K bits of a hash."""
    with torch.no_grad(), torch.autocast(vector_ND.device.type, enabled=False):
        return torch.sign(layer(vector_ND.detach().float()))


def hash_agreement(user_PK: Tensor, codes: Sequence[Tensor]) -> Tensor:
    """Share of a user's bits that an item's codes have, from 0 to 1; a half for codes of no relation.

    Args:
        user_PK: Codes of the users.
        codes: Codes (P, K) of the items' modalities.

    >>> hash_agreement(torch.ones(1, 4), [torch.ones(1, 4), torch.tensor([[1.0, 1.0, -1.0, -1.0]])])
    tensor([0.7500])
    """
    match_P = torch.stack([(user_PK * code_PK).mean(1) for code_PK in codes]).mean(0)
    return ((match_P + 1) / 2).clamp(0, 1)


def cosine_agreement(user_PD: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Mean cosine of a user with an item's modalities (P, D), from 0 to 1, without gradient."""
    cosines = [F.cosine_similarity(user_PD.detach(), part_PD.detach()) for part_PD in parts]
    return ((torch.stack(cosines).mean(0) + 1) / 2).clamp(0, 1)


def row_weights(
    distance_P: Tensor, agreement_P: Tensor, fixed: bool = False, noisy_from: float = NOISY_FROM
) -> RowWeights:
    """Weights of a batch of interactions.

    The released rule gives clean interactions their agreement and leaves noisy ones at 1: it doubles the
    influence of what it calls noise. The fixed rule is the other way round.

    Args:
        distance_P: Distances of the items' modalities.
        agreement_P: Of users with items, from 0 to 1.
        fixed: Weigh the noisy ones and not the clean ones.
        noisy_from: Relative distance from which an interaction is called noisy.

    >>> row_weights(torch.tensor([0.0, 1.0]), torch.tensor([0.4, 0.4])).weight_P
    tensor([0.4000, 1.0000])
    """
    relative_P = relative_distance(distance_P)
    clean_P = relative_P < noisy_from
    return RowWeights(torch.where(clean_P ^ fixed, agreement_P, 1.0), clean_P, relative_P)


def margin_contrast(user_PD: Tensor, right_PD: Tensor, wrong_PD: Tensor) -> Tensor:
    """How much a user is nearer to a drawn item's modality than to the right one's (P,), up to a margin.

    Args:
        user_PD: Users.
        right_PD: A modality of their items.
        wrong_PD: The same modality of items drawn at random.
    """
    right_P, wrong_P = (F.cosine_similarity(user_PD, other_PD) for other_PD in (right_PD, wrong_PD))
    return F.relu(MARGIN - (right_P / MARGIN).exp() + (wrong_P / MARGIN).exp())

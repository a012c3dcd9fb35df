"""Stage 2 of FMMRec: a modality's features split into an attribute-rich and an attribute-poor part.

Two linear maps of the content a user has consumed: the *biased* one keeps what tells the attributes, the
*filtered* one what tells the content without them. See ``zoo/models/fmmrec.py`` for paper and code.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.fair.probes import Probes, cross_entropies, random_labels

ORTHOGONAL = 0.1
ADVERSARIAL = 0.1
"""Weights of the authors' loss."""


class Branches(NamedTuple):
    """The two parts of some vectors."""

    biased_ND: Tensor
    filtered_ND: Tensor


class Disentangler(nn.Module):
    """Two linear maps without a non-linearity, so that users and items can be split by the same ones.

    Args:
        width: Of the modality's features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.biased = nn.Linear(width, width)
        self.filtered = nn.Linear(width, width)

    def forward(self, feature_ND: Tensor) -> Branches:
        """The two parts (N, D) of features of items, or of mean features of users."""
        return Branches(self.biased(feature_ND), self.filtered(feature_ND))


def content_loss(profile_BD: Tensor, branches: Branches) -> dict[str, Tensor]:
    """The filtered part keeps the direction of the content, and the two parts do not point the same way.

    Args:
        profile_BD: Mean features of what each user has consumed.
        branches: Of it.

    Returns:
        ``reconstruction``: mean of 1 - cos(filtered, profile). ``orthogonality``: weighted mean of
        max(0, cos(biased, filtered)).
    """
    kept_B = F.cosine_similarity(branches.filtered_ND, profile_BD, dim=-1)
    overlap_B = F.cosine_similarity(branches.biased_ND, branches.filtered_ND, dim=-1)
    return {"reconstruction": (1 - kept_B).mean(), "orthogonality": ORTHOGONAL * overlap_B.relu().mean()}


def split_loss(
    disentangler: Disentangler,
    probes: Probes,
    profile_BD: Tensor,
    label_KB: Tensor,
    n_classes: Sequence[int],
    parity: bool,
) -> tuple[dict[str, Tensor], Tensor]:
    """The loss of the two maps, and what their discriminators are then trained on.

    Args:
        disentangler: The maps.
        probes: Of two groups: the biased and the filtered branch.
        profile_BD: Mean features of the users.
        label_KB: Their attributes.
        n_classes: Of each attribute.
        parity: Compare the filtered branch with random labels where there are more than two classes, as the
            released code does. Its filtered features then grow in norm and the attribute stays in them.

    Returns:
        Named parts to be summed, and the branches (2, B, D) without gradient.
    """
    branches = disentangler(profile_BD)
    both_GBD = torch.stack(branches)
    logit_GKBC = probes(both_GBD)
    told_K = cross_entropies(logit_GKBC[:1], label_KB)[0]
    hidden_KB = random_labels(label_KB, n_classes) if parity else label_KB
    hidden_K = cross_entropies(logit_GKBC[1:], hidden_KB)[0]
    parts = content_loss(profile_BD, branches)
    parts["biased"] = ADVERSARIAL * told_K.sum()
    parts["filtered"] = -ADVERSARIAL * hidden_K.sum()
    return parts, both_GBD.detach()


def probe_loss(
    probes: Probes, both_GBD: Tensor, label_KB: Tensor, n_classes: Sequence[int], parity: bool
) -> Tensor:
    """What the discriminators of both branches minimise.

    Args:
        probes: The discriminators.
        both_GBD: Biased and filtered branch, without gradient.
        label_KB: Attributes of the users.
        n_classes: Of each attribute.
        parity: As for ``split_loss``.
    """
    logit_GKBC = probes(both_GBD)
    hidden_KB = random_labels(label_KB, n_classes) if parity else label_KB
    return cross_entropies(logit_GKBC[:1], label_KB).sum() + cross_entropies(logit_GKBC[1:], hidden_KB).sum()

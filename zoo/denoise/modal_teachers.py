"""GUIDER's teachers that weigh interactions by an item's text and picture; see ``zoo.denoise.teachers``."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.collaborative import Tables, rows_of
from zoo.denoise.agreement import (
    NOISY_FROM,
    RowWeights,
    cosine_agreement,
    hash_agreement,
    margin_contrast,
    modal_distance,
    row_weights,
    sign_codes,
)
from zoo.denoise.teachers import EDGES, Teacher, Verdict
from zoo.graph.item_graph import ItemGraph, mean_graph_of, shares_of
from zoo.graph.propagate import Graph, mean_over_nodes
from zoo.losses.host import bpr
from zoo.losses.rows import mean_of
from zoo.types import CatalogSpec, InteractionSource


class ItemGraphTeacher(Teacher):
    """Common part of the teachers that read features: FREEDOM's propagation, and distances of modalities.

    FREEDOM (https://arxiv.org/abs/2211.06924): vectors are passed along the pairs, and items get what frozen
    graphs of similar texts and pictures bring them. With one modality its graph alone is used and every
    interaction counts the same.

    Args:
        modalities: Modalities read; null for text and image.
        n_layers: Propagations along the pairs.
        n_item_layers: Propagations along the graph of similar items.
        knn_k: Similar items of an item, itself included.
        image_weight: Share of the pictures' graph; the texts' has the rest.
        noisy_from: Relative distance of an item's modalities from which its interactions are called noisy.
        **kwargs: Arguments of the bases, see ``Teacher`` and ``zoo.collaborative.CollaborativeRecommender``.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image", "text")

    def __init__(
        self,
        modalities: Sequence[str] | None = None,
        n_layers: int = 2,
        n_item_layers: int = 1,
        knn_k: int = 20,
        image_weight: float = 0.1,
        noisy_from: float = NOISY_FROM,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(modalities=modalities, **kwargs)
        self.n_layers = n_layers
        self.n_item_layers = n_item_layers
        self.knn_k = knn_k
        self.shares = shares_of(self.used_modalities, {"image": image_weight})
        self.noisy_from = noisy_from
        self.fixed = False

    @property
    def weighs(self) -> bool:
        """Whether both modalities are there, whose distance weighs interactions."""
        return len(self.used_modalities) == 2

    @property
    def projects(self) -> bool:
        """Whether features are projected to the width of users and items."""
        return self.weighs

    def catalogue_rows(self) -> tuple[str, ...]:
        """The item graph has a row an item."""
        return (*super().catalogue_rows(), "item_graph")

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the tables, the empty item graph and, where they are asked for, the projections."""
        super().build_parts(spec)
        self.item_graph = ItemGraph(self.n_items, len(self.shares) * self.knn_k)
        if self.projects:
            widths = {m: spec.feature_widths[m] for m in self.used_modalities}
            self.projections = nn.ModuleDict({m: nn.Linear(w, self.width) for m, w in widths.items()})

    @torch.no_grad()
    def fill(self, items: InteractionSource) -> None:
        """Takes pairs and features over, and links items by the features as they come."""
        super().fill(items)
        features = {m: self.features[m] for m in self.used_modalities}
        self.item_graph.fill(*mean_graph_of(features, self.shares, self.knn_k))

    def propagated(self, graph: Graph) -> Tables:
        """Means over the layers, and for items what similar ones bring."""
        user_UD, item_ID = mean_over_nodes(graph, self.users.weight, self.item_ids.weight, self.n_layers)
        return user_UD, item_ID + self.item_graph(self.item_ids.weight, self.n_item_layers)

    def projected(self, modality: str, item_P: Tensor) -> Tensor:
        """Projected features of some items (P, D)."""
        vector_PD: Tensor = self.projections[modality](rows_of(self.features[modality], item_P))
        return vector_PD

    def distance(self, item_P: Tensor) -> Tensor:
        """Distances of some items' modalities (P,)."""
        return modal_distance([self.projected(m, item_P) for m in self.used_modalities])

    def agreement(self, user_PD: Tensor, item_P: Tensor) -> Tensor:
        """Agreement of users with items (P,), from 0 to 1; 1 where a teacher does not look at it."""
        return user_PD.new_ones(len(user_PD))

    def row_weights(self, user_PD: Tensor, item_P: Tensor) -> RowWeights:
        """What pairs of users and items count; the pairs of one call are compared with each other."""
        agreement_P = self.agreement(user_PD, item_P)
        return row_weights(self.distance(item_P), agreement_P, self.fixed, self.noisy_from)

    def contrast(self, user_PD: Tensor, item_P: Tensor, weight_P: Tensor) -> Tensor:
        """Draws users to the modalities of their items and away from those of items drawn at random."""
        parts = []
        for modality in self.used_modalities:
            other_P = torch.randint(self.n_items, item_P.shape, device=item_P.device)
            right_PD, wrong_PD = self.projected(modality, item_P), self.projected(modality, other_P)
            parts.append(mean_of(margin_contrast(user_PD, right_PD, wrong_PD), weight_P))
        return torch.stack(parts).sum()

    @torch.no_grad()
    def verdict(self) -> Verdict:
        """Weights of all pairs as if they were one batch."""
        user_E, item_E = self.edge_2E
        if not self.weighs:
            even_E = torch.ones(len(user_E), device=user_E.device)
            return Verdict(even_E, even_E == 0, torch.zeros_like(even_E))
        user_UD, _ = self.propagate()
        blocks = [
            (user_E[first : first + EDGES], item_E[first : first + EDGES])
            for first in range(0, len(user_E), EDGES)
        ]
        distance_E = torch.cat([self.distance(item_R) for _, item_R in blocks])
        agreement_E = torch.cat([self.agreement(user_UD[user_R], item_R) for user_R, item_R in blocks])
        found = row_weights(distance_E, agreement_E, self.fixed, self.noisy_from)
        return Verdict(found.weight_P, ~found.clean_P, 1 - found.weight_P if self.fixed else found.distance_P)


class ContrastiveTeacher(ItemGraphTeacher):
    """The teacher of the released logs: ranking, and users drawn to the modalities of their clean items.

    Projections and feature vectors are trained. Two terms of the authors' loss that are constant, ranking
    losses of a score against itself, are left out.

    Args:
        contrast_weight: Weight of the contrastive term.
        **kwargs: Arguments of the bases, see ``ItemGraphTeacher``.
    """

    def __init__(self, contrast_weight: float = 0.01, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        self.contrast_weight = contrast_weight
        self.trains_features = self.weighs

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """Ranking of all pairs; contrast of the clean ones."""
        user_UD, item_ID = self.thinned()
        user_BD = rows_of(user_UD, user_B)
        above_BD, below_BD = rows_of(item_ID, positive_B), rows_of(item_ID, negative_B)
        parts = {"bpr": bpr((user_BD * above_BD).sum(1), (user_BD * below_BD).sum(1))}
        if self.weighs:
            clean_B = self.row_weights(user_BD, positive_B).clean_P
            parts["contrast"] = self.contrast_weight * self.contrast(user_BD, positive_B, clean_B.float())
        return parts


class HashTeacher(ItemGraphTeacher):
    """The teacher of the released source: ranking in which a pair counts what two hashes have in common.

    The signs of a hash have no gradient, so that in the released rule projections and hashes stay the random
    ones they began as. They are frozen here, and an item's distance and codes made once an epoch.

    With ``fix`` the rule is ours and not the authors': noisy pairs, not clean ones, are weighed; by the
    cosine of user and features in place of hashes that have no relation to each other; and the projections
    are trained by the contrastive term of ``ContrastiveTeacher``, where a pair counts its weight.

    Args:
        fix: Our rule in place of the released one.
        bits: Bits of the hashes.
        contrast_weight: Weight of the contrastive term, with ``fix``.
        **kwargs: Arguments of the bases, see ``ItemGraphTeacher``.
    """

    def __init__(
        self,
        fix: bool = False,
        bits: int = 64,
        contrast_weight: float = 0.01,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        self.fixed = fix
        self.bits = bits
        self.contrast_weight = contrast_weight
        self._constant: ItemConstants | None = None

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the hashes, frozen as the projections are, unless the rule is the fixed one."""
        super().build_parts(spec)
        if not self.weighs or self.fixed:
            return
        names = (*self.used_modalities, "user")
        self.hashes = nn.ModuleDict({name: nn.Linear(self.width, self.bits) for name in names})
        for frozen in (self.projections, self.hashes):
            frozen.requires_grad_(False)

    def begin_epoch(self) -> None:
        """Draws the graph; what is constant is made when it is first needed."""
        super().begin_epoch()
        self._constant = None

    @torch.no_grad()
    def constants(self) -> "ItemConstants":
        """Distances and codes of all items."""
        if self._constant is None:
            all_I = torch.arange(self.n_items, device=self.edge_2E.device)
            codes = [sign_codes(self.hashes[m], self.projected(m, all_I)) for m in self.used_modalities]
            self._constant = ItemConstants(super().distance(all_I), codes)
        return self._constant

    def distance(self, item_P: Tensor) -> Tensor:
        """Distances of some items' modalities (P,)."""
        return super().distance(item_P) if self.fixed else self.constants().distance_I[item_P]

    def agreement(self, user_PD: Tensor, item_P: Tensor) -> Tensor:
        """Bits in common, or with the fixed rule the cosine."""
        if self.fixed:
            return cosine_agreement(user_PD, [self.projected(m, item_P) for m in self.used_modalities])
        codes = [code_IK[item_P] for code_IK in self.constants().codes]
        return hash_agreement(sign_codes(self.hashes["user"], user_PD), codes)

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """Ranking in which every pair has its weight; with the fixed rule the contrast as well."""
        user_UD, item_ID = self.thinned()
        user_BD = rows_of(user_UD, user_B)
        gap_B = (user_BD * (rows_of(item_ID, positive_B) - rows_of(item_ID, negative_B))).sum(1)
        if not self.weighs:
            return {"bpr": -F.logsigmoid(gap_B).mean()}
        weight_B = self.row_weights(user_BD, positive_B).weight_P
        parts = {"bpr": -(weight_B * F.logsigmoid(gap_B)).mean()}
        if self.fixed:
            parts["contrast"] = self.contrast_weight * self.contrast(user_BD, positive_B, weight_B)
        return parts


class ItemConstants(NamedTuple):
    """What the released rule knows of every item."""

    distance_I: Tensor
    codes: list[Tensor]
    """Bits (I, K) of each modality."""

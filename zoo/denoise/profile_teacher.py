"""A teacher of ours for GUIDER: an interaction is trusted as far as the item is like the user's other items.

The figure of the paper sorts each user's items into true and false ones by how alike items are in text and
picture; its formulas were not available to us, and neither released teacher does so. This is the plainest
rule of that kind. It reads features and training pairs alone, before training.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.collaborative import rows_of
from zoo.denoise.modal_teachers import ItemGraphTeacher
from zoo.denoise.teachers import EDGES, Verdict
from zoo.graph.build import drop_edges
from zoo.graph.propagate import Graph, make_graph, propagate
from zoo.types import CatalogSpec, InteractionSource

COLUMNS = 256
"""Feature columns whose sums over users are held at a time."""


class ProfileTeacher(ItemGraphTeacher):
    """FREEDOM's propagation; ranking in which a pair counts how well it fits the user's other pairs.

    The graph is that of the pairs that count at least half.

    Args:
        noisy_share: Share of all pairs called noise: those that fit least. Their weights rise from 0 to 1.
        **kwargs: Arguments of the bases, see ``zoo.denoise.modal_teachers.ItemGraphTeacher``.

    Raises:
        ValueError: The share is out of its range.
    """

    fit_E: Tensor

    def __init__(self, noisy_share: float = 0.3, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        if not 0 <= noisy_share <= 1:
            raise ValueError(f"noisy_share is a share of the pairs, from 0 to 1; found {noisy_share}.")
        self.noisy_share = noisy_share
        self._weight_E: Tensor | None = None

    @property
    def projects(self) -> bool:
        """Features are compared as they come."""
        return False

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the tables, the empty item graph, and room for how well each pair fits."""
        super().build_parts(spec)
        self.register_buffer("fit_E", torch.zeros(spec.n_edges))

    def catalogue_rows(self) -> tuple[str, ...]:
        """How well each pair fits belongs to the pairs."""
        return (*super().catalogue_rows(), "fit_E")

    @torch.no_grad()
    def fill(self, items: InteractionSource) -> None:
        """Takes pairs and features over, and compares the items of every user."""
        super().fill(items)
        fits = [profile_fit(self.edge_2E, self.features[m], self.n_users) for m in self.used_modalities]
        self.fit_E.copy_(torch.stack(fits).mean(0))
        self._weight_E = None

    def begin_epoch(self) -> None:
        """Draws the epoch's graph."""
        self._weight_E = None
        super().begin_epoch()

    def kept_edges(self) -> Tensor:
        """Pairs of the graph."""
        return self.edge_2E[:, self.weights() >= 0.5]

    def drawn_edges(self) -> Tensor:
        """Pairs of an epoch's graph."""
        return drop_edges(self.kept_edges(), self.n_users, self.n_items, self.edge_dropout)

    def graph(self) -> Graph:
        """The graph that scores."""
        if self._graph is None or self._graph.matrix.device != self.edge_2E.device:
            self._graph = self.make_graph(self.kept_edges())
        return self._graph

    @torch.no_grad()
    def weights(self) -> Tensor:
        """What each pair counts (E,)."""
        if self._weight_E is None:
            place_E = self.fit_E.argsort(stable=True).argsort() / max(len(self.fit_E), 1)
            self._weight_E = (place_E / max(self.noisy_share, 1e-12)).clamp(max=1)
        return self._weight_E

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """Ranking in which every pair has its weight."""
        user_UD, item_ID = self.thinned()
        gap_BD = rows_of(item_ID, positive_B) - rows_of(item_ID, negative_B)
        gap_B = (rows_of(user_UD, user_B) * gap_BD).sum(1)
        # Pairs are sorted by user, then item.
        key_E = self.edge_2E[0] * self.n_items + self.edge_2E[1]
        weight_B = self.weights()[torch.searchsorted(key_E, user_B * self.n_items + positive_B)]
        return {"bpr": -(weight_B * F.logsigmoid(gap_B)).mean()}

    def verdict(self) -> Verdict:
        """Weights of all pairs; suspicious is what fits badly."""
        weight_E = self.weights()
        return Verdict(weight_E, weight_E < 1, -self.fit_E)


def profile_fit(edge_2E: Tensor, feature_ID: Tensor, n_users: int) -> Tensor:
    """Mean cosine of each pair's item with the user's other items (E,); 1 where there is no other.

    Features are centred first: what all items share tells none apart. Sums over users are made in blocks of
    columns, sparse, so that neither users times features nor pairs times features are ever held.

    Args:
        edge_2E: Distinct (user, item) pairs.
        feature_ID: Features of the items.
        n_users: Users.

    >>> one_way, other_way = [1.0, 0.0], [0.0, 1.0]
    >>> feature_ID = torch.tensor([one_way, one_way, other_way, other_way])
    >>> profile_fit(torch.tensor([[0, 0, 0, 1], [0, 1, 2, 3]]), feature_ID, 2).round(decimals=4).tolist()
    [0.0, 0.0, -1.0, 1.0]
    """
    user_E, item_E = edge_2E
    feature_ID = feature_ID.detach().float()
    unit_ID = F.normalize(feature_ID - feature_ID.mean(0), dim=1)
    graph = make_graph(user_E, item_E, torch.ones_like(user_E, dtype=torch.float32), n_users, len(unit_ID))
    others_E = torch.bincount(user_E, minlength=n_users)[user_E] - 1
    total_E = torch.zeros(len(user_E), device=user_E.device)
    for first in range(0, unit_ID.shape[1], COLUMNS):
        unit_IC = unit_ID[:, first : first + COLUMNS].contiguous()
        profile_UC = propagate(graph, unit_IC)
        for start in range(0, len(user_E), EDGES):
            pairs = slice(start, start + EDGES)
            own_RC = unit_IC[item_E[pairs]]
            total_E[pairs] += ((profile_UC[user_E[pairs]] - own_RC) * own_RC).sum(1)
    return torch.where(others_E > 0, total_E / others_E.clamp(min=1), 1.0)

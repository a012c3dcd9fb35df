"""FREEDOM: "A Tale of Two Graphs: Freezing and Denoising Graph Structures for Multimodal Recommendation".

Zhou and Shen, ACM MM 2023, https://arxiv.org/abs/2211.06924; as in enoche/MMRec (e775373),
``models/freedom.py``.

Items that look and read alike are linked once, before training; the graph of users and items loses most of
its edges in every epoch, those between nodes of high degree first.

Kept of the released code: raw features are trained (``freeze_features`` leaves them as they are); the scores
read the whole graph, the loss the one of the epoch; a row counts itself among its neighbours, so that the
item graph is a mean over k items. Changed: the item graph is made from the features at hand, never from a
file whose name tells k only; the two projections see the rows of the batch, not all items (the same values).
``lambda_coeff``, ``weight_size``, ``degree_ratio`` and ``cf_model`` of the released configuration have no
effect there and are not here.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo.collaborative import CollaborativeRecommender, Tables, rows_of
from zoo.graph.build import drop_edges
from zoo.graph.item_graph import ItemGraph, mean_graph_of, shares_of
from zoo.graph.propagate import Graph, mean_over_nodes
from zoo.losses.host import bpr
from zoo.types import CatalogSpec, InteractionSource


class FREEDOM(CollaborativeRecommender):
    """A frozen item graph beside a thinned graph of users and items.

    Args:
        knn_k: Neighbours of an item in each modality, itself included.
        image_weight: Share of the pictures in the item graph; texts have the rest.
        n_item_layers: Propagations over the item graph.
        n_layers: Propagations over the graph of users and items.
        dropout: Share of the pairs left out of an epoch's graph.
        reg_weight: Weight of ranking by projected features.
        freeze_features: Leave the raw features as they are, instead of training them as the authors do.
        **kwargs: Arguments of the base, see ``zoo.collaborative.CollaborativeRecommender``.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image", "text")

    def __init__(
        self,
        knn_k: int = 10,
        image_weight: float = 0.1,
        n_item_layers: int = 1,
        n_layers: int = 2,
        dropout: float = 0.8,
        reg_weight: float = 1e-3,
        freeze_features: bool = False,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        self.knn_k = knn_k
        self.shares = shares_of(self.used_modalities, {"image": image_weight})
        self.n_item_layers = n_item_layers
        self.n_layers = n_layers
        self.dropout = dropout
        self.reg_weight = reg_weight
        self.trains_features = not freeze_features
        self._thinned: Graph | None = None

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the tables, the projections and the empty item graph."""
        self.users = nn.Embedding(self.n_users, self.width)
        self.item_ids = nn.Embedding(self.n_items, self.width)
        for table in (self.users, self.item_ids):
            nn.init.xavier_uniform_(table.weight)
        self.projections = nn.ModuleDict(
            {m: nn.Linear(spec.feature_widths[m], self.width) for m in self.used_modalities}
        )
        self.item_graph = ItemGraph(self.n_items, len(self.shares) * self.knn_k)

    def catalogue_rows(self) -> tuple[str, ...]:
        """The item graph has a row an item."""
        return (*super().catalogue_rows(), "item_graph")

    @torch.no_grad()
    def fill(self, items: InteractionSource) -> None:
        """Links the items by the features they come with."""
        super().fill(items)
        features = {m: self.features[m] for m in self.used_modalities}
        self.item_graph.fill(*mean_graph_of(features, self.shares, self.knn_k))

    def begin_epoch(self) -> None:
        """Draws the pairs that the epoch's graph keeps."""
        kept_2E = drop_edges(self.edge_2E, self.n_users, self.n_items, self.dropout)
        self._thinned = self.graph() if kept_2E is self.edge_2E else self.make_graph(kept_2E)

    def _vectors(self, graph: Graph) -> Tables:
        user_UD, item_ID = mean_over_nodes(graph, self.users.weight, self.item_ids.weight, self.n_layers)
        return user_UD, item_ID + self.item_graph(self.item_ids.weight, self.n_item_layers)

    def propagate(self) -> Tables:
        """Means over the layers of the whole graph; items also get those like them."""
        return self._vectors(self.graph())

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """Ranking by vectors of the thinned graph, and by each modality's projected features."""
        user_UD, item_ID = self._vectors(self._thinned or self.graph())
        user_BD = rows_of(user_UD, user_B)
        parts = {"bpr": _ranking(user_BD, rows_of(item_ID, positive_B), rows_of(item_ID, negative_B))}
        for modality, project in self.projections.items():
            table_IF = self.features[modality]
            above_BD = project(rows_of(table_IF, positive_B))
            below_BD = project(rows_of(table_IF, negative_B))
            parts[f"bpr_{modality}"] = self.reg_weight * _ranking(user_BD, above_BD, below_BD)
        return parts


def _ranking(user_BD: Tensor, positive_BD: Tensor, negative_BD: Tensor) -> Tensor:
    return bpr((user_BD * positive_BD).sum(1), (user_BD * negative_BD).sum(1))

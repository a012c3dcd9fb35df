"""MGCN: "Multi-View Graph Convolutional Network for Multimedia Recommendation".

Yu et al., ACM MM 2023, https://arxiv.org/abs/2308.03588; as in enoche/MMRec (e775373), ``models/mgcn.py``.

Features only gate what an item's id says; each modality then has vectors of its own, spread over similar
items and to their users. What modalities have in common and what each adds is weighed by what a user's or
item's own graph vectors prefer.

Kept of the released code: raw features are trained (``freeze_features`` leaves them as they are), so that all
of them are projected in every step. Changed: the squares of the batch's vectors are divided by the rows of
the batch at hand, not by the configured batch size, which differs in an epoch's last batch; two modalities
are a special case of any number, the side vector being a mean over them and what they have in common.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.collaborative import CollaborativeRecommender, Tables, rows_of
from zoo.graph.build import symmetric_graph, user_item_graph
from zoo.graph.item_graph import ItemGraph, cosine_graph_of
from zoo.graph.propagate import Graph, mean_over_layers, propagate
from zoo.losses.contrastive import unit
from zoo.losses.host import bpr, half_squares
from zoo.types import CatalogSpec, InteractionSource


class MGCN(CollaborativeRecommender):
    """Views of the modalities, purified by ids, fused by what users prefer.

    Args:
        knn_k: Neighbours of an item in each modality, itself included.
        n_item_layers: Propagations over the item graphs.
        n_layers: Propagations over the graph of users and items.
        reg_weight: Weight of the squares of the batch's vectors.
        contrast_weight: Weight of the agreement of side and graph vectors (``cl_loss``).
        temperature: Divides the cosines of that agreement.
        freeze_features: Leave the raw features as they are, instead of training them as the authors do.
        **kwargs: Arguments of the base, see ``zoo.collaborative.CollaborativeRecommender``.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image", "text")

    def __init__(
        self,
        knn_k: int = 10,
        n_item_layers: int = 1,
        n_layers: int = 2,
        reg_weight: float = 1e-4,
        contrast_weight: float = 0.01,
        temperature: float = 0.2,
        freeze_features: bool = False,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        self.knn_k = knn_k
        self.n_item_layers = n_item_layers
        self.n_layers = n_layers
        self.reg_weight = reg_weight
        self.contrast_weight = contrast_weight
        self.temperature = temperature
        self.trains_features = not freeze_features
        self._to_users: tuple[Graph, Graph] | None = None

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the tables, projections, gates, the attention and the empty item graphs."""
        width, modalities = self.width, self.used_modalities
        self.users = nn.Embedding(self.n_users, width)
        self.item_ids = nn.Embedding(self.n_items, width)
        for table in (self.users, self.item_ids):
            nn.init.xavier_uniform_(table.weight)
        self.projections = nn.ModuleDict({m: nn.Linear(spec.feature_widths[m], width) for m in modalities})
        self.gates = nn.ModuleDict({m: nn.Linear(width, width) for m in modalities})
        self.preferences = nn.ModuleDict({m: nn.Linear(width, width) for m in modalities})
        self.attention = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))
        self.item_graphs = nn.ModuleDict({m: ItemGraph(self.n_items, self.knn_k) for m in modalities})

    def catalogue_rows(self) -> tuple[str, ...]:
        """The item graphs have a row an item."""
        return (*super().catalogue_rows(), "item_graphs")

    @torch.no_grad()
    def fill(self, items: InteractionSource) -> None:
        """Links the items of each modality by the features they come with."""
        super().fill(items)
        for modality, graph in self.item_graphs.items():
            assert isinstance(graph, ItemGraph)
            graph.fill(*cosine_graph_of(self.features[modality], self.knn_k))

    def make_graph(self, edge_2E: Tensor) -> Graph:
        """Normalised by the degrees as they are."""
        return symmetric_graph(edge_2E, self.n_users, self.n_items, epsilon=0.0)

    def _from_items(self, x_ID: Tensor) -> Tensor:
        """What users get from their items (U, D): the part of the graph that leads to users."""
        whole = self.graph()
        if self._to_users is None or self._to_users[0] is not whole:
            self._to_users = whole, user_item_graph(self.edge_2E, self.n_users, self.n_items)
        return propagate(self._to_users[1], x_ID)

    def _views(self) -> tuple[Tensor, Tensor]:
        """Graph vectors and side vectors of all users, then all items, (N, D) each."""
        ids_ND = torch.cat([self.users.weight, self.item_ids.weight])
        content_ND = mean_over_layers(self.graph(), ids_ND, self.n_layers)
        items = []
        for modality, graph in self.item_graphs.items():
            feature_ID = self.projections[modality](self.features[modality])
            gated_ID = self.item_ids.weight * torch.sigmoid(self.gates[modality](feature_ID))
            items.append(graph(gated_ID, self.n_item_layers))
        # One product for all modalities side by side.
        users = self._from_items(torch.cat(items, dim=1)).chunk(len(items), dim=1)
        view_NMD = torch.stack([torch.cat(pair) for pair in zip(users, items, strict=True)], dim=1)
        common_ND = (self.attention(view_NMD).softmax(dim=1) * view_NMD).sum(1)
        preferred_NMD = torch.stack(
            [torch.sigmoid(gate(content_ND)) for gate in self.preferences.values()], 1
        )
        own_NMD = preferred_NMD * (view_NMD - common_ND[:, None])
        return content_ND, (own_NMD.sum(1) + common_ND) / (len(items) + 1)

    def propagate(self) -> Tables:
        """Graph vectors plus side vectors."""
        content_ND, side_ND = self._views()
        both_ND = content_ND + side_ND
        return both_ND[: self.n_users], both_ND[self.n_users :]

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """Ranking, squares of the propagated rows, and the agreement of side and graph vectors."""
        content_ND, side_ND = self._views()
        both_ND = content_ND + side_ND
        item_B = positive_B + self.n_users
        rows = rows_of(both_ND, user_B), rows_of(both_ND, item_B), rows_of(both_ND, negative_B + self.n_users)
        above_B, below_B = (rows[0] * rows[1]).sum(1), (rows[0] * rows[2]).sum(1)
        agreement = sum_of_nce(side_ND, content_ND, (item_B, user_B), self.temperature)
        return {
            "bpr": bpr(above_B, below_B),
            "reg": self.reg_weight * half_squares(*rows) / len(user_B),
            "contrast": self.contrast_weight * agreement,
        }


def sum_of_nce(left_ND: Tensor, right_ND: Tensor, nodes: tuple[Tensor, ...], temperature: float) -> Tensor:
    """InfoNCE by cosines from one view to the other, summed over several sets of nodes of a batch.

    A node that stands in a batch twice is its own negative once, as in the released code.
    """
    total = left_ND.new_zeros(())
    for node_B in nodes:
        with torch.autocast(left_ND.device.type, enabled=False):
            logit_BB = unit(rows_of(left_ND, node_B)) @ unit(rows_of(right_ND, node_B)).T / temperature
        total = total + F.cross_entropy(logit_BB, torch.arange(len(node_B), device=node_B.device))
    return total

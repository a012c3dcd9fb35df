"""LightGCN: "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation".

He et al., SIGIR 2020, https://arxiv.org/abs/2002.02126; as in enoche/MMRec (e775373), ``models/lightgcn.py``.

Vectors are passed along the pairs, without weights or non-linearities, and averaged over the layers.
"""

from typing import Any

from torch import Tensor, nn

from zoo.collaborative import CollaborativeRecommender, Tables, rows_of
from zoo.graph.propagate import mean_over_nodes
from zoo.losses.host import bpr_shifted, embedding_norms
from zoo.types import CatalogSpec


class LightGCN(CollaborativeRecommender):
    """Light graph convolution over users and items.

    Args:
        n_layers: Propagations; the result is the mean of their outcomes and of the vectors themselves.
        reg_weight: Weight of the norms of the batch's vectors before propagation.
        **kwargs: Arguments of the base, see ``zoo.collaborative.CollaborativeRecommender``.
    """

    def __init__(self, n_layers: int = 3, reg_weight: float = 1e-4, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        self.n_layers = n_layers
        self.reg_weight = reg_weight

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the two tables."""
        self.users = nn.Embedding(self.n_users, self.width)
        self.item_ids = nn.Embedding(self.n_items, self.width)
        for table in (self.users, self.item_ids):
            nn.init.xavier_uniform_(table.weight)

    def propagate(self) -> Tables:
        """Means over the layers."""
        return mean_over_nodes(self.graph(), self.users.weight, self.item_ids.weight, self.n_layers)

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """Ranking by propagated vectors, and the norms of the rows before propagation."""
        user_UD, item_ID = self.propagate()
        user_BD = rows_of(user_UD, user_B)
        above_B = (user_BD * rows_of(item_ID, positive_B)).sum(1)
        below_B = (user_BD * rows_of(item_ID, negative_B)).sum(1)
        rows = self.users(user_B), self.item_ids(positive_B), self.item_ids(negative_B)
        return {"bpr": bpr_shifted(above_B, below_B), "reg": self.reg_weight * embedding_norms(*rows)}

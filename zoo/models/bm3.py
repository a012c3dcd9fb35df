"""BM3: "Bootstrap Latent Representations for Multi-modal Recommendation".

Zhou et al., WWW 2023, https://arxiv.org/abs/2207.05969; as in enoche/MMRec (e775373), ``models/bm3.py``.

No negatives: a vector sent through a predictor is to point where its partner points, some values of which
are dropped.

Kept of the released code: raw features are trained (``freeze_features`` leaves them as they are); the norms
are those of the whole tables, not squared, divided by the number of items. Changed: projections, predictor
and dropout see the rows of the batch instead of all rows, so that a user who stands in a batch twice has two
masks, not one; negatives are not drawn into the loss (the released configuration draws and ignores them).
"""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.collaborative import CollaborativeRecommender, Tables, rows_of
from zoo.graph.propagate import mean_over_nodes
from zoo.losses.host import embedding_norms
from zoo.types import CatalogSpec


class BM3(CollaborativeRecommender):
    """Self-supervised: users, items and their features predict each other.

    Args:
        n_layers: Propagations over the graph of users and items.
        dropout: Share of the values dropped from what is to be predicted.
        reg_weight: Weight of the norms of all vectors.
        contrast_weight: Weight of what is predicted from features (``cl_weight``).
        freeze_features: Leave the raw features as they are, instead of training them as the authors do.
        **kwargs: Arguments of the base, see ``zoo.collaborative.CollaborativeRecommender``.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image", "text")

    def __init__(
        self,
        n_layers: int = 1,
        dropout: float = 0.5,
        reg_weight: float = 0.1,
        contrast_weight: float = 2.0,
        freeze_features: bool = False,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        self.n_layers = n_layers
        self.dropout = dropout
        self.reg_weight = reg_weight
        self.contrast_weight = contrast_weight
        self.trains_features = not freeze_features

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the tables, the predictor and the projections."""
        self.users = nn.Embedding(self.n_users, self.width)
        self.item_ids = nn.Embedding(self.n_items, self.width)
        for table in (self.users, self.item_ids):
            nn.init.xavier_uniform_(table.weight)
        self.predictor = nn.Linear(self.width, self.width)
        self.projections = nn.ModuleDict(
            {m: nn.Linear(spec.feature_widths[m], self.width) for m in self.used_modalities}
        )
        for layer in (self.predictor, *self.projections.values()):
            nn.init.xavier_normal_(layer.get_parameter("weight"))

    def _vectors(self) -> Tables:
        user_UD, item_ID = mean_over_nodes(
            self.graph(), self.users.weight, self.item_ids.weight, self.n_layers
        )
        return user_UD, item_ID + self.item_ids.weight

    def propagate(self) -> Tables:
        """Means over the layers, sent through the predictor."""
        user_UD, item_ID = self._vectors()
        return self.predictor(user_UD), self.predictor(item_ID)

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """How far predictions point away from their targets, and the norms; negatives are not read."""
        user_UD, item_ID = self._vectors()
        user_BD, item_BD = rows_of(user_UD, user_B), rows_of(item_ID, positive_B)
        user_goal_BD, item_goal_BD = self._goal(user_BD), self._goal(item_BD)
        parts = {
            "pairs": apart(self.predictor(user_BD), item_goal_BD)
            + apart(self.predictor(item_BD), user_goal_BD),
            "reg": self.reg_weight * embedding_norms(user_UD, item_ID),
        }
        for modality, project in self.projections.items():
            feature_BD = project(rows_of(self.features[modality], positive_B))
            guess_BD = self.predictor(feature_BD)
            away = apart(guess_BD, item_goal_BD) + apart(guess_BD, self._goal(feature_BD))
            parts[modality] = self.contrast_weight * away
        return parts

    def _goal(self, x_BD: Tensor) -> Tensor:
        """What is to be predicted: without a gradient, some values dropped."""
        return F.dropout(x_BD.detach(), self.dropout, self.training)


def apart(left_BD: Tensor, right_BD: Tensor) -> Tensor:
    """One minus the mean cosine of the rows of two tables, in float32."""
    return 1 - F.cosine_similarity(left_BD.float(), right_BD.float(), dim=-1).mean()

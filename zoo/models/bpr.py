"""BPR: "BPR: Bayesian Personalized Ranking from Implicit Feedback".

Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618; as in enoche/MMRec (e775373), ``models/bpr.py``.

Matrix factorisation: a vector a user, a vector an item, pairs before sampled ones.
"""

from typing import Any

from torch import Tensor, nn

from zoo.collaborative import CollaborativeRecommender, Tables
from zoo.losses.host import bpr_shifted, embedding_norms
from zoo.types import CatalogSpec


class BPR(CollaborativeRecommender):
    """Matrix factorisation trained by Bayesian personalised ranking.

    Args:
        reg_weight: Weight of the norms of the batch's vectors.
        **kwargs: Arguments of the base, see ``zoo.collaborative.CollaborativeRecommender``.
    """

    def __init__(self, reg_weight: float = 1e-3, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        self.reg_weight = reg_weight

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the two tables."""
        self.users = nn.Embedding(self.n_users, self.width)
        self.item_ids = nn.Embedding(self.n_items, self.width)
        for table in (self.users, self.item_ids):
            nn.init.xavier_normal_(table.weight)

    def propagate(self) -> Tables:
        """The tables as they are."""
        return self.users.weight, self.item_ids.weight

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """Ranking, and the norms of the rows it is computed from."""
        user_BD, positive_BD = self.users(user_B), self.item_ids(positive_B)
        negative_BD = self.item_ids(negative_B)
        above_B, below_B = (user_BD * positive_BD).sum(1), (user_BD * negative_BD).sum(1)
        return {
            "bpr": bpr_shifted(above_B, below_B),
            "reg": self.reg_weight * embedding_norms(user_BD, positive_BD, negative_BD),
        }

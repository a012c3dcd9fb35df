"""VBPR: "VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback".

He and McAuley, AAAI 2016, https://arxiv.org/abs/1510.01784; as in enoche/MMRec (e775373), ``models/vbpr.py``,
which reads texts too.

Half of an item's vector is learnt for the item, the other half is a projection of its features.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo.collaborative import CollaborativeRecommender, Tables
from zoo.losses.host import bpr_shifted, embedding_norms
from zoo.types import CatalogSpec


class VBPR(CollaborativeRecommender):
    """Matrix factorisation over item ids and projected features, which stay as they are.

    Args:
        modalities: Modalities read, one after the other; null for all of text, image, audio and video.
        reg_weight: Weight of the norms of the batch's vectors.
        **kwargs: Arguments of the base, see ``zoo.collaborative.CollaborativeRecommender``. ``width`` is that
            of each half of the vectors.
    """

    modalities: ClassVar[tuple[str, ...]] = ("text", "image", "audio", "video")

    def __init__(
        self,
        modalities: Sequence[str] | None = ("text", "image"),
        reg_weight: float = 1e-3,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(modalities=modalities, **kwargs)
        self.reg_weight = reg_weight

    @property
    def table_width(self) -> int:
        """Both halves."""
        return 2 * self.width

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the tables and the projection."""
        self.users = nn.Embedding(self.n_users, 2 * self.width)
        self.item_ids = nn.Embedding(self.n_items, self.width)
        for table in (self.users, self.item_ids):
            nn.init.xavier_uniform_(table.weight)
        widths = [spec.feature_widths[modality] for modality in self.used_modalities]
        self.project = nn.Linear(sum(widths), self.width)
        nn.init.xavier_normal_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def _items(self, item_N: Tensor) -> Tensor:
        """Vectors of some items, (N, 2D): features are gathered before they are projected."""
        feature_NF = torch.cat([self.features[modality][item_N] for modality in self.used_modalities], dim=1)
        return torch.cat([self.item_ids(item_N), self.project(feature_NF)], dim=1)

    def propagate(self) -> Tables:
        """The user table, and both halves of all items."""
        return self.users.weight, self._items(torch.arange(self.n_items, device=self.users.weight.device))

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """Ranking, and the norms of the rows it is computed from."""
        user_BD, positive_BD = self.users(user_B), self._items(positive_B)
        negative_BD = self._items(negative_B)
        above_B, below_B = (user_BD * positive_BD).sum(1), (user_BD * negative_BD).sum(1)
        return {
            "bpr": bpr_shifted(above_B, below_B),
            "reg": self.reg_weight * embedding_norms(user_BD, positive_BD, negative_BD),
        }

"""DRAGON: "Enhancing Dyadic Relations with Homogeneous Graphs for Multimodal Recommendation".

Zhou, Zhou, Zhang and Shen, ECAI 2023, https://arxiv.org/abs/2301.12097; as in WeixinChen98/FMMRec (b3af061),
``models/recommendation_models/dragon.py``, which adds sounds to the two modalities of enoche/MMRec.

A branch a modality learns what users prefer and passes it, with projected features, over the graph of users
and items; the branches stand side by side, for users weighed by user. Items then get the mean over similar
items, users what users with many common items are.

Kept of the released code: features enter as they are; the weights of a user's modalities are a softmax when
they are drawn and free afterwards; the logarithm of the loss is to the base 2; users are weighed by a softmax
of the plain numbers of common items. Changed, because the released form depends on an accident:

* Users with fewer companions than are kept have just those. The released code repeats some at random until
  the list is full, so that weights depend on the draw; over draws, no companion is preferred here or there.
* Companions are found in the training pairs, ties to the lower row; no pickled graph is read.
* Whatever scores propagates again. The released code scores by the vectors of the last training batch, one
  step old.
* Graphs are tables of the checkpoint, and no batch is changed in place: the released model moves item ids
  within the batch, cannot run on a CPU, and renames its state after the first step.
"""

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.collaborative import CollaborativeRecommender, Tables, rows_of
from zoo.graph.build import symmetric_graph
from zoo.graph.item_graph import ItemGraph, mean_graph_of, shares_of
from zoo.graph.neighbours import companions
from zoo.graph.propagate import Graph, mean_over_layers
from zoo.losses.host import bpr
from zoo.types import CatalogSpec, InteractionSource

N_LAYERS = 2
"""Propagations over the graph of users and items; their sum with the input is the outcome."""


class DRAGON(CollaborativeRecommender):
    """Branches of the modalities, and graphs among items and among users.

    Args:
        knn_k: Neighbours of an item in each modality, itself included.
        image_weight: Share of the pictures in the item graph.
        audio_weight: Share of the sounds, where they are read; texts have the rest.
        n_companions: Users with the most common items that a user gets something from.
        n_item_layers: Propagations over the item graph.
        reg_weight: Weight of the squares of preferences and of the users' modality weights.
        **kwargs: Arguments of the base, see ``zoo.collaborative.CollaborativeRecommender``. ``width`` is that
            of each branch; vectors are as many times wider as there are modalities.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image", "text", "audio")

    def __init__(
        self,
        knn_k: int = 10,
        image_weight: float = 0.1,
        audio_weight: float = 0.1,
        n_companions: int = 40,
        n_item_layers: int = 1,
        reg_weight: float = 1e-3,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        self.knn_k = knn_k
        self.shares = shares_of(self.used_modalities, {"image": image_weight, "audio": audio_weight})
        self.n_companions = n_companions
        self.n_item_layers = n_item_layers
        self.reg_weight = reg_weight

    @property
    def table_width(self) -> int:
        """All branches."""
        return len(self.used_modalities) * self.width

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the branches, the users' weights of them, and the empty graphs."""
        self.branches = nn.ModuleDict(
            {m: Branch(spec.feature_widths[m], self.n_users, self.width) for m in self.used_modalities}
        )
        drawn_UM1 = nn.init.xavier_normal_(torch.empty(self.n_users, len(self.used_modalities), 1))
        self.modality_weight = nn.Parameter(drawn_UM1.softmax(dim=1))
        self.item_graph = ItemGraph(self.n_items, len(self.shares) * self.knn_k)
        self.user_graph = ItemGraph(self.n_users, self.n_companions)

    def components(self) -> dict[str, tuple[str, ...]]:
        """One a child, and the weights of the modalities."""
        return {**super().components(), "modality_weight": ("modality_weight",)}

    def catalogue_rows(self) -> tuple[str, ...]:
        """Preferences and weights have a row a user, the graphs one a user or an item."""
        preferences = (f"branches.{m}.preference" for m in self.used_modalities)
        return (*super().catalogue_rows(), *preferences, "modality_weight", "item_graph", "user_graph")

    @torch.no_grad()
    def fill(self, items: InteractionSource) -> None:
        """Links items by the features they come with, and users by the items they have in common."""
        super().fill(items)
        features = {m: self.features[m] for m in self.used_modalities}
        self.item_graph.fill(*mean_graph_of(features, self.shares, self.knn_k))
        index_UK, count_UK = companions(
            items.user_E - 1, items.item_E - 1, self.n_users, self.n_items, self.n_companions
        )
        self.user_graph.fill(torch.from_numpy(index_UK), shares_by_count(torch.from_numpy(count_UK)))

    def make_graph(self, edge_2E: Tensor) -> Graph:
        """Normalised by the degrees as they are."""
        return symmetric_graph(edge_2E, self.n_users, self.n_items, epsilon=0.0)

    def propagate(self) -> Tables:
        """Users (U, M x D) and items (I, M x D), the modalities side by side."""
        branch_NMD = torch.stack([self.branches[m](self.features[m]) for m in self.used_modalities], dim=1)
        # One product for all modalities; the layers are added, not averaged.
        sum_NX = (N_LAYERS + 1) * mean_over_layers(self.graph(), branch_NMD.flatten(1), N_LAYERS)
        weighed_UMD = sum_NX[: self.n_users].view(-1, *branch_NMD.shape[1:]) * self.modality_weight
        user_UX, item_IX = weighed_UMD.flatten(1), sum_NX[self.n_users :]
        return user_UX + self.user_graph(user_UX), item_IX + self.item_graph(item_IX, self.n_item_layers)

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """Ranking in bits, and mean squares of the batch's preferences and of all modality weights."""
        user_UX, item_IX = self.propagate()
        user_BX = rows_of(user_UX, user_B)
        above_B = (user_BX * rows_of(item_IX, positive_B)).sum(1)
        below_B = (user_BX * rows_of(item_IX, negative_B)).sum(1)
        squares = [
            rows_of(branch.get_parameter("preference"), user_B).square().mean()
            for branch in self.branches.values()
        ]
        squares.append(self.modality_weight.square().mean())
        return {
            "bpr": bpr(above_B, below_B) / math.log(2),
            "reg": self.reg_weight * torch.stack(squares).sum(),
        }


class Branch(nn.Module):
    """What users prefer in a modality, and what items are in it, at length one.

    Args:
        n_in: Width of the features.
        n_users: Users.
        width: Width D of the branch.
    """

    def __init__(self, n_in: int, n_users: int, width: int) -> None:
        super().__init__()
        self.preference = nn.Parameter(nn.init.xavier_normal_(torch.empty(n_users, width)))
        self.project = nn.Sequential(
            nn.Linear(n_in, 4 * width), nn.LeakyReLU(0.01), nn.Linear(4 * width, width)
        )

    def forward(self, feature_IF: Tensor) -> Tensor:
        """Users, then items (N, D)."""
        return F.normalize(torch.cat([self.preference, self.project(feature_IF)]), dim=1)


def shares_by_count(count_UK: Tensor) -> Tensor:
    """Softmax of the numbers of common items over a user's companions; 0 where the number is 0.

    >>> shares_by_count(torch.tensor([[2, 2, 0], [0, 0, 0]])).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    real_UK = count_UK > 0
    weight_UK = count_UK.float().masked_fill(~real_UK, float("-inf")).softmax(dim=1)
    return weight_UK.masked_fill(~real_UK, 0.0)

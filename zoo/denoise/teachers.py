"""GUIDER's teachers: recommenders of the pairs that are trained beside a student and never evaluated.

"Teach Me How to Denoise: A Universal Framework for Denoising Multi-modal Recommender Systems via Guided
Calibration", WSDM 2025, https://doi.org/10.1145/3701551.3703507. The repository Neon-Jing/Guider (5aaf514)
holds three: one in a file of its own (``models/dgcn.py``), one in its current source (``models/guider.py``)
and one in the compiled code its logs come from. A teacher is a collaborative recommender like any other.
"""

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.collaborative import CollaborativeRecommender, Tables, rows_of
from zoo.graph.build import drop_edges
from zoo.graph.propagate import Graph, propagate
from zoo.losses.host import half_squares
from zoo.types import CatalogSpec

EDGES = 2**18
"""Pairs that are judged at a time."""


class Verdict(NamedTuple):
    """What a teacher makes of every training pair, in the data's order."""

    weight_E: Tensor
    """What the pair counts in the teacher's loss."""
    noisy_E: Tensor
    """Whether the teacher calls it noise."""
    suspicion_E: Tensor
    """The number it decides that by; larger is more suspicious."""


class Teacher(CollaborativeRecommender):
    """Base of the teachers: two tables of ids and a graph that is thinned anew in every epoch.

    Args:
        edge_dropout: Share of the pairs left out of an epoch's graph; scores come from the whole one.
        **kwargs: Arguments of the base, see ``zoo.collaborative.CollaborativeRecommender``.
    """

    def __init__(self, edge_dropout: float = 0.1, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        self.edge_dropout = edge_dropout
        self._thinned: Graph | None = None

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the two tables."""
        self.users = nn.Embedding(self.n_users, self.width)
        self.item_ids = nn.Embedding(self.n_items, self.width)
        for table in (self.users, self.item_ids):
            nn.init.xavier_uniform_(table.weight)

    def begin_epoch(self) -> None:
        """Draws the pairs of the epoch's graph."""
        edge_2E = self.drawn_edges()
        self._thinned = None if edge_2E is self.edge_2E else self.make_graph(edge_2E)

    def drawn_edges(self) -> Tensor:
        """Pairs kept in this epoch; those between nodes of high degree are left out first."""
        return drop_edges(self.edge_2E, self.n_users, self.n_items, self.edge_dropout)

    def propagate(self) -> Tables:
        """Users and items of the whole graph."""
        return self.propagated(self.graph())

    @abstractmethod
    def propagated(self, graph: Graph) -> Tables:
        """Users and items of a graph."""

    def thinned(self) -> Tables:
        """Users and items of the epoch's graph."""
        return self.propagated(self.graph() if self._thinned is None else self._thinned)

    @abstractmethod
    def verdict(self) -> Verdict:
        """What is made of all training pairs by the weights as they are now."""


class LayerGCNTeacher(Teacher):
    """Layer-refined graph convolution on ids, which leaves the largest losses of a batch out.

    After LayerGCN (ICDE 2023, https://arxiv.org/abs/2207.11088); the truncation is that of "Denoising
    Implicit Feedback for Recommendation", WSDM 2021, https://arxiv.org/abs/2006.04153. Nearest to the paper's
    figure; the released trainer cannot run it.

    Args:
        n_layers: Propagations.
        drop_rate: Share of a batch's largest losses left out in the end.
        drop_steps: Steps over which the share rises from 0; 49 in the source, 20,000 in the compiled code.
        reg_weight: Weight of half the squares of the batch's rows before propagation.
        edge_dropout: Share of the pairs left out of an epoch's graph: by degree in even epochs, counted from
            0, at random in odd ones.
        **kwargs: Arguments of the base, see ``zoo.collaborative.CollaborativeRecommender``.
    """

    step: Tensor

    def __init__(
        self,
        n_layers: int = 4,
        drop_rate: float = 0.1,
        drop_steps: int = 49,
        reg_weight: float = 1e-3,
        edge_dropout: float = 0.2,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(edge_dropout=edge_dropout, **kwargs)
        self.n_layers = n_layers
        self.drop_rate = drop_rate
        self.drop_steps = drop_steps
        self.reg_weight = reg_weight

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the tables, and the count of the steps that the truncation follows."""
        super().build_parts(spec)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def drawn_edges(self) -> Tensor:
        """By degree and at random in turns."""
        if self.current_epoch % 2 == 0 or self.edge_dropout <= 0:
            return super().drawn_edges()
        count = self.edge_2E.shape[1]
        kept = torch.randperm(count, device=self.edge_2E.device)[: int(count * (1 - self.edge_dropout))]
        return self.edge_2E[:, kept]

    def propagated(self, graph: Graph) -> Tables:
        """Sum over the layers, each weighted by its cosine with the ids."""
        ego_ND = torch.cat([self.users.weight, self.item_ids.weight])
        layer_ND, total_ND = ego_ND, torch.zeros_like(ego_ND)
        for _ in range(self.n_layers):
            layer_ND = propagate(graph, layer_ND)
            layer_ND = F.cosine_similarity(layer_ND, ego_ND)[:, None] * layer_ND
            total_ND = total_ND + layer_ND
        return total_ND[: self.n_users], total_ND[self.n_users :]

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """Summed ranking loss without its largest parts, and the squares of the rows it is computed from."""
        user_UD, item_ID = self.thinned()
        gap_BD = rows_of(item_ID, positive_B) - rows_of(item_ID, negative_B)
        gap_B = (rows_of(user_UD, user_B) * gap_BD).sum(1)
        loss_B = (-F.logsigmoid(gap_B)).sort().values
        kept_B = torch.arange(len(loss_B), device=loss_B.device) < len(loss_B) - self.n_dropped(len(loss_B))
        if self.training:
            self.step += 1
        rows = self.users(user_B), self.item_ids(positive_B), self.item_ids(negative_B)
        return {"bpr": (loss_B * kept_B).sum(), "reg": self.reg_weight * half_squares(*rows)}

    def n_dropped(self, n_rows: int) -> Tensor:
        """How many of a batch's largest losses are left out now, a scalar."""
        risen = self.step.clamp(max=self.drop_steps) / max(self.drop_steps, 1)
        # Shares such as 0.1 of 50 rows come out a hair below the whole number in float32.
        return (risen * self.drop_rate * n_rows + 1e-4).floor()

    @torch.no_grad()
    def verdict(self) -> Verdict:
        """The loss of every pair against the user's mean score; the largest share is called noise."""
        user_UD, item_ID = self.propagate()
        user_E, item_E = self.edge_2E
        gap_E = (user_UD[user_E] * (item_ID[item_E] - item_ID.mean(0))).sum(1)
        loss_E = -F.logsigmoid(gap_E)
        noisy_E = torch.zeros_like(loss_E, dtype=torch.bool)
        noisy_E[loss_E.topk(int(self.n_dropped(len(loss_E)))).indices] = True
        return Verdict((~noisy_E).float(), noisy_E, loss_E)

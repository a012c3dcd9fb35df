"""LATTICE: "Mining Latent Structures for Multimedia Recommendation".

Zhang et al., ACM MM 2021, https://arxiv.org/abs/2104.09036; as in enoche/MMRec (e775373),
``models/lattice.py``; with a third modality, sounds, as in WeixinChen98/FMMRec (b3af061).

Items are linked twice: by their raw features, once, and by projected features, anew in every epoch. How much
each modality says is learnt. What an item gets from its neighbours is added to its vector of LightGCN.

The item graph is never a matrix of all items: a row has at most 2 x M x k neighbours, whose weights carry the
gradient. Kept of the released code: raw features are trained (``freeze_features`` leaves them as they are);
the graph is linked again in the first batch of an epoch, with a gradient to projections and weights of the
modalities, and is a constant in the others; whatever scores links again. In between the projections get no
gradient and do not move; over several processes, which wait for one, they get zeros and do not move either.

Changed: scoring does not replace the graph that training goes on with, so that looking at a model does not
change it; a model that scores while it is in training mode, as GUIDER's students do, keeps the neighbours of
the epoch and takes the weights of the moment with their gradient, because finding neighbours again in every
batch costs all pairs of items. The squares of the batch's vectors are divided by the rows of the batch at
hand, not by the configured batch size, which differs in an epoch's last batch. A resumed run goes on with the
graph of the interrupted epoch. ``cf_model: lightgcn`` is the one collaborative part here.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.collaborative import CollaborativeRecommender, Tables, rows_of
from zoo.graph.build import mean_graph
from zoo.graph.item_graph import ItemGraph, cosine_graph_of
from zoo.graph.neighbours import cosines, nearest, spread, symmetric
from zoo.graph.propagate import Graph, mean_over_nodes
from zoo.losses.host import bpr, half_squares
from zoo.types import CatalogSpec, InteractionSource


class LATTICE(CollaborativeRecommender):
    """Item graphs learnt along with the vectors.

    Args:
        knn_k: Neighbours of an item in each modality, itself included.
        raw_weight: Share of the graph of raw features (``lambda_coeff``); the learnt one has the rest.
        n_item_layers: Propagations over the item graph.
        n_layers: Propagations over the graph of users and items.
        reg_weight: Weight of the squares of the batch's propagated vectors.
        freeze_features: Leave the raw features as they are, instead of training them as the authors do.
        **kwargs: Arguments of the base, see ``zoo.collaborative.CollaborativeRecommender``.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image", "text", "audio")

    def __init__(
        self,
        knn_k: int = 10,
        raw_weight: float = 0.9,
        n_item_layers: int = 1,
        n_layers: int = 2,
        reg_weight: float = 1e-3,
        freeze_features: bool = False,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        self.knn_k = knn_k
        self.raw_weight = raw_weight
        self.n_item_layers = n_item_layers
        self.n_layers = n_layers
        self.reg_weight = reg_weight
        self.trains_features = not freeze_features
        self._links_again = True
        """Whether the next loss is the first of an epoch."""
        self._linked_in_step = False
        """Whether a loss since the last step of the optimiser linked again."""

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the tables, the projections, the weights of the modalities and the empty item graphs."""
        modalities = self.used_modalities
        self.users = nn.Embedding(self.n_users, self.width)
        self.item_ids = nn.Embedding(self.n_items, self.width)
        for table in (self.users, self.item_ids):
            nn.init.xavier_uniform_(table.weight)
        self.projections = nn.ModuleDict(
            {m: nn.Linear(spec.feature_widths[m], self.width) for m in modalities}
        )
        self.modality_weight = nn.Parameter(torch.full((len(modalities),), 1 / len(modalities)))
        columns = len(modalities) * self.knn_k
        self.raw_graph = ItemGraph(self.n_items, columns)
        self.epoch_graph = EpochGraph(self.n_items, 2 * columns)

    def components(self) -> dict[str, tuple[str, ...]]:
        """One a child, and the weights of the modalities."""
        return {**super().components(), "modality_weight": ("modality_weight",)}

    def catalogue_rows(self) -> tuple[str, ...]:
        """The item graphs have a row an item."""
        return (*super().catalogue_rows(), "raw_graph", "epoch_graph")

    @torch.no_grad()
    def fill(self, items: InteractionSource) -> None:
        """Links the items of each modality by the features they come with."""
        super().fill(items)
        tables = [cosine_graph_of(self.features[m], self.knn_k) for m in self.used_modalities]
        self.raw_graph.fill(*(torch.cat(part, dim=1) for part in zip(*tables, strict=True)))

    def make_graph(self, edge_2E: Tensor) -> Graph:
        """Every node's mean over its neighbours and itself."""
        return mean_graph(edge_2E, self.n_users, self.n_items)

    def begin_epoch(self) -> None:
        """The first batch links again, unless a run goes on within the epoch its graph is of."""
        trainer = self._trainer
        goes_on = trainer is not None and trainer.ckpt_path is not None
        self._links_again = not (goes_on and int(self.epoch_graph.epoch) == self.current_epoch)

    # The item graph --------------------------------------------------------------------------------------

    def _projected(self) -> list[Tensor]:
        return [project(self.features[m]) for m, project in self.projections.items()]

    def _nearest(self, projected: list[Tensor]) -> Tensor:
        """The learnt graph's neighbours (I, M x k)."""
        return torch.cat([nearest(table_ID, self.knn_k).index_NK for table_ID in projected], dim=1)

    def _weights(self, projected: list[Tensor], index_IK: Tensor) -> Tensor:
        """Weights of both graphs' neighbours (I, 2 x M x k), with a gradient."""
        with torch.autocast(index_IK.device.type, enabled=False):
            share_K = self.modality_weight.float().softmax(0).repeat_interleave(self.knn_k)
            tables = zip(projected, index_IK.chunk(len(projected), dim=1), strict=True)
            cosine_IK = torch.cat([cosines(table_ID, part_IK) for table_ID, part_IK in tables], dim=1)
            learnt_IK = symmetric(index_IK, share_K * cosine_IK)
            raw_IK = share_K * self.raw_graph.weight_IK
        return torch.cat([self.raw_weight * raw_IK, (1 - self.raw_weight) * learnt_IK], dim=1)

    def _linked(self, index_IK: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Neighbours and weights of both graphs as the parameters are now.

        Args:
            index_IK: Neighbours in the learnt graph; by default they are found now.
        """
        projected = self._projected()
        if index_IK is None:
            index_IK = self._nearest(projected)
        both_IK = torch.cat([self.raw_graph.index_IK, index_IK], dim=1)
        return both_IK, self._weights(projected, index_IK)

    def _epoch_tables(self) -> tuple[Tensor, Tensor]:
        """Neighbours and weights for the loss: made with a gradient once an epoch, then constant."""
        if self._links_again:
            tables = self._linked()
            self.epoch_graph.fill(*(part.detach() for part in tables))
            self.epoch_graph.epoch.fill_(self.current_epoch)
            self._links_again, self._linked_in_step = False, True
            return tables
        return self.epoch_graph.index_IK, self.epoch_graph.weight_IK

    # Vectors ---------------------------------------------------------------------------------------------

    def _vectors(self, index_IK: Tensor, weight_IK: Tensor) -> Tables:
        similar_ID = self.item_ids.weight
        for _ in range(self.n_item_layers):
            similar_ID = spread(index_IK, similar_ID, weight_IK)
        user_UD, item_ID = mean_over_nodes(
            self.graph(), self.users.weight, self.item_ids.weight, self.n_layers
        )
        return user_UD, item_ID + F.normalize(similar_ID, dim=1)

    def propagate(self) -> Tables:
        """Means over the layers; items also get, at length one, what their neighbours say now."""
        if self.training and not self._links_again:
            learnt_IK = self.epoch_graph.index_IK[:, self.raw_graph.index_IK.shape[1] :]
            return self._vectors(*self._linked(learnt_IK))
        return self._vectors(*self._linked())

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """Ranking, and squares of the propagated rows."""
        user_UD, item_ID = self._vectors(*self._epoch_tables())
        rows = rows_of(user_UD, user_B), rows_of(item_ID, positive_B), rows_of(item_ID, negative_B)
        above_B, below_B = (rows[0] * rows[1]).sum(1), (rows[0] * rows[2]).sum(1)
        return {
            "bpr": bpr(above_B, below_B),
            "reg": self.reg_weight * half_squares(*rows) / len(user_B),
        }

    # Several processes -----------------------------------------------------------------------------------

    def linking_parameters(self) -> list[nn.Parameter]:
        """What gets a gradient in the batches that link: projections, features, weights of the modalities."""
        parts = (self.projections, self.features)
        return [self.modality_weight, *(p for part in parts for p in part.parameters())]

    def waits_for_gradients(self) -> bool:
        """Whether other processes wait for the gradient of every parameter."""
        return self.trainer.world_size > 1

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ANN401
        """Where others wait for gradients, parameters without a part in the loss get zeros."""
        links = self._links_again
        loss = super().training_step(batch, batch_idx)
        if links or not self.waits_for_gradients():
            return loss
        return loss + 0.0 * torch.stack([p.sum() for p in self.linking_parameters()]).sum()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Takes zeros away again: momentum and decay would move what rests on a single process."""
        if not self._linked_in_step:
            for parameter in self.linking_parameters():
                parameter.grad = None
        self._linked_in_step = False


class EpochGraph(ItemGraph):
    """The graph that the batches of an epoch use, and which epoch that is.

    Args:
        n_items: Items.
        n_neighbours: Columns K of the tables.
    """

    epoch: Tensor

    def __init__(self, n_items: int, n_neighbours: int) -> None:
        super().__init__(n_items, n_neighbours)
        self.register_buffer("epoch", torch.tensor(-1))

"""Models of the graph of users and items: learnt from pairs, scored by inner products of two tables.

Ids come from 1, row 0 being padding, as everywhere. Inside a model users and items are counted from 0 and no
table has a padding row, so that initialisers and regularisers are the authors'.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.base import Recommender
from zoo.callbacks.table import ResultRow
from zoo.checkpoints import CheckpointMismatchError, read_stamp
from zoo.graph.build import symmetric_graph
from zoo.graph.propagate import Graph
from zoo.histories import Histories
from zoo.metrics.topk import TopKMean, hits_at, target_places, user_values
from zoo.recommend import Kept
from zoo.seeding import reseed
from zoo.types import (
    CatalogSpec,
    EvalBatch,
    InteractionBatch,
    InteractionSource,
    ItemSource,
    LabelBatch,
    ModelNeeds,
)

Tables = tuple[Tensor, Tensor]
"""Vectors of all users (U, D) and of all items (I, D)."""
EPOCH_DRAWS = 2**32
"""The batch number under which an epoch's own draws are made; no batch has it."""


class FeatureTables(nn.Module):
    """Feature vectors of all items, one table (I, width) a modality, from 0.

    Args:
        widths: Modality -> width.
        n_items: Items.
        trained: Whether they are parameters, as in FREEDOM, BM3 and LATTICE, or stay as they are.
    """

    def __init__(self, widths: dict[str, int], n_items: int, trained: bool) -> None:
        super().__init__()
        for modality, width in widths.items():
            zeros_ID = torch.zeros(n_items, width)
            if trained:
                self.register_parameter(modality, nn.Parameter(zeros_ID))
            else:
                self.register_buffer(modality, zeros_ID)

    def __getitem__(self, modality: str) -> Tensor:
        """The table of a modality."""
        table_ID = getattr(self, modality)
        assert isinstance(table_ID, Tensor)
        return table_ID


class CollaborativeRecommender(Recommender):
    """Base of the models of pairs.

    Args:
        width: Width D of user and item vectors.
        modalities: Modalities read; by default all the model knows.
        lr: Learning rate.
        weight_decay: AdamW weight decay; with 0 it is Adam.
        **kwargs: Arguments of the base, see ``zoo.base.Recommender``.

    Raises:
        ValueError: The model does not know a modality.
    """

    catalogue_bound: ClassVar[bool] = True
    reads_history: ClassVar[bool] = False
    reads_users: ClassVar[bool] = True
    monitor: ClassVar[str] = "val/recall@20"
    modalities: ClassVar[tuple[str, ...]] = ()
    """Modalities whose feature vectors the model can read, in its order."""
    edge_2E: Tensor

    def __init__(
        self,
        width: int = 64,
        modalities: Sequence[str] | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(lr=lr, weight_decay=weight_decay, **kwargs)
        self.width = width
        known = type(self).modalities
        asked = known if modalities is None else tuple(modalities)
        if unknown := [m for m in asked if m not in known]:
            reads = f"reads features of {', '.join(known)}" if known else "reads no features"
            raise ValueError(
                f"{type(self).__name__} {reads}; --model.modalities names {', '.join(unknown)}. Leave the "
                "option out, or choose another model."
            )
        self.used_modalities = tuple(m for m in known if m in asked)
        self.trains_features = False
        """Whether feature vectors are parameters; set by the subclass's constructor."""
        self._graph: Graph | None = None
        self._begun: int | None = None
        self._users_UD: Tensor | None = None
        self.mean: TopKMean | None = None
        self.register_load_state_dict_post_hook(_forget_graph)  # type: ignore[no-untyped-call]

    # What a model is -------------------------------------------------------------------------------------

    @property
    def table_width(self) -> int:
        """Width of the vectors that ``propagate`` gives; who gives others than ``width`` overrides it."""
        return self.width

    @abstractmethod
    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the parameters; ``n_users``, ``n_items`` (from 0), ``edge_2E`` and ``features`` are there."""

    @abstractmethod
    def propagate(self) -> Tables:
        """Users (U, D) and items (I, D) of the graph that scores, whose inner products are the scores."""

    @abstractmethod
    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """Named parts of the loss of some pairs, all counted from 0; their sum is optimised."""

    def begin_epoch(self) -> None:
        """Makes what an epoch draws once, such as the edges it leaves out; before its first batch."""

    def make_graph(self, edge_2E: Tensor) -> Graph:
        """The graph of some pairs, users before items; by default LightGCN's."""
        return symmetric_graph(edge_2E, self.n_users, self.n_items)

    def scores(self, user_B: Tensor, tables: Tables) -> Tensor:
        """Scores (B, I) of all items for some users, counted from 0, with a gradient.

        Args:
            user_B: Users.
            tables: What ``propagate`` gave.
        """
        user_UD, item_ID = tables
        return rows_of(user_UD, user_B) @ item_ID.T

    # From the data ---------------------------------------------------------------------------------------

    def needs(self) -> ModelNeeds:
        """Pairs with a negative each, and the features read."""
        return ModelNeeds({}, batch="interaction", features=frozenset(self.used_modalities))

    def catalogue_rows(self) -> tuple[str, ...]:
        """Everything with a row a user or an item, and the pairs; who has more of it overrides."""
        return ("users", "item_ids", "edge_2E", "features")

    def build(self, spec: CatalogSpec) -> None:
        """Makes buffers of the pairs and tables of the features, empty yet, and the parameters."""
        if missing := [m for m in self.used_modalities if m not in spec.feature_widths]:
            raise ValueError(
                f"{type(self).__name__} reads features of {', '.join(self.used_modalities)}; the data has "
                f"{', '.join(spec.feature_widths) or 'none'}. Give a data set with {', '.join(missing)}, or "
                "choose by --model.modalities."
            )
        self.n_users, self.n_items = spec.n_users - 1, spec.n_items - 1
        self.register_buffer("edge_2E", torch.zeros(2, spec.n_edges, dtype=torch.int64))
        widths = {m: spec.feature_widths[m] for m in self.used_modalities}
        self.features = FeatureTables(widths, self.n_items, self.trains_features)
        self.build_parts(spec)

    def attach(self, spec: CatalogSpec, items: ItemSource) -> None:
        """Binds a catalogue; the first one builds the model and gives it pairs and features.

        Raises:
            ValueError: The data has no pairs.
            CheckpointMismatchError: The model was made for other data.
        """
        if not isinstance(items, InteractionSource) or not spec.n_edges:
            raise ValueError(
                f"{type(self).__name__} learns from pairs of users and items; the data gives "
                f"{type(items).__name__}, which has none. Give a data set of pairs (such as --data demo_cf), "
                "or a model of histories (such as --model sasrec_id)."
            )
        first = self.spec is None
        if not first:
            require_same_edges(self.edge_2E, spec)
        super().attach(spec, items)
        if first:
            self.fill(items)
        # They are the same on all ranks and never change: to send them with every step would take longer
        # than the step.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Builds the model where no data was bound, and refuses a checkpoint of other pairs."""
        super().on_load_checkpoint(checkpoint)
        require_same_edges(self.edge_2E, read_stamp(checkpoint, type(self)).spec)

    @torch.no_grad()
    def fill(self, items: InteractionSource) -> None:
        """Takes pairs and features over; what is computed from them once is computed here."""
        edge_2E = torch.from_numpy(np.stack([items.user_E, items.item_E]) - 1)
        self.edge_2E.copy_(edge_2E)
        for modality in self.used_modalities:
            self.features[modality].copy_(torch.from_numpy(np.asarray(items.features(modality)[1:])))
        self._graph = None

    def graph(self) -> Graph:
        """The graph that scores: made of all pairs when it is first asked for."""
        if self._graph is None or self._graph.matrix.device != self.edge_2E.device:
            self._graph = self.make_graph(self.edge_2E)
        return self._graph

    # Training --------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        """Whatever epoch comes, its draws are to be made."""
        self._begun = None

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Before the first batch that this process sees of an epoch, makes the epoch's draws.

        They are a function of seed and epoch alone: the same on all ranks and in a resumed run.
        """
        if self._begun != self.current_epoch:
            reseed(self.seed, self.current_epoch, EPOCH_DRAWS, 0)
            self.begin_epoch()
            self._begun = self.current_epoch
        super().on_train_batch_start(batch, batch_idx)

    def training_loss(self, batch: InteractionBatch) -> dict[str, Tensor]:
        """The losses of the pairs."""
        return self.losses(batch.user_B - 1, batch.item_B - 1, batch.negative_B - 1)

    # Evaluation ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def tables(self) -> Tables:
        """Users (U, D) and items (I, D) in evaluation mode and full precision, row 0 zero."""
        was_training = self.training
        self.eval()
        with torch.autocast(self.device.type, enabled=False):
            user_UD, item_ID = self.propagate()
        self.train(was_training)
        return F.pad(user_UD.float(), (0, 0, 1, 0)), F.pad(item_ID.float(), (0, 0, 1, 0))

    def item_table(self) -> Tensor:
        """Vectors of the whole catalogue (I, D); row 0, the padding item, is zero."""
        return self.tables()[1]

    def user_vectors(self, batch: LabelBatch, table_ID: Tensor) -> Tensor:  # type: ignore[override]
        """Rows of the user table; within an evaluation it is at hand."""
        users_UD = self.tables()[0] if self._users_UD is None else self._users_UD
        return users_UD[batch.user_B]

    def _start_evaluation(self, slices: tuple[str, ...]) -> None:
        """Propagates once an evaluation."""
        self._users_UD, self.table_ID = self.tables()
        self.mean = TopKMean().to(self.device)

    def _rank(self, batch: LabelBatch) -> tuple[Tensor, Tensor]:
        """The metrics of every user (B, M), and the places of the targets (B, P)."""
        table_ID = self._table()
        user_BD = self.user_vectors(batch, table_ID)
        targets_B = (batch.target_BP > 0).sum(1)
        place_BP = target_places(user_BD, table_ID, batch.target_BP, batch.hidden_BH)
        values_BM = user_values(hits_at(place_BP), targets_B)
        if self.mean is not None:
            self.mean.update(values_BM, targets_B)
        return values_BM, place_BP

    def validation_step(self, batch: LabelBatch, batch_idx: int) -> None:  # type: ignore[override]
        """Ranks each user's targets among the whole catalogue."""
        self._rank(batch)

    def test_step(self, batch: LabelBatch, batch_idx: int) -> dict[str, Tensor]:  # type: ignore[override]
        """Ranks as in validation.

        Returns:
            ``values_BM``: the metrics of every user in the order of ``zoo.metrics.topk.NAMES``;
            ``place_BP``: where each target stands among the best 50 items, 0 beyond them.
        """
        values_BM, place_BP = self._rank(batch)
        return {"values_BM": values_BM, "place_BP": place_BP}

    def on_predict_epoch_end(self) -> None:
        """Lets the tables go."""
        super().on_predict_epoch_end()
        self._users_UD = self.mean = None

    def encode_catalogue(self) -> tuple[Tensor, Tensor | None]:
        """Both tables, of one propagation."""
        user_UD, item_ID = self.tables()
        return item_ID, user_UD

    def users_of(self, batch: EvalBatch, kept: Kept) -> Tensor:
        """Rows of the user table."""
        assert kept.users_UD is not None
        return kept.users_UD[batch.user_B]

    def known_of(self, user_R: npt.NDArray[np.int64]) -> Histories:
        """The users' training pairs."""
        user_E, item_E = self.edge_2E.cpu().numpy() + 1
        return Histories.of_users(user_E, item_E, user_R)

    def _finish_evaluation(self, stage: str) -> None:
        self.table_ID = self._users_UD = None
        if self.mean is not None:
            values = self.mean.compute()  # one reduction over the processes
            self.log_dict({f"{stage}/{name}": value for name, value in values.items()}, prog_bar=False)

    def result_rows(self) -> list[ResultRow]:
        """What the last evaluation found over all users, with 95 % intervals."""
        if self.mean is None or not self.mean.n_users():
            return []
        return [ResultRow("all", self.mean.compute(), self.mean.intervals(), self.mean.n_users())]


def rows_of(table_ND: Tensor, row_B: Tensor) -> Tensor:
    """Some rows of a table (B, D), whose gradient is the same to the last bit on any number of threads.

    That of plain indexing is not on a CPU: several threads add to one row in whatever order.
    """
    return F.embedding(row_B, table_ND)


def require_same_edges(edge_2E: Tensor, spec: CatalogSpec) -> None:
    """Refuses data with another number of pairs than a model has.

    Raises:
        CheckpointMismatchError: The numbers differ.
    """
    if edge_2E.shape[1] != spec.n_edges:
        raise CheckpointMismatchError(
            f"The model was trained on {edge_2E.shape[1]:,} pairs of users and items; the data now gives "
            f"{spec.n_edges:,}. Give the same data set and split as before, or start a new run without "
            "--ckpt_path."
        )


def _forget_graph(module: nn.Module, keys: object) -> None:
    """What is made of the pairs belongs to the pairs that were there before."""
    cast(CollaborativeRecommender, module)._graph = None

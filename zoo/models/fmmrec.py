"""FMMRec: "Causality-Inspired Fair Representation Learning for Multimodal Recommendation".

Chen, Chen, Ni and Zhao, ACM TOIS 43(6), 2025, https://arxiv.org/abs/2310.17373; official code:
WeixinChen98/FMMRec (b3af061), ``models/fairness_models/bfmmr.py`` and ``BMMF*.py``.

Three stages. A host of user-item pairs is trained and frozen. Each modality's features are split into an
attribute-rich and an attribute-poor part (``zoo/fair/disentangle.py``). User vectors are moved by two
user-user graphs made of the parts (``zoo/fair/structure.py``), and filters are trained to take the attributes
out of users and items against discriminators (``zoo/fair/tuning.py``). Stages are kept by what they were made
from; the released code keeps graphs by their number of neighbours only.

Not kept of the released code, without effect on values: vectors made twice in a step, six dense users x users
matrices and two products with them in every pass, predictions stored once for each subset of attributes. The
host's vectors are those of its best epoch, not of its last training batch. ``parity`` says what else differs.
"""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from zoo.collaborative import CollaborativeRecommender, Tables
from zoo.factory import create_host
from zoo.fair.labels import Labels, labels_of, require_attributes
from zoo.fair.profiles import profile_graph
from zoo.fair.stages import Consumed
from zoo.fair.structure import correction, sources
from zoo.fair.tuning import Adversary, FairTuning
from zoo.graph.propagate import Graph, propagate
from zoo.losses.host import bpr, half_squares
from zoo.types import CatalogSpec, InteractionBatch, InteractionSource, ModelNeeds

RankLoss = Literal["bpr", "bpr_bits"]
"""The host's: LATTICE's, or DRAGON's, whose logarithm is to the base 2."""


class FMMRec(FairTuning, CollaborativeRecommender):
    """Filters on the frozen vectors of a host of pairs.

    Args:
        loss: Ranking loss of the filters.
        reg_weight: Weight of the squares of the batch's filtered vectors (LATTICE as host; DRAGON has none).
        reg_rows: What the squares are divided by: the authors' batch size, in the last batch too.
        **kwargs: Arguments of the bases, see ``zoo.fair.tuning.FairTuning`` and
            ``zoo.collaborative.CollaborativeRecommender``. ``width`` and ``modalities`` are the host's.

    Raises:
        ValueError: The host is no model of pairs.
    """

    modalities: ClassVar[tuple[str, ...]] = ()
    host_users_UD: Tensor
    host_items_ID: Tensor
    class_KU: Tensor

    def __init__(
        self,
        loss: RankLoss = "bpr",
        reg_weight: float = 0.0,
        reg_rows: int = 2048,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the bases
    ) -> None:
        super().__init__(**kwargs)
        self.loss = loss
        self.reg_weight = reg_weight
        self.reg_rows = reg_rows
        self.template()  # makes nothing big, and says what is wrong with the host

    def template(self) -> CollaborativeRecommender:
        """The host, not built: it says what it reads and how wide its vectors are.

        Raises:
            ValueError: It is no model of pairs.
        """
        host = create_host(self.host_name, self.host_args)
        if not isinstance(host, CollaborativeRecommender):
            raise ValueError(
                f"--model.host {self.host_name}: expected a model of pairs, whose users and items are "
                f"tables, found {type(host).__name__}. For a model of histories take --model "
                "fmmrec_sequential."
            )
        return host

    def needs(self) -> ModelNeeds:
        """Pairs, attributes, and the features that are split or that a host to be trained reads."""
        features = frozenset(sources(self.modality_weights, self.parity).values())
        if self.host_from is None:
            features |= self.template().needs().features
        return ModelNeeds({}, batch="interaction", features=features, attributes=self.attributes)

    def catalogue_rows(self) -> tuple[str, ...]:
        """The host's vectors and the attributes too."""
        return (*super().catalogue_rows(), "host_users_UD", "host_items_ID", "class_KU")

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the filters, and room for the host's vectors; until the stages are made they are noise."""
        width = self.template().table_width
        n_classes = require_attributes(self.attributes, spec)
        self.register_buffer("host_users_UD", torch.randn(self.n_users, width) / math.sqrt(width))
        self.register_buffer("host_items_ID", torch.randn(self.n_items, width) / math.sqrt(width))
        self.register_buffer("class_KU", torch.zeros(len(self.attributes), self.n_users, dtype=torch.int64))
        self.build_filters(width, n_classes)

    @torch.no_grad()
    def fill(self, items: InteractionSource) -> None:
        """Takes the users' attributes too."""
        super().fill(items)
        assert self.spec is not None
        self.class_KU.copy_(labels_of(items, self.attributes, self.spec).class_KU)

    def make_graph(self, edge_2E: Tensor) -> Graph:
        """The mean over each user's training items."""
        return profile_graph(edge_2E, self.n_users, self.n_items)

    # Stages ----------------------------------------------------------------------------------------------

    def labels(self) -> Labels:
        """Attributes of the users."""
        assert self.spec is not None
        return Labels(self.attributes, require_attributes(self.attributes, self.spec), self.class_KU)

    def prepare_stages(self) -> None:
        """The host's vectors, users moved by the structure; nothing in that is trained, so once will do."""
        assert self.spec is not None
        assert isinstance(self.items, InteractionSource)  # attach would have refused
        wanted = sorted(self.needs().features)
        features = {m: torch.from_numpy(self.items.features(m)[1:]).to(self.device) for m in wanted}
        host = self.host_ready({"data": self.spec.fingerprint}, features)
        if not isinstance(host, CollaborativeRecommender):
            raise ValueError(
                f"--model.host_from {self.host_from}: expected a model of pairs, whose users and items are "
                f"tables, found a {type(host).__name__}. Take --model fmmrec_sequential for it."
            )
        user_UD, item_ID = (table[1:].to(self.device) for table in host.to(self.device).tables())
        self._require_width(host, user_UD)
        graph = self.user_structure(Consumed(self.edge_2E, self.graph(), features, self.labels()))
        self.host_users_UD.copy_(user_UD + self.structure_weight * correction(graph, user_UD))
        self.host_items_ID.copy_(item_ID)

    def _require_width(self, host: CollaborativeRecommender, user_UD: Tensor) -> None:
        if user_UD.shape != self.host_users_UD.shape:
            raise ValueError(
                f"The host {type(host).__name__} gives vectors {user_UD.shape[1]} wide, but --model.host "
                f"{self.host_name} with its host_args has {self.host_users_UD.shape[1]}. Let --model.host "
                "and --model.host_args say what --model.host_from was trained as."
            )

    # Users, items and loss -------------------------------------------------------------------------------

    def propagate(self) -> Tables:
        """Filtered users (U, D) and items (I, D)."""
        return self.filters.users(self.host_users_UD), self.filters.items(self.host_items_ID)

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """The ranking loss alone."""
        user_BD = self.filters.users(self.host_users_UD[user_B])
        return self._ranking(user_BD, self._items(), positive_B, negative_B)

    def _items(self) -> Tensor:
        return self.filters.items(self.host_items_ID)

    def _ranking(
        self, user_BD: Tensor, item_ID: Tensor, positive_B: Tensor, negative_B: Tensor
    ) -> dict[str, Tensor]:
        positive_BD, negative_BD = item_ID[positive_B], item_ID[negative_B]
        rank = bpr((user_BD * positive_BD).sum(1), (user_BD * negative_BD).sum(1))
        parts = {"bpr": rank / math.log(2) if self.loss == "bpr_bits" else rank}
        if self.reg_weight:
            squares = half_squares(user_BD, positive_BD, negative_BD)
            parts["reg"] = self.reg_weight * squares / self.reg_rows
        return parts

    def fair_losses(self, batch: InteractionBatch) -> tuple[dict[str, Tensor], Adversary]:
        """Ranking of the batch's pairs; users and what they have consumed for the discriminators.

        All items are filtered once: what users have consumed are nearly all of them.
        """
        user_B = batch.user_B - 1
        user_BD, item_ID = self.filters.users(self.host_users_UD[user_B]), self._items()
        parts = self._ranking(user_BD, item_ID, batch.item_B - 1, batch.negative_B - 1)
        seen = [user_BD]
        if self.groups == 2:
            seen.append(propagate(self.graph(), item_ID)[user_B])
        return parts, Adversary(torch.stack([part.float() for part in seen]), self.class_KU[:, user_B])

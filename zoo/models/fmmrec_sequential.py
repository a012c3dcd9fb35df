"""FMMRec on a model of histories: **our extension**; the paper's own hosts are models of pairs.

What a user vector is there, is here the state of a sequence model: ``zoo/models/fmmrec.py`` names the paper,
``zoo/fair`` has its parts. The structure is made of what a trained host makes of the users' training
histories; a state of any length of a user's history is moved by that user's neighbours and filtered, and the
filtered states are compared with filtered items by the host's own loss. One state a user, the last, meets the
discriminators, so that long histories do not weigh more.

Frozen (the default) is nearest to the paper: vectors of users and items stay the host's. With ``tune_host``
the host is trained along, and its states of all users are taken anew after each epoch.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from zoo.factory import create_host
from zoo.fair.labels import Labels, labels_of, require_attributes
from zoo.fair.profiles import profile_graph
from zoo.fair.stages import Consumed
from zoo.fair.store import array_digest
from zoo.fair.structure import UserGraph, correction, edges, sources
from zoo.fair.tuning import Adversary, FairTuning
from zoo.sequence.base import is_masked
from zoo.sequential import SequentialRecommender
from zoo.types import CatalogSpec, EvalBatch, ItemSource, ModelNeeds, SequenceBatch


class FMMRecSequential(FairTuning):
    """Filters on the states of a sequence model and on its items.

    Args:
        host: Name of the host's configuration, or path of its class; a sequential recommender.
        tune_host: Train the host along, by its own rates.
        **kwargs: Arguments of the bases, see ``zoo.fair.tuning.FairTuning`` and ``zoo.base.Recommender``.
            ``modality_weights`` by default gives the host's modalities equal shares.

    Raises:
        ValueError: The host reads no histories, or reads them in both directions.
    """

    catalogue_bound: ClassVar[bool] = True
    reads_users: ClassVar[bool] = True
    shift_UD: Tensor
    neighbour_UK: Tensor
    weight_UK: Tensor
    class_KU: Tensor

    def __init__(
        self,
        host: str = "morec",
        tune_host: bool = False,
        modality_weights: dict[str, float] | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the bases
    ) -> None:
        super().__init__(
            host=host, modality_weights=modality_weights, lr=lr, weight_decay=weight_decay, **kwargs
        )
        self.tune_host = tune_host
        self.host = self._make_host()
        if modality_weights is None:
            self.modality_weights = {m: 1 / len(self.host.specs) for m in self.host.specs}
        if unknown := set(sources(self.modality_weights, self.parity).values()) - set(self.host.specs):
            raise ValueError(
                f"--model.modality_weights: the host {host} has no {' and no '.join(sorted(unknown))}; it "
                f"reads {', '.join(self.host.specs) or 'ids only'}."
            )
        self._items_ID: Tensor | None = None

    def _make_host(self) -> SequentialRecommender:
        host = create_host(self.host_name, {**self.host_args, "seed": self.seed})
        if not isinstance(host, SequentialRecommender):
            raise ValueError(
                f"--model.host {self.host_name}: expected a model of histories, found {type(host).__name__}. "
                "For a model of pairs take --model fmmrec."
            )
        return host

    # Parts -----------------------------------------------------------------------------------------------

    def needs(self) -> ModelNeeds:
        """What the host needs, and attributes; content of a frozen host's items is read once."""
        needs = self.host.needs()._replace(attributes=self.attributes)
        return needs if self.tune_host else needs._replace(cached=frozenset(self.host.specs))

    def build(self, spec: CatalogSpec) -> None:
        """Makes host, filters, and room for the structure.

        Raises:
            ValueError: The host's backbone reads in both directions.
        """
        n_classes = require_attributes(self.attributes, spec)
        self.host.build(spec)
        self.host.spec = spec
        if is_masked(self.host.sequence):
            raise ValueError(
                f"--model.host {self.host_name}: its backbone guesses hidden items and has no state that "
                "predicts the next one. Take a causal one."
            )
        if not self.tune_host:
            self.host.requires_grad_(False)
        users, width = spec.n_users - 1, self.host.item_width
        k = edges(self.modality_weights, self.neighbours)
        self.register_buffer("shift_UD", torch.zeros(users, width))
        self.register_buffer("neighbour_UK", torch.zeros(users, k, dtype=torch.int64))
        self.register_buffer("weight_UK", torch.zeros(users, k))
        self.register_buffer("class_KU", torch.zeros(len(self.attributes), users, dtype=torch.int64))
        self.build_filters(width, n_classes)

    def catalogue_rows(self) -> tuple[str, ...]:
        """The structure and the attributes have a row a user; and the host's own."""
        own = ("shift_UD", "neighbour_UK", "weight_UK", "class_KU")
        return (*own, *(f"host.{name}" for name in self.host.catalogue_rows()))

    def tower_configs(self) -> dict[str, dict[str, Any]]:
        """The host's."""
        return self.host.tower_configs()

    def use_towers(self, configs: dict[str, dict[str, Any]]) -> None:
        """Hands them to the host."""
        self.host.use_towers(configs)

    def attach(self, spec: CatalogSpec, items: ItemSource) -> None:
        """Binds a catalogue to the host too, and reads the attributes the first time."""
        first = self.spec is None
        super().attach(spec, items)
        self.host.attach(spec, items)
        self._items_ID = None
        if first:
            self.class_KU.copy_(labels_of(items, self.attributes, spec).class_KU)

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Drops vectors made by other weights."""
        self._items_ID = None
        super().on_load_checkpoint(checkpoint)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ANN401
        """Lets the host add rows of features that do not fit on the device."""
        return self.host.on_before_batch_transfer(batch, dataloader_idx)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; a frozen host stays in evaluation."""
        super().train(mode)
        if not self.tune_host:
            self.host.train(False)
        return self

    def tuned_parameters(self) -> list[Any]:
        """The filters, and the host where it is trained along."""
        filters: list[nn.Parameter] = list(self.filters.parameters())
        if not self.tune_host:
            return filters
        own = {"params": filters, "lr": self.lr, "weight_decay": self.weight_decay, "name": "filters"}
        return [own, *self.host.parameter_groups()]

    # Stages ----------------------------------------------------------------------------------------------

    def labels(self) -> Labels:
        """Attributes of the users."""
        assert self.spec is not None
        return Labels(self.attributes, require_attributes(self.attributes, self.spec), self.class_KU)

    @torch.no_grad()
    def prepare_stages(self) -> None:
        """A trained host, the users' last states, and the structure made of what they have consumed."""
        assert self.spec is not None
        history_UL = self._histories()
        digest = array_digest(history_UL.cpu().numpy())
        with torch.enable_grad():
            found = self.host_ready({"data": self.spec.fingerprint, "histories": digest}, {})
        self._take_host(found)
        self.host.to(self.device).eval()
        user_E, place_E = history_UL.nonzero(as_tuple=True)
        every_2E = torch.stack([user_E, history_UL[user_E, place_E] - 1])
        pairs_2E, count_E = torch.unique(every_2E, dim=1, return_counts=True)
        graph = profile_graph(pairs_2E, len(history_UL), self.spec.n_items - 1, count_E.float())
        features = self._features()
        with torch.enable_grad():
            linked = self.user_structure(Consumed(pairs_2E, graph, features, self.labels()))
        self.neighbour_UK.copy_(linked.index_UK)
        self.weight_UK.copy_(linked.weight_UK)
        self._remember()

    def _take_host(self, found: torch.nn.Module) -> None:
        if type(found) is not type(self.host):
            raise ValueError(
                f"--model.host_from {self.host_from} holds a {type(found).__name__}, --model.host "
                f"{self.host_name} is a {type(self.host).__name__}. Let --model.host say what it is."
            )
        try:
            self.host.load_state_dict(found.state_dict())
        except RuntimeError as error:
            raise ValueError(
                f"The host of --model.host_from {self.host_from} is not what --model.host {self.host_name} "
                f"with its host_args makes: {str(error).splitlines()[1].strip()} Let them say what it was "
                "trained as."
            ) from None

    @torch.no_grad()
    def _histories(self) -> Tensor:
        """Training history of every user (U, L), left-padded."""
        assert self.spec is not None
        history_UL = torch.zeros(
            self.spec.n_users - 1, self.spec.max_len, dtype=torch.int64, device=self.device
        )
        for batch in self.data.val_dataloader():
            user_B, history_BL = batch.user_B.to(self.device), batch.history_BL.to(self.device)
            history_UL[user_B - 1, -history_BL.shape[1] :] = history_BL
        return history_UL

    @torch.no_grad()
    def _features(self) -> dict[str, Tensor]:
        """Pooled vectors (I, D) that the trained host's towers give of each modality."""
        assert self.items is not None
        wanted = list(dict.fromkeys(sources(self.modality_weights, self.parity).values()))
        found: dict[str, list[Tensor]] = {modality: [] for modality in wanted}
        self.host.cache_features()
        running = [m for m in self.host.specs if m not in self.host.features]
        for ids_N, content in self.host.catalogue_chunks("Encoding items", running) if wanted else ():
            parts = self.host.encode_parts(ids_N, content)
            for modality in wanted:
                found[modality].append(parts[modality].pooled_ND.float())
        return {modality: torch.cat(chunks) for modality, chunks in found.items()}

    @torch.no_grad()
    def _remember(self) -> None:
        """Takes the last states of all users anew, and moves by their neighbours'."""
        was_training = self.training
        self.eval()
        self._items_ID = None
        table_ID = self._host_items()
        memory_UD = torch.zeros_like(self.shift_UD)
        for batch in self.data.val_dataloader():
            batch = EvalBatch(*(field.to(self.device) for field in batch))
            memory_UD[batch.user_B - 1] = self.host.user_vectors(batch, table_ID)
        self.shift_UD.copy_(correction(UserGraph(self.neighbour_UK, self.weight_UK), memory_UD))
        self.train(was_training)

    def on_train_epoch_end(self) -> None:
        """Follows the host where it is trained along."""
        super().on_train_epoch_end()
        if self.tune_host:
            self._remember()

    # Users, items and loss -------------------------------------------------------------------------------

    @torch.no_grad()
    def _host_items(self) -> Tensor:
        """The host's item table (I, D); a frozen host makes it once."""
        if self._items_ID is None:
            with torch.autocast(self.device.type, enabled=False):
                self.host.cache_features()
                table_ID = self.host.item_table()
            if self.tune_host:
                return table_ID
            self._items_ID = table_ID
        return self._items_ID

    def _encoded(self, batch: SequenceBatch) -> Tensor:
        """The host's vectors (N, D) of the distinct items."""
        if self.tune_host:
            return self.host.encode_items(batch.unique_N, batch.content)
        return self._host_items()[batch.unique_N]

    def _filtered_items(self, item_ND: Tensor) -> Tensor:
        """Filtered items; the padding item's row stays zero."""
        real_ND = self.filters.items(item_ND[1:])
        return torch.cat([real_ND.new_zeros(1, real_ND.shape[1]), real_ND])

    def _moved(self, state_BD: Tensor, user_B: Tensor) -> Tensor:
        """States (B, ..., D) moved by the structure."""
        shift_BD = self.structure_weight * self.shift_UD[user_B - 1]
        return state_BD + (shift_BD if state_BD.ndim == 2 else shift_BD[:, None])

    def fair_losses(self, batch: SequenceBatch) -> tuple[dict[str, Tensor], Adversary]:
        """The host's loss on filtered states and items; each user's last state for the discriminators."""
        if self.host.loss == "full":  # every id stands for itself
            assert self.spec is not None
            ids_I = torch.arange(self.spec.n_items, device=batch.items_BS.device)
            batch = batch._replace(unique_N=ids_I, slots_BS=batch.items_BS)
        with torch.set_grad_enabled(self.tune_host and torch.is_grad_enabled()):
            item_ND = self._encoded(batch)
            state_BLD = self.host.user_states(item_ND, batch)
        fair_BLD = self.filters.users(self._moved(state_BLD, batch.user_B))
        fair_ND = self._filtered_items(item_ND)
        parts = {str(self.host.loss): self.host.next_item_loss(fair_BLD, fair_ND, batch)}
        seen = [fair_BLD[:, -1]]
        if self.groups == 2:
            count_B1 = (batch.items_BS != 0).sum(1, keepdim=True).clamp(min=1)
            seen.append(fair_ND[batch.slots_BS].sum(1) / count_B1)
        vector_GBD = torch.stack([part_BD.float() for part_BD in seen])
        return parts, Adversary(vector_GBD, self.class_KU[:, batch.user_B - 1])

    @torch.no_grad()
    def item_table(self) -> Tensor:
        """Filtered vectors of the whole catalogue (I, D)."""
        return self._filtered_items(self._host_items()).float()

    def _start_evaluation(self, slices: tuple[str, ...]) -> None:
        """The host's item table is made once, and the filtered one of it."""
        if self.tune_host:
            self._items_ID = None
        self._items_ID = self._host_items()
        super()._start_evaluation(slices)

    def _finish_evaluation(self, stage: str) -> None:
        if self.tune_host:
            self._items_ID = None
        super()._finish_evaluation(stage)

    def user_vectors(self, batch: EvalBatch, table_ID: Tensor) -> Tensor:
        """Filtered states after the last item of the histories, which are read with the host's own items."""
        state_BD = self.host.user_vectors(batch, self._host_items())
        return self.filters.users(self._moved(state_BD, batch.user_B)).float()

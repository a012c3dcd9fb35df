"""Models that read a user's history in order: items from content and ids, a sequence backbone, a loss.

A paper on top of this is mostly its ``fuse`` method and its YAML.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from zoo.base import Recommender
from zoo.encoders.base import Encoded, Encoder, EncoderSpec
from zoo.encoders.create import create_encoder, create_transform
from zoo.encoders.freeze import freeze
from zoo.encoders.item_id import ItemId
from zoo.losses.in_batch import in_batch_ce
from zoo.losses.sampled import bce
from zoo.optim import Rates
from zoo.sequence.sasrec import SASRec
from zoo.types import CatalogSpec, Content, EvalBatch, ItemSource, ModelNeeds, SequenceBatch

Loss = Literal["in_batch", "bce", "last_bce"]
"""Debiased in-batch softmax; BCE with one negative a position; the same at the last position only."""


class SequentialRecommender(Recommender):
    """Base of the sequential models.

    Args:
        width: Width D of item and user vectors.
        n_blocks: Blocks of the sequence backbone.
        n_heads: Attention heads of the sequence backbone.
        dropout: Dropout rate of the sequence backbone and of the heads.
        text: Encoder of titles; null leaves the modality out.
        image: Encoder of pictures.
        audio: Encoder of sounds; no tower for them yet, so anything but null is refused.
        video: Encoder of clips; likewise.
        item_id: Learn a vector for every item id.
        loss: Training loss.
        **kwargs: Arguments of the base, see ``zoo.base.Recommender``.

    Raises:
        ValueError: No modality and no item ids.
    """

    def __init__(
        self,
        width: int = 512,
        n_blocks: int = 2,
        n_heads: int = 2,
        dropout: float = 0.1,
        text: EncoderSpec | None = None,
        image: EncoderSpec | None = None,
        audio: EncoderSpec | None = None,
        video: EncoderSpec | None = None,
        item_id: bool = False,
        loss: Loss = "in_batch",
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.n_blocks = n_blocks
        self.n_heads = n_heads
        self.dropout = dropout
        given = {"text": text, "image": image, "audio": audio, "video": video}
        self.specs = {m: spec for m, value in given.items() if (spec := EncoderSpec.of(value)) is not None}
        self.item_id = item_id
        self.loss = loss
        self.catalogue_bound = item_id or type(self).catalogue_bound  # type: ignore[misc]  # known by instance
        if not self.specs and not item_id:
            raise ValueError(
                "The model has nothing to tell items apart: give at least one of text, image, audio, video "
                "(an encoder each) or item_id: true."
            )
        if width % n_heads:
            raise ValueError(f"width must be a multiple of n_heads; found width {width}, n_heads {n_heads}.")
        self.features: dict[str, Tensor] = {}
        self.rebuilt: frozenset[str] = frozenset()

    # Parts -----------------------------------------------------------------------------------------------

    @abstractmethod
    def fuse(self, parts: dict[str, Encoded]) -> Tensor:
        """One vector an item (N, D) from its encoded modalities; ids come under ``item_id``."""

    def needs(self) -> ModelNeeds:
        """Content of the given modalities, and negatives for the sampled losses."""
        transforms = {m: create_transform(m, spec) for m, spec in self.specs.items()}
        cached = frozenset(m for m, spec in self.specs.items() if spec.cached)
        return ModelNeeds(transforms, negatives=self.loss != "in_batch", cached=cached)

    def build(self, spec: CatalogSpec) -> None:
        """Makes encoders, one learned stand-in a modality for missing content, and the backbone."""
        self.encoders = nn.ModuleDict()
        self.stand_ins = nn.ParameterDict()
        for modality, encoder_spec in self.specs.items():
            # A stored architecture means the weights come from a checkpoint.
            tower = create_encoder(modality, encoder_spec, pretrained=modality not in self.rebuilt)
            freeze(tower, "none" if encoder_spec.cached else encoder_spec.tune)
            self.encoders[modality] = tower
            self.stand_ins[modality] = nn.Parameter(torch.zeros(tower.width))
        if self.item_id:
            self.encoders["item_id"] = ItemId(spec.n_items, self.width)
        self.build_parts(spec)

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes what follows the encoders; papers extend it."""
        self.sequence = SASRec(self.width, spec.max_len, self.n_blocks, self.n_heads, self.dropout)

    def tower_configs(self) -> dict[str, dict[str, Any]]:
        """Architecture of every encoder in plain values."""
        return {m: self.encoder(m).config() for m in self.specs}

    def use_towers(self, configs: dict[str, dict[str, Any]]) -> None:
        """Builds encoders from stored architectures; their weights come from the checkpoint."""
        self.specs = {m: replace(spec, config=configs[m], weights=None) for m, spec in self.specs.items()}
        self.rebuilt = frozenset(configs)

    def encoder(self, modality: str) -> Encoder:
        """The tower of a modality."""
        encoder = self.encoders[modality]
        assert isinstance(encoder, Encoder)
        return encoder

    def special_rates(self) -> dict[str, Rates]:
        """The towers' own learning rate and weight decay; their heads are not towers."""
        rates = Rates(self.encoder_lr, self.encoder_weight_decay)
        return {f"encoders.{modality}": rates for modality in self.specs}

    # Items -----------------------------------------------------------------------------------------------

    def encode_items(self, ids_N: Tensor, content: dict[str, Content]) -> Tensor:
        """Vectors (N, D) of distinct items; row 0 must be the padding item and comes back zero, unencoded."""
        parts = {m: self._encode(m, ids_N[1:], content) for m in self.specs}
        if self.item_id:
            parts["item_id"] = Encoded(self.encoders["item_id"](ids_N[1:]))
        item_ND = self.fuse(parts)
        return torch.cat([item_ND.new_zeros(1, item_ND.shape[1]), item_ND])

    def _encode(self, modality: str, ids_N: Tensor, content: dict[str, Content]) -> Encoded:
        """One modality of real items; an item without it gets the learned stand-in."""
        if modality in self.features:
            pooled_ID, present_I = (
                self.features[name].to(ids_N.device) for name in (modality, f"{modality}.present")
            )
            encoded = Encoded(pooled_ID[ids_N], present_N=present_I[ids_N])
        else:
            part = {field: value[1:] for field, value in content[modality].items()}
            encoded = self.encoder(modality)(part)._replace(present_N=part["present"])
        assert encoded.present_N is not None
        stand_in_D = self.stand_ins[modality].to(encoded.pooled_ND.dtype)
        pooled_ND = torch.where(encoded.present_N[:, None], encoded.pooled_ND, stand_in_D)
        return encoded._replace(pooled_ND=pooled_ND)

    def _catalogue_chunks(
        self, title: str, modalities: list[str]
    ) -> Iterator[tuple[Tensor, dict[str, Content]]]:
        """Ids and content of the whole catalogue on the device, padding first in every chunk."""
        if self.items is None:
            raise RuntimeError(
                "The catalogue's content is needed but no catalogue is bound: use a trainer with a data "
                "module, or call attach(data.spec, data.items)."
            )
        starts = range(1, self.items.n_items, self.item_chunk)
        quiet = len(starts) < 20 or self.global_rank != 0
        for start in tqdm(starts, desc=title, unit="chunk", leave=False, disable=quiet):
            stop = min(start + self.item_chunk, self.items.n_items)
            ids_N = np.concatenate([[0], np.arange(start, stop)])
            content = self.items.content(ids_N, modalities)
            yield (
                torch.from_numpy(ids_N).to(self.device),
                {m: {f: t.to(self.device) for f, t in part.items()} for m, part in content.items()},
            )

    @torch.no_grad()
    def item_table(self) -> Tensor:
        """Encodes the catalogue in chunks, in evaluation mode."""
        was_training = self.training
        self.eval()
        modalities = [m for m in self.specs if m not in self.features]
        chunks = [
            self.encode_items(ids_N, content)[1:].float()
            for ids_N, content in self._catalogue_chunks("Encoding items", modalities)
        ]
        self.train(was_training)
        return torch.cat([chunks[0].new_zeros(1, chunks[0].shape[1]), *chunks])

    @torch.no_grad()
    def cache_features(self) -> None:
        """Runs the frozen towers of the cached modalities once over the catalogue (two-stage training)."""
        cached = [m for m, spec in self.specs.items() if spec.cached and m not in self.features]
        if not cached:
            return
        was_training = self.training
        self.eval()
        pooled: dict[str, list[Tensor]] = {m: [] for m in cached}
        present: dict[str, list[Tensor]] = {m: [] for m in cached}
        for _, content in self._catalogue_chunks("Caching frozen features", cached):
            for m in cached:
                rows = slice(0 if not pooled[m] else 1, None)  # the padding row once, to keep ids as indices
                pooled[m].append(self.encoder(m)(content[m]).pooled_ND[rows])
                present[m].append(content[m]["present"][rows])
        for m in cached:
            self.features[m] = torch.cat(pooled[m])
            self.features[f"{m}.present"] = torch.cat(present[m])
        self.train(was_training)

    def attach(self, spec: CatalogSpec, items: ItemSource) -> None:
        """Binds a catalogue; vectors cached from other content are dropped."""
        if self.items is not items:
            self.features = {}
        super().attach(spec, items)

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Drops vectors cached from other weights."""
        self.features = {}
        super().on_load_checkpoint(checkpoint)

    def on_fit_start(self) -> None:
        """Fills the cache of two-stage modalities."""
        self.cache_features()

    def _start_evaluation(self, slices: tuple[str, ...]) -> None:
        self.cache_features()
        super()._start_evaluation(slices)

    # Users and loss --------------------------------------------------------------------------------------

    def training_loss(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Encodes each distinct item once, runs the backbone and compares with the next items."""
        item_ND = self.encode_items(batch.unique_N, batch.content)
        input_BLD = item_ND[batch.slots_BS[:, :-1]]
        user_BLD = self.sequence(input_BLD, batch.items_BS[:, :-1] != 0)
        return {self.loss: self.next_item_loss(user_BLD, item_ND, batch)}

    def next_item_loss(self, user_BLD: Tensor, item_ND: Tensor, batch: SequenceBatch) -> Tensor:
        """The chosen loss over the real positions."""
        if self.loss == "in_batch":
            user_PD = user_BLD.flatten(0, 1)[batch.positions_P]
            return in_batch_ce(user_PD, item_ND, batch.slots_BS, batch.positions_P, batch.log_pop_BS)
        assert batch.negative_slots_BL is not None
        positive_BL, negative_BL = batch.slots_BS[:, 1:], batch.negative_slots_BL
        if self.loss == "last_bce":
            return bce(user_BLD[:, -1], item_ND[positive_BL[:, -1]], item_ND[negative_BL[:, -1]])
        rows_P = batch.positions_P
        return bce(
            user_BLD.flatten(0, 1)[rows_P],
            item_ND[positive_BL.flatten()[rows_P]],
            item_ND[negative_BL.flatten()[rows_P]],
        )

    def user_vectors(self, batch: EvalBatch, table_ID: Tensor) -> Tensor:
        """State of the backbone after the last item of the history."""
        user_BLD: Tensor = self.sequence(table_ID[batch.history_BL], batch.history_BL != 0)
        return user_BLD[:, -1].float()

"""Models whose items come from content, from ids, or from both: encoders, stand-ins, frozen features.

How users are read is the subclass's: in order (``zoo/sequential.py``), or otherwise.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from zoo.cached import CachingRecommender
from zoo.catalogue_table import Share, whole_table
from zoo.encoders.adapt import adapt, check_adaptation
from zoo.encoders.base import Encoded, Encoder, EncoderSpec
from zoo.encoders.create import create_encoder, create_transform
from zoo.encoders.freeze import freeze
from zoo.encoders.item_id import ItemId
from zoo.encoders.tower import mean_tokens
from zoo.features import Kind
from zoo.optim import Rates
from zoo.types import CatalogSpec, Content, ItemSource, ModelNeeds


class ContentRecommender(CachingRecommender):
    """Base of the models that encode items.

    Args:
        width: Width D of item and user vectors.
        text: Encoder of titles; null leaves the modality out.
        image: Encoder of pictures.
        audio: Encoder of sounds.
        video: Encoder of clips.
        caption: Encoder of captions, a second text of an item, where the data has them.
        item_id: Learn a vector for every item id.
        row_updates: Update the vectors of the ids in a batch only, and let all others rest, their moments
            and decay too: not AdamW any more (``zoo.row_updates``), but no step reads the whole table. From
            some 100,000 items on that shows.
        **kwargs: Arguments of the base, see ``zoo.base.Recommender``.

    Raises:
        ValueError: No modality and no item ids.
    """

    def __init__(
        self,
        width: int = 512,
        text: EncoderSpec | None = None,
        image: EncoderSpec | None = None,
        audio: EncoderSpec | None = None,
        video: EncoderSpec | None = None,
        caption: EncoderSpec | None = None,
        item_id: bool = False,
        row_updates: bool = False,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        self.width = width
        given = {"text": text, "image": image, "audio": audio, "video": video, "caption": caption}
        self.specs = {m: spec for m, value in given.items() if (spec := EncoderSpec.of(value)) is not None}
        for modality, spec in self.specs.items():
            check_adaptation(modality, spec)
        self.item_id = item_id
        self.row_updates = row_updates
        self.catalogue_bound = item_id or type(self).catalogue_bound  # type: ignore[misc]  # known by instance
        if not self.specs and not item_id:
            raise ValueError(
                "The model has nothing to tell items apart: give at least one of text, image, audio, "
                "video, caption (an encoder each) or item_id: true."
            )
        if row_updates and not item_id:
            raise ValueError("row_updates is about the vectors of item ids; it needs item_id: true.")
        self.features = {}
        self.feature_seconds = {}
        self.rebuilt: frozenset[str] = frozenset()

    # Parts -----------------------------------------------------------------------------------------------

    @property
    def n_parts(self) -> int:
        """Parts M of an item: one a modality, one for its id."""
        return len(self.specs) + self.item_id

    @property
    def uses_tokens(self) -> bool:
        """Whether ``fuse`` reads tokens; then the pooled vectors it gets are the means of all real tokens."""
        return False

    @property
    def uses_states(self) -> bool:
        """Whether ``fuse`` reads layer states; then missing content is left to it, by ``present_N``."""
        return False

    @property
    def kind(self) -> Kind:
        """What is read of the encoders."""
        return "states" if self.uses_states else "tokens" if self.uses_tokens else "pooled"

    @property
    def item_width(self) -> int:
        """Width of item vectors."""
        return self.width

    @property
    def id_width(self) -> int:
        """Width of the item-id table; the other encoders exist when it is asked for."""
        return self.width

    @abstractmethod
    def fuse(self, parts: dict[str, Encoded]) -> Tensor:
        """One vector an item (N, D) from its encoded modalities; ids come under ``item_id``."""

    def needs(self) -> ModelNeeds:
        """Content of the given modalities."""
        transforms = {m: create_transform(m, spec) for m, spec in self.specs.items()}
        cached = frozenset(m for m, spec in self.specs.items() if spec.cached)
        return ModelNeeds(transforms, cached=cached)

    def build(self, spec: CatalogSpec) -> None:
        """Makes encoders, one learned stand-in a modality for missing content, and what follows them."""
        self.encoders = nn.ModuleDict()
        self.stand_ins = nn.ParameterDict()
        for modality, encoder_spec in self.specs.items():
            # A stored architecture means the weights come from a checkpoint.
            tower = create_encoder(modality, encoder_spec, pretrained=modality not in self.rebuilt)
            if self.uses_tokens and not tower.token_width:
                raise ValueError(
                    f"The fusion reads tokens; {encoder_spec.name!r} ({modality}) gives pooled vectors only. "
                    "Choose a fusion of pooled vectors (sum, concat, film, gated), or a tower with tokens."
                )
            if encoder_spec.adapt is None:
                freeze(tower, "none" if encoder_spec.cached else encoder_spec.tune, tokens=self.uses_tokens)
            else:
                adapt(tower, encoder_spec, tokens=self.uses_tokens)
            self.encoders[modality] = tower
            if not self.uses_states:
                width = tower.token_width if self.uses_tokens else tower.width
                self.stand_ins[modality] = nn.Parameter(stand_in(width))
        if self.item_id:
            self.encoders["item_id"] = ItemId(spec.n_items, self.id_width, self.row_updates)
        self.build_parts(spec)

    @abstractmethod
    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes what follows the encoders."""

    def components(self) -> dict[str, tuple[str, ...]]:
        """One component a modality, with its stand-in and its head, one for ids, and the fusion."""
        names = [*self.specs, *(["item_id"] if self.item_id else [])]
        parts: dict[str, tuple[str, ...]] = {
            name: (f"encoders.{name}", f"stand_ins.{name}", f"heads.{name}") for name in names
        }
        return {**parts, "fusion": ("fusion", "after")}

    def catalogue_rows(self) -> tuple[str, ...]:
        """The item-id table."""
        return ("encoders.item_id",)

    def tower_configs(self) -> dict[str, dict[str, Any]]:
        """Architecture of every encoder in plain values."""
        return {m: self.encoder(m).config() for m in self.specs}

    def use_towers(self, configs: dict[str, dict[str, Any]]) -> None:
        """Builds encoders from stored architectures; their weights come from a checkpoint."""
        for modality, config in configs.items():
            self.specs[modality] = replace(self.specs[modality], config=config, weights=None)
        self.rebuilt = frozenset(configs)

    def encoder(self, modality: str) -> Encoder:
        """The tower of a modality."""
        encoder = self.encoders[modality]
        assert isinstance(encoder, Encoder)
        return encoder

    def special_rates(self) -> dict[str, Rates]:
        """The towers' own learning rate and weight decay; their heads are not towers."""
        return {
            f"encoders.{modality}": Rates(
                self.encoder_lr if spec.lr is None else spec.lr,
                self.encoder_weight_decay if spec.weight_decay is None else spec.weight_decay,
            )
            for modality, spec in self.specs.items()
            if any(True for _ in self.encoder(modality).parameters())  # ready features have none
        }

    # Items -----------------------------------------------------------------------------------------------

    def encode_items(self, ids_N: Tensor, content: dict[str, Content]) -> Tensor:
        """Vectors (N, D) of distinct items; row 0 must be the padding item and comes back zero, unencoded."""
        return with_padding(self.fuse(self.encode_parts(ids_N, content)))

    def encode_parts(self, ids_N: Tensor, content: dict[str, Content]) -> dict[str, Encoded]:
        """Modalities and ids of the real items, missing content replaced by the learned stand-in.

        Args:
            ids_N: Catalogue rows, the padding item's first.
            content: Of these rows; modalities cached from frozen towers may be left out.

        Returns:
            Modality, or ``item_id`` -> N - 1 encoded items: the padding item is not among them.
        """
        parts = {m: self._encode(m, ids_N[1:], content.get(m)) for m in self.specs}
        if self.item_id:
            parts["item_id"] = Encoded(self.encoders["item_id"](ids_N[1:]))
        return parts

    def _encode(self, modality: str, ids_N: Tensor, content: Content | None) -> Encoded:
        part = None if content is None else {field: value[1:] for field, value in content.items()}
        if modality in self.features:
            encoded = self.read_features(modality, ids_N, part)
        else:
            assert part is not None
            encoded = self.running(modality)(part)._replace(present_N=part["present"])
        return encoded if self.uses_states else self._stand_in(modality, encoded)

    def _stand_in(self, modality: str, encoded: Encoded) -> Encoded:
        """Puts the learned stand-in where an item lacks the modality: as its vector, or as its one token."""
        assert encoded.present_N is not None
        if not self.uses_tokens:
            stand_in_D = self.stand_ins[modality].to(encoded.pooled_ND.dtype)
            pooled_ND = torch.where(encoded.present_N[:, None], encoded.pooled_ND, stand_in_D)
            return encoded._replace(pooled_ND=pooled_ND)
        assert encoded.tokens_NTD is not None
        present_N1, mask_NT = encoded.present_N[:, None], encoded.mask_NT
        stand_in_D = self.stand_ins[modality].to(encoded.tokens_NTD.dtype)
        tokens_NTD = torch.where(present_N1[..., None], encoded.tokens_NTD, stand_in_D)
        if mask_NT is not None:
            first_T = torch.arange(mask_NT.shape[1], device=mask_NT.device) == 0
            mask_NT = torch.where(present_N1, mask_NT, first_T)
        pooled_ND = mean_tokens(tokens_NTD, mask_NT)
        return encoded._replace(pooled_ND=pooled_ND, tokens_NTD=tokens_NTD, mask_NT=mask_NT)

    def trimmed(self, content: dict[str, Content]) -> dict[str, Content]:
        """Prepared content, still on the host, without padding that its tower would only skip."""
        return {m: self.encoder(m).trim(part) if m in self.specs else part for m, part in content.items()}

    def catalogue_chunks(
        self, title: str, modalities: list[str], together: bool = False
    ) -> Iterator[tuple[Tensor, dict[str, Content]]]:
        """Ids and content of the catalogue on the device, padding first in every chunk.

        Args:
            title: Of the progress bar.
            modalities: Whose content is read.
            together: Only this rank's share.
        """
        starts = self._share(together).starts()
        assert self.items is not None
        quiet = len(starts) < 20 or self.global_rank != 0
        for start in tqdm(starts, desc=title, unit="chunk", leave=False, disable=quiet):
            stop = min(start + self.item_chunk, self.items.n_items)
            ids_N = np.concatenate([[0], np.arange(start, stop)])
            rows_N = torch.from_numpy(ids_N)
            content = {**self.trimmed(self.items.content(ids_N, modalities)), **self.staged_rows(rows_N)}
            yield (
                rows_N.to(self.device),
                {
                    m: {f: t.to(self.device, non_blocking=True) for f, t in part.items()}
                    for m, part in content.items()
                },
            )

    def _share(self, together: bool) -> Share:
        if self.items is None:
            raise RuntimeError(
                "The catalogue's content is needed but no catalogue is bound: use a trainer with a data "
                "module, or call attach(data.spec, data.items)."
            )
        ranks = (self.global_rank, self.trainer.world_size) if together else (0, 1)
        return Share(self.items.n_items, self.item_chunk, *ranks)

    @torch.no_grad()
    def item_table(self) -> Tensor:
        """Encodes the catalogue in chunks, in evaluation mode; of several ranks at it, each its share."""
        was_training = self.training
        self.eval()
        modalities = [m for m in self.specs if m not in self.features]
        chunks = self.catalogue_chunks("Encoding items", modalities, self.together)
        vectors = (self.encode_items(ids_N, content)[1:] for ids_N, content in chunks)
        table_ID = whole_table(vectors, self._share(self.together))
        self.train(was_training)
        return table_ID

    @property
    def takes_new_items(self) -> bool:
        """Whether there are no item ids."""
        return not self.item_id

    @torch.no_grad()
    def new_item_table(self, items: ItemSource) -> Tensor:
        """Encodes items that are in no catalogue, in evaluation mode; no features are kept of them."""
        own = self.items, self.features
        self.items, self.features = items, {}
        try:
            return self.item_table()[1:]
        finally:
            self.items, self.features = own


def stand_in(width: int) -> Tensor:
    """Start of the learned vector (D,) that stands for missing content: of the size of layer-normed vectors.

    Zeros would be a trap: where an item lacks everything, a norm over a zero vector has huge gradients. The
    numbers come from a generator of their own, so that having stand-ins moves no other draw of a seed.
    """
    return torch.randn(width, generator=torch.Generator().manual_seed(0))


def with_padding(item_ND: Tensor) -> Tensor:
    """Vectors of real items below a zero row, the padding item's."""
    return torch.cat([item_ND.new_zeros(1, *item_ND.shape[1:]), item_ND])

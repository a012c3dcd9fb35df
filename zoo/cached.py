"""Models that read what frozen towers give: features are made once, kept, and put where they fit.

A tower whose features are there runs no more in training: it waits on the host, and is a part of every
checkpoint, so that a checkpoint loads without the data and encodes items it has never seen.
"""

import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from zoo.base import Recommender
from zoo.encoders.base import Encoded, Encoder, EncoderSpec
from zoo.feature_build import FeatureBuild, Team
from zoo.feature_store import FeatureStore, Part, chunks_of
from zoo.features import Features, Kind, free_memory, joined, kept_part, makers, where_text
from zoo.types import CatalogSpec, Content, ItemSource, PairBatch, SequenceBatch

HOST = torch.device("cpu")


class CachingRecommender(Recommender):
    """Base of the models with encoders, some of which may be frozen and run once."""

    specs: dict[str, EncoderSpec]
    """Modality -> its encoder."""
    features: dict[str, Features]
    """Cached modality -> its features, once they are made."""
    feature_seconds: dict[str, float]
    """Modality -> seconds its frozen features took to make; nothing where they were found."""

    placement: str = ""
    """What was said last of where features lie."""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """What is read of the encoders."""

    @abstractmethod
    def encoder(self, modality: str) -> Encoder:
        """The tower of a modality."""

    @property
    def cached(self) -> list[str]:
        """Modalities whose towers are run once."""
        return [m for m, spec in self.specs.items() if spec.cached]

    # Making ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def cache_features(self) -> None:
        """Runs the frozen towers of the cached modalities once over the catalogue (two-stage training)."""
        missing = [m for m in self.cached if m not in self.features]
        if not missing:
            return
        was_training = self.training
        self.eval()
        found = {m: self._features(m) for m in missing}
        for modality in self.cached:
            self._send(modality, HOST)
        free = left = free_memory(self.device)
        for modality, features in found.items():
            found[modality] = placed = features.placed(self.device, left)
            left -= 0 if placed.staged else placed.nbytes
        self.features |= found
        placement = where_text(found, self.device, free)
        if placement != self.placement:  # a test after a training finds them where they were
            rank_zero_info(placement)
        self.placement = placement
        self.train(was_training)

    def _features(self, modality: str) -> Features:
        """Frozen features: from disk, or made and kept there by all processes of the run."""
        assert self.items is not None
        started = time.monotonic()
        store = self.feature_store(modality)
        if store is None:
            chunks = chunks_of(self.items.n_items, self.item_chunk)
            found = joined(self.frozen_rows(modality, *chunk) for chunk in chunks)
            self.feature_seconds[modality] = time.monotonic() - started
            return Features.of(self.kind, found)
        build = FeatureBuild(store, self.feature_title(modality), self.team())
        if build.run(lambda start, stop: self.frozen_rows(modality, start, stop)):
            self.feature_seconds[modality] = time.monotonic() - started
        return Features.of(self.kind, store.read())

    def feature_title(self, modality: str) -> str:
        """What the features of a modality are called before people."""
        return f"Frozen {self.kind} of {modality}"

    def feature_store(self, modality: str) -> FeatureStore | None:
        """Where the features of a modality lie or will lie; None for a catalogue without a disk."""
        assert self.items is not None
        made_by = makers(self.kind, self.specs[modality], self.encoder(modality))
        folder = self.items.feature_folder(modality, " ".join(f"{k}={v}" for k, v in made_by.items()))
        return (
            None
            if folder is None
            else FeatureStore(Path(folder), self.items.n_items, self.item_chunk, made_by)
        )

    def frozen_rows(self, modality: str, start: int, stop: int) -> Part:
        """What is kept of some catalogue rows."""
        assert self.items is not None
        content = self.items.content(np.arange(start, stop), [modality])[modality]
        return self.frozen_part(modality, {field: t.to(self.device) for field, t in content.items()})

    @torch.no_grad()
    def frozen_part(self, modality: str, content: Content) -> Part:
        """What is kept of content on the device, in the tower's own precision whatever training's is."""
        with torch.autocast(self.device.type, enabled=False):
            encoded = self.running(modality)(content)._replace(present_N=content["present"])
        stored = getattr(torch, self.specs[modality].stored)
        try:
            return kept_part(encoded, self.kind, stored)
        except ValueError as error:
            raise ValueError(f"{modality}: {error}") from None

    def team(self) -> Team:
        """The processes of the run, or this one alone."""
        if self._trainer is None:
            return Team()
        strategy = self.trainer.strategy
        return Team(self.global_rank, self.trainer.world_size, strategy.barrier, strategy.broadcast)

    # Towers that wait ------------------------------------------------------------------------------------

    def running(self, modality: str) -> Encoder:
        """The tower of a modality, called back to the device if it waited."""
        if self.specs[modality].cached:
            self._send(modality, self.device)
        return self.encoder(modality)

    def _send(self, modality: str, device: torch.device) -> None:
        self.encoder(modality).to(device)

    # Reading ---------------------------------------------------------------------------------------------

    def read_features(self, modality: str, ids_N: Tensor, content: Content | None) -> Encoded:
        """Features of items.

        Args:
            modality: A cached one.
            ids_N: Catalogue rows.
            content: Their rows, where they came with the batch.
        """
        features = self.features[modality]
        if content is not None and "values" in content:
            return features.encoded(content, ids_N)
        return features.gather(ids_N)

    def staged_rows(self, ids_N: Tensor) -> dict[str, Content]:
        """Modality -> rows, still on the host, of features that do not live on the device."""
        return {m: f.rows(ids_N) for m, f in self.features.items() if f.staged}

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ANN401
        """Adds rows of staged features, while the ids are still on the host: no step waits for them."""
        if isinstance(batch, SequenceBatch | PairBatch) and any(f.staged for f in self.features.values()):
            return batch._replace(content={**batch.content, **self.staged_rows(batch.unique_N)})
        return batch

    # Hooks -----------------------------------------------------------------------------------------------

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
        super().on_fit_start()
        self.cache_features()

    def _start_evaluation(self, slices: tuple[str, ...]) -> None:
        self.cache_features()
        super()._start_evaluation(slices)

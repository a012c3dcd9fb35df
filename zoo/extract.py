"""Frozen features ahead of any training: the trainer's predict loop runs the towers over the catalogue.

``mmzoo predict`` without a checkpoint does this. What it leaves is what ``fit`` would have made by itself.
"""

import time
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from zoo.cached import CachingRecommender
from zoo.feature_build import FeatureBuild, seconds_text
from zoo.feature_files import bytes_text
from zoo.feature_store import Chunk, FeatureStoreError
from zoo.types import CatalogSpec, Content, ItemSource, ModelNeeds


class CatalogueChunk(NamedTuple):
    """Some rows of one modality; nothing where other processes have more to do than this one."""

    modality: str
    chunk: Chunk
    content: Content | None


class CatalogueChunks(Dataset[CatalogueChunk]):
    """Content of the chunks that one process has to make.

    Args:
        items: The catalogue.
        work: Modality and chunk; None for nothing.
    """

    def __init__(self, items: ItemSource, work: list[tuple[str, Chunk] | None]) -> None:
        self.items = items
        self.work = work

    def __len__(self) -> int:
        """Chunks, those with nothing included."""
        return len(self.work)

    def __getitem__(self, place: int) -> CatalogueChunk:
        """Reads one."""
        given = self.work[place]
        if given is None:
            return CatalogueChunk("", (0, 0), None)
        modality, (start, stop) = given
        content = self.items.content(np.arange(start, stop), [modality])[modality]
        return CatalogueChunk(modality, (start, stop), content)


class _Catalogued(Protocol):
    spec: CatalogSpec
    items: ItemSource


class CatalogueOnly(LightningDataModule):
    """A data module without its users: it prepares and opens the catalogue, and deals its rows.

    Args:
        data: Gives the catalogue.
    """

    def __init__(self, data: LightningDataModule) -> None:
        super().__init__()
        self.data = data

    def prepare_data(self) -> None:
        """Prepares content."""
        self.data.trainer = self.trainer
        self.data.prepare_data()

    def setup(self, stage: str) -> None:
        """Opens the catalogue."""
        self.data.trainer = self.trainer
        self.data.setup(stage)

    def predict_dataloader(self) -> DataLoader[CatalogueChunk]:
        """The chunks that the extractor is to make."""
        return cast(FeatureExtractor, self.trainer.lightning_module).loader()  # type: ignore[union-attr]

    @property
    def spec(self) -> CatalogSpec:
        """Sizes of the catalogue."""
        return cast(_Catalogued, self.data).spec

    @property
    def items(self) -> ItemSource:
        """The catalogue."""
        return cast(_Catalogued, self.data).items


class FeatureExtractor(LightningModule):
    """Makes the frozen features that a model will read, in the trainer's predict loop: ``make_features``.

    Args:
        model: Untrained, with cached modalities.

    Raises:
        ValueError: The model has none.
    """

    def __init__(self, model: LightningModule) -> None:
        super().__init__()
        if not isinstance(model, CachingRecommender) or not model.cached:
            raise ValueError(
                "predict needs a trained model: give --ckpt_path best, last, or a file. Without one it makes "
                f"the features of frozen towers ahead, but {type(model).__name__} has none here: no encoder "
                "is cached (--model.text.cached true)."
            )
        self.model = model
        self.builds: dict[str, FeatureBuild] = {}
        self.begun = 0.0

    def needs(self) -> ModelNeeds:
        """Content of the cached modalities."""
        needs = self.model.needs()
        return needs._replace(transforms={m: needs.transforms[m] for m in self.model.cached})

    def setup(self, stage: str) -> None:
        """Builds the towers as a training would: the same seed gives the same ones."""
        data = cast(CatalogueOnly, getattr(self.trainer, "datamodule"))  # noqa: B009  # not declared by Lightning
        self.model.attach(data.spec, data.items)

    @torch.no_grad()
    def loader(self) -> DataLoader[CatalogueChunk]:
        """The chunks that are not made yet and fall to this process; says what is to come.

        Raises:
            FeatureStoreError: The catalogue has no disk, or the disk no room.
        """
        assert self.model.items is not None
        self.model.eval()
        self.begun = time.monotonic()
        stores = {m: self.model.feature_store(m) for m in self.model.cached}
        for modality, store in sorted(stores.items(), key=lambda pair: str(pair[1] and pair[1].folder)):
            if store is None:
                raise FeatureStoreError("This catalogue keeps nothing on disk: features are made by fit.")
            self.builds[modality] = FeatureBuild(store, self.model.feature_title(modality), self.model.team())
            # All in one order of folders: two runs that want the same never wait for each other in a ring.
            self.builds[modality].begin(partial(self.model.frozen_rows, modality))
        shares = [
            [(m, chunk) for m, build in self.builds.items() for chunk in build.shares[rank]]
            for rank in range(self.model.team().size)
        ]
        own: list[tuple[str, Chunk] | None] = [*shares[self.model.team().rank]]
        longest = max(
            1, *map(len, shares)
        )  # all processes go through the loop equally often, and at least once
        return DataLoader(
            CatalogueChunks(self.model.items, own + [None] * (longest - len(own))),
            batch_size=None,
            pin_memory=self.device.type == "cuda",
        )

    def predict_step(self, batch: CatalogueChunk, *_: Any) -> int:  # noqa: ANN401
        """Runs the tower on a chunk and writes what it gives; returns the rows."""
        if batch.content is None:
            return 0
        start, stop = batch.chunk
        part = self.model.frozen_part(batch.modality, batch.content)
        self.builds[batch.modality].take(start, stop, part)
        return stop - start

    def on_predict_end(self) -> None:
        """Gives finished stores their names, and says what there is now."""
        for modality in self.model.cached:
            build = self.builds[modality]
            build.end()
            size, folder = bytes_text(build.store.size()), build.store.folder
            state = "made" if build.started else "there already"
            rank_zero_info(f"{build.title}: {state}, {size} in {folder}.")
        rank_zero_info(
            f"In all {seconds_text(time.monotonic() - self.begun)}. A fit of this model finds them."
        )

    def close(self) -> None:
        """Lets others at the stores; also after a failure."""
        for build in self.builds.values():
            build.close()


def make_features(
    trainer: Trainer,
    model: LightningModule,
    data: LightningDataModule,
    **options: Any,  # noqa: ANN401  # of trainer.predict
) -> None:
    """Makes what is missing of the frozen features that a model will read from a data module's catalogue.

    Raises:
        ValueError: The model has no frozen towers that are run once.
        FeatureStoreError: There is no room, or what lies there cannot be used.
    """
    extractor = FeatureExtractor(model)
    try:
        trainer.predict(extractor, datamodule=CatalogueOnly(data), **options)
    finally:
        extractor.close()

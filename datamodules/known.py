"""What a data set of histories tells once it is prepared: names, titles, covers, and what reading it met."""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import cast

import polars as pl
from PIL import Image

from datamodules.catalogue import Catalogue, report_text
from datamodules.errors import DataNotFoundError
from datamodules.item_store import ItemStore
from datamodules.media import open_image
from datamodules.module import DataModule
from datamodules.raw_content import RawContent
from datamodules.splits import Windows


class KnownData(DataModule, ABC):
    """The part of a data module of histories that people look at.

    Args:
        batch_size: Rows in a training batch of one process.
        eval_batch_size: Users in an evaluation batch of one process.
        num_workers: Processes that make training batches; with 0 the trainer's own does.
        seed: Of order and negatives; by default that of ``seed_everything``, or else 0.
    """

    items: ItemStore
    """Content of the catalogue; there after ``setup``."""

    def __init__(
        self, batch_size: int, eval_batch_size: int, num_workers: int = 0, seed: int | None = None
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        self._catalogue: Catalogue | None = None
        self._raw_by_modality: dict[str, RawContent] = {}

    @property
    @abstractmethod
    def cache_name(self) -> str:
        """Name of the data set and its part, fit for a folder."""

    @abstractmethod
    def raw_content(self, modality: str, items: pl.DataFrame) -> RawContent:
        """Raw content of the catalogue.

        Args:
            modality: Such as ``text`` or ``image``.
            items: The item table's rows in the order of the catalogue; the result has one more, row 0.

        Raises:
            ValueError: If the data set has no such modality.
        """

    @abstractmethod
    def _windows_folder(self) -> Path:
        """Where the cut windows lie."""

    def _ready(self) -> Catalogue:
        if self._catalogue is None:
            raise RuntimeError(
                "Expected a data module after setup(), found one before. Call prepare_data() and setup()."
            )
        return self._catalogue

    def _forget(self) -> None:
        """Forgets what was read, so that files are looked at again."""
        self._catalogue = None
        self._raw_by_modality.clear()
        for cached in ("item_names", "user_names", "folder"):
            self.__dict__.pop(cached, None)

    @property
    def data_fingerprint(self) -> str:
        """Digest of item names, histories and targets of the test; there after ``setup``."""
        return self._ready().fingerprint

    @property
    def windows(self) -> Windows:
        """What is used of every user, oldest first; there after ``setup``."""
        return self._ready().windows

    @cached_property
    def item_names(self) -> list[str]:
        """Catalogue row -> item; row 0 is the empty name of padding."""
        return ["", *self._ready().items["item"].to_list()]

    @cached_property
    def user_names(self) -> list[str]:
        """User row -> user; row 0 is the empty name of nobody."""
        return ["", *pl.read_parquet(self._windows_folder() / "users.parquet")["user"].to_list()]

    @property
    def item_table(self) -> pl.DataFrame:
        """What the data set tells of the items; row k belongs to catalogue row k + 1."""
        return self._ready().items

    def raw_title(self, row: int) -> str:
        """The title as the data has it; empty if there is none, or the data set has no texts."""
        try:
            return self._raw("text").values[row] or ""
        except (DataNotFoundError, ValueError):
            return ""

    def cover(self, row: int) -> Image.Image | None:
        """The picture of an item, None where it is missing or unreadable."""
        try:
            return cast("Image.Image | None", self._raw("image").read(row, open_image)[0])
        except (DataNotFoundError, ValueError):  # no covers here or in this data set; an unreadable one
            return None

    def _raw(self, modality: str) -> RawContent:
        if modality not in self._raw_by_modality:
            self._raw_by_modality[modality] = self.raw_content(modality, self._ready().items)
        return self._raw_by_modality[modality]

    def report(self) -> str:
        """What was read, left out and found bad, in a few lines."""
        return report_text(self.cache_name, self._ready().report, self.items)

"""A data set's raw content by modality, as far as it lies there."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import polars as pl

from datamodules.base import RecDataModule
from datamodules.demo import FOLDERS, Demo, write_demo
from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.mmrec import MMRec
from datamodules.module import DataModule
from datamodules.raw_content import RawContent

MODALITIES = ("text", "caption", "image", "audio", "video")


class Contents(NamedTuple):
    """What lies there, and why the rest does not."""

    raw: dict[str, RawContent]
    absent: dict[str, str]
    """Modality that the data set should have -> reason."""


def open_contents(data: RecDataModule, items: pl.DataFrame, asked: Sequence[str] | None = None) -> Contents:
    """The raw content of items.

    Args:
        data: The data set.
        items: Rows of its item table.
        asked: Modalities; by default all that the data set knows.

    Raises:
        ValueError: If the data set does not know a modality that was asked for.
    """
    found = Contents({}, {})
    for modality in asked or MODALITIES:
        try:
            found.raw[modality] = data.raw_content(modality, items)
        except (DataNotFoundError, BadTableError, ModuleNotFoundError) as error:
            found.absent[modality] = str(error)
        except ValueError:
            if asked:
                raise
    return found


def make_generated(data: RecDataModule, modalities: Collection[str] = MODALITIES) -> None:
    """Writes a demo catalogue that is not there yet; data that are downloaded are left alone."""
    if isinstance(data, Demo):
        wanted = [modality for modality in FOLDERS if modality in modalities]
        write_demo(data.root, data.size, data.world_seed, wanted, data.platform)


def known_kind(data: DataModule) -> RecDataModule | MMRec:
    """The data module as one whose parts are known.

    Raises:
        ValueError: If it is neither of histories nor of pairs in MMRec's layout.
    """
    if isinstance(data, RecDataModule | MMRec):
        return data
    raise ValueError(
        f"mmzoo data knows subclasses of RecDataModule and of MMRec, found {type(data).__name__}. Derive it "
        "from one of these."
    )

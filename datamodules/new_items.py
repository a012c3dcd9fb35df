"""Items that are in no data set yet: a table of texts and names of files, prepared for a model of content."""

from pathlib import Path

import numpy as np
import polars as pl
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from PIL import Image

from datamodules import guess
from datamodules.cache import make_cache
from datamodules.catalogue import note_bad_items
from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.folder_media import FOLDERS, media_content
from datamodules.folder_roles import SUFFIXES
from datamodules.guess import Table
from datamodules.headed_files import read_quoted, sniff
from datamodules.item_store import ItemStore, Preparation
from datamodules.media import open_image
from datamodules.raw_content import RawContent
from datamodules.tables import Report
from zoo.types import ModelNeeds

HOW = (
    "A table of new items is text with a header (CSV or TSV): a column item with their ids, one called title "
    "or text, and image, audio or video with names of files; or images/<item id>.jpg and so on beside it."
)


class NewItems(ItemStore):
    """New items, prepared; what a model takes as ``items`` of ``recommend``.

    Args:
        item_names: Row -> item; row 0 is the empty name of padding.
        raw: Modality -> content.
        folders: Modality -> where it was prepared.
    """

    def __init__(self, item_names: list[str], raw: dict[str, RawContent], folders: dict[str, Path]) -> None:
        super().__init__(folders, np.zeros(len(item_names), dtype=np.int64))
        self.item_names = item_names
        self.raw = raw

    def raw_title(self, row: int) -> str:
        """The title; empty if there is none."""
        return (self.raw["text"].values[row] or "") if "text" in self.raw else ""

    def cover(self, row: int) -> Image.Image | None:
        """The picture, None where it is missing or unreadable."""
        found: Image.Image | None = (
            self.raw["image"].read(row, open_image)[0] if "image" in self.raw else None
        )
        return found


def new_items(place: str | Path, needs: ModelNeeds, cache_dir: str | Path | None = None) -> NewItems:
    """Reads a table of new items and prepares their content as a model wants it.

    Args:
        place: The table, or a folder that holds one and no other.
        needs: Of the model.
        cache_dir: Folder for what is prepared; by default ``.mmzoo`` beside the table.

    Raises:
        DataNotFoundError: There is no table, or nothing in it that the model reads.
        BadTableError: The table says of no column that it holds the items.
    """
    table = _table(Path(place).expanduser())
    root, report = table.path.parent, Report()
    roles = guess.by_name(table, guess.ITEMS)
    if "item" not in roles:
        raise BadTableError(f"Expected a column item or id in {table.path}, found {_columns(table)}. {HOW}")
    roles |= guess.media_by_value(table, roles)
    if "text" not in roles and (column := guess.text_by_value(table, roles)) is not None:
        roles["text"] = column
    columns = read_quoted(table.path, table.layout, roles, report, table.header)
    lines = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).filter(pl.col("item") != "")
    items = lines.unique("item", keep="first", maintain_order=True)
    report.count("rows repeated an item, or named none, and were dropped", len(columns["item"]) - len(items))
    if items.is_empty():
        raise BadTableError(f"Expected new items in {table.path}, found none below its header. {HOW}")
    names = ["", *items["item"].to_list()]
    raw = {modality: _content(modality, names, items, root, table.path.name) for modality in needs.transforms}
    if not any(part is not None and any(part.values) for part in raw.values()):
        raise DataNotFoundError(
            f"{' or '.join(needs.transforms) or 'content'}, which the model reads, of items in {table.path}",
            f"the columns {_columns(table)}",
            HOW,
        )
    if lacking := [modality for modality, part in raw.items() if part is None]:
        rank_zero_warn(
            f"No new item has {' or '.join(lacking)}: the model's learned stand-in takes its place."
        )
    cache = Path(cache_dir).expanduser() if cache_dir else root / ".mmzoo"
    make_cache(cache)
    whole = {
        m: part or RawContent(m, names, [None] * len(names), root, table.path.name) for m, part in raw.items()
    }
    folders = {m: Preparation(cache, whole[m], needs.transforms[m]).run() for m in whole}
    report.count("new items", len(items), always=True)
    rank_zero_info("\n  ".join([f"{table.path.name}:", *report.lines()]))
    items_ready = NewItems(names, whole, folders)
    note_bad_items(items_ready, cache / "bad_items.csv")
    return items_ready


def _table(place: Path) -> Table:
    if place.is_file():
        return guess.look(place, sniff(place))
    if not place.is_dir():
        raise DataNotFoundError(
            f"a table of new items, or a folder with one, {place.absolute()}", "nothing", HOW
        )
    files = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    hinted = [path for path in files if "item" in path.stem.lower()]
    if len(files) != 1 and len(hinted) != 1:
        there = ", ".join(path.name for path in files) or "none"
        raise DataNotFoundError(
            f"one table of new items in {place.absolute()}", there, f"{HOW} Name the file."
        )
    path = (hinted if len(hinted) == 1 else files)[0]
    return guess.look(path, sniff(path))


def _columns(table: Table) -> str:
    return ", ".join(map(repr, table.columns))


def _content(
    modality: str, names: list[str], items: pl.DataFrame, root: Path, file: str
) -> RawContent | None:
    """Content of a modality; None where no item can have any."""
    column = [None, *(cell or None for cell in items[modality])] if modality in items.columns else None
    if modality not in FOLDERS:
        return None if column is None else RawContent(modality, names, column, None, file)
    if column is None and not any((root / name).is_dir() for name in FOLDERS[modality]):
        return None
    return media_content(modality, names, column, root, file)

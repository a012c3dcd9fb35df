"""Finds and reads the files of PixelRec as they were released, oddities included."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from datamodules.errors import BadTableError
from datamodules.headed_files import find_columns, read_quoted, simplified, sniff
from datamodules.tables import Report

TEXTS = ("title", "tag", "description")
"""Text columns of the item information."""
COUNTERS = (
    "view_number",
    "comment_number",
    "thumbup_number",
    "share_number",
    "coin_number",
    "favorite_number",
    "barrage_number",
)
"""Its numbers, all of the day on which it was collected."""
COLUMNS = {
    "item": ("item_id", "item"),
    "user": ("user_id", "user"),
    "time": ("timestamp",),
}
"""Column of the interactions -> names it may have."""
_KINDS = (
    "interaction",
    "interactions",
    "item",
    "items",
    "info",
    "iteminfo",
    "iteminformation",
    "information",
)
_MEDIA = ("cover", "image", "lmdb")


class Found(NamedTuple):
    """Where a part's tables lie."""

    interactions: Path | None
    items: Path | None


def find_tables(root: Path, names: Sequence[str]) -> Found:
    """Looks for the two tables by name, and tells one from the other by what their first lines say.

    The authors give the same name to both, in two folders; the smallest part's are ``interaction.csv`` and
    ``item_info.csv``.

    Args:
        root: Folder with the data.
        names: What the part is called, the first by the authors.
    """
    wanted = {simplified(name) for name in names}
    full = {name + kind for name in wanted for kind in ("", *_KINDS)}
    interactions: Path | None = None
    other: Path | None = None
    items: Path | None = None
    for path in _tables(root):
        stem = simplified(path.stem)
        own_folder = path.parent == root or simplified(path.parent.name) in wanted
        if stem not in full and not (own_folder and stem in _KINDS):
            continue
        header = {simplified(name) for name in sniff(path).first}
        if {"userid", "timestamp"} <= header:
            interactions = interactions or path
        elif "itemid" in header:
            items = items or path
        elif "item" not in stem and "info" not in stem:
            other = other or path  # if there is no better one, its reader says what is wrong with it
    return Found(interactions or other, items)


def _tables(root: Path) -> Iterator[Path]:
    """CSV files in a folder and the two levels below, but for the folders of pictures."""
    if not root.is_dir():
        return
    folders = [root]
    for level in range(3):
        for folder in folders:
            yield from sorted(path for path in folder.glob("*.csv") if path.is_file())
        if level < 2:
            inner = [path for folder in folders for path in sorted(folder.iterdir()) if path.is_dir()]
            hidden = (".", *_MEDIA)
            folders = [path for path in inner if not path.name.lower().startswith(hidden)]


def read_items(path: Path, report: Report) -> pl.DataFrame:
    """The item information: a header, then quoted rows of id, counters, title, tag and description.

    Returns:
        ``item``, those of the text columns that the file has as strings (a missing text is empty), and those
        of the counters as numbers, null where missing.

    Raises:
        BadTableError: If it is empty, a quote never closes, or there is no column of ids.
    """
    layout = sniff(path)
    wanted = {"item": ("item_id", "item"), **{name: (name,) for name in (*TEXTS, *COUNTERS)}}
    places = find_columns(path, layout, wanted, (*TEXTS, *COUNTERS))
    columns = read_quoted(path, layout, places, report)
    table = pl.DataFrame(columns, schema=dict.fromkeys(places, pl.String))
    if table.is_empty():
        raise BadTableError(f"Expected items in {path}, found only a header. Unpack the archive again.")
    report.count("items read", len(table), always=True)
    counters = [name for name in COUNTERS if name in places]
    numbers = table.select(pl.col(counters).str.strip_chars().cast(pl.Float64, strict=False))
    unreadable = sum(
        int(((table[name].str.strip_chars() != "") & numbers[name].is_null()).sum()) for name in counters
    )
    report.count("counters of items are no numbers and were left out", unreadable)
    return table.with_columns(numbers)

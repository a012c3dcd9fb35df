"""Data sets as code around MoRec ships them: a line a user, a line an item, pictures in an LMDB or a folder.

What a set's files are called, which columns its items have and how long its histories are in the paper that
ships it is said by the data sets' own files: ``amazon.py``, ``hm.py``, ``mind.py``, ``bili_kwai.py``.
"""

from abc import ABC
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import polars as pl

from datamodules.errors import DataNotFoundError
from datamodules.events import read_lines
from datamodules.media import SUFFIXES
from datamodules.raw_content import RawContent
from datamodules.released import MediaFolder, ReleasedData, Statistics, note_sizes, what_is_in
from datamodules.table_files import NEVER, read_plain
from datamodules.tables import Report, Tables, complete_items, distinct_items
from datamodules.texts import check_columns, text_content


class Windowed(NamedTuple):
    """What the last ``max_len + 3`` interactions of users with ``min_len`` or more must come to."""

    max_len: int
    min_len: int
    sizes: Statistics


class TableFiles(Protocol):
    """The tables of one part: where they lie and how they are read."""

    @property
    def texts(self) -> tuple[str, ...]:
        """Text columns of an item."""

    @property
    def pictures(self) -> tuple[str, ...]:
        """Names of the pictures' folders and LMDB, without ``.lmdb``."""

    @property
    def max_len(self) -> int:
        """History length of the paper."""

    @property
    def min_len(self) -> int:
        """Interactions that a user must have in the paper."""

    @property
    def windowed(self) -> Windowed | None:
        """Sizes of the paper's windows, where they are known."""

    @property
    def n_rows(self) -> int | None:
        """Distinct items of the item table, where they are known."""

    def find(self, root: Path, remedy: str) -> list[Path]:
        """Interactions, and items where there are.

        Raises:
            DataNotFoundError: If the interactions are missing.
        """

    def read(self, paths: Sequence[Path], report: Report, folder: Path | None = None) -> Tables:
        """Reads what was found.

        Args:
            paths: As ``find`` answered.
            report: Takes what was odd.
            folder: Where data larger than the memory may be put.
        """


class LineFiles(NamedTuple):
    """A file of users (user, tab, items and spaces) and one of items (item, then texts); without headers."""

    users: str
    items: str
    pictures: tuple[str, ...] = ()
    texts: tuple[str, ...] = ("title",)
    """Columns behind the item; what is beyond the last joins it."""
    separator: str = "\t"
    """Of the items file."""
    max_len: int = 20
    min_len: int = 5
    windowed: Windowed | None = None
    n_rows: int | None = None

    def find(self, root: Path, remedy: str) -> list[Path]:
        """The users file, and the items file where it is; in a folder or up to two levels below it.

        Raises:
            DataNotFoundError: If there is no users file.
        """
        users = find_file(root, [self.users])
        if users is None:
            raise DataNotFoundError(
                f"{self.users} (lines of a user, a tab, items and spaces) and {self.items} in "
                f"{root.absolute()} or up to two levels below",
                what_is_in(root),
                remedy,
            )
        items = find_file(users.parent, [self.items], levels=0) or find_file(root, [self.items])
        return [users, *([items] if items else [])]

    def read(self, paths: Sequence[Path], report: Report, folder: Path | None = None) -> Tables:
        """Items without a line in the items file stay, and have no texts.

        Raises:
            BadTableError: If a file is empty, or more than half of the items are unknown.
        """
        lines = read_lines(paths[0], folder)
        names = lines.item_names()
        if len(paths) > 1:
            items = complete_items(
                read_item_lines(paths[1], self.separator, self.texts, report), names, report
            )
        else:
            items = distinct_items(names)
            report.notes.append(f"There is no file of items ({self.items}): they have no texts.")
        return lines.tables(items, report)


def find_file(root: Path, names: Sequence[str], levels: int = 2) -> Path | None:
    """The first of several names, in a folder, else one level below it, else two."""
    for level in range(levels + 1):
        for name in names:
            found = sorted(path for path in root.glob("*/" * level + name) if path.is_file())
            if found:
                return found[0]
    return None


def read_item_lines(path: Path, separator: str, texts: Sequence[str], report: Report) -> pl.DataFrame:
    """A line an item: its name, then its texts. A quote is a character, as in the authors' readers.

    Args:
        path: The file.
        separator: Between name and texts, and between texts.
        texts: Names of the text columns; what is beyond the last joins it.
        report: Takes what was wrong with lines.

    Returns:
        Strings ``item`` and the texts; a missing text is empty.

    Raises:
        BadTableError: If the file is empty.
    """
    lines = read_plain(path, NEVER, ["line"], quote_char=None)["line"].fill_null("")
    lines = lines.str.strip_chars_start("\ufeff").str.strip_chars_end("\r")
    lines = lines.filter(lines.str.strip_chars() != "")
    columns = ["item", *texts]
    parts = lines.str.splitn(separator, max(len(columns), 2)).struct.unnest()
    table = parts.rename(dict(zip(parts.columns, columns, strict=False))).select(columns)
    report.count("items read", len(table), always=True)
    if texts:
        short = int(table[texts[-1]].null_count())
        report.count(f"lines of items had fewer than {len(columns)} columns: missing texts are empty", short)
    between = " " if separator == "\t" else separator
    joined = pl.col(list(texts)).fill_null("").str.replace_all(separator, between, literal=True)
    return table.with_columns(joined.str.strip_chars()) if texts else table


class LineData(ReleasedData, ABC):
    """One part of such a data set; the last L + 3 interactions of a user count, as in the code that ships it.

    Args:
        root: Folder with the files, in it or up to two levels below.
        subset: Name of the part.
        text: Columns that make an item's text, in this order; by default the first that the items have.
        images: Folder of pictures or LMDB, in the root or elsewhere; by default the authors' names.
        max_len: History length L; by default that of the paper that ships the part.
        min_len: Users with fewer interactions are left out; by default as in that paper.
        **kwargs: Of ``RecDataModule``.

    Raises:
        UnknownSubsetError: If no part is called ``subset``.
        ValueError: If an option is out of its range.
    """

    parts: ClassVar[dict[str, LineFiles]]

    def __init__(
        self,
        root: str,
        subset: str,
        text: list[str] | None = None,
        images: str | None = None,
        max_len: int | None = None,
        min_len: int | None = None,
        **kwargs: Any,  # noqa: ANN401 - the base's arguments
    ) -> None:
        self.files = files = self.files_of(self.part_called(subset))
        super().__init__(
            root=root,
            subset=subset,
            max_len=files.max_len if max_len is None else max_len,
            min_len=files.min_len if min_len is None else min_len,
            **kwargs,
        )
        self.text = () if text is None and not self.files.texts else self._columns(text)
        self.images = images

    def files_of(self, part: str) -> TableFiles:
        """The files of a part."""
        return self.parts[part]

    def _columns(self, text: list[str] | None) -> tuple[str, ...]:
        if not self.files.texts:
            raise ValueError(f"The items of {self.subset} have no texts, found text {text!r}. Leave it out.")
        return check_columns(text or self.files.texts[:1], self.files.texts)

    @cached_property
    def folder(self) -> Path:
        """Where the interactions lie."""
        return self.table_files()[0].parent

    def table_files(self) -> list[Path]:
        """Interactions, and items where there are."""
        return self.files.find(self.root, self.how_to_get_it)

    def read_tables(self) -> Tables:
        """Reads the files and compares their sizes with the published ones."""
        report = Report()
        paths = self.table_files()
        tables = self.files.read(paths, report, self.table_folder)
        if self.files.n_rows is not None and len(paths) > 1:
            found = report.counts["items read"]
            note_sizes(report, self.subset, [("lines of items", found, self.files.n_rows)])
        self.compare(tables, tables.n_taken())
        return tables

    def _write_windows(self, tables_folder: Path, folder: Path) -> None:
        super()._write_windows(tables_folder, folder)
        published = self.files.windowed
        if published and (*published[:2], "last") == (self.max_len, self.min_len, self.windowing):
            report = Report.load(folder)
            found = [report.counts[f"{what} kept"] for what in Statistics._fields]
            of = f"{self.subset} (windows of {self.max_len + 3})"
            note_sizes(report, of, zip(Statistics._fields, found, published.sizes, strict=True))
            report.save(folder)

    def media_folders(self, modality: str) -> tuple[MediaFolder, ...]:
        """The part's own folders of pictures, then the usual ones."""
        own = tuple(MediaFolder(name, SUFFIXES) for name in self.files.pictures)
        return (*own, *self.media[modality])

    def raw_content(self, modality: str, items: pl.DataFrame) -> RawContent:
        """The chosen texts, or the pictures from their folder or an LMDB.

        Raises:
            ValueError: If the data set has no such modality.
            DataNotFoundError: If files are missing.
        """
        if modality == "text" and not self.text:
            raise ValueError(
                f"The items of {self.subset} have no texts, but the model wants them: leave them out "
                "(--model.text null)."
            )
        if modality == "text":
            paths = self.table_files()
            name = paths[1].name if len(paths) > 1 else "a file of items"
            return text_content(modality, items, self.text, paths[-1], dict.fromkeys(self.text, name))
        names = ["", *items["item"].to_list()]
        if modality in self.media:
            return self.picture_content(names, self.images, self.files.pictures or (self.subset,))
        return self.media_content(modality, names)

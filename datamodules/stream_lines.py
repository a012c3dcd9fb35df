"""Tables from lines of users beyond the memory, equal to those of ``tables_from_lines`` to the bit."""

from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from datamodules import event_sources
from datamodules.array_files import ArrayWriter, collect, map_array, runs
from datamodules.errors import BadTableError
from datamodules.names import Codes, Names
from datamodules.table_files import NEVER, histories_of, lines_of, pieces_of, wrong_columns
from datamodules.tables import Report, Tables, clean_items, count_lines, offsets_of, rows_of_names


class StreamedLines:
    """Histories on their way from their file to their arrays; the file's order of lines and items stays.

    Args:
        folder: Where the arrays are written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._items = Names(strip=False)
        self._counts_of_items = np.zeros(0, dtype=np.int64)
        self._users: list[pl.Series] = []
        self._lengths: list[npt.NDArray[np.int64]] = []
        self._lines = 0

    @classmethod
    def read(cls, path: Path, folder: Path) -> Self:
        """Reads all lines; items are put aside as numbers.

        Raises:
            BadTableError: If the file is empty.
        """
        lines = cls(folder)
        pieces = (histories_of(lines_of(piece)) for piece in pieces_of(path, event_sources.PIECE))
        collect((lines._codes(piece) for piece in pieces), np.uint32, folder / "codes.npy")
        if not path.stat().st_size:
            raise BadTableError(
                f"Expected interactions in {path}, found an empty file. Unpack the archive again."
            )
        if not lines._lines:
            raise BadTableError(wrong_columns(path, NEVER, ["line"]))
        return lines

    def _codes(self, piece: pl.DataFrame) -> Codes:
        """Codes of the items of all good lines of a piece; names, lengths and counts are kept."""
        names = (
            piece.select(pl.col("items").str.split(" "))
            .with_row_index("line")
            .explode("items")
            .select("line", pl.col("items").str.strip_chars().alias("item"))
            .filter(pl.col("item").fill_null("") != "")
        )
        codes = self._items.codes(names["item"]) if len(names) else np.zeros(0, np.uint32)
        users = piece["user"].str.strip_chars()
        good = (users.fill_null("") != "") & piece["items"].is_not_null()
        line = names["line"].to_numpy()
        taken = codes
        if not good.all():
            inside = good.to_numpy()[line]
            line, taken = line[inside], codes[inside]
        self._users.append(users.filter(good))
        self._lengths.append(np.bincount(line, minlength=len(piece))[good.to_numpy()])
        self._lines += len(piece)
        counts = np.bincount(taken, minlength=len(self._items))
        counts[: len(self._counts_of_items)] += self._counts_of_items
        self._counts_of_items = counts
        return taken

    def item_names(self) -> pl.Series:
        """The distinct names of items, in order of first appearance."""
        return self._items.names()

    def tables(self, items: pl.DataFrame, report: Report) -> Tables:
        """The tables, whose arrays are mapped from the folder.

        Args:
            items: The item table.
            report: Takes the counts.

        Raises:
            BadTableError: If more than half of the interactions are with unknown items.
        """
        items = clean_items(items, report)
        users = pl.concat(self._users)
        count_lines(report, self._lines, users)
        n_events = int(self._counts_of_items.sum())
        rows = rows_of_names(self.item_names(), self._counts_of_items, n_events, items, report)
        per_line = self._write(rows)
        return Tables(users, offsets_of(per_line), map_array(self._folder / "items.npy"), items, report)

    def _write(self, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Writes the known items; how many each line has."""
        codes = map_array(self._folder / "codes.npy")
        lengths = np.concatenate(self._lengths)
        offsets = offsets_of(lengths)
        with ArrayWriter(self._folder / "items.npy", np.int32) as items_of:
            for lines in runs(offsets):
                found = rows[codes[offsets[lines.start] : offsets[lines.stop]]]
                known = found >= 0
                if not known.all():
                    n_lines = lines.stop - lines.start
                    line = np.repeat(np.arange(n_lines), lengths[lines])
                    lengths[lines] = np.bincount(line[known], minlength=n_lines)
                    found = found[known]
                items_of.append(found)
        (self._folder / "codes.npy").unlink()
        return lengths

"""Tables from interactions that do not fit into memory, equal to those of ``tables_from_events`` to the bit.

The files are read once, some megabytes at a time. Users and items get numbers in order of first appearance,
and interactions are put aside in files of some users each; then one of these files after the other is sorted
in memory and appended to the final arrays. What stays in memory is a name and a number or two for every user
and item.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from datamodules.array_files import ArrayWriter, map_array
from datamodules.cache import check_space
from datamodules.event_sources import EventSource, InDoubtError
from datamodules.event_times import Times
from datamodules.guess import SAMPLE
from datamodules.names import NONE, Names
from datamodules.spill import Records, Spill
from datamodules.tables import Report, Tables, clean_items, in_order, offsets_of, rows_of_names

SPILLED = 17
"""Bytes on disk for an interaction while it is put aside, and after."""


class StreamedEvents:
    """Interactions on their way from their files to their arrays.

    Args:
        folder: Where both are written.
        times: How times are read.
    """

    def __init__(self, folder: Path, times: Times) -> None:
        self._folder = folder
        self._times = times
        self._users, self._items = Names(strip=True), Names(strip=False)
        self._spill = Spill(folder / "spill")
        self._counts_of_items = np.zeros(0, dtype=np.int64)
        self._rows = self._nameless = 0
        self.first_date = ""

    @classmethod
    def read(cls, source: EventSource, report: Report, folder: Path, look_for_dates: bool = False) -> Self:
        """Reads all interactions and puts them aside.

        Where the quick way of reading does not fit, or the times turn out to be others than they seemed, it
        begins again.

        Args:
            source: Of the interactions.
            report: Takes what was wrong with lines.
            folder: For what is put aside, and for the arrays.
            look_for_dates: Whether times may be dates.

        Raises:
            BadTableError: If the files hold something else.
            DiskFullError: If the disk cannot hold what is known to come.
        """
        if source.n_rows is not None:
            check_space(folder, SPILLED * source.n_rows)
        careful, times = False, None
        while True:
            read = Report()
            pieces = source.pieces(careful, read)
            try:
                some, pieces = _first(pieces, SAMPLE)
                if times is None and "time" in some.columns:
                    times = Times.like(some["time"], look_for_dates)
                events = cls(folder, times or Times())
                for piece in _ahead(pieces):
                    events._add(piece)
            except InDoubtError:
                careful, times = True, None
                continue
            right = events._times.right_kind()
            if times is None or right == times.kind:
                break
            times = times.again(right)
        for what, number in read.counts.items():
            report.count(what, number)
        if events._times.kind == "dates":
            events.first_date = some["time"][0]
        return events

    def _add(self, piece: pl.DataFrame) -> None:
        users, items = self._users.codes(piece["user"]), self._items.codes(piece["item"])
        if "time" in piece.columns:
            times = self._times.read(piece["time"])
            usable = times.is_not_null().to_numpy()
            numbers = times.fill_null(0).to_numpy()
        else:
            usable = np.ones(len(piece), dtype=bool)
            numbers = self._times.read(pl.Series(np.arange(self._rows, self._rows + len(piece)))).to_numpy()
        named, known = users != NONE, items != NONE
        counts = np.bincount(items[known], minlength=len(self._items))
        counts[: len(self._counts_of_items)] += self._counts_of_items
        self._counts_of_items = counts
        self._rows += len(piece)
        self._nameless += len(piece) - int(named.sum())
        usable = usable & named & known
        if usable.all():
            self._spill.add(users, items, numbers)
        else:
            self._spill.add(users[usable], items[usable], numbers[usable])

    def item_names(self) -> pl.Series:
        """The distinct names of items, in order of first appearance."""
        return self._items.names()

    def tables(self, items: pl.DataFrame, report: Report, drop_repeats: bool = False) -> Tables:
        """The tables, whose arrays are mapped from the folder.

        Args:
            items: The item table.
            report: Takes the counts.
            drop_repeats: Leave out what repeats another interaction of the same user, item and time.

        Raises:
            BadTableError: If more than half of the interactions are with unknown items.
        """
        items = clean_items(items, report)
        rows = rows_of_names(self.item_names(), self._counts_of_items, self._rows, items, report)
        self._times.count(report)
        report.count("interactions without a user were dropped", self._nameless)
        per_user, again = self._write(rows, drop_repeats)
        kept = "were dropped" if drop_repeats else "were kept"
        report.count(f"interactions repeat another of the same user, item and time: {kept}", again)
        report.count("users read", len(self._users), always=True)
        items_of, times_of = (map_array(self._folder / f"{name}.npy") for name in ("items", "times"))
        return Tables(self._users.names(), offsets_of(per_user), items_of, items, report, times_of)

    def _write(self, rows: npt.NDArray[np.int32], drop_repeats: bool) -> tuple[npt.NDArray[np.int64], int]:
        """Writes the arrays; how many interactions each user has, and how many are repeats."""
        per_user, repeats = np.zeros(len(self._users), dtype=np.int64), 0
        with (
            ArrayWriter(self._folder / "items.npy", np.int32) as items_of,
            ArrayWriter(self._folder / "times.npy", np.int64) as times_of,
        ):
            for records in self._spill.take(len(self._users)):
                first = int(records["user"].min())
                frame, again = in_order(self._frame(records, first, rows))
                if again is not None:
                    repeats += int(again.sum())
                    frame = frame.filter(~again) if drop_repeats else frame
                counts = np.bincount(frame["user"].to_numpy(), minlength=1)
                per_user[first : first + len(counts)] += counts
                items_of.append(frame["item"].to_numpy())
                times_of.append(frame["time"].to_numpy())
        return per_user, repeats

    def _frame(self, records: Records, first: int, rows: npt.NDArray[np.int32]) -> pl.DataFrame:
        times = pl.Series(records["time"].astype(np.int64))
        columns = {
            "user": records["user"] - np.uint32(first),
            "item": rows[records["item"]],
            "time": self._times.in_one_unit(times) if self._times.need_scaling else times,
        }
        frame = pl.DataFrame(columns)
        return frame if int(rows.min(initial=0)) >= 0 else frame.filter(pl.col("item") >= 0)


def _ahead(pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same pieces; while one is worked on, a thread reads the next."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, pieces, None)
        while (piece := following.result()) is not None:
            following = reader.submit(next, pieces, None)
            yield piece


def _first(pieces: Iterator[pl.DataFrame], n: int) -> tuple[pl.DataFrame, Iterator[pl.DataFrame]]:
    """The first ``n`` rows or more, and all pieces from the beginning."""
    some: list[pl.DataFrame] = []
    while sum(map(len, some)) < n and (piece := next(pieces, None)) is not None:
        some.append(piece)
    return pl.concat(some, how="vertical_relaxed"), chain(some, pieces)

"""Interactions of a data set, read into memory or streamed, as their size demands, to the same tables."""

from pathlib import Path
from typing import NamedTuple, Protocol

import polars as pl

from datamodules import guess
from datamodules.event_sources import EventSource
from datamodules.stream import StreamedEvents
from datamodules.stream_lines import StreamedLines
from datamodules.table_files import read_histories
from datamodules.tables import Report, Tables, tables_from_events, tables_from_lines

STREAM_FROM = 2**24
"""Interactions from which on they are streamed: in memory they take up to some 200 bytes each."""
_LINE = 20
"""Bytes of a short line, by which interactions are estimated where they are not known."""


class Events(Protocol):
    """Interactions before it is known which items the data set has."""

    @property
    def first_date(self) -> str:
        """The first time as it is written, where times are dates; else empty."""

    def item_names(self) -> pl.Series:
        """Names of items in order of first appearance; some or all of them may be repeated."""

    def tables(self, items: pl.DataFrame, report: Report, drop_repeats: bool = False) -> Tables:
        """The tables, as ``tables_from_events`` makes them.

        Raises:
            BadTableError: If more than half of the interactions are with unknown items.
        """


class MemoryEvents(NamedTuple):
    """Interactions in memory."""

    frame: pl.DataFrame
    first_date: str

    @classmethod
    def read(cls, source: EventSource, report: Report, look_for_dates: bool = False) -> "MemoryEvents":
        """Reads all."""
        frame = source.read(report)
        if "time" not in frame.columns:
            return cls(frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("time")), "")
        if look_for_dates and frame["time"].dtype == pl.String:
            times = guess.date_times(frame["time"])
            if times.null_count() < len(times) / 2:
                return cls(frame.with_columns(times.alias("time")), frame["time"][0])
        return cls(frame, "")

    def item_names(self) -> pl.Series:
        """Of all interactions."""
        return self.frame["item"]

    def tables(self, items: pl.DataFrame, report: Report, drop_repeats: bool = False) -> Tables:
        """By ``tables_from_events``."""
        return tables_from_events(self.frame, items, report, drop_repeats)


class Lines(Protocol):
    """Lines of users before it is known which items the data set has."""

    def item_names(self) -> pl.Series:
        """Names of items in order of first appearance; some or all of them may be repeated."""

    def tables(self, items: pl.DataFrame, report: Report) -> Tables:
        """The tables, as ``tables_from_lines`` makes them.

        Raises:
            BadTableError: If more than half of the interactions are with unknown items.
        """


class MemoryLines(NamedTuple):
    """Lines of users in memory."""

    frame: pl.DataFrame

    def item_names(self) -> pl.Series:
        """Of all lines."""
        names = self.frame["items"].drop_nulls().str.split(" ").explode().str.strip_chars()
        return names.filter(names != "")

    def tables(self, items: pl.DataFrame, report: Report) -> Tables:
        """By ``tables_from_lines``."""
        return tables_from_lines(self.frame, items, report)


def read_lines(path: Path, folder: Path | None) -> Lines:
    """Reads lines of users, those of large files without holding them in memory.

    Args:
        path: The file, as ``read_histories`` knows it.
        folder: Where the arrays of large data can be written; None to read into memory whatever the size.

    Raises:
        BadTableError: If the file is empty.
    """
    if folder is None or path.stat().st_size < STREAM_FROM * _LINE:
        return MemoryLines(read_histories(path))
    return StreamedLines.read(path, folder)


def read_events(
    source: EventSource, report: Report, folder: Path | None, look_for_dates: bool = False
) -> Events:
    """Reads interactions, those of large files without holding them in memory.

    Args:
        source: Of the interactions; without times their order counts.
        report: Takes what was wrong with lines.
        folder: Where large data can be put aside and their arrays be written; None to read into memory
            whatever the size.
        look_for_dates: Whether times may be dates.

    Raises:
        BadTableError: If the files hold something else.
        DiskFullError: If the disk cannot hold what is put aside.
    """
    expected = source.n_bytes // _LINE if source.n_rows is None else source.n_rows
    if folder is None or expected < STREAM_FROM:
        return MemoryEvents.read(source, report, look_for_dates)
    return StreamedEvents.read(source, report, folder, look_for_dates)

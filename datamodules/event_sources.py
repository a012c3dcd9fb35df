"""Files of interactions, read all at once or some megabytes at a time: text, Parquet, several of either.

A source gives the columns ``user``, ``item`` and, if there are times, ``time``, in the order of the files.
Both ways of reading give the same rows and the same report.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import polars as pl

from datamodules.errors import BadTableError
from datamodules.headed_files import (
    CarefulReader,
    Layout,
    clean_columns,
    find_columns,
    no_lines,
    read_columns,
    sniff,
)
from datamodules.table_files import lines_of, pieces_of
from datamodules.tables import Report

PIECE = 2**26
"""Bytes of text that are read at a time."""
ROWS = 2**21
"""Rows of Parquet that are read at a time."""


class InDoubtError(Exception):
    """Some piece of a file cannot be read the quick way; the caller begins again the careful way."""


class EventSource(Protocol):
    """Where interactions are read from."""

    @property
    def n_bytes(self) -> int:
        """Size of the files."""

    @property
    def n_rows(self) -> int | None:
        """Interactions, where they are known before they are read."""

    def read(self, report: Report) -> pl.DataFrame:
        """All interactions: ``user`` and ``item`` as strings, ``time`` as strings or whole numbers.

        Raises:
            BadTableError: If the files hold something else.
        """

    def pieces(self, careful: bool, report: Report) -> Iterator[pl.DataFrame]:
        """The same, some interactions at a time; users and items may be whole numbers.

        Args:
            careful: Read every line by itself, as ``read`` does where something is odd.
            report: Takes what was wrong with lines, at the end.

        Raises:
            BadTableError: If the files hold something else.
            InDoubtError: If something is odd and ``careful`` is not set.
        """


class TextEvents(NamedTuple):
    """A delimited file."""

    path: Path
    layout: Layout
    columns: Mapping[str, int]
    """Name -> place, from 0."""
    header: bool = True

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size

    @property
    def n_rows(self) -> None:
        """Not known before."""

    def read(self, report: Report) -> pl.DataFrame:
        """All columns as strings; ``time`` as whole numbers where all are."""
        return read_columns(self.path, self.layout, self.columns, report, self.header)

    def pieces(self, careful: bool, report: Report) -> Iterator[pl.DataFrame]:
        """As ``EventSource`` says."""
        reader = CarefulReader(self.layout, self.columns, self.header)
        rows, header = 0, self.header
        for piece in pieces_of(self.path, PIECE):
            if careful:
                table = reader.read(lines_of(piece))
            else:
                table = self._clean(piece, header)
                header = False
            rows += len(table)
            yield table
        reader.count(report)
        if not rows:
            raise no_lines(self.path, self.columns)

    def _clean(self, piece: bytes, header: bool) -> pl.DataFrame:
        n_lines = piece.count(b"\n") + (not piece.endswith(b"\n"))
        # A cell with a line break may have been cut in two: then the quotes of a piece do not add up.
        clean = not self.layout.skipped and piece.count(b'"') % 2 == 0
        table = clean_columns(piece, self.layout, self.columns, header, n_lines) if clean else None
        if table is None:
            raise InDoubtError
        return table


class ParquetEvents(NamedTuple):
    """Parquet files, one after the other."""

    paths: Sequence[Path]
    columns: Mapping[str, str]
    """Name -> name in the files."""

    @property
    def n_bytes(self) -> int:
        """Size of the files."""
        return sum(path.stat().st_size for path in self.paths)

    @property
    def n_rows(self) -> int:
        """Interactions."""
        with self._told():
            return int(self._scan().select(pl.len()).collect().item())

    def read(self, report: Report) -> pl.DataFrame:
        """Users and items as strings, times as whole numbers, as milliseconds where they are dates."""
        tables = [table.with_columns(pl.col("user", "item").cast(pl.String)) for table in self._tables()]
        return pl.concat(tables, how="vertical_relaxed")

    def pieces(self, careful: bool, report: Report) -> Iterator[pl.DataFrame]:
        """As ``EventSource`` says; nothing is ever in doubt."""
        return self._tables()

    def _tables(self) -> Iterator[pl.DataFrame]:
        rows = 0
        with self._told():
            chosen = self._scan().select(pl.col(old).alias(new) for new, old in self.columns.items())
            for batch in chosen.collect_batches(chunk_size=ROWS, maintain_order=True):
                rows += len(batch)
                yield batch.with_columns(_plain(batch[name]) for name in batch.columns)
        if not rows:
            raise no_lines(self.paths[0], self.columns)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Says which files cannot be read.

        Raises:
            BadTableError: If one cannot.
        """
        try:
            yield
        except (pl.exceptions.PolarsError, OSError) as error:
            more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
            raise BadTableError(
                f"Expected the columns {', '.join(self.columns.values())} in {self.paths[0]}{more}, found a "
                f"file that is no Parquet, ends early or has others ({error}). Write or download it again."
            ) from error

    def _scan(self) -> pl.LazyFrame:
        return pl.scan_parquet(list(self.paths), glob=False)


def _plain(column: pl.Series) -> pl.Series:
    """A column of Parquet as strings or whole numbers."""
    if column.dtype.is_temporal():
        return column.cast(pl.Datetime("ms")).cast(pl.Int64).alias(column.name)
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False) if column.dtype != pl.UInt64 else _unsigned(column)
    return column.cast(pl.String)


def _unsigned(column: pl.Series) -> pl.Series:
    """Numbers, or where one is too large for one with a sign, strings."""
    numbers = column.cast(pl.Int64, strict=False)
    return numbers if numbers.null_count() == column.null_count() else column.cast(pl.String)


def headed_events(path: Path, wanted: Mapping[str, Sequence[str]]) -> EventSource:
    """A file of interactions whose columns have names: delimited text, Parquet, or a folder of Parquet files.

    Args:
        path: The file.
        wanted: Column -> names it may have, in any case; the first that is there stands.

    Raises:
        BadTableError: If a column is missing, or the file is neither.
    """
    if path.suffix.lower() != ".parquet":
        layout = sniff(path)
        return TextEvents(path, layout, find_columns(path, layout, wanted))
    files = parquet_files(path)
    names = parquet_columns(files[0])
    places = find_columns(path, Layout("", tuple(names), (), 0), wanted)
    return ParquetEvents(files, {column: names[place] for column, place in places.items()})


def parquet_files(path: Path) -> list[Path]:
    """A file of Parquet, or those of a folder of them in the order of their names.

    Raises:
        BadTableError: If the folder has none.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise BadTableError(f"Expected Parquet files in {path}, found none. Write or download them again.")
    return files


def parquet_columns(path: Path) -> list[str]:
    """Names of the columns of a file.

    Raises:
        BadTableError: If it is no Parquet.
    """
    try:
        return list(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadTableError(
            f"Expected a table in {path}, found a file that is no Parquet or ends early ({error}). Write or "
            "download it again."
        ) from error

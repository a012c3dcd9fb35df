"""Reads delimited files of strangers line by line or quote by quote, oddities included; nothing is guessed.

What the columns mean is said by the data sets' own files, such as ``ninerec_files.py``.
"""

import csv
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import polars as pl

from datamodules.errors import BadTableError

NEVER = "\x1f"
"""A separator that no line contains: each line is one column."""
_NO_TEXT = {
    b"\xff\xfe": "one in UTF-16",
    b"\xfe\xff": "one in UTF-16",
    b"PK\x03\x04": "an archive (zip)",
    b"\x1f\x8b": "an archive (gzip)",
    b"PAR1": "a Parquet file",
}
MAX_BREAKS = 50
"""Line breaks in one row beyond which a quote was never closed."""


def quoted_rows(path: Path, expected: str, separator: str = ",") -> Iterator[list[str]]:
    """The rows of a file whose cells may be quoted and may then hold separators and line breaks.

    Python's reader is used because it takes a quote in the middle of a cell as a character; such files have
    a line an item, not a line an interaction. Bytes that are not UTF-8 become replacement characters; empty
    lines are left out.

    Args:
        path: The file.
        expected: What a row should hold, for the error.
        separator: Between cells.

    Raises:
        BadTableError: If a quote is opened and never closed.
    """
    check_text(path)
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader((line.replace("\0", "") for line in file), delimiter=separator)
        line = 1
        try:
            for row in reader:
                if reader.line_num - line > MAX_BREAKS:
                    raise csv.Error("unexpected end of data")
                if row:
                    yield row
                line = reader.line_num + 1
        except csv.Error as error:
            raise BadTableError(
                f"Expected {expected} in {path}, found a quote that is opened in line {line} and not closed "
                f"({error}). Close it, or double it if it is part of the text."
            ) from error


def read_histories(path: Path) -> pl.DataFrame:
    """A line a user: the user, a tab, then item ids separated by spaces, oldest first; no header.

    Returns:
        String columns ``user`` and ``items``; ``items`` is null where a line has no tab.

    Raises:
        BadTableError: If the file is empty.
    """
    return histories_of(read_plain(path, NEVER, ["line"], quote_char=None)["line"])


def histories_of(lines: pl.Series) -> pl.DataFrame:
    """What ``read_histories`` answers, of some lines of such a file."""
    lines = lines.str.strip_chars_end()
    parts = (
        lines.filter(lines.fill_null("") != "")
        .str.splitn("\t", 2)
        .struct.rename_fields(["user", "items"])
        .struct.unnest()
    )
    return parts.with_columns(pl.col("items").str.replace_all("\t", " ", literal=True))


def read_captions(path: Path) -> pl.DataFrame:
    """A file of captions: item id, a tab, the caption; no header. MicroLens' captions lie so.

    Returns:
        String columns ``item`` and ``caption``, one row an item; the first line of an item stands.

    Raises:
        BadTableError: If the file is empty, or no line has a tab.
    """
    parts = (
        read_plain(path, NEVER, ["line"], quote_char=None)["line"]
        .str.splitn("\t", 2)
        .struct.rename_fields(["item", "caption"])
        .struct.unnest()
        .with_columns(pl.all().str.strip_chars())
    )
    if parts["caption"].null_count() == len(parts):
        raise BadTableError(wrong_columns(path, "\t", ["item", "caption"]))
    return parts.unique("item", keep="first", maintain_order=True)


def read_plain(path: Path, separator: str, columns: list[str], quote_char: str | None) -> pl.DataFrame:
    """All columns as strings: an id such as 007 is a name, not a number. A column ``time`` may be numbers."""
    check_text(path)
    strings: dict[str, type[pl.DataType]] = dict.fromkeys(columns, pl.String)
    table = None
    try:
        if "time" in strings:
            with suppress(pl.exceptions.ComputeError):  # some time is no whole number: then all are strings
                table = _parse(path, separator, {**strings, "time": pl.Int64}, quote_char)
        if table is None:
            table = _parse(path, separator, strings, quote_char)
    except pl.exceptions.NoDataError:
        table = pl.DataFrame()
    except pl.exceptions.PolarsError as error:
        raise BadTableError(wrong_columns(path, separator, columns)) from error
    if table.is_empty():
        raise BadTableError(
            f"Expected interactions in {path}, found an empty file. Unpack the archive again."
        )
    if any(table[column].null_count() == len(table) for column in columns):
        raise BadTableError(wrong_columns(path, separator, columns))
    return table


def check_text(path: Path) -> None:
    """Looks at the first bytes of a table.

    Raises:
        BadTableError: If they are those of another kind of file; names it.
    """
    with open(path, "rb") as file:
        start = file.read(4)
    kind = next((kind for first, kind in _NO_TEXT.items() if start.startswith(first)), None)
    if kind is not None:
        raise BadTableError(
            f"Expected a text table in UTF-8 in {path}, found {kind}. Unpack it, or save it as text in UTF-8 "
            "with one line a row (CSV)."
        )


def lines_of(source: Path | bytes) -> pl.Series:
    """The lines of a file of text or of a piece of one; nothing in them counts as a separator or a quote."""
    return _parse(source, NEVER, {"line": pl.String}, None)["line"]


def pieces_of(path: Path, size: int) -> Iterator[bytes]:
    """A file in pieces of whole lines, each about ``size`` bytes long."""
    with open(path, "rb") as file:
        while piece := file.read(size):
            yield piece if piece.endswith(b"\n") else piece + file.readline()


def wrong_columns(path: Path, separator: str, columns: list[str]) -> str:
    """What to say of a file whose lines are of another form."""
    with open(path, "rb") as file:
        start = file.readline(120).decode("utf-8", "replace").rstrip()
    return (
        f"Expected the columns {', '.join(columns)} separated by {separator!r} in {path}, found {start!r} as "
        "the first line. Is it the file as released?"
    )


def _parse(
    source: Path | bytes, separator: str, schema: Mapping[str, type[pl.DataType]], quote_char: str | None
) -> pl.DataFrame:
    return pl.read_csv(
        source,
        has_header=False,
        separator=separator,
        quote_char=quote_char,
        encoding="utf8-lossy",
        schema=schema,
        truncate_ragged_lines=True,
    )

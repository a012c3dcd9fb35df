"""Reads the tables of NineRec as they were released, oddities included."""

import csv
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import polars as pl

from datamodules.errors import BadTableError
from datamodules.tables import Report

_NEVER = "\x1f"  # a separator that no line contains: each line is one column
_MAX_BREAKS = 50  # line breaks in one title beyond which a quote was never closed


def read_items(path: Path, report: Report) -> pl.DataFrame:
    """The item file: id, Chinese title, English title; no header, quotes where a title has commas.

    Python's reader is used because it takes a quote in the middle of a title as a character; the file has at
    most a few hundred thousand lines.

    Returns:
        String columns ``item``, ``title_zh``, ``title_en``; a missing title is empty. Bytes that are not
        UTF-8 become replacement characters.

    Raises:
        BadTableError: If the file is empty, or a quote is opened and never closed.
    """
    columns: tuple[list[str], list[str], list[str]] = ([], [], [])
    short = long = 0
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        line = 1
        try:
            for row in reader:
                if not row:
                    line = reader.line_num + 1
                    continue
                if reader.line_num - line > _MAX_BREAKS:
                    raise csv.Error("unexpected end of data")
                short += len(row) < 3
                long += len(row) > 3
                # An unquoted comma can only be told from a separator in the last title.
                item, chinese, english = row[0], *(row[1:2] or [""]), ",".join(row[2:])
                for column, value in zip(columns, (item, chinese.strip(), english.strip()), strict=True):
                    column.append(value)
                line = reader.line_num + 1
        except csv.Error as error:
            raise BadTableError(
                f"Expected item id, Chinese title and English title in {path}, found a quote that is opened "
                f"in line {line} and not closed ({error}). Close it, or double it if it is part of the title."
            ) from error
    if not columns[0]:
        raise BadTableError(f"Expected items in {path}, found an empty file. Unpack the archive again.")
    report.count("items read", len(columns[0]), always=True)
    report.count("items had fewer than three columns: missing titles count as empty", short)
    report.count("items had unquoted commas: what is beyond the third column joined the English title", long)
    return pl.DataFrame(
        dict(zip(("item", "title_zh", "title_en"), columns, strict=True)),
        schema_overrides={"item": pl.String, "title_zh": pl.String, "title_en": pl.String},
    )


def read_behaviours(path: Path) -> pl.DataFrame:
    """The behaviour file: user, a tab, then item ids separated by spaces, oldest first; no header.

    Returns:
        String columns ``user`` and ``items``; ``items`` is null where a line has no tab.

    Raises:
        BadTableError: If the file is empty.
    """
    lines = _read(path, _NEVER, ["line"], quote_char=None)["line"].str.strip_chars_end()
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
        _read(path, _NEVER, ["line"], quote_char=None)["line"]
        .str.splitn("\t", 2)
        .struct.rename_fields(["item", "caption"])
        .struct.unnest()
        .with_columns(pl.all().str.strip_chars())
    )
    if parts["caption"].null_count() == len(parts):
        raise BadTableError(_wrong_columns(path, "\t", ["item", "caption"]))
    return parts.unique("item", keep="first", maintain_order=True)


def read_pairs(path: Path, items: pl.DataFrame, report: Report) -> pl.DataFrame:
    """The pair file: item, user and time, or user, item and time; no header.

    The authors describe one order and their own code reads the other, so the data decide.

    Args:
        path: The file.
        items: The item table.
        report: Takes a note of the order.

    Returns:
        Columns ``item``, ``user`` and ``time`` in the order of the file; all strings, or times as numbers.

    Raises:
        BadTableError: If the file is empty or has no three columns.
    """
    pairs = _read(path, ",", ["first", "second", "time"], quote_char='"')
    first_is_item = _first_is_item(pairs, items)
    order = ("item", "user") if first_is_item else ("user", "item")
    report.notes.append(f"{path.name} has the columns {order[0]}, {order[1]}, time.")
    return pairs.rename({"first": order[0], "second": order[1]})


def _first_is_item(pairs: pl.DataFrame, items: pl.DataFrame) -> bool:
    """Whether the first column holds the items.

    Users and items may both be small integers; then both columns can consist of known item ids, and the one
    with as many distinct values as there are items is theirs. In doubt the first is: so the authors'
    converter reads it. A few unknown ids decide nothing, for the item column may be the damaged one.
    """
    known = pl.Enum(items["item"].str.strip_chars().drop_nulls().unique(maintain_order=True))
    columns = [pairs["first"], pairs["second"]]
    unknown = [column.cast(known, strict=False).null_count() for column in columns]
    if min(unknown) > 0:  # perhaps for spaces around the ids
        columns = [column.str.strip_chars() for column in columns]
        unknown = [column.cast(known, strict=False).null_count() for column in columns]
    mostly_known = [2 * number <= len(pairs) for number in unknown]
    if mostly_known[0] != mostly_known[1]:
        return mostly_known[0]
    if not mostly_known[0]:
        return unknown[0] <= unknown[1]
    distance = [abs(column.n_unique() - len(items)) for column in columns]
    return distance[0] <= distance[1]


def _read(path: Path, separator: str, columns: list[str], quote_char: str | None) -> pl.DataFrame:
    """All columns as strings: an id such as 007 is a name, not a number. A column ``time`` may be numbers."""
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
        raise BadTableError(_wrong_columns(path, separator, columns)) from error
    if table.is_empty():
        raise BadTableError(
            f"Expected interactions in {path}, found an empty file. Unpack the archive again."
        )
    if any(table[column].null_count() == len(table) for column in columns):
        raise BadTableError(_wrong_columns(path, separator, columns))
    return table


def _wrong_columns(path: Path, separator: str, columns: list[str]) -> str:
    with open(path, "rb") as file:
        start = file.readline(120).decode("utf-8", "replace").rstrip()
    return (
        f"Expected the columns {', '.join(columns)} separated by {separator!r} in {path}, found {start!r} as "
        "the first line. Is it the file as released?"
    )


def _parse(
    path: Path, separator: str, schema: Mapping[str, type[pl.DataType]], quote_char: str | None
) -> pl.DataFrame:
    return pl.read_csv(
        path,
        has_header=False,
        separator=separator,
        quote_char=quote_char,
        encoding="utf8-lossy",
        schema=schema,
        truncate_ragged_lines=True,
    )

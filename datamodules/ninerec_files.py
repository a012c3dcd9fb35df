"""Reads the tables of NineRec as they were released, oddities included."""

from pathlib import Path

import polars as pl

from datamodules.errors import BadTableError
from datamodules.headed_files import Layout, read_columns, sniff
from datamodules.table_files import quoted_rows, wrong_columns
from datamodules.tables import Report

_COLUMNS = ("first", "second", "time")


def read_items(path: Path, report: Report) -> pl.DataFrame:
    """The item file: id, Chinese title, English title; no header, quotes where a title has commas.

    Returns:
        String columns ``item``, ``title_zh``, ``title_en``; a missing title is empty. Bytes that are not
        UTF-8 become replacement characters.

    Raises:
        BadTableError: If the file is empty, or a quote is opened and never closed.
    """
    columns: tuple[list[str], list[str], list[str]] = ([], [], [])
    short = long = 0
    for row in quoted_rows(path, "item id, Chinese title and English title"):
        short += len(row) < 3
        long += len(row) > 3
        # An unquoted comma can only be told from a separator in the last title.
        item, chinese, english = row[0], *(row[1:2] or [""]), ",".join(row[2:])
        for column, value in zip(columns, (item, chinese.strip(), english.strip()), strict=True):
            column.append(value)
    if not columns[0]:
        raise BadTableError(f"Expected items in {path}, found an empty file. Unpack the archive again.")
    report.count("items read", len(columns[0]), always=True)
    report.count("items had fewer than three columns: missing titles count as empty", short)
    report.count("items had unquoted commas: what is beyond the third column joined the English title", long)
    return pl.DataFrame(
        dict(zip(("item", "title_zh", "title_en"), columns, strict=True)),
        schema_overrides={"item": pl.String, "title_zh": pl.String, "title_en": pl.String},
    )


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
    layout = sniff(path)
    if len(layout.first) != len(_COLUMNS):  # the first line is damaged
        layout = Layout(",", _COLUMNS, (), layout.skipped)
    columns = {name: place for place, name in enumerate(_COLUMNS)}
    try:
        pairs = read_columns(path, layout, columns, report, header=False)
    except BadTableError as error:
        raise BadTableError(wrong_columns(path, ",", list(_COLUMNS))) from error
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

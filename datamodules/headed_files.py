"""Interactions from delimited files whose lines tell what they are made of: separator, header, width.

A clean file goes through polars' reader. Where that is in doubt the file is read line by line, so that a
quote that is never closed, another separator or a missing cell costs the line it is in and no other, and is
counted.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from datamodules.errors import BadTableError
from datamodules.table_files import NEVER, check_text, quoted_rows, read_plain
from datamodules.tables import Report

SEPARATORS = (",", "\t", ";", "|")
_START = 65_536
_NULS = 100
"""Of so many bytes one may be zero, from some damaged line: in files of text there are none."""
_TEXT = "Save it as text in UTF-8 with one line a row (CSV)."


class Layout(NamedTuple):
    """How the lines of a file are made."""

    separator: str
    first: tuple[str, ...]
    """Cells of the first line that is not empty."""
    second: tuple[str, ...]
    """Cells of the next one; none where there is none."""
    skipped: int
    """Empty lines before the first."""


def simplified(name: str) -> str:
    """A column's name as it is compared: ``User ID``, ``user_id`` and ``userId`` are the same."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def sniff(path: Path) -> Layout:
    """Looks at the start of a file.

    Raises:
        BadTableError: If it is empty or no text.
    """
    check_text(path)
    with open(path, "rb") as file:
        start = file.read(_START)
        cut = bool(file.read(1))
    if start.count(0) > len(start) // _NULS:
        raise BadTableError(f"Expected a text table in {path}, found a file that is no text. {_TEXT}")
    lines = [line.rstrip("\r") for line in start.decode("utf-8-sig", "replace").split("\n")]
    if cut and len(lines) > 1:
        lines.pop()
    full = [place for place, line in enumerate(lines) if line.strip()]
    if not full:
        raise BadTableError(f"Expected a table in {path}, found an empty file. Unpack or write it again.")
    shown = [lines[place] for place in full[:50]]
    separator = max(SEPARATORS, key=lambda mark: _fit(shown, mark))
    first, second = (tuple(cells(line, separator)) for line in [*shown, ""][:2])
    return Layout(separator, first, second, full[0])


def _fit(lines: Sequence[str], separator: str) -> tuple[bool, float, int]:
    """Whether the first line has the separator, how many lines have it as often, and how often."""
    often = lines[0].count(separator)
    return often > 0, sum(line.count(separator) == often for line in lines) / len(lines), often


def cells(line: str, separator: str) -> list[str]:
    """The cells of one line, quotes and spaces around them taken off."""
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]


def find_columns(
    path: Path, layout: Layout, wanted: Mapping[str, Sequence[str]], optional: Iterable[str] = ()
) -> dict[str, int]:
    """Which column of a file with a header is which.

    Args:
        path: The file, for the error.
        layout: What it is made of.
        wanted: Column -> names it may have, in any case; the first that is there stands.
        optional: Columns that may be missing.

    Raises:
        BadTableError: If one is missing; says which columns there are.
    """
    places = {simplified(name): place for place, name in reversed(list(enumerate(layout.first)))}
    found = {}
    for column, names in wanted.items():
        place = next((places[simplified(name)] for name in names if simplified(name) in places), None)
        if place is not None:
            found[column] = place
    missing = [column for column in wanted if column not in found and column not in set(optional)]
    if missing:
        expected = ", ".join(" or ".join(wanted[column]) for column in missing)
        there = ", ".join(map(repr, layout.first))[:200]
        where = f"the first line of {path}" if layout.separator else str(path)
        marks = f" (separated by {layout.separator!r})" if layout.separator else ""
        raise BadTableError(
            f"Expected the columns {expected} in {where}, found {there}{marks}. Is it the file as released?"
        )
    return found


def read_columns(
    path: Path, layout: Layout, columns: Mapping[str, int], report: Report, header: bool = True
) -> pl.DataFrame:
    """Columns of a file of interactions, in its order.

    Args:
        path: The file.
        layout: What it is made of.
        columns: Name -> place, from 0.
        report: Takes what was wrong with lines.
        header: Whether the first line is one.

    Returns:
        Strings; ``time`` may be whole numbers.

    Raises:
        BadTableError: If no line holds these columns.
    """
    table = None if layout.skipped else clean_columns(path, layout, columns, header, _n_lines(path))
    if table is None:
        careful = CarefulReader(layout, columns, header)
        table = careful.read(read_plain(path, NEVER, ["line"], quote_char=None)["line"])
        careful.count(report)
    if table.is_empty():
        raise no_lines(path, columns)
    return table


def no_lines(path: Path, columns: Iterable[str]) -> BadTableError:
    """The error of a file in which no line is one."""
    return BadTableError(
        f"Expected lines with the columns {', '.join(columns)} in {path}, found none. Is it complete?"
    )


def read_quoted(
    path: Path, layout: Layout, places: Mapping[str, int], report: Report, header: bool = True
) -> dict[str, list[str]]:
    """Columns of a table of items, whose cells may be quoted; what is beyond the last column joins it.

    Args:
        path: The file.
        layout: What it is made of.
        places: Name -> place, from 0.
        report: Takes what was wrong with rows.
        header: Whether the first row is one.

    Raises:
        BadTableError: If a quote never closes.
    """
    columns: dict[str, list[str]] = {name: [] for name in places}
    width = len(layout.first)
    short = long = headers = 0
    for number, row in enumerate(quoted_rows(path, ", ".join(layout.first), layout.separator)):
        if header and tuple(cell.strip() for cell in row) == layout.first:
            headers += number > 0
            continue
        if not any(cell.strip() for cell in row):
            continue
        short += len(row) < width
        long += len(row) > width
        if len(row) > width:
            row = [*row[: width - 1], layout.separator.join(row[width - 1 :])]
        for name, place in places.items():
            columns[name].append(row[place].strip() if place < len(row) else "")
    report.count("rows of the item table repeated its header and were dropped", headers)
    report.count("rows of the item table had too few columns: the missing ones count as empty", short)
    report.count("rows of the item table had too many columns: what is beyond the last joined it", long)
    return columns


def clean_columns(
    source: Path | bytes, layout: Layout, columns: Mapping[str, int], header: bool, n_lines: int
) -> pl.DataFrame | None:
    """Columns of a file or of a piece of one by polars' reader; None if anything is in doubt.

    Args:
        source: The file, or whole lines of it.
        layout: What the file is made of.
        columns: Name -> place, from 0.
        header: Whether the first line is one.
        n_lines: Lines, the header among them.
    """
    names = {place: name for name, place in columns.items()}
    schema: dict[str, type[pl.DataType]] = {
        names.get(place, f"_{place}"): pl.Int64 if names.get(place) == "time" else pl.String
        for place in range(len(layout.first))
    }
    try:
        table = pl.read_csv(
            source,
            has_header=False,
            skip_rows=int(header),
            separator=layout.separator,
            encoding="utf8-lossy",
            schema=schema,
        ).select(*columns)
    except pl.exceptions.PolarsError:
        return None
    complete = all(table[column].null_count() == 0 for column in columns)
    return table if complete and len(table) == n_lines - header else None


def _n_lines(path: Path) -> int:
    """Line ends of a file, and one more if its last line has none."""
    count, last = 0, b"\n"
    with open(path, "rb") as file:
        while block := file.read(2**24):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


class CarefulReader:
    """Reads lines one by one, whatever they are like, all at once or some at a time; counts what was wrong.

    Args:
        layout: What the file is made of.
        columns: Name -> place, from 0.
        header: Whether the first line is one.
    """

    _WRONG = (
        "lines repeated the header and were dropped",
        "lines had another separator and were read all the same",
        "lines had more columns than the first: what is beyond was left out",
        "lines had too few columns and were dropped",
    )

    def __init__(self, layout: Layout, columns: Mapping[str, int], header: bool) -> None:
        self._layout = layout
        self._columns = columns
        self._header = header
        self._first: str | None = None
        self._wrong = dict.fromkeys(self._WRONG, 0)

    def read(self, lines: pl.Series) -> pl.DataFrame:
        """The columns of the file's next lines, as strings."""
        separator, width = self._layout.separator, len(self._layout.first)
        lines = lines.fill_null("").str.strip_chars_start("\ufeff").str.strip_chars_end("\r")
        lines = lines.filter(lines.str.strip_chars() != "")
        if self._header and len(lines):
            known = self._first is not None
            self._first = self._first or lines[0]
            body = lines.filter(lines != self._first)
            self._wrong[self._WRONG[0]] += len(lines) - len(body) - (not known)
            lines = body
        fields = lines.str.splitn(separator, width + 1).struct.unnest()
        fields = fields.rename(dict(zip(fields.columns, map(str, range(width + 1)), strict=True)))
        odd = fields[str(width - 1)].is_null() | fields[str(width)].is_not_null()
        if odd.any():
            fields = self._repaired(fields, lines, odd)
        texts = pl.col([str(place) for place in self._columns.values()]).str.strip_chars()
        unquoted = texts.str.strip_prefix('"').str.strip_suffix('"').str.replace_all('""', '"', literal=True)
        table = fields.select(unquoted.str.strip_chars())
        table = table.select([pl.col(str(place)).alias(name) for name, place in self._columns.items()])
        whole = table.drop_nulls()
        self._wrong[self._WRONG[3]] += len(table) - len(whole)
        return whole

    def count(self, report: Report) -> None:
        """Reports what was wrong with all lines so far."""
        for what, number in self._wrong.items():
            report.count(what, number)

    def _repaired(self, fields: pl.DataFrame, lines: pl.Series, odd: pl.Series) -> pl.DataFrame:
        """Splits the odd lines once more, one after the other: by quotes, then by another separator."""
        separator, width = self._layout.separator, len(self._layout.first)
        repaired: list[list[str | None]] = []
        mixed = long = 0
        others = [mark for mark in SEPARATORS if mark != separator]
        for line in lines.filter(odd):
            row = _split(line, separator)
            if len(row) < width and (
                other := next((r for r in (_split(line, m) for m in others) if len(r) == width), None)
            ):
                row = other
                mixed += 1
            long += len(row) > width
            repaired.append([*row[:width], *[None] * (width - len(row))])
        self._wrong[self._WRONG[1]] += mixed
        self._wrong[self._WRONG[2]] += long
        rows = odd.arg_true()
        names = [str(place) for place in range(width)]
        better = dict(zip(names, zip(*repaired, strict=True), strict=True))
        return pl.DataFrame(
            {name: fields[name].scatter(rows, pl.Series(better[name], dtype=pl.String)) for name in names}
        )


def _split(line: str, separator: str) -> list[str]:
    """By Python's reader if the quotes of the line add up, else at every separator."""
    try:
        return next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error:
        return line.split(separator)

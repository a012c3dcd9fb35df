"""Finds and reads Amazon's raw reviews as they were released in 2018 and 2023, oddities included.

Both have, for a category, reviews as lines of JSON, metadata of the items as lines of JSON, and the ratings
alone as CSV: in 2018 without a header and with the item first, in 2023 with one. Names of fields and files
are those that public readers of these releases use.
"""

import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.event_sources import EventSource, TextEvents, headed_events
from datamodules.events import read_events
from datamodules.headed_files import sniff
from datamodules.released import what_is_in
from datamodules.tables import Report, Tables, complete_items, distinct_items

PAGE_CODE = ("getTime", "<script", "function(")
"""What a title holds that is code of a page: some metadata of 2018 are so."""
_BLOCK = 20_000
_BLOCKS = 50


class Release(NamedTuple):
    """What a release calls its files and fields."""

    reviews: tuple[str, ...]
    ratings: tuple[str, ...]
    metadata: tuple[str, ...]
    fields: dict[str, str]
    item: str
    """Id in the metadata."""
    texts: tuple[str, ...]


RELEASES = {
    "2018": Release(
        ("{}.json", "{}.json.gz"),
        ("{}.csv",),
        ("meta_{}.json", "meta_{}.json.gz"),
        {"user": "reviewerID", "item": "asin", "time": "unixReviewTime"},
        "asin",
        ("title", "brand", "category", "description", "feature"),
    ),
    "2023": Release(
        ("{}.jsonl", "{}.jsonl.gz"),
        ("{}.csv",),
        ("meta_{}.jsonl", "meta_{}.jsonl.gz"),
        {"user": "user_id", "item": "parent_asin", "time": "timestamp"},
        "parent_asin",
        ("title", "store", "categories", "description", "features"),
    ),
}


class ReviewFiles(NamedTuple):
    """The files of one category."""

    release: str
    category: str

    @property
    def names(self) -> Release:
        """What the release calls them."""
        return RELEASES[self.release]

    @property
    def texts(self) -> tuple[str, ...]:
        """Text fields of the metadata."""
        return self.names.texts

    @property
    def pictures(self) -> tuple[str, ...]:
        """Folders with ``<item id>.jpg``: neither release has any."""
        return (f"{self.category}_images",)

    @property
    def max_len(self) -> int:
        """Of no paper."""
        return 20

    @property
    def min_len(self) -> int:
        """Of no paper."""
        return 5

    @property
    def windowed(self) -> None:
        """No paper here cuts these."""

    @property
    def n_rows(self) -> None:
        """Not compared."""

    def find(self, root: Path, remedy: str) -> list[Path]:
        """Ratings or reviews, whichever lies nearer, and the metadata where they are.

        Raises:
            DataNotFoundError: If there are neither ratings nor reviews; says what to unpack.
        """
        wanted = [name.format(self.category) for name in (*self.names.ratings, *self.names.reviews)]
        found = _all(root, wanted)
        if not found:
            packed = _all(root, [f"{self.category}.csv.gz"])
            raise DataNotFoundError(
                f"{' or '.join(wanted)} in {root.absolute()} or up to three levels below",
                f"{packed[0].name}" if packed else what_is_in(root),
                f"Unpack it (gunzip {packed[0]})." if packed else remedy,
            )
        whole = self.category.removesuffix("_5") if self.release == "2018" else self.category
        metadata = _all(root, [name.format(whole) for name in self.names.metadata])
        return [found[0], *metadata[:1]]

    def read(self, paths: Sequence[Path], report: Report, folder: Path | None = None) -> Tables:
        """Items that the metadata lack stay, and have no texts.

        Raises:
            BadTableError: If a file holds something else.
        """
        events = read_events(self._events(paths[0]), report, folder)
        report.notes.append(f"Interactions are read from {paths[0].parent.name}/{paths[0].name}.")
        if len(paths) > 1:
            items = complete_items(self._items(paths[1], report), events.item_names(), report)
        else:
            items = distinct_items(events.item_names())
            report.notes.append(f"There are no metadata (meta_{self.category}): the items have no texts.")
        return events.tables(items, report, drop_repeats=True)

    def _events(self, path: Path) -> EventSource:
        if path.suffix != ".csv":
            return ReviewEvents(path, self.names.fields)
        if self.release == "2023":
            return headed_events(path, {column: (field,) for column, field in self.names.fields.items()})
        layout = sniff(path)
        if len(layout.first) != 4:
            raise BadTableError(
                f"Expected item, user, rating and time in each line of {path}, found {layout.first!r}."
            )
        header = not layout.first[3].replace(".", "").isdigit()
        return TextEvents(path, layout, {"item": 0, "user": 1, "time": 3}, header)

    def _items(self, path: Path, report: Report) -> pl.DataFrame:
        columns: dict[str, list[str]] = {name: [] for name in ("item", *self.texts)}
        code = bad = 0
        for lines in _blocks(path):
            records = _records(lines, [self.names.item])
            bad += sum(bool(line.strip()) for line in lines) - len(records)
            for record in records:
                texts = {name: _text(record.get(name)) for name in self.texts}
                if any(mark in texts["title"] for mark in PAGE_CODE):
                    texts["title"] = ""
                    code += 1
                for name, value in {"item": _text(record.get(self.names.item)), **texts}.items():
                    columns[name].append(value)
        _count(path, [self.names.item], len(columns["item"]), bad, report)
        report.count("items read", len(columns["item"]), always=True)
        report.count("titles are code of a page and count as empty", code)
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


class ReviewEvents(NamedTuple):
    """Reviews as lines of JSON, packed or not."""

    path: Path
    fields: Mapping[str, str]
    """Column -> field."""

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size

    @property
    def n_rows(self) -> None:
        """Not known before."""

    def read(self, report: Report) -> pl.DataFrame:
        """All reviews that have a user and an item; all columns are strings."""
        return pl.concat(self.pieces(True, report))

    def pieces(self, careful: bool, report: Report) -> Iterator[pl.DataFrame]:
        """The same, some at a time; nothing is ever in doubt."""
        schema = dict.fromkeys(self.fields.values(), pl.String)
        read = kept = bad = 0
        some: list[pl.DataFrame] = []
        for lines in _blocks(self.path):
            table = _fast(lines, schema)
            if table is None:  # some line is odd: these lines one by one
                records = _records(lines, schema)
                bad += sum(bool(line.strip()) for line in lines) - len(records)
                rows = [[_text(record.get(field)) for field in schema] for record in records]
                table = pl.DataFrame(rows, schema=schema, orient="row")
            table = table.rename({field: column for column, field in self.fields.items()})
            whole = table.filter(pl.col("user") != "", pl.col("item") != "")
            read, kept = read + len(table), kept + len(whole)
            some.append(whole)
            if len(some) == _BLOCKS:
                yield pl.concat(some)
                some.clear()
        yield pl.concat([pl.DataFrame(schema=dict.fromkeys(self.fields, pl.String)), *some])
        _count(self.path, schema, read, bad, report)
        report.count("reviews without a user or an item were dropped", read - kept)


def _all(root: Path, names: Sequence[str]) -> list[Path]:
    """Files of these names, the nearest first; the folders of a release are up to three levels deep."""
    patterns = ["*/" * level + name for level in range(4) for name in names]
    return [path for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_file()]


def _blocks(path: Path) -> Iterator[list[bytes]]:
    """The lines of a file, packed or not, some at a time.

    Raises:
        BadTableError: If it ends within what was packed.
    """
    read = 0
    with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
        try:
            while lines := list(islice(file, _BLOCK)):
                read += len(lines)
                yield lines
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise BadTableError(
                f"Expected the whole of {path}, found that it ends early or is damaged after {read:,} lines "
                f"or more ({error}). Download it again."
            ) from error


def _fast(lines: list[bytes], schema: Mapping[str, type[pl.DataType]]) -> pl.DataFrame | None:
    """These fields of lines of JSON by polars' reader; None if anything is in doubt."""
    try:
        table = pl.read_ndjson(b"".join(lines), schema=schema)
    except (pl.exceptions.PolarsError, OSError):
        return None
    return None if any(table[field].null_count() for field in schema) else table


def _records(lines: list[bytes], fields: Collection[str]) -> list[dict[str, Any]]:
    """The objects among lines of JSON that have one of the fields."""
    records = []
    for line in lines:
        try:
            record = json.loads(line.decode("utf-8-sig", "replace"))
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and not record.keys().isdisjoint(fields):
            records.append(record)
    return records


def _count(path: Path, fields: Collection[str], good: int, bad: int, report: Report) -> None:
    """Counts lines that are no objects of the release.

    Raises:
        BadTableError: If no line is one.
    """
    report.count(f"lines of {path.name} are no JSON of this release and were dropped", bad)
    if not good:
        raise BadTableError(
            f"Expected lines of JSON with {', '.join(fields)} in {path}, found none. Is it the file of this "
            "release (--data.release)?"
        )


def _text(value: object) -> str:
    """A field as one line: lists are joined, numbers are written, anything else is empty."""
    if isinstance(value, list):
        value = " ".join(part.strip() for part in value if isinstance(part, str))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return " ".join(str(value).split())

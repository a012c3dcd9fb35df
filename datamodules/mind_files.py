"""Finds and reads Microsoft's own MIND tables: impressions with clicks and earlier histories, and news.

Columns and names are those of its public description; they have never been seen on a released file.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.lines import Windowed
from datamodules.released import what_is_in
from datamodules.table_files import NEVER, read_plain
from datamodules.tables import Report, Tables, complete_items, tables_from_events

BEHAVIORS, NEWS = "behaviors.tsv", "news.tsv"
COLUMNS = ("impression", "user", "time", "history", "impressions")
NEWS_COLUMNS = ("item", "category", "subcategory", "title", "abstract")
"""What is read of the eight; addresses and entities are behind them."""
_ORDER = ("train", "dev", "valid")
_TIME = "%m/%d/%Y %I:%M:%S %p"


class BehaviorFiles(NamedTuple):
    """``behaviors.tsv`` and ``news.tsv`` of the training and the validation folder."""

    size: str
    texts: tuple[str, ...] = ("title", "abstract", "category", "subcategory")
    pictures: tuple[str, ...] = ()
    max_len: int = 20
    """Of no paper, for these files."""
    min_len: int = 5
    windowed: Windowed | None = None
    n_rows: int | None = None

    def find(self, root: Path, remedy: str) -> list[Path]:
        """Impressions of all folders, training first, then news; the test's, without labels, are left out.

        Raises:
            DataNotFoundError: If there are no impressions.
        """
        found = [path for level in range(3) for path in sorted(root.glob("*/" * level + BEHAVIORS))]
        folders = [path.parent for path in found if path.is_file() and self._is_own(path.parent.name)]
        if not folders:
            raise DataNotFoundError(
                f"MIND{self.size}_train/{BEHAVIORS} and {NEWS} (and {self.size}_dev) in {root.absolute()}",
                what_is_in(root),
                remedy,
            )
        folders.sort(key=lambda folder: _rank(folder.name))
        news = [folder / NEWS for folder in folders if (folder / NEWS).is_file()]
        return [*(folder / BEHAVIORS for folder in folders), *news]

    def _is_own(self, name: str) -> bool:
        sizes = {size for size in ("small", "large") if size in name.lower()}
        return "test" not in name.lower() and sizes <= {self.size}

    def read(self, paths: Sequence[Path], report: Report, folder: Path | None = None) -> Tables:
        """A user's history of the first impression, then the clicks of all impressions by time.

        Raises:
            BadTableError: If a file holds something else.
        """
        events = _clicks([path for path in paths if path.name == BEHAVIORS], report)
        news = [_news(path, report) for path in paths if path.name == NEWS]
        report.notes.append(f"Read: {', '.join(f'{path.parent.name}/{path.name}' for path in paths)}.")
        if news:
            # Both folders list most of the news.
            items = pl.concat(news).unique("item", keep="first", maintain_order=True)
            report.count("items read", len(items), always=True)
            items = complete_items(items, events["item"], report)
        else:
            items = events.select("item").unique(maintain_order=True)
            report.notes.append(f"There is no {NEWS}: the items have no texts.")
        return tables_from_events(events, items, report)


def _rank(name: str) -> tuple[int, str]:
    return next((place for place, word in enumerate(_ORDER) if word in name.lower()), len(_ORDER)), name


def _clicks(paths: Sequence[Path], report: Report) -> pl.DataFrame:
    """One row a click: ``user``, ``item``, and ``time`` in seconds; history has that of the first impression.

    A history holds what was clicked before. Whether that of a later impression holds earlier impressions'
    clicks too is not said, so only the first one is read, and clicks from the impressions themselves.
    """
    table = pl.concat([_table(path, COLUMNS, report) for path in paths])
    text = table["time"].str.strip_chars()
    time = text.str.to_datetime(_TIME, strict=False).fill_null(
        text.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False)
    )
    if 2 * time.null_count() > len(time):
        raise BadTableError(
            f"Expected times such as 11/11/2019 9:05:58 AM as the third column of {paths[0]}, found "
            f"{text.filter(time.is_null())[0]!r}. Is it the file as released?"
        )
    table = table.with_columns(time.dt.epoch("s").alias("time"), pl.col("user").str.strip_chars())
    whole = table.filter(pl.col("time").is_not_null(), pl.col("user") != "")
    report.count("impressions without a user or a readable time were dropped", len(table) - len(whole))
    whole = whole.sort("time", maintain_order=True)
    shown = whole["impressions"]
    labelled = shown.str.count_matches(r"\S-[01](?:\s|$)").sum()
    unlabelled = int(shown.str.count_matches(r"\S+").sum()) - int(labelled)
    report.count("news shown without a label, clicked or not, were left out", unlabelled)
    # Most of what is shown is not clicked: it never becomes a row.
    clicked = pl.col("impressions").str.extract_all(r"\S+-1(?:\s|$)").alias("item")
    clicks = whole.select("user", "time", clicked).explode("item").drop_nulls("item")
    clicks = clicks.with_columns(pl.col("item").str.strip_chars().str.head(-2))
    first = whole.unique("user", keep="first", maintain_order=True)
    before = first.select("user", "time", _words("history").alias("item")).explode("item")
    before = before.filter(pl.col("item").fill_null("") != "")
    report.count("clicks are from histories, and have the time of the user's first impression", len(before))
    report.count("clicks are from impressions", len(clicks), always=True)
    return pl.concat([before, clicks]).select("user", "item", "time")


def _words(column: str) -> pl.Expr:
    return pl.col(column).fill_null("").str.strip_chars().str.split(" ")


def _news(path: Path, report: Report) -> pl.DataFrame:
    return _table(path, NEWS_COLUMNS, report).with_columns(pl.all().str.strip_chars())


def _table(path: Path, columns: Sequence[str], report: Report) -> pl.DataFrame:
    """The first columns of a file without a header, a line a row: a quote in a title is a character.

    Raises:
        BadTableError: If it is empty, or most lines have fewer columns.
    """
    lines = read_plain(path, NEVER, ["line"], quote_char=None)["line"].fill_null("")
    lines = lines.str.strip_chars_start("\ufeff").str.strip_chars_end("\r")
    lines = lines.filter(lines.str.strip_chars() != "")
    parts = lines.str.splitn("\t", len(columns) + 1).struct.unnest()
    table = parts.rename(dict(zip(parts.columns, [*columns, "_more"], strict=True))).drop("_more")
    whole = table.drop_nulls(columns[-1])
    if 2 * len(whole) <= len(table):
        raise BadTableError(
            f"Expected {len(columns)} columns separated by tabs ({', '.join(columns)}) in {path}, found "
            f"{lines[0][:120]!r} as the first line. Is it the file as released?"
        )
    name = re.sub(r"\W", " ", path.parent.name).strip()
    report.count(f"lines of {name}/{path.name} had too few columns and were dropped", len(table) - len(whole))
    return whole

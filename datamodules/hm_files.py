"""Finds and reads the tables of H&M's competition on Kaggle: purchases by day, articles, nested pictures.

Columns and names are those of its public descriptions; they have never been seen on a released file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.event_sources import headed_events
from datamodules.events import read_events
from datamodules.headed_files import find_columns, read_quoted, sniff
from datamodules.lines import Windowed, find_file
from datamodules.released import what_is_in
from datamodules.tables import Report, Tables, complete_items, distinct_items

TRANSACTIONS, ARTICLES = "transactions_train.csv", "articles.csv"
TEXTS = (
    *(
        "prod_name",
        "product_type_name",
        "product_group_name",
        "graphical_appearance_name",
        "colour_group_name",
    ),
    *("department_name", "index_name", "section_name", "garment_group_name", "detail_desc"),
)
DIGITS = 10
"""Of an article's number; a program that took it for a number has dropped the zeros before it."""


class TransactionFiles(NamedTuple):
    """``transactions_train.csv`` with ``t_dat``, ``customer_id`` and ``article_id``; ``articles.csv``."""

    texts: tuple[str, ...] = TEXTS
    pictures: tuple[str, ...] = ("images",)
    """With files ``010/0108775015.jpg``."""
    max_len: int = 20
    """Of no paper."""
    min_len: int = 5
    windowed: Windowed | None = None
    n_rows: int | None = 105_542

    def find(self, root: Path, remedy: str) -> list[Path]:
        """The purchases, and the articles where they are; in a folder or up to two levels below it.

        Raises:
            DataNotFoundError: If there are no purchases; says what to unpack.
        """
        transactions = find_file(root, [TRANSACTIONS])
        if transactions is None:
            packed = find_file(root, [f"{TRANSACTIONS}.zip", f"{TRANSACTIONS}.gz"])
            raise DataNotFoundError(
                f"{TRANSACTIONS} and {ARTICLES} in {root.absolute()} or up to two levels below",
                packed.name if packed else what_is_in(root),
                f"Unpack {packed}." if packed else remedy,
            )
        articles = find_file(transactions.parent, [ARTICLES], levels=0) or find_file(root, [ARTICLES])
        return [transactions, *([articles] if articles else [])]

    def read(self, paths: Sequence[Path], report: Report, folder: Path | None = None) -> Tables:
        """Purchases of one day keep the order of the file; several pieces of an article on a day are one.

        Raises:
            BadTableError: If a column is missing, or most of the days are none.
        """
        columns = {"user": ("customer_id",), "item": ("article_id",), "time": ("t_dat",)}
        events = read_events(headed_events(paths[0], columns), report, folder, look_for_dates=True)
        if not events.first_date:
            raise BadTableError(
                f"Expected days such as 2018-09-20 in the column t_dat of {paths[0]}, found others. Is it "
                "the file as released?"
            )
        if len(paths) > 1:
            items = complete_items(_articles(paths[1], report), events.item_names(), report)
        else:
            items = distinct_items(events.item_names())
            report.notes.append(f"There is no {ARTICLES}: the items have no texts.")
        return events.tables(items, report, drop_repeats=True)


def _articles(path: Path, report: Report) -> pl.DataFrame:
    layout = sniff(path)
    texts = {name: (name,) for name in TEXTS}
    places = find_columns(path, layout, {"item": ("article_id",), **texts}, optional=TEXTS)
    items = pl.DataFrame(read_quoted(path, layout, places, report))
    items = items.with_columns(_ten_digits(pl.col("item")))
    report.count("items read", len(items), always=True)
    return items


def _ten_digits(column: pl.Expr) -> pl.Expr:
    """Numbers of articles as they are written, and as pictures are called."""
    plain = column.str.strip_chars().str.replace(r"\.0+$", "")
    return pl.when(plain.str.contains(r"^\d+$")).then(plain.str.zfill(DIGITS)).otherwise(plain).alias("item")

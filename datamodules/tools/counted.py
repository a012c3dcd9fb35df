"""What statistics are made of, the same for histories and for pairs in MMRec's layout."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from datamodules.array_files import counts_of, runs
from datamodules.base import RecDataModule
from datamodules.mmrec import MMRec
from datamodules.mmrec_files import read_layout

Numbers = npt.NDArray[Any]


class Counted(NamedTuple):
    """A data set before any protocol cuts it."""

    name: str
    lengths_U: Numbers
    """Interactions of every user."""
    counts_I: Numbers
    """Interactions of every item of the item table, also of those nobody took."""
    repeats: int
    """Interactions of a user with an item that the user had before."""
    times: Numbers | None
    """One an interaction, as the files count them; None where they have none."""


def count_histories(data: RecDataModule) -> Counted:
    """Counts the tables, some users at a time; there after ``prepare_data``."""
    tables = data.tables()
    lengths_U, n_items, repeats = np.diff(tables.offsets), len(tables.items), 0
    for users in runs(tables.offsets):
        of_E = tables.items_of[tables.offsets[users.start] : tables.offsets[users.stop]]
        user_E = np.repeat(np.arange(users.stop - users.start), lengths_U[users])
        key_E = user_E * n_items + of_E
        key_E.sort()  # users are in order already: many times faster than a search for distinct values
        repeats += int((key_E[1:] == key_E[:-1]).sum())
    counts_I = counts_of(tables.items_of, n_items)
    return Counted(data.cache_name, lengths_U, counts_I, repeats, tables.times_of)


def count_layout(data: MMRec) -> Counted:
    """Counts the pairs of all splits; those of one label are distinct already."""
    layout = read_layout(data.folder, data.name)
    splits = (layout.train, layout.val, layout.test)
    user_E = np.concatenate([pairs.user_E for pairs in splits])
    item_E = np.concatenate([pairs.item_E for pairs in splits])
    merged = layout.report.counts["lines read"] - len(user_E)
    lengths_U = np.bincount(user_E, minlength=layout.n_users)[1:]
    counts_I = np.bincount(item_E, minlength=layout.n_items)[1:]
    return Counted(data.name, lengths_U, counts_I, merged, _layout_times(data))


def _layout_times(data: MMRec) -> Numbers | None:
    """The column ``timestamp``, which nothing else reads; unreadable ones are left out."""
    table = pl.read_csv(
        data.folder / f"{data.name}.inter",
        separator="\t",
        infer_schema=False,
        quote_char=None,
        encoding="utf8-lossy",
    )
    named = {column.strip("\ufeff\r "): column for column in table.columns}
    if "timestamp" not in named:
        return None
    times = table[named["timestamp"]].str.strip_chars().cast(pl.Float64, strict=False)
    times = times.filter(times.is_finite().fill_null(False))
    return times.to_numpy() if len(times) else None

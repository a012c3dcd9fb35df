"""Histories given by hand: by row or by name, of any lengths, made into batches without a loop over them."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from zoo.types import EvalBatch

Ids = npt.NDArray[np.int64]
SOME = 5
"""Names that an error gives as examples."""


class Histories(NamedTuple):
    """Lists of catalogue rows, oldest first, one behind the other."""

    offsets: Ids
    """List b is ``items[offsets[b]:offsets[b + 1]]``; B + 1 numbers."""
    items: Ids

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> Self:
        """From lists of rows.

        >>> Histories.of([[3, 4], [5]]).block(slice(0, 2), 3).tolist()
        [[0, 3, 4], [0, 0, 5]]
        """
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        items = np.fromiter(chain.from_iterable(lists), np.int64, int(lengths.sum()))
        return cls(np.concatenate([[0], np.cumsum(lengths)]), items)

    @classmethod
    def of_users(cls, user_E: Ids, item_E: Ids, user_R: Ids) -> Self:
        """From pairs that are sorted by user: what some of the users have.

        >>> Histories.of_users(np.array([1, 1, 4]), np.array([7, 8, 9]), np.array([4, 2, 1])).items.tolist()
        [9, 7, 8]
        """
        starts, stops = np.searchsorted(user_E, user_R), np.searchsorted(user_E, user_R, side="right")
        return cls.of_ranges(starts, stops, item_E)

    @classmethod
    def of_ranges(cls, starts: Ids, stops: Ids, items: npt.NDArray[np.integer[Any]]) -> Self:
        """Lists that lie anywhere among some rows: from a start up to before a stop."""
        offsets = np.concatenate([[0], np.cumsum(stops - starts)]).astype(np.int64)
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], stops - starts)
        return cls(offsets, np.asarray(items[places], dtype=np.int64))

    def __len__(self) -> int:
        """Lists."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ids:
        """Of the lists."""
        return np.diff(self.offsets)

    def block(self, rows: slice, width: int | None = None) -> Ids:
        """Some lists, left-padded with 0: their last ``width`` items, or all."""
        starts, stops = self.offsets[:-1][rows], self.offsets[1:][rows]
        width = max(1, int((stops - starts).max(initial=0))) if width is None else width
        index_BW = stops[:, None] + np.arange(-width, 0)
        real_BW = index_BW >= starts[:, None]
        found_BW = np.zeros(index_BW.shape, dtype=np.int64)
        found_BW[real_BW] = self.items[index_BW[real_BW]]
        return found_BW


def rows_of_names(names: Sequence[str], wanted: pl.Series) -> Ids:
    """Rows of names; 0 for those that are not there.

    >>> rows_of_names(["", "a", "b"], pl.Series(["b", "x", "a"])).tolist()
    [2, 0, 1]
    """
    known = pl.DataFrame({"name": pl.Series(names, dtype=pl.String)[1:]}).with_row_index("row", 1)
    asked = pl.DataFrame({"name": wanted.cast(pl.String)})
    found = asked.join(known.unique("name", keep="first"), on="name", how="left", maintain_order="left")
    return found["row"].fill_null(0).to_numpy().astype(np.int64)


def to_rows(values: Sequence[object], names: Sequence[str] | None, what: str) -> Ids:
    """Rows, given as such or by name.

    Args:
        values: Whole numbers, or strings.
        names: Row -> name; None if nobody says.
        what: ``item`` or ``user``, for errors.

    Raises:
        ValueError: A name is unknown, or names are given and nobody says what they mean, or neither is given.
    """
    if not any(isinstance(value, str) for value in values):
        rows = np.asarray(values) if len(values) else np.empty(0, dtype=np.int64)
        if rows.dtype.kind not in "iu" or rows.ndim != 1:
            raise ValueError(f"Expected {what}s as whole numbers or names, found {values[0]!r} and its like.")
        return rows.astype(np.int64)
    if names is None:
        raise ValueError(
            f"{what.capitalize()}s are given by name, but there is no data that says what they are called: "
            "give data=, a data module after setup(), or catalogue rows."
        )
    rows = rows_of_names(names, pl.Series(list(map(str, values)), dtype=pl.String))
    if len(unknown := np.flatnonzero(rows == 0)):
        some = ", ".join(repr(values[at]) for at in unknown[:SOME].tolist())
        raise ValueError(
            f"{len(unknown):,} of {len(rows):,} {what} names are not in the catalogue of {len(names) - 1:,}: "
            f"{some}{', ...' if len(unknown) > SOME else ''}. Leave them out, or give them as new items."
        )
    return rows


def to_histories(lists: Sequence[Sequence[int | str]], names: Sequence[str] | None) -> Histories:
    """Histories of rows or names as rows."""
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Histories(offsets, to_rows(list(chain.from_iterable(lists)), names, "item"))


def check_rows(rows: Ids, n_rows: int, what: str) -> None:
    """Refuses what is no row.

    Raises:
        ValueError: It is below 1 or too large.
    """
    if len(rows) and not (1 <= rows.min() and rows.max() < n_rows):
        wrong = rows[(rows < 1) | (rows >= n_rows)]
        raise ValueError(f"Expected {what} rows from 1 to {n_rows - 1:,}, found {int(wrong[0]):,}.")


def batch_of(
    histories: Histories | None, known: Histories | None, user_R: Ids, rows: slice, length: int
) -> EvalBatch:
    """Some histories as a model reads them.

    Args:
        histories: What the user has, oldest first.
        known: What else may not be recommended.
        user_R: User rows, 0 where nobody asked who they are.
        rows: Which ones.
        length: History length L.
    """
    user_B = user_R[rows]
    shown = Histories.of([[]] * len(user_B)) if histories is None else histories
    rows_shown = slice(0, len(user_B)) if histories is None else rows
    history_BL = shown.block(rows_shown, min(length, max(1, int(shown.lengths[rows_shown].max(initial=0)))))
    hidden = [each.block(at) for each, at in ((shown, rows_shown), (known, rows)) if each is not None]
    target_B = np.zeros_like(user_B)
    fields = (user_B, history_BL, target_B, np.concatenate(hidden, axis=1))
    return EvalBatch(*map(torch.from_numpy, fields))


def named(item_BK: Tensor, names: Sequence[str] | None) -> list[list[str]] | None:
    """What recommended items are called; places without a candidate are left out."""
    if names is None:
        return None
    return [[names[row] for row in rows if row] for rows in item_BK.tolist()]

"""Reads and writes MMRec's layout: one table of pairs with split labels, and feature matrices.

The layout is that of the toolbox MMRec (https://github.com/enoche/MMRec) and its kin: ``<name>.inter``,
tab-separated with a header (``userID itemID rating timestamp x_label``, user attributes as ``u_gender`` and
so on), and ``<modality>_feat.npy`` whose row r belongs to item r. Numbers count from 0 there; here row 0 is
padding, and item r is row r + 1.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from datamodules.attributes import UNKNOWN, Attribute, codes
from datamodules.cache import write_array
from datamodules.errors import BadTableError, EmptyDataError
from datamodules.tables import Report

Ids = npt.NDArray[np.int64]

COLUMNS = ("userID", "itemID", "x_label")
ATTRIBUTE = "u_"
"""How the name of an attribute's column begins."""
SPLITS = ("training", "validation", "test")
"""Names of the labels 0, 1, 2."""
SPARSE = 20
"""Numbers per number that occurs beyond which a column is not believed to count from 0."""


class Pairs(NamedTuple):
    """Distinct user-item pairs, sorted by user, then item; rows count from 1."""

    user_E: Ids
    item_E: Ids

    @classmethod
    def of(cls, key_E: Ids, n_items: int) -> "Pairs":
        """From sorted keys ``user * n_items + item``."""
        return cls(*np.divmod(key_E, n_items))

    def key(self, n_items: int) -> Ids:
        """One rising number a pair."""
        return self.user_E * n_items + self.item_E


class Layout(NamedTuple):
    """What the table of pairs says."""

    n_items: int
    """Catalogue rows I, the padding row included."""
    n_users: int
    """User rows U, row 0 included."""
    train: Pairs
    val: Pairs
    test: Pairs
    attributes: dict[str, Attribute]
    noise_E: npt.NDArray[np.bool_] | None
    """Which training pairs a truth file names as planted noise."""
    report: Report


def read_layout(folder: Path, name: str) -> Layout:
    """Reads ``<name>.inter``, and which of its lines are noise if ``<name>_truth.npz`` tells.

    Users and items are as many as their highest numbers say, whatever the split, so that an item nobody
    trains on has a row and is ranked. Then, in this order: lines of an unknown label are dropped; lines of
    one label that repeat a pair are merged; validation and test pairs of users without a training pair are
    dropped.

    Raises:
        BadTableError: If a column is missing or does not hold numbers that count from 0.
        EmptyDataError: If there is no training pair.
    """
    path = folder / f"{name}.inter"
    report = Report()
    table = _read_table(path)
    user_R, item_R, label_R = (_whole_numbers(table[column], path) for column in COLUMNS)
    report.count("lines read", len(table), always=True)
    n_users, n_items = int(user_R.max()) + 2, int(item_R.max()) + 2
    noise_R = _noise_lines(folder / f"{name}_truth.npz", len(table))
    known = (label_R >= 0) & (label_R < len(SPLITS))
    report.count("lines with another label than 0, 1, 2 were dropped", int((~known).sum()))
    key_R = (user_R + 1) * n_items + item_R + 1
    keys = []
    for label, split in enumerate(SPLITS):
        lines = key_R[label_R == label]
        keys.append(np.unique(lines))
        report.count(f"{split} lines repeated a pair and were merged", len(lines) - len(keys[-1]))
    if not len(keys[0]):
        raise EmptyDataError(
            f"Expected lines with x_label 0 (training) in {path}, found none among {len(table):,}. Is it the "
            "file as released?"
        )
    train = Pairs.of(keys[0], n_items)
    has_train_U = np.zeros(n_users, dtype=bool)
    has_train_U[train.user_E] = True
    held = []
    for split, key_E in zip(SPLITS[1:], keys[1:], strict=True):
        pairs = Pairs.of(key_E, n_items)
        warm_E = has_train_U[pairs.user_E]
        report.count(f"{split} pairs of users without a training pair were dropped", int((~warm_E).sum()))
        held.append(Pairs(pairs.user_E[warm_E], pairs.item_E[warm_E]))
        again = int(np.isin(key_E[warm_E], keys[0], assume_unique=True).sum())
        report.count(f"{split} pairs are training pairs too and can never be hit", again)
    noise_E = None if noise_R is None else ~_any_of(key_R[(label_R == 0) & ~noise_R], keys[0])
    attributes = _attributes(table, user_R, n_users, report)
    return Layout(n_items, n_users, train, held[0], held[1], attributes, noise_E, report)


def _any_of(key_R: Ids, key_E: Ids) -> npt.NDArray[np.bool_]:
    """Which of the sorted, distinct keys occur among the lines'."""
    found = np.zeros(len(key_E), dtype=bool)
    found[np.searchsorted(key_E, key_R)] = True
    return found


def _read_table(path: Path) -> pl.DataFrame:
    """The columns that are read, as text."""
    try:
        table = pl.read_csv(path, separator="\t", infer_schema=False, quote_char=None, encoding="utf8-lossy")
    except pl.exceptions.NoDataError:
        table = pl.DataFrame()
    except pl.exceptions.PolarsError as error:
        raise BadTableError(
            f"Expected a table with columns separated by tabs in {path}, found lines of unequal length "
            f"({error}). Is it the file as released, and complete?"
        ) from error
    table = table.rename({column: column.strip("\ufeff\r ") for column in table.columns})
    if absent := [column for column in COLUMNS if column not in table.columns]:
        raise BadTableError(
            f"Expected the columns {', '.join(COLUMNS)}, separated by tabs, in {path}, found "
            f"{', '.join(map(repr, table.columns)) or 'an empty file'}: {', '.join(absent)} missing. MMRec's "
            "layout has a header line; the labels in x_label are 0 training, 1 validation, 2 test."
        )
    if table.is_empty():
        raise EmptyDataError(f"Expected lines in {path}, found a header only. Is the file complete?")
    attributes = [column for column in table.columns if column.startswith(ATTRIBUTE)]
    return table.select(*COLUMNS, *attributes)


def _whole_numbers(column: pl.Series, path: Path) -> Ids:
    """Numbers that count from 0.

    Raises:
        BadTableError: If a text is none; names the line.
    """
    text = column.str.strip_chars()
    numbers = text.cast(pl.Int64, strict=False)
    bad = numbers.is_null() | (numbers < 0) if column.name != "x_label" else numbers.is_null()
    if bad.any():
        line = int(bad.arg_max() or 0)
        raise BadTableError(
            f"Expected whole numbers from 0 in the column {column.name} of {path}, found {column[line]!r} in "
            f"line {line + 2}. Number users and items from 0, as the rows of the feature files are."
        )
    found = numbers.to_numpy()
    if column.name != "x_label" and int(found.max()) >= SPARSE * (numbers.n_unique() + 50):
        raise BadTableError(
            f"Expected numbers that count from 0 in the column {column.name} of {path}, found "
            f"{numbers.n_unique():,} different ones up to {found.max():,}. Number them from 0 in order of "
            "first appearance: every number up to the highest has a row in models and in feature files."
        )
    return found


def _noise_lines(path: Path, n_lines: int) -> npt.NDArray[np.bool_] | None:
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as truth:
        noise_R: npt.NDArray[np.bool_] = truth["noise"].astype(bool)
    if len(noise_R) != n_lines:
        raise BadTableError(
            f"Expected a flag for each of {n_lines:,} lines in {path}, found {len(noise_R):,}. Delete the "
            "truth file, or write it again with the table."
        )
    return noise_R


def _attributes(table: pl.DataFrame, user_R: Ids, n_users: int, report: Report) -> dict[str, Attribute]:
    """Attributes without their prefix; where lines of a user differ, the first that is known stands."""
    found = {}
    for column in table.columns[len(COLUMNS) :]:
        class_R, note = codes(table[column])
        name = column.removeprefix(ATTRIBUTE)
        known = pl.DataFrame({"user": user_R, "class": class_R}).drop_nulls()
        if known.is_empty():
            report.notes.append(f"The column {column} is empty.")
            continue
        first = known.unique("user", keep="first", maintain_order=True)
        conflicts = len(known.unique()) - len(first)
        report.count(f"other values of {name} on further lines of the same user were ignored", conflicts)
        class_U = np.full(n_users, UNKNOWN, dtype=np.int64)
        class_U[first["user"].to_numpy() + 1] = first["class"].to_numpy()
        found[name] = Attribute(class_U, int(class_U.max()) + 1)
        unknown = len(np.unique(user_R)) - len(first)
        report.count(f"users have no {name}", unknown)
        report.notes += [note] if note else []
    return found


def read_names(path: Path, column: str, n_rows: int) -> list[str] | None:
    """Raw names of the rows from a mapping file (``i_id_mapping.csv``), None where there is none.

    Args:
        path: Tab-separated with a header: one column holds raw names, one the numbers.
        column: Name of the column of numbers.
        n_rows: Rows, the padding row included; a row that the file does not name keeps its number.

    Raises:
        BadTableError: If the file does not hold such columns.
    """
    if not path.is_file():
        return None
    table = pl.read_csv(path, separator="\t", infer_schema=False, quote_char=None, encoding="utf8-lossy")
    others = [name for name in table.columns if name != column]
    numbers = table[column].cast(pl.Int64, strict=False) if column in table.columns else None
    if numbers is None or len(others) != 1 or numbers.null_count():
        raise BadTableError(
            f"Expected two columns separated by tabs in {path}, {column} with whole numbers and the raw "
            f"names, found {', '.join(map(repr, table.columns))}. Correct the file or take it away: it is "
            "only read for names."
        )
    names = ["", *map(str, range(n_rows - 1))]
    for number, name in zip(numbers.to_list(), table[others[0]].to_list(), strict=True):
        if 0 <= number < n_rows - 1 and name:
            names[number + 1] = name
    return names


def write_layout(
    folder: Path,
    name: str,
    pairs: pl.DataFrame,
    truth: Mapping[str, npt.NDArray[Any]] | None = None,
    names: Mapping[str, pl.DataFrame] | None = None,
) -> None:
    """Writes a table of pairs and what goes with it.

    Args:
        folder: An existing folder.
        name: Of the data set.
        pairs: The columns of ``<name>.inter``.
        truth: Arrays for ``<name>_truth.npz``, one value a line each.
        names: File name -> mapping of raw names to numbers.
    """
    pairs.write_csv(folder / f"{name}.inter", separator="\t")
    if truth is not None:
        np.savez(folder / f"{name}_truth.npz", allow_pickle=False, **truth)
    for file, table in (names or {}).items():
        table.write_csv(folder / file, separator="\t")


def write_features(path: Path, rows: npt.NDArray[np.float32]) -> None:
    """Writes a feature matrix that readers see whole or not at all; one writer at a time."""
    part = path.with_name(path.name + ".part")
    write_array(part, rows)
    os.replace(part, path)

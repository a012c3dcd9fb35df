"""Sensitive attributes of users: classes by number, -1 where unknown, and what a model may ask for."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import polars as pl
from lightning.pytorch.utilities import rank_zero_warn

from datamodules.errors import BadTableError

Ids = npt.NDArray[np.int64]
UNKNOWN = -1
MAX_CLASSES = 1_000
"""A code beyond is a number (a year, a postcode), not a class."""


class Attribute(NamedTuple):
    """One attribute of all users."""

    class_U: Ids
    """Class 0..n_classes-1 of every user row, -1 where unknown; row 0 is nobody's."""
    n_classes: int


class UnknownAttributeError(ValueError):
    """The data set has no such attribute.

    Args:
        name: What was asked for.
        known: What there is.
        where: Name of the data set.
    """

    def __init__(self, name: str, known: Sequence[str], where: str) -> None:
        near = get_close_matches(name.removeprefix("u_"), known, n=1, cutoff=0.6)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        there = f"There are: {', '.join(known)}." if known else "It has none."
        super().__init__(f"{where} has no user attribute {name!r}. {hint}{there}")


def check_attributes(
    asked: Sequence[str], known: Mapping[str, Attribute], trained_R: Ids, where: str
) -> list[str]:
    """Looks whether the data have what a model asks for.

    Args:
        asked: Names of attributes.
        known: What the data have.
        trained_R: User rows that train.
        where: Name of the data set.

    Returns:
        A sentence on each attribute that is unknown of some of these users.

    Raises:
        UnknownAttributeError: There is no such attribute.
        BadTableError: Nobody among these users has a class, so nothing can be learnt of it.
    """
    notes = []
    for name in asked:
        if name not in known:
            raise UnknownAttributeError(name, list(known), where)
        class_R = known[name].class_U[trained_R]
        present = np.bincount(class_R[class_R >= 0], minlength=known[name].n_classes)
        if absent := np.flatnonzero(present == 0).tolist():
            raise BadTableError(
                f"Expected users of each of the {known[name].n_classes} classes of {name} among those who "
                f"train in {where}, found none of {_some(absent)}. Number the classes that occur from 0 "
                "without gaps, draw another split, or leave the attribute out of the model."
            )
        if missing := int((class_R < 0).sum()):
            notes.append(
                f"{name} is unknown of {missing:,} users who train: class {UNKNOWN} in their batches."
            )
    return notes


def warn_of_absent_classes(
    asked: Sequence[str], known: Mapping[str, Attribute], splits: Mapping[str, Ids]
) -> list[str]:
    """One sentence for each class that no user of a split has: nothing can be measured of it there.

    Args:
        asked: Names of attributes that the data have.
        known: What the data have.
        splits: Name of a split -> its user rows.
    """
    notes = []
    for name in asked:
        for split, users_R in splits.items():
            if not len(users_R):
                continue
            present = np.unique(known[name].class_U[users_R])
            if absent := sorted(set(range(known[name].n_classes)) - set(present.tolist())):
                notes.append(f"No user with {split} rows has {name} {_some(absent)}.")
    for note in notes:
        rank_zero_warn(note)
    return notes


def _some(values: Sequence[int]) -> str:
    more = f" and {len(values) - 6} more" if len(values) > 6 else ""
    return ", ".join(map(str, values[:6])) + more


def codes(values: pl.Series) -> tuple[pl.Series, str]:
    """Classes of the values of one attribute as text.

    Whole numbers are the classes themselves, negative ones unknown; anything else is numbered in the order of
    its text. What is empty is unknown.

    Returns:
        Classes as Int64, null where unknown; and a sentence where they were numbered here, else nothing.

    Raises:
        BadTableError: If a number is too large for a class.
    """
    text = values.cast(pl.String).str.strip_chars()
    text = text.replace("", None)
    exact = text.cast(pl.Float64, strict=False)
    if exact.null_count() == text.null_count() and bool((exact == exact.floor()).all()):
        numbers = exact.cast(pl.Int64, strict=False)
        largest = cast(int, numbers.max() or 0)
        if largest >= MAX_CLASSES:
            raise BadTableError(
                f"Expected classes 0, 1, … below {MAX_CLASSES:,} in the column {values.name}, found "
                f"{largest}. Group the values into classes and number them from 0."
            )
        return numbers.set(numbers < 0, None), ""
    names = text.drop_nulls().unique().sort()
    numbered = text.cast(pl.Enum(names)).to_physical().cast(pl.Int64)
    listed = ", ".join(f"{name!s} = {code}" for code, name in enumerate(names.head(6).to_list()))
    more = ", …" if len(names) > 6 else ""
    return numbered, f"{values.name} was numbered: {listed}{more}."

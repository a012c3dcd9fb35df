"""What is read of an item: which of its text columns, in which order, and what if one is missing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from datamodules.errors import DataNotFoundError
from datamodules.raw_content import RawContent

_BETWEEN = ". "


def check_columns(chosen: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The chosen text columns.

    Raises:
        ValueError: If there are none, one is unknown, or one is named twice.
    """
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(known):
        raise ValueError(
            f"Expected text to be a list of some of {', '.join(known)}, each at most once, found "
            f"{list(chosen)!r}. For example --data.text '[{', '.join(known[:2])}]'."
        )
    return tuple(chosen)


def joined_texts(items: pl.DataFrame, columns: Sequence[str]) -> list[str | None]:
    """Row -> the cells of these columns one after the other; None where all are empty."""
    parts = [pl.col(column).str.strip_chars().replace("", None) for column in columns]
    joined = items.select(pl.concat_str(parts, separator=_BETWEEN, ignore_nulls=True).replace("", None))
    return joined.to_series().to_list()


def text_content(
    modality: str, items: pl.DataFrame, columns: Sequence[str], file: Path | None, expected: Mapping[str, str]
) -> RawContent:
    """Texts of the catalogue.

    Args:
        modality: ``text`` or ``caption``.
        items: In the order of the catalogue.
        columns: To be read of them.
        file: They come from, for reports.
        expected: Column -> file that should hold it.

    Raises:
        DataNotFoundError: If a column is missing, for its file is.
    """
    missing = [column for column in columns if column not in items.columns]
    if missing:
        files = " and ".join(dict.fromkeys(expected[column] for column in missing))
        raise DataNotFoundError(
            f"{' and '.join(missing)} of the items in {files}",
            "no such file",
            f"Put it beside the interactions, choose other columns (--data.text) or leave the modality out "
            f"(--model.{modality} null).",
        )
    names = ["", *items["item"].to_list()]
    source = file.name if file else " and ".join(dict.fromkeys(expected[column] for column in columns))
    return RawContent(modality, names, [None, *joined_texts(items, columns)], None, source)

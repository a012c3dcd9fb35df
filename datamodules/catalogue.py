"""Which item and which user has which row: the cached result of cutting a data set's tables into windows."""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from datamodules.cache import write_array
from datamodules.item_store import ItemStore
from datamodules.splits import Windows, leave_two_out
from datamodules.tables import Report, Tables


class Catalogue(NamedTuple):
    """The kept items, everybody's window, and what reading them met."""

    items: pl.DataFrame
    """Row k of the item table belongs to catalogue row k + 1."""
    windows: Windows
    counts_I: npt.NDArray[np.int64]
    """Training interactions of every catalogue row."""
    report: Report

    @staticmethod
    def write(folder: Path, tables: Tables, max_len: int, min_len: int) -> None:
        """Cuts the tables and writes the result.

        Raises:
            EmptyDataError: If no user is left.
        """
        split = leave_two_out(tables, max_len, min_len)
        write_array(folder / "offsets.npy", split.windows.offsets)
        write_array(folder / "items.npy", split.windows.items)
        write_array(folder / "counts.npy", split.windows.train_counts(len(split.kept_items) + 1))
        tables.items[split.kept_items].write_parquet(folder / "items.parquet")
        tables.users.gather(split.kept_lines).to_frame("user").write_parquet(folder / "users.parquet")
        tables.report.merged(split.report).save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what ``write`` wrote; windows stay on disk and are mapped."""
        windows = Windows(*(np.load(folder / f"{part}.npy", mmap_mode="r") for part in Windows._fields))
        items = pl.read_parquet(folder / "items.parquet")
        return cls(items, windows, np.load(folder / "counts.npy"), Report.load(folder))


def bad_summary(store: ItemStore) -> str:
    """One sentence on the bad items of all modalities; empty if there are none."""
    parts = [
        f"{modality} of {manifest['bad']:,} items ({manifest['missing']:,} unusable, treated as missing)"
        for modality, manifest in store.manifests.items()
        if manifest["bad"]
    ]
    return f"Bad {'; '.join(parts)}." if parts else ""


def report_text(name: str, report: Report, store: ItemStore) -> str:
    """What was read, left out and found bad, in a few lines."""
    lines = report.lines()
    if summary := bad_summary(store):
        lines.append(summary)
    return "\n  ".join([f"{name}:", *lines])

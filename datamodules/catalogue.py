"""Which item and which user has which row: the cached result of cutting a data set's tables into windows."""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from lightning.pytorch.utilities import rank_zero_warn

from datamodules.array_files import save_array
from datamodules.cache import locked, write_array, write_atomic
from datamodules.item_store import ItemStore
from datamodules.raw_content import bad_items_csv
from datamodules.splits import Windowing, Windows, leave_two_out, training_users
from datamodules.tables import Report, Tables


class Catalogue(NamedTuple):
    """The kept items, everybody's window, and what reading them met."""

    items: pl.DataFrame
    """Row k of the item table belongs to catalogue row k + 1."""
    windows: Windows
    counts_I: npt.NDArray[np.int64]
    """Training interactions of every catalogue row."""
    users_R: npt.NDArray[np.int64]
    """User rows whose histories train, rising."""
    report: Report

    @staticmethod
    def write(
        folder: Path, tables: Tables, max_len: int, min_len: int, windowing: Windowing = "last"
    ) -> None:
        """Cuts the tables and writes the result.

        Raises:
            EmptyDataError: If no user is left.
        """
        split = leave_two_out(tables, max_len, min_len, windowing, folder)
        write_array(folder / "offsets.npy", split.windows.offsets)
        save_array(folder / "items.npy", split.windows.items)
        write_array(folder / "counts.npy", split.windows.train_counts(len(split.kept_items) + 1))
        tables.items[split.kept_items].write_parquet(folder / "items.parquet")
        tables.users.gather(split.kept_lines).to_frame("user").write_parquet(folder / "users.parquet")
        tables.report.merged(split.report).save(folder)

    @classmethod
    def load(cls, folder: Path, fraction: float = 1.0, seed: int = 0) -> Self:
        """Reads what ``write`` wrote; windows stay on disk and are mapped.

        Args:
            folder: Where it lies.
            fraction: Share of the users whose histories train, and are counted.
            seed: Of the draw of that share.
        """
        windows = Windows(*(np.load(folder / f"{part}.npy", mmap_mode="r") for part in ("offsets", "items")))
        items, counts_I = pl.read_parquet(folder / "items.parquet"), np.load(folder / "counts.npy")
        report = Report.load(folder)
        users_R = training_users(windows.n_users, fraction, seed)
        if fraction < 1.0:
            counts_I = windows.train_counts(len(counts_I), users_R)
            report.count(f"users train, {fraction:.6g} of all; all are evaluated", len(users_R))
            report.count("training interactions left", int(counts_I.sum()))
        return cls(items, windows, counts_I, users_R, report)


def bad_summary(store: ItemStore) -> str:
    """One sentence on the bad items of all modalities; empty if there are none."""
    parts = [
        f"{modality} of {manifest['bad']:,} items ({manifest['missing']:,} unusable, treated as missing)"
        for modality, manifest in store.manifests.items()
        if manifest["bad"]
    ]
    return f"Bad {'; '.join(parts)}." if parts else ""


def note_bad_items(store: ItemStore, path: Path) -> None:
    """Lists the bad items of all modalities in a file, and warns if there are any."""
    bad = list(store.bad_items())
    with locked(path):
        write_atomic(path, bad_items_csv(bad))
    if bad:
        rank_zero_warn(f"{bad_summary(store)} See {path}.")


def report_text(name: str, report: Report, store: ItemStore) -> str:
    """What was read, left out and found bad, in a few lines."""
    lines = report.lines()
    if summary := bad_summary(store):
        lines.append(summary)
    return "\n  ".join([f"{name}:", *lines])

"""Which item and which user has which row: the cached result of cutting a data set's tables into windows."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
from lightning.pytorch.utilities import rank_zero_warn

from datamodules.array_files import blocks, map_array, save_array
from datamodules.cache import locked, write_array, write_atomic, write_json
from datamodules.item_store import ItemStore
from datamodules.protocols import Division, Frame, KCore, Places, Protocol
from datamodules.raw_content import bad_items_csv
from datamodules.splits import Stage, Windows, training_users
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
    places: dict[Stage, Places]
    """Stage -> rows to evaluate, where they are not the last items of everybody."""
    n_drawn: int
    """Catalogue rows below this one are drawn as negatives."""
    fingerprint: str
    """Of the test: item names, histories and targets."""
    held_out_I: npt.NDArray[np.bool_] | None
    """Items that were held out on purpose; None where none were."""

    @staticmethod
    def write(
        folder: Path, tables: Tables, protocol: Protocol, frame: Frame, kept: KCore | None = None
    ) -> None:
        """Cuts the tables and writes the result.

        Args:
            folder: Empty; comes to hold everything.
            tables: Interactions and items.
            protocol: What trains and what is evaluated.
            frame: What holds under every protocol.
            kept: What is left out before.

        Raises:
            EmptyDataError: If no user is left, or nothing to train on or to evaluate.
            ValueError: If the data lack what the protocol goes by.
        """
        if kept is not None:
            tables = kept.apply(tables)
        division = protocol.divide(tables, frame, folder)
        windows = division.windows
        write_array(folder / "offsets.npy", windows.offsets)
        save_array(folder / "items.npy", windows.items)
        if windows.trains is not None:
            write_array(folder / "trains.npy", windows.trains)
        for stage, rows in division.places.items():
            write_array(folder / f"{stage}.npy", np.stack(rows))
        write_array(folder / "counts.npy", windows.train_counts(len(division.kept_items) + 1))
        items = tables.items[division.kept_items]
        items.write_parquet(folder / "items.parquet")
        tables.users.gather(division.kept_lines).to_frame("user").write_parquet(folder / "users.parquet")
        tables.report.merged(division.report).save(folder)
        print_of_test = _fingerprint(division, items["item"], frame)
        found = {"n_drawn": division.n_drawn, "fingerprint": print_of_test, "cold": division.cold}
        write_json(folder / "division.json", found)

    @classmethod
    def load(cls, folder: Path, fraction: float = 1.0, seed: int = 0) -> Self:
        """Reads what ``write`` wrote; windows stay on disk and are mapped.

        Args:
            folder: Where it lies.
            fraction: Share of the users whose histories train, and are counted.
            seed: Of the draw of that share.
        """
        arrays = {path.stem: map_array(path) for path in folder.glob("*.npy")}
        windows = Windows(arrays["offsets"], arrays["items"], arrays.get("trains"))
        places = {stage: Places(*arrays[stage]) for stage in get_args(Stage) if stage in arrays}
        found = json.loads((folder / "division.json").read_text("utf-8"))
        items, counts_I = pl.read_parquet(folder / "items.parquet"), np.load(folder / "counts.npy")
        report = Report.load(folder)
        starts, stops = windows.training()
        train_R = np.flatnonzero(stops > starts) + 1
        users_R = train_R[training_users(len(train_R) + 1, fraction, seed) - 1]
        if fraction < 1.0:
            counts_I = windows.train_counts(len(counts_I), users_R)
            report.count(f"users train, {fraction:.6g} of all; all are evaluated", len(users_R))
            report.count("training interactions left", int(counts_I.sum()))
        n_drawn = found["n_drawn"]
        held_out_I = np.arange(len(counts_I)) >= n_drawn if found["cold"] else None
        fingerprint = found["fingerprint"]
        return cls(items, windows, counts_I, users_R, report, places, n_drawn, fingerprint, held_out_I)


def check_fraction(fraction: float, seed: int) -> None:
    """Refuses what is no share of the users.

    Raises:
        ValueError: If a number is out of its range.
    """
    if not 0 < fraction <= 1 or seed < 0:
        raise ValueError(
            f"Expected 0 < train_fraction <= 1 and fraction_seed >= 0, found {fraction} and {seed}."
        )


def _fingerprint(division: Division, names: pl.Series, frame: Frame) -> str:
    """Digest of what a test reads: item names, histories, targets, and how much of a history is shown."""
    hasher = hashlib.blake2b(digest_size=10)
    windows, test = division.windows, division.places.get("test")

    def add(parts: Iterable[npt.NDArray[np.integer]]) -> None:
        for part in parts:
            hasher.update(f"{len(part)}:".encode())
            for block in blocks(len(part)):
                hasher.update(np.ascontiguousarray(part[block]).data)

    hasher.update(f"{frame.max_len}:{len(names)}:".encode())
    hasher.update(json.dumps(names.to_list()).encode())
    add([windows.offsets, windows.items, *(test or ())])
    return hasher.hexdigest()


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

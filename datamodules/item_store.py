"""The catalogue's content, prepared once for an encoder and then read as memory-mapped arrays.

A modality becomes one array per field of its transform, ``(I, *shape)``, and ``present`` (I,). Row 0 belongs
to the padding item and holds the filler. Preparation goes chunk by chunk and takes up where it was stopped.
"""

import csv
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.utilities import rank_zero_info
from tqdm.auto import tqdm

from datamodules.cache import check_space, digest, disk_errors, locked, write_atomic, write_json
from datamodules.errors import size_text
from datamodules.raw_content import BadItem, RawContent, bad_items_csv, opener
from zoo.types import Content, ContentTransform

LAYOUT = 1
"""Raised when the files of a store change their meaning, so that older ones are not read."""
PRESENT = "present"
_CHUNK_BYTES = 64 * 2**20
_PIECE = 8  # pictures that one thread has open at a time


class Preparation:
    """Makes the arrays of one modality for one transform.

    Args:
        parent: The finished folder comes to lie in it, named by modality and key.
        raw: What to prepare.
        transform: How.
        chunk_bytes: Bytes of prepared rows between two points to which an interrupted run returns.
    """

    def __init__(
        self, parent: Path, raw: RawContent, transform: ContentTransform, chunk_bytes: int = _CHUNK_BYTES
    ) -> None:
        self.raw = raw
        self.transform = transform
        self.n_items = len(raw.names)
        self._open = opener(raw.modality, transform)
        layout = [LAYOUT, transform.key, sorted(transform.fields.items()), sorted(transform.fill.items())]
        self.folder = parent / f"{raw.modality}-{digest([raw.key, *layout])}"
        self._part = self.folder.with_name(f"{self.folder.name}.part")
        self._marks = self.folder.with_name(f"{self.folder.name}.chunks")
        row_bytes = sum(prod(shape) * np.dtype(kind).itemsize for shape, kind in self._arrays().values())
        self._row_bytes = row_bytes
        self._chunk_rows = max(_PIECE, min(8192, chunk_bytes // row_bytes))

    def needed_bytes(self) -> int:
        """Bytes that are still to be written."""
        if self.folder.exists():
            return 0
        done = sum(stop - start for start, stop in self._chunks() if self._mark(start, stop).exists())
        return (self.n_items - done) * self._row_bytes

    def run(self) -> Path:
        """Does what is not done yet.

        Raises:
            DiskFullError: If the disk cannot hold the arrays; finished chunks are kept.
            TypeError: If the transform does not return what it announces.
        """
        if not self.folder.exists():
            with locked(self.folder):
                if not self.folder.exists():
                    self._prepare()
        if self._marks.exists():
            shutil.rmtree(self._marks, ignore_errors=True)
        return self.folder

    def _prepare(self) -> None:
        total, needed = self.n_items * self._row_bytes, self.needed_bytes()
        free = shutil.disk_usage(self.folder.parent).free
        rank_zero_info(
            f"Preparing {self.raw.modality} of {self.n_items - 1:,} items: {size_text(total)} in "
            f"{self.folder} ({size_text(needed)} to do, {size_text(free)} free)."
        )
        check_space(self.folder.parent, needed)
        with disk_errors(self.folder, self.needed_bytes), ThreadPoolExecutor(_threads()) as pool:
            if not self._marks.exists():
                self._start()
            todo = [chunk for chunk in self._chunks() if not self._mark(*chunk).exists()]
            rows_to_do = sum(stop - start for start, stop in todo)
            bar = tqdm(
                total=self.n_items,
                initial=self.n_items - rows_to_do,
                desc=f"preparing {self.raw.modality}",
                unit="item",
                disable=None,  # no bar where nobody watches
            )
            with bar:
                for start, stop in todo:
                    self._write_chunk(start, stop, pool)
                    bar.update(stop - start)
            self._finish()

    def _arrays(self) -> dict[str, tuple[tuple[int, ...], str]]:
        return {**self.transform.fields, PRESENT: ((), "bool")}

    def _chunks(self) -> list[tuple[int, int]]:
        step = self._chunk_rows
        return [(start, min(start + step, self.n_items)) for start in range(0, self.n_items, step)]

    def _mark(self, start: int, stop: int) -> Path:
        return self._marks / f"{start}-{stop}.json"

    def _start(self) -> None:
        """Makes the arrays at their full size; the folder of marks, made last, says that they are there."""
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir()
        for field, (shape, kind) in self._arrays().items():
            whole = (self.n_items, *shape)
            array = np.lib.format.open_memmap(
                self._part / f"{field}.npy", mode="w+", dtype=np.dtype(kind), shape=whole
            )
            array.flush()
        self._marks.mkdir()

    def _write_chunk(self, start: int, stop: int, pool: ThreadPoolExecutor) -> None:
        """Writes rows and then their mark, which carries what was wrong with them."""
        arrays = {
            field: np.full((stop - start, *shape), self.transform.fill.get(field, 0), dtype=kind)
            for field, (shape, kind) in self._arrays().items()
        }
        rows = range(max(start, 1), stop)
        step = max(len(rows), 1) if self.raw.folder is None else _PIECE
        pieces = [rows[first : first + step] for first in range(0, len(rows), step)]
        # Tokenizers use their own threads and dislike ours; pictures decode side by side.
        done = map(self._piece, pieces) if self.raw.folder is None else pool.map(self._piece, pieces)
        bad: list[tuple[int, str]] = []
        for good, prepared, reasons in done:
            bad += reasons
            at = np.asarray(good, dtype=np.int64) - start
            arrays[PRESENT][at] = True
            for field, values in prepared.items():
                arrays[field][at] = values
        for field, values in arrays.items():
            self._write_rows(field, start, values)
        write_json(self._mark(start, stop), bad)

    def _piece(
        self, rows: Sequence[int]
    ) -> tuple[list[int], dict[str, npt.NDArray[Any]], list[tuple[int, str]]]:
        """Reads and transforms some rows: the good rows, their arrays, and (row, reason) of the bad ones."""
        read = [(row, *self.raw.read(row, self._open)) for row in rows]
        reasons = [(row, reason) for row, _, reason in read if reason]
        good = [row for row, value, _ in read if value is not None]
        if not good:
            return good, {}, reasons
        prepared = self.transform([value for _, value, _ in read if value is not None])
        found = {field: (array.shape, array.dtype) for field, array in prepared.items()}
        expected = {
            field: ((len(good), *shape), np.dtype(kind))
            for field, (shape, kind) in self.transform.fields.items()
        }
        if found != expected:
            raise TypeError(
                f"The transform {self.transform.key!r} announces {expected} and returned {found}. "
                "Correct its `fields` or its `__call__`."
            )
        return good, prepared, reasons

    def _write_rows(self, field: str, start: int, values: npt.NDArray[Any]) -> None:
        """Writes through a file, not the memory map: a full disk is then an error, not a dead process."""
        path = self._part / f"{field}.npy"
        mapped = np.load(path, mmap_mode="r")
        row_bytes = mapped.nbytes // self.n_items
        with open(path, "r+b") as file:
            file.seek(mapped.offset + start * row_bytes)
            file.write(np.ascontiguousarray(values).data)
            file.flush()
            os.fsync(file.fileno())

    def _finish(self) -> None:
        raw = self.raw
        bad = [
            BadItem(raw.names[row], raw.modality, raw.file_of(row), reason)
            for start, stop in self._chunks()
            for row, reason in json.loads(self._mark(start, stop).read_text("utf-8"))
        ]
        write_atomic(self._part / "bad_items.csv", bad_items_csv(bad))
        present = np.load(self._part / f"{PRESENT}.npy")
        manifest = {
            "layout": LAYOUT,
            "modality": raw.modality,
            "transform": self.transform.key,
            "fields": {field: [list(shape), kind] for field, (shape, kind) in self._arrays().items()},
            "items": self.n_items,
            "missing": int(self.n_items - 1 - present.sum()),
            "bad": len(bad),
        }
        write_json(self._part / "manifest.json", manifest)
        self._part.rename(self.folder)


class ItemStore:
    """The prepared catalogue; an ``ItemSource`` of ``zoo.types``.

    Safe to send to worker processes: they map the files again instead of copying them.

    Args:
        folders: Modality -> finished folder.
        counts_I: Training interactions of every row.
        attributes: User attribute -> class of every user row (U,), -1 where unknown.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        counts_I: npt.NDArray[np.int64],
        attributes: Mapping[str, npt.NDArray[np.int64]] | None = None,
    ) -> None:
        self.folders = dict(folders)
        self.counts_I = counts_I
        self.attributes = dict(attributes or {})
        self.n_items = len(counts_I)
        self.held_out_I: npt.NDArray[np.bool_] | None = None
        """Items that the protocol holds out on purpose; None where it holds out none."""
        self.manifests: dict[str, dict[str, Any]] = {
            modality: json.loads((folder / "manifest.json").read_text("utf-8"))
            for modality, folder in self.folders.items()
        }
        self._arrays = self._open()

    def _open(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        return {
            modality: {
                field: np.load(folder / f"{field}.npy", mmap_mode="r")
                for field in self.manifests[modality]["fields"]
            }
            for modality, folder in self.folders.items()
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._arrays = self._open()

    def content(self, ids_N: npt.NDArray[np.int64], modalities: Sequence[str]) -> dict[str, Content]:
        """Content of the given rows.

        Raises:
            KeyError: If a modality was not prepared.
        """
        for modality in modalities:
            if modality not in self._arrays:
                raise KeyError(
                    f"Expected prepared content of {modality!r}, found only {sorted(self._arrays)}. "
                    "Name it in the model's needs() before prepare_data() runs."
                )
        return {
            modality: {
                field: torch.from_numpy(np.asarray(array[ids_N]))
                for field, array in self._arrays[modality].items()
            }
            for modality in modalities
        }

    def present(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Modality -> which rows have usable content."""
        return {modality: np.asarray(arrays[PRESENT]) for modality, arrays in self._arrays.items()}

    def feature_folder(self, modality: str, key: str) -> str:
        """Beside the content that the features are made from; named by that content and the key."""
        folder = self.folders[modality]
        return str(folder.with_name(f"features-{modality}-{digest([LAYOUT, folder.name, key])}"))

    def bad_items(self) -> Iterator[BadItem]:
        """Everything that was wrong, modality by modality."""
        for folder in self.folders.values():
            with open(folder / "bad_items.csv", encoding="utf-8", newline="") as file:
                lines = csv.reader(file)
                next(lines)
                yield from (BadItem(*line) for line in lines)


def _threads() -> int:
    return min(32, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

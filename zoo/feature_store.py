"""Frozen features on disk: made once for a catalogue, by one process or many, and memory-mapped after that.

A folder holds one array a field and a manifest with a checksum of every chunk of rows. Chunks are the unit of
work: what a stopped run has finished is not made again, and a resumed build equals an undisturbed one to the
last bit, because its chunks hold the same items.
"""

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from tqdm.auto import tqdm

Array = npt.NDArray[Any]
Part = dict[str, Tensor]
"""Field -> rows of one chunk; ``present`` is always among them."""

VERIFIED_WHOLE = 4 * 2**30
"""Stores up to this size are checked whole when they are opened; of larger ones 64 chunks."""


class FeatureStoreError(RuntimeError):
    """A store that cannot be used: damaged, or without room."""


class Team(NamedTuple):
    """The processes that build a store together."""

    rank: int = 0
    size: int = 1
    barrier: Callable[[], object] = lambda: None
    broadcast: Callable[[bool], bool] = lambda value: value


class FeatureStore:
    """Features of one modality.

    Args:
        folder: Where the finished features lie; its name says what they were made from and by what.
        n_items: Catalogue rows I.
        chunk: Rows made at a time.
    """

    def __init__(self, folder: Path, n_items: int, chunk: int) -> None:
        self.folder = folder
        self.n_items = n_items
        self.chunk = chunk
        self._part = folder.with_name(f"{folder.name}.part")

    @property
    def complete(self) -> bool:
        """Whether all rows are there."""
        return (self.folder / "manifest.json").is_file()

    def chunks(self) -> list[tuple[int, int]]:
        """First row and end of every chunk."""
        return chunks_of(self.n_items, self.chunk)

    # Building --------------------------------------------------------------------------------------------

    def build(self, title: str, make: Callable[[int, int], Part], team: Team) -> bool:
        """Makes what is missing; every process of the team takes a share of the chunks.

        Args:
            title: What is made, for the progress bar.
            make: Gives the rows from a first row to an end.
            team: The processes at work; all of them call this.

        Returns:
            Whether anything was missing.

        Raises:
            FeatureStoreError: There is no room on the disk.
        """
        lock = FileLock(self.folder.with_name(f"{self.folder.name}.lock"))
        if team.rank == 0:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()  # another run may be making the same
        try:
            if team.broadcast(self.complete):
                return False
            if team.rank == 0:
                self._lay_out(title, make)
            team.barrier()
            # Neighbouring chunks go to one process: files are shared in few places.
            shares = np.array_split(np.array(self._missing()).reshape(-1, 2), team.size)
            team.barrier()  # everybody has seen what is missing before anybody adds to it
            bar = tqdm(shares[team.rank].tolist(), desc=title, unit="chunk", disable=team.rank != 0 or None)
            for start, stop in bar:
                self._write(start, stop, make(start, stop))
            team.barrier()
            if team.rank == 0:
                self._finish()
            team.barrier()
            return True
        finally:
            lock.release()

    def _lay_out(self, title: str, make: Callable[[int, int], Part]) -> None:
        """Makes the arrays in full size from what the first chunk looks like."""
        if (self._part / "layout.json").is_file():
            layout = json.loads((self._part / "layout.json").read_text("utf-8"))
            if layout["chunk"] == self.chunk:
                return
        shutil.rmtree(self._part, ignore_errors=True)
        start, stop = self.chunks()[0]
        part = make(start, stop)
        constant = constant_first_state(part)
        if constant is not None:
            part = {**part, "values": part["values"][:, 1:]}
        size = sum(t.nbytes for t in part.values()) // (stop - start) * self.n_items
        free = shutil.disk_usage(self.folder.parent).free
        place = f"{size / 2**20:,.1f} MiB in {self.folder} ({free / 2**30:,.1f} GiB free)"
        if size > free:
            raise FeatureStoreError(
                f"{title}: no room for {place}. Free some, or set data.cache_dir elsewhere."
            )
        rank_zero_info(f"{title} of {self.n_items - 1:,} items: {place}.")
        self._part.mkdir()
        fields = {}
        for field, tensor in part.items():
            array = tensor.cpu().numpy()
            fields[field] = {"dtype": str(array.dtype), "shape": [self.n_items, *array.shape[1:]]}
            np.lib.format.open_memmap(
                self._part / f"{field}.npy",
                mode="w+",
                dtype=array.dtype,
                shape=(self.n_items, *array.shape[1:]),
            )
        if constant is not None:
            np.save(self._part / "first.npy", constant.cpu().numpy(), allow_pickle=False)
        layout = {"chunk": self.chunk, "constant": constant is not None, "fields": fields}
        (self._part / "layout.json").write_text(json.dumps(layout), "utf-8")

    def _mark(self, start: int, stop: int) -> Path:
        return self._part / f"{start}-{stop}.json"

    def _missing(self) -> list[tuple[int, int]]:
        return [chunk for chunk in self.chunks() if not self._mark(*chunk).is_file()]

    def _write(self, start: int, stop: int, part: Part) -> None:
        """Writes a chunk, and its checksums only after it."""
        layout = json.loads((self._part / "layout.json").read_text("utf-8"))
        if layout["constant"]:
            part = {**part, "values": part["values"][:, 1:]}
        sums = {}
        for field, tensor in part.items():
            rows = np.ascontiguousarray(tensor.cpu().numpy())
            array = np.lib.format.open_memmap(self._part / f"{field}.npy", mode="r+")
            array[start:stop] = rows
            array.flush()
            sums[field] = zlib.crc32(rows.data)
        temporary = self._mark(start, stop).with_suffix(".new")
        temporary.write_text(json.dumps(sums), "utf-8")
        temporary.replace(self._mark(start, stop))

    def _finish(self) -> None:
        """Gathers the checksums and gives the features their final name."""
        marks = [self._mark(*chunk) for chunk in self.chunks()]
        layout = json.loads((self._part / "layout.json").read_text("utf-8"))
        layout["sums"] = [json.loads(mark.read_text("utf-8")) for mark in marks]
        (self._part / "manifest.json").write_text(json.dumps(layout), "utf-8")
        for mark in marks:
            mark.unlink()
        (self._part / "layout.json").unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._part.rename(self.folder)

    # Reading ---------------------------------------------------------------------------------------------

    def read(self) -> dict[str, Tensor]:
        """Field -> memory-mapped rows; ``first`` is a first layer state that all items share.

        Raises:
            FeatureStoreError: The files are not what was written.
        """
        manifest = json.loads((self.folder / "manifest.json").read_text("utf-8"))
        found = {}
        for field, expected in manifest["fields"].items():
            array = self._mapped(field)
            if list(array.shape) != expected["shape"] or str(array.dtype) != expected["dtype"]:
                raise self._damaged(
                    f"{field}.npy has shape {array.shape}, {array.dtype}; expected {expected}"
                )
            found[field] = array
        self._verify(found, manifest)
        if manifest["constant"]:
            found["first"] = self._mapped("first")
        return {field: torch.from_numpy(array) for field, array in found.items()}

    def _mapped(self, field: str) -> Array:
        try:
            # Copy-on-write: torch takes no read-only arrays without a warning, and nothing here writes.
            array: Array = np.load(self.folder / f"{field}.npy", mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise self._damaged(f"{field}.npy cannot be read ({error})") from error
        return array

    def _verify(self, found: dict[str, Array], manifest: dict[str, Any]) -> None:
        step = manifest["chunk"]
        places = range(len(manifest["sums"]))
        if sum(array.nbytes for array in found.values()) > VERIFIED_WHOLE:
            places = range(0, len(places), max(1, len(places) // 64))
        for place in places:
            for field, expected in manifest["sums"][place].items():
                rows = found[field][place * step : (place + 1) * step]
                if zlib.crc32(np.ascontiguousarray(rows).data) != expected:
                    raise self._damaged(f"{field}.npy differs from its checksum near row {place * step}")

    def _damaged(self, what: str) -> FeatureStoreError:
        return FeatureStoreError(
            f"The frozen features in {self.folder} are damaged: {what}. Delete that folder; the next run "
            "makes them again."
        )


def chunks_of(n_items: int, chunk: int) -> list[tuple[int, int]]:
    """First row and end of every chunk of a catalogue.

    >>> chunks_of(5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    return [(start, min(start + chunk, n_items)) for start in range(0, n_items, chunk)]


def constant_first_state(part: Part) -> Tensor | None:
    """The layer-0 state (D,) if all items of a chunk of states share it, as class tokens do."""
    values = part["values"]
    if values.ndim != 3 or "mask" in part or values.shape[1] < 2:
        return None
    rows = values[part["present"].to(values.device)][:, 0]
    return rows[0] if len(rows) > 1 and bool((rows == rows[0]).all()) else None

"""Frozen features on disk: made once for a catalogue, by one process or many, and memory-mapped after that.

A folder holds one array a field and a manifest: what made the rows, of how many items, and a checksum of
every chunk of rows. Chunks are the unit of work: what a stopped run has finished is not made again, and a
resumed build equals an undisturbed one to the last bit, because its chunks hold the same items. How the work
is shared and announced: ``zoo/feature_build.py``.
"""

import errno
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.feature_files import (
    BFLOAT16,
    Array,
    bytes_text,
    folder_size,
    plain_array,
    tensor_of,
    write_json,
    write_rows,
)

Part = dict[str, Tensor]
"""Field -> rows of one chunk; ``present`` is always among them."""
Chunk = tuple[int, int]
"""First row and end."""

VERIFIED_WHOLE = 4 * 2**30
"""Stores up to this size are checked whole when they are opened; of larger ones 64 chunks."""
ENOUGH = 16
"""Rows of a first chunk from which is told that all items share a state."""
MANIFEST, LAYOUT = "manifest.json", "layout.json"


class FeatureStoreError(RuntimeError):
    """A store that cannot be used: damaged, of another catalogue, or without room."""


class FeatureStore:
    """Features of one modality.

    Args:
        folder: Where the finished features lie; its name says what they were made from and by what.
        n_items: Catalogue rows I.
        chunk: Rows made at a time.
        made_by: What makes them, by the name of each thing; features made otherwise are not read.
    """

    def __init__(
        self, folder: Path, n_items: int, chunk: int, made_by: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.n_items = n_items
        self.chunk = chunk
        self.made_by = dict(made_by or {})
        self._part = folder.with_name(f"{folder.name}.part")

    # What is there ---------------------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Whether all rows are there, made by what is asked for.

        Raises:
            FeatureStoreError: The manifest is damaged, or that of another catalogue.
        """
        if not (self.folder / MANIFEST).is_file():
            return False
        manifest = self._manifest()
        if manifest["made_by"] != self.made_by:
            return False
        if manifest["items"] != self.n_items:
            raise FeatureStoreError(
                f"The frozen features in {self.folder} are of {manifest['items'] - 1:,} items, the catalogue "
                f"has {self.n_items - 1:,}: they were made for another one. Delete that folder; the next run "
                "makes them for this one."
            )
        return True

    def others(self) -> dict[Path, dict[str, str]]:
        """Finished features of the same modality that are not these -> what made them, as far as they say.

        A folder of this very name is among them if something else made it.
        """
        found = {}
        for path in sorted(self.folder.parent.glob(f"{self.folder.name.rpartition('-')[0]}-*/{MANIFEST}")):
            if path.parent == self._part:
                continue
            try:
                made_by = dict(json.loads(path.read_text("utf-8"))["made_by"])
            except (ValueError, KeyError, TypeError, OSError):  # damaged, or of an older layout
                made_by = {}
            if path.parent != self.folder or made_by != self.made_by:
                found[path.parent] = made_by
        return found

    def size(self) -> int:
        """Bytes of the finished features."""
        return folder_size(self.folder)

    def _manifest(self) -> dict[str, Any]:
        try:
            manifest: dict[str, Any] = json.loads((self.folder / MANIFEST).read_text("utf-8"))
            wanted = {"made_by", "items", "chunk", "constant", "fields", "sums"}
            if not wanted <= manifest.keys():
                raise ValueError(f"it lacks {', '.join(sorted(wanted - manifest.keys()))}")
        except (OSError, ValueError, AttributeError) as error:
            raise self._damaged(f"{MANIFEST} cannot be read ({error})") from None
        return manifest

    # Making ----------------------------------------------------------------------------------------------

    def chunks(self) -> list[Chunk]:
        """First row and end of every chunk."""
        return chunks_of(self.n_items, self.chunk)

    def missing(self) -> list[Chunk]:
        """Chunks that are still to be made."""
        return [chunk for chunk in self.chunks() if not self._mark(*chunk).is_file()]

    @property
    def begun(self) -> bool:
        """Whether a stopped build can be gone on with; what cannot be is taken away."""
        path = self._part / LAYOUT
        if path.is_file():
            layout = json.loads(path.read_text("utf-8"))
            if (layout["chunk"], layout["made_by"], layout["items"]) == (
                self.chunk,
                self.made_by,
                self.n_items,
            ):
                return True
        shutil.rmtree(self._part, ignore_errors=True)
        return False

    @property
    def laid_out(self) -> bool:
        """Whether this process sees the files that the first one has made."""
        return (self._part / LAYOUT).is_file()

    def row_bytes(self, part: Part) -> int:
        """Bytes a row takes on the disk, from those of a chunk."""
        stored, _ = without_constant(part, constant_first_state(part))
        return sum(tensor.nbytes for tensor in stored.values()) // len(part["present"])

    def lay_out(self, part: Part) -> None:
        """Makes the arrays at their full size, without their rows.

        Args:
            part: The first chunk, whose fields are those of all.

        Raises:
            FeatureStoreError: There is no room on the disk.
        """
        constant = constant_first_state(part)
        stored, _ = without_constant(part, constant)
        fields: dict[str, Any] = {}
        with self._room():
            self._part.mkdir()
            for field, tensor in stored.items():
                array, kind = plain_array(tensor)
                shape = [self.n_items, *array.shape[1:]]
                fields[field] = {"dtype": kind, "shape": shape}
                new = np.lib.format.open_memmap(
                    self._part / f"{field}.npy", mode="w+", dtype=array.dtype, shape=tuple(shape)
                )
                new.flush()
            if constant is not None:
                array, fields["first"] = plain_array(constant)[0], plain_array(constant)[1]
                np.save(self._part / "first.npy", array, allow_pickle=False)
            layout = {
                "made_by": self.made_by,
                "items": self.n_items,
                "chunk": self.chunk,
                "constant": fields.pop("first", None),
                "fields": fields,
            }
            write_json(self._part / LAYOUT, layout)

    def write(self, start: int, stop: int, part: Part) -> None:
        """Writes a chunk, and its checksums only after it.

        Raises:
            FeatureStoreError: The disk is full, or the chunk contradicts the first one.
        """
        layout = json.loads((self._part / LAYOUT).read_text("utf-8"))
        constant = None
        if layout["constant"]:
            constant = tensor_of(np.load(self._part / "first.npy", allow_pickle=False), layout["constant"])
        stored, alike = without_constant(part, constant)
        if not alike:
            shutil.rmtree(self._part, ignore_errors=True)
            raise FeatureStoreError(
                f"The first layer state of rows {start} to {stop} differs from that of the first "
                f"{self.chunk} items, among which it was the same. Set --model.item_chunk to more than "
                f"{self.chunk}, so that the first chunk shows how items differ, and run again."
            )
        sums = {}
        with self._room():
            for field, tensor in stored.items():
                rows = np.ascontiguousarray(plain_array(tensor)[0])
                write_rows(self._part / f"{field}.npy", start, rows)
                sums[field] = zlib.crc32(rows.data)
            write_json(self._mark(start, stop), sums)

    def finish(self) -> None:
        """Gathers the checksums and gives the features their final name; once, when nothing is missing."""
        marks = [self._mark(*chunk) for chunk in self.chunks()]
        if not self.finishable:
            manifest = json.loads((self._part / LAYOUT).read_text("utf-8"))
            manifest["sums"] = [json.loads(mark.read_text("utf-8")) for mark in marks]
            with self._room():
                write_json(self._part / MANIFEST, manifest)
        for mark in marks:
            mark.unlink(missing_ok=True)
        (self._part / LAYOUT).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._part.rename(self.folder)

    @property
    def finishable(self) -> bool:
        """Whether a build was stopped when all rows were there and only names were to be changed."""
        path = self._part / MANIFEST
        if not path.is_file():
            return False
        found = json.loads(path.read_text("utf-8"))
        return (found["made_by"], found["items"]) == (self.made_by, self.n_items)

    def _mark(self, start: int, stop: int) -> Path:
        return self._part / f"{start}-{stop}.json"

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            free = shutil.disk_usage(self.folder.parent).free
            raise FeatureStoreError(
                f"The disk is full: {len(self.missing())} of {len(self.chunks())} chunks of the frozen "
                f"features in {self.folder} are still to be written, {bytes_text(free)} are free. Free some, "
                "or set --data.cache_dir to a folder on another disk, and run the same command again: what "
                "is done is kept."
            ) from None

    # Reading ---------------------------------------------------------------------------------------------

    def read(self) -> dict[str, Tensor]:
        """Field -> memory-mapped rows; ``first`` is a first layer state that all items share.

        Raises:
            FeatureStoreError: The files are not what was written.
        """
        manifest = self._manifest()
        found = {}
        for field, expected in manifest["fields"].items():
            array = self._mapped(field)
            kind = "uint16" if expected["dtype"] == BFLOAT16 else expected["dtype"]
            if list(array.shape) != expected["shape"] or str(array.dtype) != kind:
                raise self._damaged(
                    f"{field}.npy has shape {array.shape}, {array.dtype}; expected {expected}"
                )
            found[field] = array
        self._verify(found, manifest)
        kinds = {field: expected["dtype"] for field, expected in manifest["fields"].items()}
        if manifest["constant"]:
            found["first"], kinds["first"] = self._mapped("first"), manifest["constant"]
        return {field: tensor_of(array, kinds[field]) for field, array in found.items()}

    def _mapped(self, field: str) -> Array:
        try:
            # Copy-on-write: torch takes no read-only arrays without a warning, and nothing here writes.
            array: Array = np.load(self.folder / f"{field}.npy", mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise self._damaged(f"{field}.npy cannot be read ({error})") from None
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


def chunks_of(n_items: int, chunk: int) -> list[Chunk]:
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
    return rows[0] if len(rows) >= ENOUGH and bool((rows == rows[0]).all()) else None


def without_constant(part: Part, constant: Tensor | None) -> tuple[Part, bool]:
    """A chunk without the state that all items share, and whether its rows do share it.

    Rounding may differ from one size of chunk to the next: equal is what half precision hardly tells apart.
    """
    if constant is None:
        return part, True
    values = part["values"]
    rows = values[part["present"].to(values.device)][:, 0].float()
    shared = constant.to(values.device).float()
    return {**part, "values": values[:, 1:]}, bool(torch.isclose(rows, shared, rtol=1e-2, atol=1e-3).all())

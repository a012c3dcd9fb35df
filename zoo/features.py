"""What frozen towers give for the whole catalogue, computed once and kept beside the prepared content.

Pooled vectors of a catalogue are small. Tokens are not (ODMT's features of H&M take 14 GB in each process of
its code): they are kept in half precision, memory-mapped, and only a batch's rows reach the device.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import Tensor

from zoo.encoders.base import Encoded, Encoder
from zoo.types import Content

ON_DEVICE_BYTES = 2**30
"""Features up to this size live on the model's device; larger ones stay on the host."""


Kind = Literal["pooled", "tokens", "states"]
"""What a model reads of its encoders."""
FROZEN: dict[Kind, str] = {kind: f"frozen_{kind}" for kind in get_args(Kind)}
"""Kind -> field of a content that holds such features instead of raw input."""


class Features(NamedTuple):
    """Frozen features of one modality for all catalogue rows; row 0 is padding."""

    kind: Kind
    values_I: Tensor
    """Pooled vectors (I, D), tokens (I, T, D) or layer states (I, K, D)."""
    mask_IT: Tensor | None
    """Real tokens; None where every token is real, and where there are none."""
    present_I: Tensor

    def gather(self, ids_N: Tensor) -> Content:
        """Rows of the given items, where the features are: on the device or on the host."""
        rows = ids_N.to(self.values_I.device)
        content = {FROZEN[self.kind]: self.values_I[rows], "present": self.present_I[rows]}
        return content if self.mask_IT is None else {**content, "mask": self.mask_IT[rows]}

    def settled(self, device: torch.device) -> "Features":
        """On the device if they are small enough for it."""
        if self.values_I.nbytes > ON_DEVICE_BYTES:
            return self
        mask_IT = None if self.mask_IT is None else self.mask_IT.to(device)
        return Features(self.kind, self.values_I.to(device), mask_IT, self.present_I.to(device))


def is_frozen(content: Content) -> bool:
    """Whether a content holds frozen features instead of raw input."""
    return any(field in content for field in FROZEN.values())


def as_encoded(content: Content) -> Encoded:
    """Gathered features as an encoder would give them; of tokens and states the first is the vector."""
    (kind,) = (kind for kind, field in FROZEN.items() if field in content)
    values = content[FROZEN[kind]].float()
    return Encoded(
        pooled_ND=values if kind == "pooled" else values[:, 0],
        tokens_NTD=values if kind == "tokens" else None,
        mask_NT=content.get("mask"),
        states_NKD=values if kind == "states" else None,
        present_N=content["present"],
    )


def kept_part(encoded: Encoded, kind: Kind) -> dict[str, Tensor]:
    """What is kept of an encoder's output, by field."""
    assert encoded.present_N is not None
    kept = {"present": encoded.present_N}
    if kind == "pooled":
        return {**kept, "values": encoded.pooled_ND.float()}
    values = encoded.tokens_NTD if kind == "tokens" else encoded.states_NKD
    assert values is not None
    kept["values"] = values.half()
    return kept if kind == "states" or encoded.mask_NT is None else {**kept, "mask": encoded.mask_NT}


def tower_digest(encoder: Encoder) -> str:
    """A key of a tower's architecture and weights: equal towers give equal features."""
    hasher = hashlib.sha256(json.dumps(encoder.config(), sort_keys=True, default=str).encode())
    for name, tensor in encoder.state_dict().items():
        hasher.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        hasher.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()[:24]


class FeatureStore:
    """Features of one modality on disk: written in order, taken up where it was stopped, then renamed.

    Args:
        folder: Where the finished features lie.
        n_items: Catalogue rows I.
    """

    def __init__(self, folder: Path, n_items: int) -> None:
        self.folder = folder
        self.n_items = n_items
        self._part = folder.with_name(f"{folder.name}.part")
        self._done = self._part / "done"
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    def lock(self) -> FileLock:
        """Held while the features are made, so that processes wait for one of them."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder.with_name(f"{self.folder.name}.lock"))

    @property
    def complete(self) -> bool:
        """Whether all rows are there."""
        return self.folder.exists()

    def rows_done(self) -> int:
        """Rows that an earlier, stopped run has written."""
        return int(self._done.read_text()) if self._done.is_file() else 0

    def write(self, start: int, part: dict[str, Tensor]) -> None:
        """Writes the rows from ``start`` on."""
        arrays = {field: tensor.cpu().numpy() for field, tensor in part.items()}
        stop = start + len(arrays["present"])
        if not self._arrays:
            self._arrays = {field: self._open(field, array) for field, array in arrays.items()}
        for field, array in arrays.items():
            self._arrays[field][start:stop] = array
            self._arrays[field].flush()  # type: ignore[attr-defined]  # a memmap
        temporary = self._part / "done.new"
        temporary.write_text(str(stop))
        temporary.replace(self._done)

    def _open(self, field: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        path = self._part / f"{field}.npy"
        if self.rows_done():
            return np.lib.format.open_memmap(path, mode="r+")
        self._part.mkdir(exist_ok=True)
        shape = (self.n_items, *array.shape[1:])
        return np.lib.format.open_memmap(path, mode="w+", dtype=array.dtype, shape=shape)

    def finish(self) -> None:
        """Gives the features their final name."""
        self._arrays = {}
        self._done.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._part.rename(self.folder)

    def read(self, kind: Kind) -> Features:
        """The features, memory-mapped."""
        found = {path.stem: _mapped(path) for path in self.folder.glob("*.npy")}
        return Features(kind, found["values"], found.get("mask"), found["present"])


def _mapped(path: Path) -> Tensor:
    # Copy-on-write: torch takes no read-only arrays without a warning, and nothing here writes.
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def in_memory(kind: Kind, parts: Iterator[dict[str, Tensor]]) -> Features:
    """Features of a catalogue that has no place on disk."""
    columns: dict[str, list[Tensor]] = {}
    for part in parts:
        for field, tensor in part.items():
            columns.setdefault(field, []).append(tensor)
    joined = {field: torch.cat(tensors) for field, tensors in columns.items()}
    return Features(kind, joined["values"], joined.get("mask"), joined["present"])

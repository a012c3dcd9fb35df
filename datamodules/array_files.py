"""Arrays in ``.npy`` files: written piece by piece, then mapped, and handed to other processes by name.

A mapped array takes no memory but for the pages that are read; the system drops those when it needs room.
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from datamodules.cache import write_array

BLOCK = 2**22
"""Elements that are worked on at a time where an array may be larger than the memory."""


class ArrayWriter:
    """Appends pieces to a one-dimensional ``.npy`` file whose length is known at its end only.

    Ordinary writes and no mapping: a full disk is then an error and not a killed process.

    Args:
        path: The file; an older one is replaced.
        dtype: Of all pieces.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.size = 0
        self._file = open(path, "wb")
        self._header = self._write_header()

    def _write_header(self) -> int:
        header = io.BytesIO()
        told = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.size,)}
        np.lib.format.write_array_header_1_0(header, told)
        return self._file.write(header.getvalue())

    def append(self, piece: npt.NDArray[Any]) -> None:
        """Writes a piece behind the others."""
        self._file.write(np.ascontiguousarray(piece, dtype=self.dtype).data)
        self.size += len(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file; numpy leaves room in the header for the length it turned out to have."""
        try:
            self._file.seek(0)
            if self._write_header() != self._header:
                raise RuntimeError(f"The header of {self.path} does not fit: numpy leaves no room in it.")
        finally:
            self._file.close()


def collect(
    pieces: Iterable[npt.NDArray[Any]], dtype: npt.DTypeLike, path: Path | None = None
) -> npt.NDArray[Any]:
    """All pieces as one array, in memory or mapped from a file.

    Args:
        pieces: One-dimensional.
        dtype: Of the array.
        path: The file; none to hold the array in memory.
    """
    if path is None:
        return np.concatenate([np.zeros(0, dtype), *(np.asarray(piece, dtype) for piece in pieces)])
    with ArrayWriter(path, dtype) as file:
        for piece in pieces:
            file.append(piece)
    return map_array(path)


def map_array(path: Path) -> npt.NDArray[Any]:
    """The array of a file, read-only; nothing is read before it is used."""
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def file_of(array: object) -> Path | None:
    """The file that the whole of an array is mapped from; None for any other array."""
    if not isinstance(array, np.memmap) or array.filename is None:
        return None
    path = Path(array.filename)
    return path if path.exists() and array.offset + array.nbytes == path.stat().st_size else None


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Writes an array, but for one that is mapped from this very file."""
    file = file_of(array)
    if file is None or not path.exists() or not file.samefile(path):
        write_array(path, array)


def blocks(n: int) -> Iterator[slice]:
    """Consecutive slices of at most a block that make up ``n``."""
    for start in range(0, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def runs(offsets: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Consecutive slices of lines, of at most a block of elements each, or of one line that has more.

    Args:
        offsets: Line k has the elements ``offsets[k]:offsets[k + 1]``.
    """
    first = 0
    while first < len(offsets) - 1:
        past = int(np.searchsorted(offsets, offsets[first] + BLOCK, side="right")) - 1
        past = max(past, first + 1)
        yield slice(first, past)
        first = past


def counts_of(numbers: npt.NDArray[np.integer], n: int) -> npt.NDArray[np.int64]:
    """How often each of 0..n-1 occurs in an array that may be larger than the memory."""
    counts = np.zeros(n, dtype=np.int64)
    for block in blocks(len(numbers)):
        counts += np.bincount(numbers[block], minlength=n)
    return counts


def within(
    array: npt.NDArray[Any], starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> Iterator[npt.NDArray[Any]]:
    """What lies in the ranges of an array, one after the other, about a block at a time.

    Args:
        array: Perhaps mapped, and larger than the memory.
        starts: Of disjoint, ordered, non-empty ranges.
        stops: Their ends.
    """
    first = 0
    while first < len(starts):
        past = int(np.searchsorted(stops, starts[first] + BLOCK, side="right"))
        past = max(past, first + 1)
        low, high = int(starts[first]), int(stops[past - 1])
        steps = np.zeros(high - low + 1, dtype=np.int8)
        steps[starts[first:past] - low] += 1
        steps[stops[first:past] - low] -= 1  # where one range ends and the next begins the two cancel
        yield array[low:high][np.cumsum(steps[:-1], dtype=np.int8).astype(bool)]
        first = past

"""Interactions put aside by user: files that hold some users each, and that fit into memory one by one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datamodules.array_files import blocks
from datamodules.names import Codes

USERS = 2**16
"""Users of a file."""
ROWS = 2**22
"""Interactions above which a file is divided before it is read."""
_RECORD = np.dtype([("user", "<u4"), ("item", "<u4"), ("time", "<i8")])

Records = npt.NDArray[np.void]


class Spill:
    """Files of interactions; those of a user are in one file, in the order in which they came.

    Args:
        folder: Made for them, in place of one that an earlier attempt left; it goes with the last of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()

    def add(self, users: Codes, items: Codes, times: npt.NDArray[np.int64]) -> None:
        """Puts interactions aside."""
        records = np.empty(len(users), dtype=_RECORD)
        records["user"], records["item"], records["time"] = users, items, times
        self._divide(records, users // USERS, "users")

    def _divide(self, records: Records, parts: npt.NDArray[np.integer], name: str) -> None:
        """Appends each record to the file of its part."""
        if not len(records):
            return
        first = int(parts.min())
        local = (parts - first).astype(np.uint16 if int(parts.max()) - first < 2**16 else np.uint32)
        stops = np.cumsum(np.bincount(local))
        sorted_ = records[np.argsort(local, kind="stable")] if len(stops) > 1 else records
        for part in np.flatnonzero(np.diff(stops, prepend=0)).tolist():
            with open(self._file(name, first + part), "ab") as file:
                file.write(sorted_[stops[part - 1] if part else 0 : stops[part]].data)

    def _file(self, name: str, part: int) -> Path:
        return self.folder / f"{name}-{part}.bin"

    def take(self, n_users: int) -> Iterator[Records]:
        """All interactions, some users at a time in the order of their codes; files are deleted when read.

        One part has at most twice as many as a file may have, unless one user has more.

        Args:
            n_users: Users there are.
        """
        for part in range(-(-n_users // USERS)):
            file = self._file("users", part)
            if file.exists():  # who has only unusable interactions has none here
                large = file.stat().st_size > ROWS * _RECORD.itemsize
                yield from self._divided(file) if large else _taken(file)
        self.folder.rmdir()

    def _divided(self, file: Path) -> Iterator[Records]:
        """The records of a file in parts of a bounded number, again by user."""
        mapped = np.memmap(file, dtype=_RECORD, mode="r")
        first = np.uint32(int(mapped["user"][0]) // USERS * USERS)
        per_user = np.zeros(USERS, dtype=np.int64)
        for block in blocks(len(mapped)):
            per_user += np.bincount(mapped[block]["user"] - first, minlength=USERS)
        part_of_user = (np.cumsum(per_user) - per_user) // ROWS
        for block in blocks(len(mapped)):
            records = np.array(mapped[block])
            self._divide(records, part_of_user[records["user"] - first], file.stem)
        del mapped
        file.unlink()
        for part in range(int(part_of_user[-1]) + 1):
            smaller = self._file(file.stem, part)
            if smaller.exists():
                yield from _taken(smaller)


def _taken(file: Path) -> Iterator[Records]:
    records = np.fromfile(file, dtype=_RECORD)
    file.unlink()
    yield records

"""The interactions that all contenders learn from, as one file of numpy arrays, and its parts.

Users and items are numbers from 0. The last two items of a history are the targets of test and validation.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.peers.protocol import Stage

Ids = npt.NDArray[np.int64]
HELD_OUT: dict[str, int] = {"train": 2, "val": 2, "test": 1}
"""Items at the end of a history that a stage does not read."""


class Histories(NamedTuple):
    """Items of all users, oldest first, one user after the other."""

    offsets: Ids
    """(U + 1): where a user's items start."""
    items: Ids
    n_items: int

    @property
    def n_users(self) -> int:
        """Users."""
        return len(self.offsets) - 1

    def save(self, path: Path) -> None:
        """Writes the file."""
        np.savez(path, offsets=self.offsets, items=self.items, n_items=np.int64(self.n_items))

    @classmethod
    def load(cls, path: Path) -> "Histories":
        """Reads the file."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(stored["offsets"], stored["items"].astype(np.int64), int(stored["n_items"]))

    def last(self, most: int) -> "Histories":
        """The latest interactions of every user, so many at most."""
        kept = np.minimum(np.diff(self.offsets), most)
        offsets = np.concatenate([[0], np.cumsum(kept)])
        place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], kept)
        rows = np.repeat(self.offsets[1:] - kept, kept) + place
        return Histories(offsets, self.items[rows], self.n_items)

    def read(self, stage: str) -> list[Ids]:
        """What a stage reads of every user: ``train``, ``val`` or ``test``."""
        ends = self.offsets[1:] - HELD_OUT[stage]
        return [self.items[start:end] for start, end in zip(self.offsets[:-1], ends, strict=True)]

    def target(self, stage: Stage) -> Ids:
        """(U): the item that a stage asks for."""
        target_U: Ids = self.items[self.offsets[1:] - HELD_OUT[stage]]
        return target_U

    def padded(self, stage: str, width: int, padding: int, users: int | None = None) -> Ids:
        """(U, width): the end of what a stage reads, padded on the left."""
        rows = self.read(stage)[:users]
        table = np.full((len(rows), width), padding, dtype=np.int64)
        for row, items in zip(table, rows, strict=True):
            row[max(0, width - len(items)) :] = items[-width:]
        return table


def save_rows(path: Path, scores_UI: npt.NDArray[np.float32]) -> None:
    """Writes scores (users, items); items that a model does not know score -inf."""
    np.save(path, np.ascontiguousarray(scores_UI, dtype=np.float32), allow_pickle=False)

"""Making frozen features: who makes which rows, and what is said before and while it is done."""

import shutil
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from lightning.pytorch.utilities import rank_zero_info
from tqdm.auto import tqdm

from zoo.feature_files import bytes_text, folder_size
from zoo.feature_store import Chunk, FeatureStore, FeatureStoreError, Part

Make = Callable[[int, int], Part]
"""Gives the rows from a first row to an end."""


class Team(NamedTuple):
    """The processes that build a store together."""

    rank: int = 0
    size: int = 1
    barrier: Callable[[], object] = lambda: None
    broadcast: Callable[[bool], bool] = lambda value: value


class FeatureBuild:
    """One process's part in making a store: ``begin``, ``take`` each of its chunks, ``end``.

    Args:
        store: What is made.
        title: What it is, for messages and the progress bar.
        team: The processes at work; all of them do the same.
    """

    def __init__(self, store: FeatureStore, title: str, team: Team) -> None:
        self.store = store
        self.title = title
        self.team = team
        self.shares: list[list[Chunk]] = [[] for _ in range(team.size)]
        self.started = False
        """Whether anything was missing."""
        self._lock = FileLock(store.folder.with_name(f"{store.folder.name}.lock"))
        self._bar: tqdm[Any] | None = None

    def begin(self, make: Make) -> list[Chunk]:
        """Lays the files out, says what is to come, and deals the chunks.

        The first process makes the first missing chunk at once: it tells the size of all, and how long they
        take.

        Returns:
            The chunks that are left for this process; none where the store was complete.

        Raises:
            FeatureStoreError: There is no room on the disk, or what lies there cannot be used.
        """
        try:
            return self._begin(make)
        except BaseException:
            self.close()
            raise

    def _begin(self, make: Make) -> list[Chunk]:
        first = self.team.rank == 0
        if first:
            self.store.folder.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()  # another run may be making the same
            if self.store.finishable:
                self.store.finish()
        self.started = not self.team.broadcast(self.store.complete if first else False)
        if not self.started:
            self.close()
            return []
        if first:
            self._first_chunk(make)
        self.team.barrier()
        if not self.store.laid_out:
            raise FeatureStoreError(
                f"{self.title}: process {self.team.rank} does not see what the first one has begun beside "
                f"{self.store.folder}. All machines write into one folder: set --data.cache_dir to one on a "
                "file system that they share."
            )
        # Neighbouring chunks go to one process: files are shared in few places.
        missing = np.array(self.store.missing(), dtype=np.int64).reshape(-1, 2)
        parts = np.array_split(missing, self.team.size)
        self.shares = [[(int(start), int(stop)) for start, stop in part] for part in parts]
        self.team.barrier()  # everybody has seen what is missing before anybody adds to it
        return self.shares[self.team.rank]

    def _first_chunk(self, make: Make) -> None:
        store = self.store
        self._say_what_lies_beside()
        begun = store.begun
        missing = store.missing()
        if not missing:
            return
        start = time.monotonic()
        part = make(*missing[0])
        seconds = time.monotonic() - start
        rows = sum(stop - first for first, stop in missing)
        self._announce(part, seconds * rows / (missing[0][1] - missing[0][0]), rows)
        if not begun:
            store.lay_out(part)
        store.write(*missing[0], part)

    def _announce(self, part: Part, seconds: float, rows: int) -> None:
        """Says size and time, and refuses what the disk cannot hold."""
        store, row_bytes = self.store, self.store.row_bytes(part)
        needed, free = row_bytes * rows, shutil.disk_usage(self.store.folder.parent).free
        size = bytes_text(row_bytes * store.n_items)
        if needed > free:
            raise FeatureStoreError(
                f"{self.title}: no room for {size} in {store.folder}: {bytes_text(needed)} are still to be "
                f"written, {bytes_text(free)} are free. Free some, or set --data.cache_dir to a folder on "
                "another disk."
            )
        done = store.n_items - rows
        gone_on = f" {done:,} rows are there already." if done else ""
        shared = f" by {self.team.size} processes" if self.team.size > 1 else ""
        rank_zero_info(
            f"{self.title}, {store.n_items - 1:,} items: {size} in {store.folder} ({bytes_text(free)} free), "
            f"about {seconds_text(seconds / self.team.size)}{shared} by the first chunk's.{gone_on}"
        )

    def _say_what_lies_beside(self) -> None:
        """Names features of the same modality that were made otherwise, and what differs in the closest."""
        others = self.store.others()
        if not others:
            return
        wanted = self.store.made_by

        def different(made_by: dict[str, str]) -> list[str]:
            return [name for name, value in wanted.items() if made_by.get(name) != value]

        near = min(others, key=lambda folder: len(different(others[folder])))
        what = ", ".join(
            f"{name} ({others[near][name]} there, {wanted[name]} here)" if name in others[near] else name
            for name in different(others[near])
        )
        size = bytes_text(sum(folder_size(folder) for folder in others))
        rank_zero_info(
            f"{self.title} are made anew: those in {near} are made otherwise: {what or 'other content'}. "
            f"{len(others)} such folders take {size}; delete those that are no longer wanted."
        )

    def take(self, start: int, stop: int, part: Part) -> None:
        """Writes a chunk of this process."""
        share = self.shares[self.team.rank]
        if self._bar is None:
            whole = sum(stop - start for start, stop in share)
            quiet = self.team.rank != 0 or None  # None: no bar where nobody watches
            self._bar = tqdm(total=whole, desc=self.title, unit="item", disable=quiet)
        self.store.write(start, stop, part)
        self._bar.update(stop - start)
        if (start, stop) == share[-1]:
            self._bar.close()

    def end(self) -> None:
        """Waits for all, and gives the finished features their name.

        Raises:
            FeatureStoreError: A chunk was not taken.
        """
        if not self.started:
            return
        self.team.barrier()
        if self.team.rank == 0:
            if left := len(self.store.missing()):
                raise FeatureStoreError(
                    f"{self.title}: {left} of {len(self.store.chunks())} chunks are not made, the work was "
                    "stopped before its end. Run it again, without a limit: what is done is kept."
                )
            self.store.finish()
        self.close()
        self.team.barrier()

    def close(self) -> None:
        """Lets others at the store; also after a failure."""
        if self._bar is not None:
            self._bar.close()
        self._lock.release()

    def run(self, make: Make) -> bool:
        """All of it; returns whether anything was missing."""
        try:
            for start, stop in self.begin(make):
                self.take(start, stop, make(start, stop))
            self.end()
        finally:
            self.close()
        return self.started


def seconds_text(seconds: float) -> str:
    """A time for people.

    >>> seconds_text(0.2), seconds_text(75), seconds_text(7200)
    ('1 s', '1.2 min', '2.0 h')
    """
    if seconds < 60:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"

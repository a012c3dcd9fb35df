"""Leave-two-out windows, as MoRec (SIGIR 2023) and NineRec (TPAMI 2024) cut histories; labels as MMRec cuts.

Of every user the last L + 3 interactions are kept. The last one is the test target, the one before it the
validation target, the rest trains. PixelRec (SDM 2024) keeps all and cuts what trains into chunks of L + 1.
Windows are cut by arithmetic on compressed rows; no user is looped over.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from datamodules.array_files import collect, file_of, map_array, within
from datamodules.errors import EmptyDataError
from datamodules.tables import Report, Tables

Stage = Literal["val", "test", "predict"]
Cut = Literal["random", "time", "global_time"]
"""What is held out of pairs cut by labels: random ones or the latest of each user, or of all."""

Windowing = Literal["last", "chunks"]
"""What is used of a long history: its last L + 3 interactions, or all, in chunks of L + 1."""

HELD_OUT: dict[Stage, tuple[int, bool]] = {"val": (2, True), "test": (1, True), "predict": (0, False)}
"""Stage -> how many last interactions the history lacks, and whether the first of these is the target."""


class Windows(NamedTuple):
    """Everybody's window as compressed rows; row 0 stands for no user and is empty."""

    offsets: npt.NDArray[np.int64]
    """User row u has ``items[offsets[u]:offsets[u + 1]]``, oldest first; U + 1 numbers."""
    items: npt.NDArray[np.int32]
    """Catalogue ids 1..I-1."""
    trains: npt.NDArray[np.int64] | None = None
    """(2, U) positions in ``items`` where what trains of each user row begins and ends; by default all but
    the last two items of a window do."""

    @property
    def n_users(self) -> int:
        """User rows U, row 0 included."""
        return len(self.offsets) - 1

    def last(
        self, user_B: npt.NDArray[np.int64], width: int, without: int | npt.NDArray[np.int64] = 0
    ) -> npt.NDArray[np.int64]:
        """The last ``width`` items of each user after leaving out the final ``without``, one or one a user.

        Returns:
            Item ids (B, width), left-padded with 0.
        """
        stop_B = self.offsets[user_B + 1] - without
        index_BW = stop_B[:, None] + np.arange(-width, 0)
        real_BW = index_BW >= self.offsets[user_B][:, None]
        index_BW[~real_BW] = 0
        items_BW: npt.NDArray[np.int64] = self.items[index_BW].astype(np.int64)
        items_BW[~real_BW] = 0
        return items_BW

    def training(
        self, users_R: npt.NDArray[np.int64] | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Positions in ``items`` where what trains of some users begins and ends; by default of all."""
        users: npt.NDArray[np.int64] | slice = slice(1, None) if users_R is None else users_R
        if self.trains is not None:
            return self.trains[0][users], self.trains[1][users]
        return self.offsets[:-1][users], self.offsets[1:][users] - 2

    def train_counts(
        self, n_items: int, users_R: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[np.int64]:
        """How often each catalogue row occurs in what trains.

        Args:
            n_items: Catalogue rows I.
            users_R: User rows that train, rising; by default all. The oldest interactions, which fill no
                chunk, count too.
        """
        starts, stops = self.training(users_R)
        some = stops > starts
        counts = np.zeros(n_items, dtype=np.int64)
        for piece in within(self.items, starts[some], stops[some]):
            counts += np.bincount(piece, minlength=n_items)
        return counts

    def __reduce__(self) -> tuple[Callable[..., "Windows"], tuple[object, ...]]:
        """What is mapped travels to other processes as the name of its file: none gets a copy."""
        return _windows, tuple(file_of(part) or part for part in self)


def _windows(*parts: npt.NDArray[Any] | Path | None) -> Windows:
    return Windows(*(map_array(part) if isinstance(part, Path) else part for part in parts))  # type: ignore[arg-type]


class TrainingRows(NamedTuple):
    """Rows to train on: what trains of each window in pieces, numbered user by user, the oldest first.

    From the end of a user's n interactions come n // width pieces, at least one; the n mod width oldest
    interactions of more than one piece's worth are in none. Windows of L + 3 are one piece of L + 1. Who has
    nothing to train on gives no piece.
    """

    windows: Windows
    width: int
    first_U: npt.NDArray[np.int64]
    """User row u has the training rows ``first_U[u]:first_U[u + 1]``; U + 1 numbers."""

    @classmethod
    def of(cls, windows: Windows, width: int) -> Self:
        """Cuts the windows.

        Args:
            windows: Of all users.
            width: Of a piece, L + 1.
        """
        starts, stops = windows.training()
        length_U = stops - starts
        first_U = np.zeros(windows.n_users + 1, dtype=np.int64)
        np.cumsum(np.where(length_U > 0, np.maximum(length_U // width, 1), 0), out=first_U[2:])
        return cls(windows, width, first_U)

    def __reduce__(self) -> tuple[Callable[..., "TrainingRows"], tuple[object, ...]]:
        """Other processes count again: that is quicker than to send a number for every user."""
        return TrainingRows.of, (self.windows, self.width)

    @property
    def n_rows(self) -> int:
        """Pieces."""
        return int(self.first_U[-1])

    def at(self, row_B: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Of some rows the user, and how many of his last interactions come after the piece."""
        user_B = np.searchsorted(self.first_U, row_B, side="right") - 1
        _, stop_B = self.windows.training(user_B)
        later_B = self.first_U[user_B + 1] - 1 - row_B
        return user_B, self.windows.offsets[user_B + 1] - stop_B + later_B * self.width

    def of_users(self, users_R: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
        """Row numbers of some users' pieces; None where these are all rows."""
        count_R = self.first_U[users_R + 1] - self.first_U[users_R]
        if count_R.sum() == self.n_rows:
            return None
        passed_R = np.cumsum(count_R) - count_R
        first_R = np.repeat(self.first_U[users_R] - passed_R, count_R)
        rows: npt.NDArray[np.int64] = first_R + np.arange(len(first_R))
        return rows


class Split(NamedTuple):
    """Windows, and which rows of the tables became catalogue rows and user rows."""

    windows: Windows
    kept_items: npt.NDArray[np.int64]
    """Catalogue row r is row ``kept_items[r - 1]`` of the item table."""
    kept_lines: npt.NDArray[np.int64]
    """User row u is line ``kept_lines[u - 1]``."""
    report: Report


def leave_two_out(
    tables: Tables, max_len: int, min_len: int, windowing: Windowing = "last", folder: Path | None = None
) -> Split:
    """Cuts the windows.

    1. A line with fewer than ``min_len`` interactions is dropped, counted before truncation.
    2. The last ``max_len + 3`` interactions stay; all of them where there are chunks.
    3. Of several lines of one user the last stands, but the items of all of them stay in the catalogue.
    4. Items in no window are dropped; the others keep the item table's order.

    Args:
        tables: Interactions and items.
        max_len: History length L.
        min_len: Interactions a user must have; at least 4, so that every user has a training target.
        windowing: What is used of a long history.
        folder: Where the items of the windows are written, as ``items.npy``, and mapped from; without one
            they are in memory. All else is one number a user or an item.

    Raises:
        EmptyDataError: If no user is left.
    """
    length = np.diff(tables.offsets)
    lines = np.flatnonzero(length >= min_len)
    stops = tables.offsets[1:][lines]
    starts = tables.offsets[:-1][lines]
    if windowing == "last":
        starts = np.maximum(starts, stops - (max_len + 3))
    report = Report()
    report.count(f"lines of fewer than {min_len} interactions were dropped", len(length) - len(lines))
    if not len(lines):
        raise EmptyDataError(_nothing_left(tables, length, min_len))
    in_window = np.zeros(len(tables.items), dtype=bool)
    for piece in within(tables.items_of, starts, stops):
        in_window[piece] = True
    stands = _last_of_each(tables, lines)
    starts, stops, lines = starts[stands], stops[stands], lines[stands]
    renumbered = np.cumsum(in_window, dtype=np.int32)
    items = collect(
        (renumbered[piece] for piece in within(tables.items_of, starts, stops)),
        np.int32,
        folder / "items.npy" if folder else None,
    )

    report.count("users kept", len(lines), always=True)
    report.count("items kept", int(in_window.sum()), always=True)
    report.count("items in no window were dropped", int((~in_window).sum()))
    report.count("interactions kept", len(items), always=True)
    older = int(length[lines].sum()) - len(items)
    report.count(f"interactions older than a user's last {max_len + 3} were left out", older)
    trains, width = stops - starts - 2, max_len + 1
    odd = int((trains % width)[trains > width].sum())
    report.count(f"of these are a user's oldest and fill no chunk of {width} to train on", odd)
    offsets = np.concatenate([[0, 0], np.cumsum(stops - starts)]).astype(np.int64)
    return Split(Windows(offsets, items), np.flatnonzero(in_window), lines, report)


def training_users(n_users: int, fraction: float, seed: int) -> npt.NDArray[np.int64]:
    """User rows whose histories train: a random share of them, the smaller shares inside the larger.

    Args:
        n_users: User rows U, row 0 included.
        fraction: Share of the users, above 0 and at most 1; at least one user is kept.
        seed: Decides the draw; nothing else does, so that runs of several seeds may share it.

    Returns:
        Rising user rows.

    >>> small, large = (set(training_users(1001, share, seed=0)) for share in (0.01, 0.1))
    >>> len(small), len(large), small < large
    (10, 100, True)
    """
    everybody = np.arange(1, n_users, dtype=np.int64)
    if fraction == 1.0:
        return everybody
    kept = max(1, round(fraction * len(everybody)))
    return np.sort(np.random.default_rng(seed).permutation(everybody)[:kept])


def label_per_user(user_R: npt.NDArray[np.int64], order_R: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Labels 0 training, 1 validation, 2 test, about 8 : 1 : 1 within each user, as MMRec cuts.

    Of a user's n rows the last ones are held out: two if n < 10, else a fifth of them, rounded down. The
    first half of these, rounded down, is for validation, the rest for the test. One row always trains.

    Args:
        user_R: User of each row, from 0.
        order_R: Decides which rows are a user's last: random numbers, or times. Equal ones keep their order.

    >>> label_per_user(np.array([0, 0, 0, 0, 1, 1]), np.array([4, 3, 2, 1, 1, 2])).tolist()
    [2, 1, 0, 0, 0, 2]
    """
    order = np.lexsort((order_R, user_R))
    length_R = np.bincount(user_R)[user_R[order]]
    start_R = np.searchsorted(user_R[order], user_R[order])
    to_end_R = length_R - (np.arange(len(user_R)) - start_R)  # 1 for a user's last row
    out_R = np.where(length_R < 10, np.minimum(2, length_R - 1), length_R // 5)
    labels_R = np.zeros(len(user_R), dtype=np.int64)
    labels_R[order] = (to_end_R <= out_R) * (1 + (to_end_R <= out_R - out_R // 2))
    return labels_R


def _last_of_each(tables: Tables, lines: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of the lines are the last of their user."""
    return tables.users.gather(lines).is_last_distinct().to_numpy()


def _nothing_left(tables: Tables, length: npt.NDArray[np.int64], min_len: int) -> str:
    longest = int(length.max()) if len(length) else 0
    counts = "; ".join(tables.report.lines())
    return (
        f"Expected at least one user with {min_len} or more interactions, found none: the longest history "
        f"has {longest}. What was read: {counts or 'nothing'}; then {len(length):,} lines of fewer than "
        f"{min_len} interactions were dropped. Lower min_len (--data.min_len) or check the interaction file."
    )

"""What a protocol is: which interactions train, and which are predicted from what, for any data set."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, NamedTuple, Self, get_args

import numpy as np
import numpy.typing as npt

from datamodules.errors import EmptyDataError
from datamodules.splits import Stage, Windowing, Windows
from datamodules.tables import Report, Tables
from zoo.types import ModelNeeds

Ids = npt.NDArray[np.int64]
MIN_LEN = 4
"""The shortest history that leaves an input and a target to train on, beside two held-out items."""
TITLES: dict[Stage, str] = {"val": "validation", "test": "test"}


class Frame(NamedTuple):
    """Options of the data module that hold under every protocol."""

    max_len: int
    """History length L."""
    min_len: int
    """Interactions that a user must have."""
    windowing: Windowing
    """Whether the last L + 1 of a user's training interactions train, or all, in chunks of L + 1."""

    def check(self) -> None:
        """Refuses options that no protocol can cut by.

        Raises:
            ValueError: If one is out of its range.
        """
        if self.min_len < MIN_LEN:
            raise ValueError(
                f"Expected min_len >= {MIN_LEN}, found {self.min_len}: the last two interactions are held "
                "out, and training needs one to start from and one to predict."
            )
        if self.max_len < 1:
            raise ValueError(f"Expected max_len >= 1, found {self.max_len}.")
        if self.windowing not in get_args(Windowing):
            raise ValueError(
                f"Expected windowing to be one of {', '.join(get_args(Windowing))}, found {self.windowing!r}."
            )


class Places(NamedTuple):
    """Rows of an evaluation, as positions in ``Windows.items``."""

    user_R: Ids
    """User rows, rising; a user may have several."""
    stop_R: Ids
    """Where the history ends: it is what the window has before."""
    place_R: Ids
    """Where the target is; in a prediction, where what the user took ends."""


class Division(NamedTuple):
    """Windows, and which rows of the tables became catalogue rows and user rows."""

    windows: Windows
    kept_items: Ids
    """Catalogue row r is row ``kept_items[r - 1]`` of the item table."""
    kept_lines: Ids
    """User row u is line ``kept_lines[u - 1]`` of the tables."""
    n_drawn: int
    """Catalogue rows below this one are drawn as negatives."""
    places: dict[Stage, Places]
    """Stage -> rows. A stage without them holds out a window's last items; predictions show all of it."""
    report: Report
    cold: bool = False
    """Whether items that never train were held out on purpose."""


class Protocol(ABC):
    """How a data set becomes training and evaluation; chosen by ``--data.protocol NAME``.

    Subclasses are frozen dataclasses of plain values. Their ``repr`` is part of the name of a cache.
    """

    known_users: ClassVar[bool] = True
    """False where nothing trains of those who are evaluated: a model with a vector a user is refused."""

    @abstractmethod
    def divide(self, tables: Tables, frame: Frame, folder: Path | None = None) -> Division:
        """Cuts the tables.

        Args:
            tables: Interactions and items, perhaps mapped.
            frame: What holds under every protocol.
            folder: Where large arrays may be written, as the windows are cached there: ``items.npy``.

        Raises:
            EmptyDataError: If nothing is left to train on or to evaluate.
            ValueError: If the data lack what the protocol goes by.
        """

    @abstractmethod
    def text(self) -> str:
        """What is evaluated how, in one line."""

    def used(self, frame: Frame) -> str:
        """How much of a history is used, in a few words."""
        if frame.windowing == "last":
            return f"the last {frame.max_len + 1} of what trains of a user"
        return f"what trains in chunks of {frame.max_len + 1}"

    def describe(self, frame: Frame, kept: str = "") -> str:
        """What is evaluated how on a data set, in one line.

        Args:
            frame: What holds under every protocol.
            kept: What is left out before, in a few words.
        """
        core = [kept] if kept else []
        users = f"users with {frame.min_len} or more interactions"
        ranked = f"histories of {frame.max_len}, ranked among the whole catalogue"
        return "; ".join([self.text(), *core, users, self.used(frame), ranked])

    def check(self, needs: ModelNeeds, data: str) -> None:
        """Refuses a model that cannot be trained or tested on histories under this protocol.

        Args:
            needs: What the model asks for.
            data: Name of the data module.

        Raises:
            ValueError: It cannot.
        """
        if needs.batch == "interaction":
            raise ValueError(
                f"The model learns from the pairs of a split by labels, but {data} deals histories. Give it "
                "a data set in MMRec's layout: --data mmrec, or for the demo demo_cf."
            )
        if needs.batch == "pair" and not self.known_users:
            raise ValueError(
                f"The model has a vector for every user, but under the protocol {type(self).__name__} "
                "nothing trains of the users who are evaluated. Take a model that reads histories, or "
                "another --data.protocol."
            )


class Histories(NamedTuple):
    """Whole histories of the users that stay, one after the other; times only where the data have them."""

    offsets: Ids
    """The k-th user has ``item_E[offsets[k]:offsets[k + 1]]``, oldest first, at least one."""
    item_E: npt.NDArray[np.int32]
    """Rows of the item table."""
    time_E: npt.NDArray[np.int64] | None
    lines: Ids
    """Line of each user in the tables."""
    n_rows: int
    """Rows of the item table."""
    report: Report

    @classmethod
    def of(cls, tables: Tables, min_len: int) -> Self:
        """Leaves out short lines, and of several lines of one user all but the last.

        Raises:
            EmptyDataError: If no user is left.
        """
        length = np.diff(tables.offsets)
        long = np.flatnonzero(length >= min_len)
        if not len(long):
            longest = int(length.max()) if len(length) else 0
            raise EmptyDataError(
                f"Expected at least one user with {min_len} or more interactions, found none: the longest "
                f"history has {longest}. Lower min_len (--data.min_len) or the filter (--data.filter), or "
                "check the interaction file."
            )
        lines = long[tables.users.gather(long).is_last_distinct().to_numpy()]
        offsets = np.concatenate([[0], np.cumsum(length[lines])])
        items, times = tables.items_of, tables.times_of
        if len(lines) < len(length):
            kept = marked(tables.offsets[lines], tables.offsets[lines + 1], len(items))
            items, times = items[kept], None if times is None else times[kept]
        report = Report()
        report.count(f"lines of fewer than {min_len} interactions were dropped", len(length) - len(long))
        report.count("users kept", len(lines), always=True)
        return cls(offsets, items, times, lines, len(tables.items), report)

    @property
    def n_users(self) -> int:
        """Users that stay."""
        return len(self.lines)

    def times(self, protocol: str) -> npt.NDArray[np.int64]:
        """The times.

        Raises:
            ValueError: If the data have none.
        """
        if self.time_E is None:
            raise ValueError(
                f"The protocol {protocol} goes by times, but these interactions are read from a file that "
                "has none, only an order within each user. Read them from a file with times where the data "
                "set has one (such as --data.pairs csv for MicroLens), or take another --data.protocol."
            )
        return self.time_E

    def per_user(self, marked_E: npt.NDArray[np.bool_]) -> Ids:
        """How many of each user's interactions are marked."""
        counts: Ids = np.add.reduceat(marked_E, self.offsets[:-1], dtype=np.int64)
        return counts


def marked(starts: Ids, stops: Ids, total: int) -> npt.NDArray[np.bool_]:
    """Mask of the positions in any of the disjoint, rising ranges, which may be empty.

    >>> marked(np.array([1, 3]), np.array([3, 4]), 5).tolist()
    [False, True, True, True, False]
    """
    bounds = np.zeros(2 * len(starts) + 2, dtype=np.int64)
    bounds[1:-1:2], bounds[2:-1:2], bounds[-1] = starts, stops, total
    return np.repeat(np.arange(2 * len(starts) + 1) % 2 == 1, np.diff(bounds))


def assemble(
    histories: Histories, item_E: npt.NDArray[np.int32], stops: Ids, places: dict[Stage, Places], frame: Frame
) -> Division:
    """Numbers users and items, says what trains, and counts.

    Items that train come first in the catalogue and the others, which only evaluation knows, behind them,
    both in the order of the item table: so negatives are drawn among the first alone. Whoever has fewer than
    two interactions to train on trains nothing: there would be nothing to predict or nothing to start from.

    Args:
        histories: Of everybody.
        item_E: Their items in the order of the windows, each user's at the user's offsets.
        stops: Position where what trains of each user ends.
        places: Rows of the evaluations; users count from 0 here.
        frame: What holds under every protocol.

    Raises:
        EmptyDataError: If nobody trains, or there is nothing to validate or to test.
    """
    starts, report, width = histories.offsets[:-1].copy(), histories.report, frame.max_len + 1
    if frame.windowing == "last":
        starts = np.maximum(starts, stops - width)
    idle = stops - starts < 2
    starts[idle] = stops[idle]
    trains = marked(starts, stops, len(item_E))
    seen, trained = np.zeros((2, histories.n_rows), dtype=bool)
    seen[item_E] = True
    trained[item_E[trains]] = True
    kept_items = np.concatenate([np.flatnonzero(trained), np.flatnonzero(seen & ~trained)])
    number = np.zeros(histories.n_rows, dtype=np.int32)
    number[kept_items] = np.arange(1, len(kept_items) + 1, dtype=np.int32)

    report.count("items kept", len(kept_items), always=True)
    report.count("of these never train", int((seen & ~trained).sum()))
    report.count("interactions kept", len(item_E), always=True)
    report.count("of these train", int(trains.sum()), always=True)
    odd = np.where(stops - starts > width, (stops - starts) % width, 0)
    report.count(f"of these are a user's oldest and fill no chunk of {width} to train on", int(odd.sum()))
    report.count("users train", int((~idle).sum()), always=True)
    for stage, title in TITLES.items():
        users = places[stage].user_R
        report.count(f"{title} targets", len(users), always=True)
        report.count(f"{title} targets of users of whom nothing trains", int(idle[users].sum()))
        if not len(users) or idle.all():
            lacking = f"{title} targets with a history" if not len(users) else "users with two interactions"
            raise EmptyDataError(
                f"Expected {lacking} to {'train on' if idle.all() else 'evaluate'}, found none. What was "
                f"left: {'; '.join(report.lines())}. Change the values of --data.protocol, or lower "
                "--data.min_len."
            )
    first = np.zeros(1, dtype=np.int64)
    windows = Windows(
        np.concatenate([first, histories.offsets]),
        number[item_E],
        np.stack([np.concatenate([first, starts]), np.concatenate([first, stops])]),
    )
    rows = {stage: place._replace(user_R=place.user_R + 1) for stage, place in places.items()}
    return Division(windows, kept_items, histories.lines, 1 + int(trained.sum()), rows, report)


def check_share(name: str, value: float) -> None:
    """Refuses a share that is none.

    Raises:
        ValueError: If it is not between 0 and 1, both excluded.
    """
    if not 0 < value < 1:
        raise ValueError(f"Expected 0 < {name} < 1, found {value}.")

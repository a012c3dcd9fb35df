"""Global time: one clock for everybody, so that nothing is predicted that training has seen beyond."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from datamodules.errors import EmptyDataError
from datamodules.protocols.base import (
    Division,
    Frame,
    Histories,
    Ids,
    Places,
    Protocol,
    assemble,
    check_share,
)
from datamodules.splits import Stage
from datamodules.tables import Tables

Target = Literal["last", "first", "all"]


@dataclass(frozen=True)
class GlobalTime(Protocol):
    """What happened before a moment trains, what happened after it is predicted.

    Interactions before ``valid_from`` train, those from there until ``test_from`` are for validation, those
    from ``test_from`` on for the test. Where the two moments are not given, the shares set them: sorted by
    time, ``valid_from`` is the time of the first interaction behind the first ``train_share`` of all, and
    ``test_from`` likewise behind ``train_share + valid_share``; all interactions of one time are on one side,
    the later one.

    The history of a target is everything the user took before it, also within its own period, in the order
    of the file where times are equal; all of that is hidden. Users of whom nothing trains are evaluated if
    they took something before the target, and counted; a user's very first interaction is no target. Items
    that first occur later are candidates from the start, but never negatives.

    Interactions must have times. Whole histories are held in memory while they are cut, about 15 bytes an
    interaction.

    Args:
        train_share: Share of all interactions that trains.
        valid_share: Share of them behind that for validation; the rest is for the test.
        valid_from: Where validation begins, as the files count time; goes with ``test_from``.
        test_from: Where the test begins.
        target: Which of a user's interactions of a period are predicted: the ``last`` one, the ``first``, or
            ``all``, each a row of its own and weighing the same, so that intervals over rows are somewhat
            too narrow.

    Raises:
        ValueError: If a value is out of its range, or only one moment is given.
    """

    train_share: float = 0.8
    valid_share: float = 0.1
    valid_from: int | None = None
    test_from: int | None = None
    target: Target = "last"

    def __post_init__(self) -> None:
        """Checks the values."""
        check_share("train_share", self.train_share)
        check_share("valid_share", self.valid_share)
        if self.train_share + self.valid_share >= 1:
            raise ValueError(
                "Expected train_share + valid_share < 1, so that something is left for the test, found "
                f"{self.train_share} + {self.valid_share}."
            )
        if (self.valid_from is None) != (self.test_from is None):
            raise ValueError(
                f"Expected valid_from and test_from together, found {self.valid_from} and {self.test_from}."
            )
        if self.valid_from is not None and self.test_from is not None and self.valid_from >= self.test_from:
            raise ValueError(
                f"Expected valid_from < test_from, found {self.valid_from} and {self.test_from}."
            )
        if self.target not in get_args(Target):
            raise ValueError(
                f"Expected target to be one of {', '.join(get_args(Target))}, found {self.target!r}."
            )

    def moments(self, time_E: Ids) -> tuple[int, int]:
        """Where validation and test begin.

        Raises:
            EmptyDataError: If too many interactions have one time.
        """
        if self.valid_from is not None and self.test_from is not None:
            return self.valid_from, self.test_from
        # Rounded first: 0.8 + 0.1 of a million is 900,000.
        shares = (self.train_share, round(self.train_share + self.valid_share, 12))
        ranks = [min(int(share * len(time_E)), len(time_E) - 1) for share in shares]
        part = np.partition(time_E, ranks)
        valid_from, test_from = int(part[ranks[0]]), int(part[ranks[1]])
        if valid_from == test_from or not (time_E < valid_from).any():
            raise EmptyDataError(
                f"Expected the shares {self.train_share} and {self.valid_share} to end at different times, "
                f"found {valid_from} and {test_from}: too many interactions have one time. Give other "
                "shares, or the moments (--data.protocol.valid_from, --data.protocol.test_from)."
            )
        return valid_from, test_from

    def divide(self, tables: Tables, frame: Frame, folder: Path | None = None) -> Division:
        """Cuts by the two moments."""
        histories = Histories.of(tables, frame.min_len)
        time_E = histories.times("GlobalTime")
        valid_from, test_from = self.moments(time_E)
        begins, ends = histories.offsets[:-1], histories.offsets[1:]
        valid = begins + histories.per_user(time_E < valid_from)
        test = begins + histories.per_user(time_E < test_from)
        histories.report.notes.append(
            f"Validation begins at time {valid_from}, the test at {test_from}, as the file counts time."
        )
        places: dict[Stage, Places] = {
            "val": self._targets(histories, valid, test, "validation"),
            "test": self._targets(histories, test, ends, "test"),
        }
        return assemble(histories, histories.item_E, valid, places, frame)

    def _targets(self, histories: Histories, starts: Ids, stops: Ids, title: str) -> Places:
        """Rows of one period, which is ``[starts[k], stops[k])`` of the k-th user's interactions."""
        some = np.flatnonzero(stops > starts)
        if self.target == "all":
            length = (stops - starts)[some]
            user_R = np.repeat(some, length)
            into_R = np.arange(len(user_R)) - np.repeat(np.cumsum(length) - length, length)
            place_R = starts[user_R] + into_R
        else:
            user_R, place_R = some, (starts if self.target == "first" else stops - 1)[some]
        known = place_R > histories.offsets[user_R]
        lone = f"{title} targets are a user's very first interaction and are left out"
        histories.report.count(lone, int((~known).sum()))
        user_R, place_R = user_R[known], place_R[known]
        return Places(user_R, place_R, place_R)

    def text(self) -> str:
        """One line."""
        if self.valid_from is None:
            after = (
                f"the first {self.train_share:.6g} of all interactions train, the next "
                f"{self.valid_share:.6g} validate, the rest tests"
            )
        else:
            after = f"validated from {self.valid_from}, tested from {self.test_from}"
        which = "every item of a period is predicted, each counting as a user"
        if self.target != "all":
            which = f"a user's {self.target} item of a period is predicted"
        return f"global time: {after}; {which}"

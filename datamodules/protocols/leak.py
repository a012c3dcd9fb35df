"""Leaks through time: evaluation targets older than something that was trained on.

In the real order of events nothing after a prediction could have been learnt from. Most papers split each
user on his own clock, so that other users' training reaches beyond a test target: how popular its item
became, and what was taken together with it later, is known. Two measures, both exact and of the test:

* targets older than the last training interaction of all;
* targets older than the last training interaction with the target's own item.

A user's own later interactions count like anybody's. Equal times are no leak.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datamodules.array_files import within
from datamodules.protocols.base import Ids
from datamodules.tables import Report

UNCHECKED = (
    "Whether training reaches beyond the time of a test target could not be checked: the interactions are "
    "read without times."
)
_NEVER = np.iinfo(np.int64).min


class LastTrained:
    """The last time that each item was trained on."""

    def __init__(self) -> None:
        self.last_I = np.zeros(0, dtype=np.int64)

    def add(self, item_E: npt.NDArray[np.integer], time_E: Ids) -> None:
        """Takes in training interactions."""
        self._reach(item_E)
        np.maximum.at(self.last_I, item_E, time_E)

    def leak(self, item_R: npt.NDArray[np.integer], time_R: Ids) -> "Leak":
        """Counts test targets that are older than something that trains."""
        self._reach(item_R)
        any_later = int((time_R < self.last_I.max(initial=_NEVER)).sum())
        return Leak(len(time_R), any_later, int((time_R < self.last_I[item_R]).sum()))

    def _reach(self, items: npt.NDArray[np.integer]) -> None:
        more = int(items.max(initial=-1)) + 1 - len(self.last_I)
        if more > 0:
            self.last_I = np.append(self.last_I, np.full(more, _NEVER))


class Leak(NamedTuple):
    """Test targets, and those of them that training reaches beyond."""

    targets: int
    older: int
    """Than the last training interaction."""
    older_than_item: int
    """Than the last training interaction with their own item."""

    def note(self, report: Report) -> None:
        """Says it in one sentence, if there is anything to say."""
        if self.older:
            report.notes.append(
                f"Leak through time: {self.older:,} of {self.targets:,} test targets "
                f"({self.older / self.targets:.1%}) are older than the last training interaction, "
                f"{self.older_than_item:,} than the last one with their own item; --data.protocol GlobalTime "
                "has no such leak."
            )


def note_leak(
    report: Report,
    item_E: npt.NDArray[np.int32],
    time_E: Ids | None,
    trains: tuple[Ids, Ids],
    test_R: Ids,
) -> None:
    """Measures the leak and says it. The arrays may be mapped and larger than the memory.

    Args:
        report: Takes the sentence.
        item_E: Interactions as rows of the item table.
        time_E: Their times; None where there are none.
        trains: Positions where what trains of each user begins and ends, rising.
        test_R: Positions of the test targets.
    """
    if time_E is None:
        report.notes.append(UNCHECKED)
        return
    starts, stops = trains
    some = stops > starts
    ranges = starts[some], stops[some]
    last = LastTrained()
    for items, times in zip(within(item_E, *ranges), within(time_E, *ranges), strict=True):
        last.add(items, times)
    last.leak(np.asarray(item_E[test_R]), np.asarray(time_E[test_R])).note(report)

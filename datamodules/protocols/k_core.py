"""k-core: users and items with too few interactions are left out, over and over, until all have enough."""

from dataclasses import dataclass

import numpy as np

from datamodules.errors import EmptyDataError
from datamodules.protocols.base import Ids
from datamodules.tables import Report, Tables

MAX_PASSES = 1_000
"""Bound on the passes; data that people made settle within a few dozen."""


@dataclass(frozen=True)
class KCore:
    """Keeps what has enough interactions, before any protocol cuts it; chosen by ``--data.filter.users 5``.

    Interactions count as often as they occur. Of several lines of one user the last with enough interactions
    stands. It is what MMRec's Amazon sets, among others, were cut to. About 35 bytes an interaction are held
    in memory.

    Args:
        users: Interactions that a user must have.
        items: Interactions that an item must have.

    Raises:
        ValueError: If a number is below 1.
    """

    users: int = 5
    items: int = 5

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.users < 1 or self.items < 1:
            raise ValueError(f"Expected users >= 1 and items >= 1, found {self.users} and {self.items}.")

    def apply(self, tables: Tables) -> Tables:
        """The tables without the others.

        Raises:
            EmptyDataError: If nothing is left.
            ValueError: If no end is found.
        """
        lines = np.flatnonzero(np.diff(tables.offsets) >= self.users)
        lines = lines[tables.users.gather(lines).is_last_distinct().to_numpy()]
        stands = np.zeros(len(tables.users), dtype=bool)
        stands[lines] = True
        line_E = np.repeat(np.arange(len(tables.users), dtype=np.int32), np.diff(tables.offsets))
        kept_E, passes = self._settle(stands, line_E, tables)
        line_E = line_E[kept_E]
        if not len(kept_E):
            raise EmptyDataError(
                f"Expected users with {self.users} and items with {self.items} or more interactions, found "
                f"none after {passes} passes over {len(tables.items_of):,} interactions. Lower "
                "--data.filter.users and --data.filter.items."
            )
        rows = np.unique(line_E)
        per_row = np.bincount(line_E, minlength=len(tables.users))[rows]
        report = Report()
        report.count(f"passes of the filter ({self.text()})", passes, always=True)
        report.count("lines of users were left out by the filter", len(tables.users) - len(rows))
        report.count("interactions were left out by the filter", len(tables.items_of) - len(kept_E))
        return tables._replace(
            users=tables.users.gather(rows),
            offsets=np.concatenate([[0], np.cumsum(per_row)]),
            items_of=np.asarray(tables.items_of)[kept_E],
            report=tables.report.merged(report),
            times_of=None if tables.times_of is None else np.asarray(tables.times_of)[kept_E],
        )

    def _settle(
        self, stands: np.ndarray[tuple[int], np.dtype[np.bool_]], line_E: np.ndarray, tables: Tables
    ) -> tuple[Ids, int]:
        """Positions of the interactions that stay, and after how many passes."""
        kept_E = np.flatnonzero(stands[line_E])
        for done in range(1, MAX_PASSES + 1):
            items = np.asarray(tables.items_of)[kept_E]
            lines = line_E[kept_E]
            enough = np.bincount(items, minlength=len(tables.items))[items] >= self.items
            # After the items: a user may lose enough by them in the same pass.
            enough &= np.bincount(lines[enough], minlength=len(stands))[lines] >= self.users
            if enough.all():
                return kept_E, done
            kept_E = kept_E[enough]
        raise ValueError(
            f"The filter ({self.text()}) found no end in {MAX_PASSES:,} passes; {len(kept_E):,} interactions "
            "were left. Take lower numbers."
        )

    def text(self) -> str:
        """What stays, in a few words."""
        if self.users == self.items:
            return f"{self.users}-core"
        return f"core of users with {self.users} and items with {self.items} or more interactions"

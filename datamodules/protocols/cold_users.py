"""Cold users: people of whom nothing trains."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.protocols.base import Division, Frame, Histories, Places, Protocol, assemble, check_share
from datamodules.protocols.leak import note_leak
from datamodules.splits import Stage
from datamodules.tables import Tables


@dataclass(frozen=True)
class ColdUsers(Protocol):
    """A share of the users is held out whole; everything of the others trains.

    Of a held-out user the last item is tested on and the one before validated on, each from all that he took
    before it, which is hidden. So what is asked is whether a history of somebody new is understood; a model
    with a vector for every user is refused. Items that only held-out users took are candidates, but never
    negatives.

    Whole histories are held in memory while they are cut, about 15 bytes an interaction.

    Args:
        share: Share of the users that are held out; at least one is, and one is not.
        seed: Of the draw, and of nothing else.

    Raises:
        ValueError: If a value is out of its range.
    """

    share: float = 0.1
    seed: int = 0

    known_users = False

    def __post_init__(self) -> None:
        """Checks the values."""
        check_share("share", self.share)
        if self.seed < 0:
            raise ValueError(f"Expected seed >= 0, found {self.seed}.")

    def divide(self, tables: Tables, frame: Frame, folder: Path | None = None) -> Division:
        """Draws users, and cuts their last two items off."""
        histories = Histories.of(tables, frame.min_len)
        n_users, ends = histories.n_users, histories.offsets[1:]
        count = min(max(1, round(self.share * n_users)), n_users - 1)
        held_R = np.sort(np.random.default_rng(self.seed).permutation(n_users)[:count])
        stops = ends.copy()
        stops[held_R] = histories.offsets[held_R]
        histories.report.count("users are held out", count, always=True)
        places: dict[Stage, Places] = {
            "val": Places(held_R, ends[held_R] - 2, ends[held_R] - 2),
            "test": Places(held_R, ends[held_R] - 1, ends[held_R] - 1),
        }
        division = assemble(histories, histories.item_E, stops, places, frame)
        trains, test_R = division.windows.training(), places["test"].place_R
        note_leak(division.report, histories.item_E, histories.time_E, trains, test_R)
        return division

    def text(self) -> str:
        """One line."""
        return (
            f"cold users: {self.share:.6g} of the users, drawn by seed {self.seed}, train nothing; their "
            "last item is tested, the one before validated"
        )

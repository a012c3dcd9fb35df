"""Cold items: what nobody took while the model was trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

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
from datamodules.protocols.leak import note_leak
from datamodules.splits import Stage
from datamodules.tables import Tables

By = Literal["random", "time"]
VALIDATED, TESTED = 1, 2


@dataclass(frozen=True)
class ColdItems(Protocol):
    """A share of the items is held out with all their interactions; everything else trains.

    Half of the held-out items are for validation, half for the test, so that no test item takes part in the
    choice of an epoch. A user's last interaction with one of them is the target; its history are the trained
    items that the user took before it. Held-out items are never in a history, whose vectors therefore come
    from training alone, and never negatives. Hidden are the history and the held-out items that the user took
    before the target. Candidates are the whole catalogue, held-out items of both kinds included; a test ranks
    the targets once more among the held-out items alone (``held_out`` in the results).

    A user's interactions after a target train too; what that gives away is measured like all leaks.

    Whole histories are held in memory while they are cut, about 50 bytes an interaction.

    Args:
        share: Share of the items that are held out.
        by: ``random`` items, or by ``time`` those that were first taken last: the earlier half of them is for
            validation. Needs times.
        seed: Of the random draw, and of nothing else.

    Raises:
        ValueError: If a value is out of its range.
    """

    share: float = 0.1
    by: By = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the values."""
        check_share("share", self.share)
        if self.by not in get_args(By) or self.seed < 0:
            raise ValueError(
                f"Expected by to be one of {', '.join(get_args(By))} and seed >= 0, found {self.by!r} and "
                f"{self.seed}."
            )

    def kinds(self, histories: Histories) -> npt.NDArray[np.int8]:
        """What becomes of each row of the item table: 0 trains, 1 is for validation, 2 for the test.

        Raises:
            ValueError: If there are no times to go by.
        """
        taken = np.zeros(histories.n_rows, dtype=bool)
        taken[histories.item_E] = True
        order = np.flatnonzero(taken)
        if self.by == "random":
            order = np.random.default_rng(self.seed).permutation(order)
        else:
            first_T = np.full(histories.n_rows, np.iinfo(np.int64).max)
            np.minimum.at(first_T, histories.item_E, histories.times("ColdItems by time"))
            order = order[np.argsort(first_T[order], kind="stable")]
        count = min(max(2, round(self.share * len(order))), len(order))
        kinds = np.zeros(histories.n_rows, dtype=np.int8)
        held = order[len(order) - count :]
        kinds[held] = TESTED
        kinds[held[: count // 2]] = VALIDATED
        return kinds

    def divide(self, tables: Tables, frame: Frame, folder: Path | None = None) -> Division:
        """Puts each user's held-out interactions behind the others, which keep their order."""
        histories = Histories.of(tables, frame.min_len)
        item_E, begins, length = histories.item_E, histories.offsets[:-1], np.diff(histories.offsets)
        kind_E = self.kinds(histories)[item_E]
        warm_E = kind_E == 0
        user_E = np.repeat(np.arange(histories.n_users, dtype=np.int32), length)
        warm_U = histories.per_user(warm_E)
        stops = begins + warm_U
        # Trained items of the same user before each interaction.
        before_E = np.cumsum(warm_E) - warm_E
        before_E -= (np.cumsum(warm_U) - warm_U)[user_E]
        place_E = np.where(warm_E, before_E, np.arange(len(item_E)) - before_E + warm_U[user_E])
        place_E[warm_E] += begins[user_E[warm_E]]
        places: dict[Stage, Places] = {
            "val": self._targets(histories, kind_E == VALIDATED, user_E, before_E, place_E, "validation"),
            "test": self._targets(histories, kind_E == TESTED, user_E, before_E, place_E, "test"),
        }
        some = np.flatnonzero(warm_U)
        lone = "users took held-out items only: nothing is predicted for them"
        histories.report.count(lone, histories.n_users - len(some))
        places["predict"] = Places(some, stops[some], histories.offsets[1:][some])
        moved = np.empty_like(item_E)
        moved[place_E] = item_E
        division = assemble(histories, moved, stops, places, frame)
        times = None
        if histories.time_E is not None:
            times = np.empty(len(place_E), dtype=np.int64)
            times[place_E] = histories.time_E
        trains = division.windows.training()
        note_leak(division.report, moved, times, trains, places["test"].place_R)
        return division._replace(cold=True)

    def _targets(
        self,
        histories: Histories,
        mine_E: npt.NDArray[np.bool_],
        user_E: npt.NDArray[np.int32],
        before_E: Ids,
        place_E: Ids,
        title: str,
    ) -> Places:
        """Everybody's last interaction with one of the items."""
        index_R = np.flatnonzero(mine_E)
        user_R = user_E[index_R].astype(np.int64)
        last = np.append(user_R[1:] != user_R[:-1], True)[: len(user_R)]
        index_R, user_R = index_R[last], user_R[last]
        known = before_E[index_R] > 0
        lone = f"{title} targets have no trained item before them and are left out"
        histories.report.count(lone, int((~known).sum()))
        index_R, user_R = index_R[known], user_R[known]
        stop_R = histories.offsets[user_R] + before_E[index_R]
        return Places(user_R, stop_R, place_E[index_R])

    def text(self) -> str:
        """One line."""
        which = f"drawn by seed {self.seed}" if self.by == "random" else "those first taken last"
        return (
            f"cold items: {self.share:.6g} of the items, {which}, train nothing; a user's last one is "
            "predicted, half of them in validation, half in the test"
        )

"""Torch data sets of user histories; each answers a whole batch of rows with one gather of numpy arrays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from datamodules.negatives import uniform_negatives
from datamodules.protocols import Places
from datamodules.sampler import EpochRows
from datamodules.splits import HELD_OUT, Stage, TrainingRows, Windows
from zoo.types import Negatives

Ids = npt.NDArray[np.int64]


class TrainRows(NamedTuple):
    """Training histories before their content is added."""

    user_B: Ids
    items_BS: Ids
    negatives_BL: Ids | None
    """One a position (B, L) or one a slot (B, S)."""


class EvalRows(NamedTuple):
    """Evaluation rows on the host."""

    user_B: Ids
    history_BL: Ids
    target_B: Ids
    hidden_BH: Ids


class TrainWindows(Dataset[TrainRows]):
    """At most L inputs and L shifted targets out of what trains of a user: by default all but the last two.

    One row a user, but for more than twice L + 1 items: these are cut into chunks of L + 1.

    Args:
        windows: Of all users.
        max_len: History length L.
        n_items: Catalogue rows that are drawn as negatives, the padding row included.
        negatives: Whether to draw one negative per position or per slot.
        seed: Decides the negatives, with epoch and row.
        users_R: User rows that train, rising; by default all.
    """

    def __init__(
        self,
        windows: Windows,
        max_len: int,
        n_items: int,
        negatives: Negatives = "none",
        seed: int = 0,
        users_R: Ids | None = None,
    ) -> None:
        self.windows = windows
        self.max_len = max_len
        self.n_items = n_items
        self.negatives = negatives
        self.seed = seed
        self.rows = TrainingRows.of(windows, max_len + 1)
        self.kept_R = None if users_R is None else self.rows.of_users(users_R)

    def __len__(self) -> int:
        """Chunks, or users where each has one."""
        return self.rows.n_rows if self.kept_R is None else len(self.kept_R)

    def lengths(self) -> Ids:
        """Items of every row, at most L + 1."""
        rows_R = np.arange(self.rows.n_rows) if self.kept_R is None else self.kept_R
        user_R, without_R = self.rows.at(rows_R)
        offsets = self.windows.offsets
        length_R: Ids = np.minimum(offsets[user_R + 1] - without_R - offsets[user_R], self.max_len + 1)
        return length_R

    def __getitem__(self, row: int) -> TrainRows:
        """A batch of one row, as epoch 0 shows it."""
        return self.__getitems__(EpochRows(0, np.array([row])))

    def __getitems__(self, asked: EpochRows) -> TrainRows:
        """A batch, trimmed on the left to its longest history."""
        row_B = np.asarray(asked.rows_B, dtype=np.int64)
        row_B = row_B if self.kept_R is None else self.kept_R[row_B]
        user_B, without_B = self.rows.at(row_B)
        items_BS = trim_left(self.windows.last(user_B, self.max_len + 1, without_B))
        negatives_BL = None
        if self.negatives != "none":
            slots = self.negatives == "slots"
            negatives_BL = uniform_negatives(self.seed, asked.epoch, row_B, items_BS, self.n_items, slots)
        return TrainRows(user_B, items_BS, negatives_BL)


class EvalWindows(Dataset[EvalRows]):
    """One row a user for validation, test or prediction, or the rows of a protocol that names them.

    The hidden items are all of the window before the target, one or two more than the history shows, or all
    that came before where windows are whole histories.

    Args:
        windows: Of all users.
        max_len: History length L.
        stage: ``val`` and ``test`` hold out the item before the last and the last; ``predict`` shows all.
        places: The rows, where they are others than these.
    """

    def __init__(self, windows: Windows, max_len: int, stage: Stage, places: Places | None = None) -> None:
        self.windows = windows
        self.max_len = max_len
        self.stage = stage
        self.places = places

    def __len__(self) -> int:
        """Rows: users, or targets where a user has several."""
        return self.windows.n_users - 1 if self.places is None else len(self.places.user_R)

    def __getitem__(self, row: int) -> EvalRows:
        """A batch of one user."""
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> EvalRows:
        """A batch; history and hidden items are each trimmed on the left to the longest."""
        if self.places is not None:
            return self._placed(self.places, np.asarray(rows, dtype=np.int64))
        user_B = np.asarray(rows, dtype=np.int64) + 1
        without, has_target = HELD_OUT[self.stage]
        longest = int((self.windows.offsets[user_B + 1] - self.windows.offsets[user_B]).max(initial=3))
        hidden_BH = trim_left(self.windows.last(user_B, longest - without, without))
        target_B = np.zeros_like(user_B)
        if has_target:
            target_B = self.windows.items[self.windows.offsets[user_B + 1] - without].astype(np.int64)
        return EvalRows(user_B, hidden_BH[:, -self.max_len :], target_B, hidden_BH)

    def _placed(self, places: Places, rows_B: Ids) -> EvalRows:
        """Rows that a protocol names.

        Hidden are the history and, of what lies behind the user's training interactions, what comes between
        it and the target. That is nothing where a window is in order of time; where held-out items lie behind
        the others, these are those that the user took before.
        """
        user_B, stop_B, place_B = (part[rows_B] for part in places)
        begin_B = self.windows.offsets[user_B]
        shown_BW = trim_left(self._between(begin_B, stop_B))
        hidden_BH = shown_BW
        if (place_B > stop_B).any():
            behind_B = np.maximum(stop_B, self.windows.training(user_B)[1])
            hidden_BH = np.concatenate([shown_BW, self._between(behind_B, place_B)], axis=1)
        target_B = np.zeros_like(user_B)
        if HELD_OUT[self.stage][1]:
            target_B = self.windows.items[place_B].astype(np.int64)
        return EvalRows(user_B, shown_BW[:, -self.max_len :], target_B, hidden_BH)

    def _between(self, start_B: Ids, stop_B: Ids) -> Ids:
        """Items of one range a row, left-padded to the longest."""
        index_BW = stop_B[:, None] + np.arange(-int((stop_B - start_B).max(initial=0)), 0)
        real_BW = index_BW >= start_B[:, None]
        index_BW[~real_BW] = 0
        items_BW: Ids = self.windows.items[index_BW].astype(np.int64)
        items_BW[~real_BW] = 0
        return items_BW


def trim_left(items_BW: Ids) -> Ids:
    """Drops the leading columns in which every row has padding; at least one column stays."""
    used_W = items_BW.any(axis=0)
    first = int(used_W.argmax()) if used_W.any() else items_BW.shape[1] - 1
    return items_BW[:, first:]

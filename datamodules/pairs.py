"""Training pairs of a user and one of his items, for models without a sequence (MoRec's DSSM)."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from datamodules.histories import Ids
from datamodules.negatives import uniform_negatives
from datamodules.sampler import EpochRows
from datamodules.splits import Windows


class PairRows(NamedTuple):
    """Training pairs before the content of their items is added."""

    user_B: Ids
    item_B: Ids
    negative_B: Ids


class TrainPairs(Dataset[PairRows]):
    """One row for every item of every user's training window, with one negative outside that window.

    Args:
        windows: Of all users.
        n_items: Catalogue rows, the padding row included.
        seed: Decides the negatives, with epoch and row.
        users_R: User rows that train, rising; by default all.
    """

    def __init__(self, windows: Windows, n_items: int, seed: int = 0, users_R: Ids | None = None) -> None:
        self.windows = windows
        self.n_items = n_items
        self.seed = seed
        self.users_R = np.arange(1, windows.n_users) if users_R is None else users_R
        self.begins_R, self.ends_R = windows.training(self.users_R)
        self.starts: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(self.ends_R - self.begins_R)])

    def __len__(self) -> int:
        """Pairs."""
        return int(self.starts[-1])

    def __getitem__(self, row: int) -> PairRows:
        """A batch of one pair, as epoch 0 shows it."""
        return self.__getitems__(EpochRows(0, np.array([row])))

    def __getitems__(self, asked: EpochRows) -> PairRows:
        """A batch of pairs."""
        rows_B = np.asarray(asked.rows_B, dtype=np.int64)
        place_B = np.searchsorted(self.starts, rows_B, side="right") - 1
        user_B = self.users_R[place_B]
        begin_B, end_B = self.begins_R[place_B], self.ends_R[place_B]
        item_B = self.windows.items[begin_B + rows_B - self.starts[place_B]]
        longest = int((end_B - begin_B).max(initial=2))
        own_BS = self.windows.last(user_B, longest, self.windows.offsets[user_B + 1] - end_B)
        negatives_BL = uniform_negatives(self.seed, asked.epoch, rows_B, own_BS, self.n_items)
        return PairRows(user_B.astype(np.int64), item_B.astype(np.int64), negatives_BL[:, -1])

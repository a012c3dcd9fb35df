"""Pairs cut by labels, about 8 : 1 : 1: within each user, as MMRec cuts, or all on one clock."""

import numpy as np

from datamodules.errors import EmptyDataError
from datamodules.protocols.base import Ids
from datamodules.protocols.global_time import GlobalTime
from datamodules.splits import Cut, label_per_user


def cut_labels(cut: Cut, seed: int, user_R: Ids, time_R: Ids) -> Ids:
    """Labels 0 training, 1 validation, 2 test.

    Args:
        cut: ``random`` or by ``time`` within each user, or by ``global_time``: the first 0.8 of all pairs
            train, the next 0.1 are for validation, the rest for the test; pairs of one time are on one side,
            the later one.
        seed: Of the random cut.
        user_R: Users of the pairs, from 0.
        time_R: Times of the pairs.

    Raises:
        EmptyDataError: If too many pairs have one time to be told apart by it.

    >>> cut_labels("global_time", 0, np.zeros(10, np.int64), np.arange(10)).tolist()
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    """
    if cut == "global_time":
        if not len(time_R):
            raise EmptyDataError("Expected pairs to cut by time, found none.")
        valid_from, test_from = GlobalTime().moments(time_R)
        return (time_R >= valid_from).astype(np.int64) + (time_R >= test_from)
    random_R = np.random.default_rng(seed).permutation(len(user_R))
    return label_per_user(user_R, random_R if cut == "random" else time_R)


def cut_text(cut: Cut, seed: int) -> str:
    """What ``cut_labels`` does, in a few words."""
    if cut == "global_time":
        return "global time, about 8 : 1 : 1"
    return f"about 8 : 1 : 1 within each user {f'at random, seed {seed}' if cut == 'random' else 'by time'}"

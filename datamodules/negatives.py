"""Negatives drawn by counting, not from a generator's state: the same whoever draws them, and when.

A negative is a function of (seed, epoch, row, position), through the finaliser of SplitMix64 (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). So it depends neither on the batch its
row is in nor on the worker that makes it, and a resumed run draws what an uninterrupted one does.
"""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def _absorb(state: Words, word: npt.NDArray[np.integer] | int) -> Words:
    """Mixes one more word into a 64-bit state; both broadcast, arithmetic wraps."""
    mixed: Words = (state ^ np.asarray(word, dtype=np.int64).astype(np.uint64)) + _STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return mixed ^ (mixed >> np.uint64(31))


def _below(state: Words, count: Words) -> Ids:
    """Numbers 0..c-1 for counts c: the upper 32 bits times c, shifted down, uniform up to c / 2**32."""
    return (((state >> np.uint64(32)) * count) >> np.uint64(32)).astype(np.int64)


def uniform_negatives(
    seed: int,
    epoch: int,
    rows_B: npt.NDArray[np.integer],
    items_BS: npt.NDArray[np.integer],
    n_items: int,
    slots: bool = False,
) -> npt.NDArray[np.int64]:
    """One negative for every real position or slot: uniform over the items that the row does not contain.

    The negative of a position belongs to its target, the item one slot later; with ``slots`` the first item
    of a row, which is nobody's target, has a negative too, and all others keep theirs. As in MoRec (SIGIR
    2023), the draw is uniform over all items but those of the row's own training sequence, held-out and never
    trained items included. Where the authors draw until an item is not in the sequence, here the k-th item
    outside it is taken at once, with k uniform: the same distribution, without a loop that a long history
    could keep going.

    Args:
        seed: Of the run.
        epoch: Of the training; another one gives other negatives.
        rows_B: Identity of each row within the data set.
        items_BS: Left-padded item ids of the rows' training sequences.
        n_items: Catalogue rows, the padding row included; below 2 ** 32.
        slots: Draw for every real slot, as models need that hide any item of a history and not only guess
            the next one.

    Returns:
        Item ids (B, L) with L = S - 1, or (B, S) with ``slots``; 0 where the position or slot is padding, and
        in a row that contains the whole catalogue and so has no negative (the padding item scores zero
        whatever the user vector). Columns are counted from the right, so trimming padding off a batch changes
        no negative.
    """
    n_rows, n_slots = items_BS.shape
    # Distinct items of a row in rising order; what is no item (padding, repetitions) goes behind them all.
    sorted_BS = np.sort(items_BS.astype(np.int64), axis=1)
    extra_BS = sorted_BS == 0
    extra_BS[:, 1:] |= sorted_BS[:, 1:] == sorted_BS[:, :-1]
    sorted_BS[extra_BS] = n_items + n_slots
    sorted_BS.sort(axis=1)
    outside_B1 = (n_items - 1 - (n_slots - extra_BS.sum(axis=1, keepdims=True))).astype(np.uint64)

    state_11 = _absorb(_absorb(np.zeros((1, 1), dtype=np.uint64), seed), epoch)
    from_right_L = np.arange(n_slots - (1 if slots else 2), -1, -1)
    state_BL = _absorb(_absorb(state_11, rows_B[:, None]), from_right_L)
    k_BL = _below(state_BL, outside_B1)

    # The k-th item outside is k + 1, plus one for every item of the row with at most k outsiders below it.
    below_BS = np.minimum(sorted_BS - 1 - np.arange(n_slots), n_items)
    offset_B1 = np.arange(n_rows)[:, None] * (n_items + 1)  # makes one rising array of all rows
    passed_BL = np.searchsorted((below_BS + offset_B1).ravel(), (k_BL + offset_B1).ravel(), side="right")
    passed_BL = passed_BL.reshape(k_BL.shape) - np.arange(n_rows)[:, None] * n_slots
    drawn_BL: npt.NDArray[np.int64] = k_BL + 1 + passed_BL
    real_BL = (items_BS if slots else items_BS[:, :-1]) != 0
    drawn_BL[~real_BL | (outside_B1 == 0)] = 0
    return drawn_BL


class PairNegatives(NamedTuple):
    """Negatives of user-item pairs: uniform over the items of any pair that the user has no pair with.

    That is what drawing among the trained items until one is not the user's gives, as MMRec does (``enoche/
    MMRec``, ``utils/dataloader.py``); here the k-th item outside the user's is taken at once, with k uniform.
    It is found by one search in sorted keys, so that a user of thousands of items costs as much as any other.
    """

    candidates: Ids
    """Rising ids of the items that occur in a pair."""
    starts_U: Ids
    """User u has the pairs ``starts_U[u]:starts_U[u + 1]``; U + 1 numbers."""
    keys_E: Ids
    """Rising over all pairs: user * stride + how many candidates below the pair's item are not the user's."""

    @classmethod
    def of(cls, user_E: Ids, item_E: Ids, n_users: int) -> Self:
        """Prepares the search.

        Args:
            user_E: Users of the distinct pairs, rising.
            item_E: Their items, rising within a user.
            n_users: User rows U.
        """
        candidates, place_E = np.unique(item_E, return_inverse=True)
        starts_U = np.searchsorted(user_E, np.arange(n_users + 1))
        below_E = place_E - (np.arange(len(user_E)) - starts_U[user_E])
        return cls(candidates, starts_U, user_E * (len(candidates) + 1) + below_E)

    def outside(self, user_B: Ids) -> Ids:
        """How many candidates each user has."""
        own_B: Ids = self.starts_U[user_B + 1] - self.starts_U[user_B]
        return len(self.candidates) - own_B

    def draw(self, seed: int, epoch: int, pass_: int, rows_B: Ids, user_B: Ids) -> Ids:
        """One negative a row, a function of its arguments and of the pairs.

        Args:
            seed: Of the run.
            epoch: Of the training.
            pass_: Of the epoch.
            rows_B: Identity of each row within the data set.
            user_B: Its user, who must have a candidate.
        """
        state = _absorb(_absorb(_absorb(np.zeros(1, dtype=np.uint64), seed), epoch), pass_)
        k_B = _below(_absorb(state, rows_B), self.outside(user_B).astype(np.uint64))
        key_B = user_B * (len(self.candidates) + 1) + k_B
        passed_B = np.searchsorted(self.keys_E, key_B, side="right") - self.starts_U[user_B]
        drawn_B: Ids = self.candidates[k_B + passed_B]
        return drawn_B

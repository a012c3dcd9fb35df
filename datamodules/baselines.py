"""Rankers without parameters to learn: popularity and first-order Markov, exact and without big matrices.

Both give the rank of each user's target under full ranking: the history is hidden and the target loses ties,
so rank = 1 + the number of other visible items that score at least as much. A target that lies in the hidden
history cannot be recommended; its rank is the number of rows of the catalogue. Ids are 1..I-1 and 0 is
padding.
"""

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]
Ints = npt.NDArray[np.int64]

CHUNK = 65_536
"""Users ranked together; bounds the memory."""


def item_counts(train_UL: Ids, n_items: int) -> Ints:
    """Interactions of each item, (I,); 0 for padding."""
    counts_I = np.bincount(train_UL.ravel(), minlength=n_items).astype(np.int64)
    counts_I[0] = 0
    return counts_I


def popularity_ranks(train_UL: Ids, target_U: Ids, hidden_UH: Ids, n_items: int) -> Ints:
    """Ranks the targets by how often items occur in training.

    Args:
        train_UL: Training sequences.
        target_U: The held-out item of each user.
        hidden_UH: Items that may not be recommended, padded with 0; repeats count once.
        n_items: Catalogue rows I.

    Returns:
        Rank of each target, (U,), 1 is best.
    """
    counts_I = item_counts(train_UL, n_items)
    ascending = np.sort(counts_I[1:])
    ranks = []
    for first in range(0, len(target_U), CHUNK):
        target_B, hidden_BH = target_U[first : first + CHUNK], _once(hidden_UH[first : first + CHUNK])
        level_B = counts_I[target_B]
        # Others at least as popular: the target itself stands for the 1 of the rank.
        above_B = len(ascending) - np.searchsorted(ascending, level_B)
        hidden_above_B = ((counts_I[hidden_BH] >= level_B[:, None]) & (hidden_BH > 0)).sum(1)
        ranks.append(_missed(above_B - hidden_above_B, target_B, hidden_BH, n_items))
    return np.concatenate(ranks) if ranks else np.zeros(0, np.int64)


def markov_ranks(train_UL: Ids, last_U: Ids, target_U: Ids, hidden_UH: Ids, n_items: int) -> Ints:
    """Ranks the targets by how often items directly followed the user's last item in training.

    Equal counts are ordered by popularity, which is also what a new last item falls back to. Weighing
    popularity more than that only made it worse on the demo catalogue.

    Args:
        train_UL: Training sequences, left-padded with 0.
        last_U: Last item of each user's history; 0 falls back to popularity.
        target_U: The held-out item of each user.
        hidden_UH: Items that may not be recommended, padded with 0; repeats count once.
        n_items: Catalogue rows I.

    Returns:
        Rank of each target, (U,), 1 is best.
    """
    counts_I = item_counts(train_UL, n_items)
    ascending = np.sort(counts_I[1:])
    key_K, bonus_K = _transitions(train_UL, n_items)
    bonus_K = bonus_K * (counts_I.max() + 1)  # one transition outweighs any popularity
    row_edges = np.searchsorted(key_K, np.arange(n_items + 1) * n_items)
    ranks = []
    for first in range(0, len(target_U), CHUNK):
        rows = slice(first, first + CHUNK)
        last_B, target_B = last_U[rows].astype(np.int64), target_U[rows].astype(np.int64)
        hidden_BH = _once(hidden_UH[rows])
        level_B = counts_I[target_B] + _look_up(key_K, bonus_K, last_B * n_items + target_B)
        above_B = len(ascending) - np.searchsorted(ascending, level_B)
        above_B += _lifted(key_K, bonus_K, row_edges, counts_I, last_B, level_B, n_items)
        hidden_score_BH = counts_I[hidden_BH] + _look_up(
            key_K, bonus_K, last_B[:, None] * n_items + hidden_BH
        )
        hidden_above_B = ((hidden_score_BH >= level_B[:, None]) & (hidden_BH > 0)).sum(1)
        ranks.append(_missed(above_B - hidden_above_B, target_B, hidden_BH, n_items))
    return np.concatenate(ranks) if ranks else np.zeros(0, np.int64)


def _transitions(train_UL: Ids, n_items: int) -> tuple[Ints, Ints]:
    """Sorted keys source * I + next of the pairs seen in training, and how often each was seen."""
    source, following = train_UL[:, :-1].ravel(), train_UL[:, 1:].ravel()
    real = (source > 0) & (following > 0)
    keys, counts = np.unique(
        source[real].astype(np.int64) * n_items + following[real].astype(np.int64), return_counts=True
    )
    return keys, counts.astype(np.int64)


def _look_up(key_K: Ints, value_K: Ints, wanted: Ints) -> Ints:
    """Values at the wanted keys, 0 where there is none."""
    if not len(key_K):
        return np.zeros(wanted.shape, np.int64)
    place = np.minimum(np.searchsorted(key_K, wanted), len(key_K) - 1)
    return np.where(key_K[place] == wanted, value_K[place], 0)


def _lifted(
    key_K: Ints, bonus_K: Ints, row_edges: Ints, counts_I: Ints, last_B: Ints, level_B: Ints, n_items: int
) -> Ints:
    """Followers of each last item that reach the level with their bonus but not by popularity alone."""
    length_B = row_edges[last_B + 1] - row_edges[last_B]
    user_F = np.repeat(np.arange(len(last_B)), length_B)
    place_F = np.arange(len(user_F)) - np.repeat(np.cumsum(length_B) - length_B, length_B)
    entry_F = row_edges[last_B][user_F] + place_F
    base_F = counts_I[key_K[entry_F] % n_items]
    level_F = level_B[user_F]
    lifted_F = (base_F < level_F) & (base_F + bonus_K[entry_F] >= level_F)
    return np.bincount(user_F[lifted_F], minlength=len(last_B)).astype(np.int64)


def _once(hidden_BH: Ids) -> Ints:
    """Hidden items in sorted order with repeats set to 0."""
    ordered = np.sort(hidden_BH.astype(np.int64), axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = 0
    return ordered


def _missed(rank_B: Ints, target_B: Ids, hidden_BH: Ints, n_items: int) -> Ints:
    """Ranks with the last place for targets that are hidden."""
    return np.where((hidden_BH == target_B[:, None]).any(1), n_items, rank_B)

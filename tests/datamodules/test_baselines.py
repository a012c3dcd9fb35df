"""Baselines against a plain reference that makes the whole matrix of scores."""

import itertools

import numpy as np
import pytest

from datamodules import baselines
from datamodules.baselines import item_counts, markov_ranks, popularity_ranks

N_ITEMS = 31


def sequences(n_users: int, length: int, seed: int) -> np.ndarray:
    """Left-padded random histories of different lengths, repeats included."""
    rng = np.random.default_rng(seed)
    items_UL = (N_ITEMS * rng.random((n_users, length)) ** 2).astype(np.int32).clip(1)
    items_UL[np.arange(length) < rng.integers(0, length - 2, n_users)[:, None]] = 0
    return items_UL


def reference(score_UI: np.ndarray, target_U: np.ndarray, hidden_UH: np.ndarray) -> list[int]:
    """Ranks by the book, one user and one item at a time."""
    ranks = []
    for score_I, target, hidden in zip(score_UI, target_U, hidden_UH, strict=True):
        if target in hidden:
            ranks.append(N_ITEMS)
            continue
        others = [i for i in range(1, N_ITEMS) if i != target and i not in hidden]
        ranks.append(1 + sum(score_I[i] >= score_I[target] for i in others))
    return ranks


@pytest.mark.parametrize("chunk", [7, 65_536])
def test_popularity(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "CHUNK", chunk)
    items_UL = sequences(60, 9, 0)
    train_UL, target_U, hidden_UH = items_UL[:, :-2], items_UL[:, -1], items_UL[:, :-1]
    counts_I = item_counts(train_UL, N_ITEMS)
    assert counts_I[0] == 0
    expected = reference(np.tile(counts_I, (60, 1)), target_U, hidden_UH)
    assert popularity_ranks(train_UL, target_U, hidden_UH, N_ITEMS).tolist() == expected


@pytest.mark.parametrize("chunk", [7, 65_536])
def test_markov(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "CHUNK", chunk)
    items_UL = sequences(60, 9, 1)
    items_UL[3, :-1] = 0  # a user without history
    train_UL, last_U = items_UL[:, :-2], items_UL[:, -2]
    target_U, hidden_UH = items_UL[:, -1], items_UL[:, :-1]
    follows_II = np.zeros((N_ITEMS, N_ITEMS))
    for row in train_UL:
        for before, after in itertools.pairwise(row):
            if before and after:
                follows_II[before, after] += 1
    counts_I = item_counts(train_UL, N_ITEMS)
    follows_II[0] = 0
    expected = reference(counts_I + 1000 * follows_II[last_U], target_U, hidden_UH)
    ranks_U = markov_ranks(train_UL, last_U, target_U, hidden_UH, N_ITEMS)
    assert ranks_U.tolist() == expected


def test_nobody_and_nothing() -> None:
    none = np.zeros((0, 4), np.int64)
    assert popularity_ranks(none, none[:, 0], none, 5).tolist() == []
    assert markov_ranks(none, none[:, 0], none[:, 0], none, 5).tolist() == []
    # Nothing was seen in training: everything ties and the target loses.
    one = np.zeros((1, 4), np.int64)
    assert popularity_ranks(one, np.array([2]), one, 5).tolist() == [4]
    assert markov_ranks(one, np.array([0]), np.array([2]), one, 5).tolist() == [4]

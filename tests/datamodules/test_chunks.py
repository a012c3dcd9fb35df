"""PixelRec's chunks against plain loops: what trains, what is hidden, what is left out and counted."""

import numpy as np
import pytest

from datamodules.histories import EvalWindows, TrainWindows
from datamodules.pairs import TrainPairs
from datamodules.sampler import EpochRows
from datamodules.splits import Split, Windows, leave_two_out
from tests.datamodules.reference import random_lines, tables_of

WORKED = {
    1: [(0, 1)],
    5: [(0, 5)],
    11: [(0, 11)],
    12: [(1, 12)],
    13: [(2, 13)],
    21: [(10, 21)],
    22: [(0, 11), (11, 22)],
    23: [(1, 12), (12, 23)],
    32: [(10, 21), (21, 32)],
    33: [(0, 11), (11, 22), (22, 33)],
}
"""Items that train -> chunks as [start, end), for histories of 10: section 2 of PixelRec's description."""


def plain_chunks(train: list[int], width: int) -> list[list[int]]:
    """The authors' rule: drop the oldest n mod width, cut the rest."""
    if len(train) <= width:
        return [train]
    kept = train[len(train) % width :]
    return [kept[start : start + width] for start in range(0, len(kept), width)]


def real_rows(windows: Windows, max_len: int, n_items: int) -> list[list[int]]:
    dataset = TrainWindows(windows, max_len, n_items)
    rows = dataset.__getitems__(EpochRows(0, np.arange(len(dataset))))
    return [[item for item in row if item] for row in rows.items_BS.tolist()]


@pytest.mark.parametrize(("n", "expected"), list(WORKED.items()))
def test_worked_chunks(n: int, expected: list[tuple[int, int]]) -> None:
    windows = Windows(np.array([0, 0, n + 2]), np.arange(1, n + 3, dtype=np.int32))
    chunks = real_rows(windows, 10, n + 3)
    assert chunks == [list(range(start + 1, end + 1)) for start, end in expected]
    assert chunks == plain_chunks(list(range(1, n + 1)), 11)


def chunked(seed: int) -> tuple[Split, dict[str, list[int]], list[str]]:
    lines, items = random_lines(seed, 60, 40)
    lines = [(f"u{row}", history) for row, (_, history) in enumerate(lines)]
    tables = tables_of(lines, items)
    split = leave_two_out(tables, 2, 4, "chunks")
    number = {item: row + 1 for row, item in enumerate(tables.items[split.kept_items]["item"].to_list())}
    users = {user: [number[item] for item in history] for user, history in lines if len(history) >= 4}
    return split, users, tables.users.gather(split.kept_lines).to_list()


@pytest.mark.parametrize("seed", range(3))
def test_equals_plain_loops(seed: int) -> None:
    split, users, names = chunked(seed)
    n_items = len(split.kept_items) + 1
    expected = [(row + 1, chunk) for row, u in enumerate(names) for chunk in plain_chunks(users[u][:-2], 3)]
    dataset = TrainWindows(split.windows, 2, n_items, "positions")
    rows = dataset.__getitems__(EpochRows(0, np.arange(len(dataset))))
    assert list(zip(rows.user_B.tolist(), real_rows(split.windows, 2, n_items), strict=True)) == expected
    assert rows.negatives_BL is not None
    for items, negatives in zip(rows.items_BS, rows.negatives_BL, strict=True):
        assert not set(items) & set(negatives) - {0}
    left_out = sum(len(users[u]) - 2 for u in names) - sum(len(chunk) for _, chunk in expected)
    said = "of these are a user's oldest and fill no chunk of 3 to train on"
    assert split.report.counts[said] == left_out
    assert split.report.counts["interactions kept"] == sum(map(len, users.values()))
    for stage, without in (("val", 2), ("test", 1)):
        evaluated = EvalWindows(split.windows, 2, stage).__getitems__(range(len(names)))  # type: ignore[arg-type]
        for row, user in enumerate(names):
            history = users[user][:-without]
            assert [item for item in evaluated.history_BL[row] if item] == history[-2:]
            assert [item for item in evaluated.hidden_BH[row] if item] == history
            assert evaluated.target_B[row] == users[user][-without]


def test_rows_of_some_users_keep_their_negatives() -> None:
    split, _, names = chunked(0)
    some = np.arange(2, len(names), 2)
    whole, part = (TrainWindows(split.windows, 2, 200, "positions", 3, users) for users in (None, some))
    rows = part.__getitems__(EpochRows(1, np.arange(len(part))))
    assert set(rows.user_B) == set(some)
    users, _ = whole.rows.at(np.arange(len(whole)))
    places = np.flatnonzero(np.isin(users, some))
    again = whole.__getitems__(EpochRows(1, places))
    assert rows.items_BS.tolist() == again.items_BS.tolist()
    assert rows.negatives_BL is not None
    assert again.negatives_BL is not None
    assert rows.negatives_BL.tolist() == again.negatives_BL.tolist()


def test_pairs_are_all_that_trains_with_no_negative_of_the_user() -> None:
    split, users, names = chunked(1)
    dataset = TrainPairs(split.windows, len(split.kept_items) + 1)
    rows = dataset.__getitems__(EpochRows(0, np.arange(len(dataset))))
    expected = [(row + 1, item) for row, user in enumerate(names) for item in users[user][:-2]]
    assert list(zip(rows.user_B.tolist(), rows.item_B.tolist(), strict=True)) == expected
    for user, negative in zip(rows.user_B, rows.negative_B, strict=True):
        assert negative not in users[names[user - 1]][:-2]

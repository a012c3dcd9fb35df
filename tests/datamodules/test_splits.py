import numpy as np
import pytest

from datamodules.errors import EmptyDataError
from datamodules.histories import EvalRows, EvalWindows, TrainWindows
from datamodules.sampler import EpochRows
from datamodules.splits import Split, Windows, leave_two_out
from tests.datamodules.reference import plain_windows, random_lines, tables_of

WORKED = [("A", "3 5 2 7 1 8 4"), ("B", "4 6 8 5 9"), ("C", "2 9 4 6 3 7")]
"""The users of section 12 of MoRec's description; history length 4, items 1 to 9."""


def worked_split() -> Split:
    lines = [(user, history.split()) for user, history in WORKED]
    return leave_two_out(tables_of(lines, list("123456789")), max_len=4, min_len=5)


def evaluation(windows: Windows, max_len: int, stage: str) -> EvalRows:
    dataset = EvalWindows(windows, max_len, stage)  # type: ignore[arg-type]
    return dataset.__getitems__(range(len(dataset)))


def test_worked_example_training() -> None:
    rows = TrainWindows(worked_split().windows, 4, 10).__getitems__(EpochRows(0, np.arange(3)))
    assert rows.user_B.tolist() == [1, 2, 3]
    assert rows.items_BS.tolist() == [[3, 5, 2, 7, 1], [0, 0, 4, 6, 8], [0, 2, 9, 4, 6]]


def test_worked_example_evaluation() -> None:
    windows = worked_split().windows
    val = evaluation(windows, 4, "val")
    assert val.history_BL.tolist() == [[5, 2, 7, 1], [0, 4, 6, 8], [2, 9, 4, 6]]
    assert val.target_B.tolist() == [8, 5, 3]
    assert val.hidden_BH.tolist() == [[3, 5, 2, 7, 1], [0, 0, 4, 6, 8], [0, 2, 9, 4, 6]]
    test = evaluation(windows, 4, "test")
    assert test.history_BL.tolist() == [[2, 7, 1, 8], [4, 6, 8, 5], [9, 4, 6, 3]]
    assert test.target_B.tolist() == [4, 9, 7]
    assert test.hidden_BH.tolist() == [[3, 5, 2, 7, 1, 8], [0, 0, 4, 6, 8, 5], [0, 2, 9, 4, 6, 3]]
    predict = evaluation(windows, 4, "predict")
    assert predict.history_BL.tolist() == [[7, 1, 8, 4], [6, 8, 5, 9], [4, 6, 3, 7]]
    assert predict.target_B.tolist() == [0, 0, 0]
    assert predict.hidden_BH[0].tolist() == [3, 5, 2, 7, 1, 8, 4]


def test_worked_example_popularity() -> None:
    counts = worked_split().windows.train_counts(10)
    assert counts.tolist() == [0, 1, 2, 1, 2, 1, 2, 1, 1, 1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("max_len", "min_len"), [(3, 4), (5, 5), (20, 7)])
def test_equals_plain_loops(seed: int, max_len: int, min_len: int) -> None:
    lines, items = random_lines(seed, 80, 60)
    tables = tables_of(lines, items)
    split = leave_two_out(tables, max_len, min_len)
    kept, users = plain_windows(lines, items, max_len, min_len)
    assert tables.items[split.kept_items]["item"].to_list() == kept
    names = tables.users.gather(split.kept_lines).to_list()
    assert sorted(names) == sorted(users)
    train = TrainWindows(split.windows, max_len, len(kept) + 1).__getitems__(
        EpochRows(0, np.arange(len(names)))
    )
    val, test = (evaluation(split.windows, max_len, stage) for stage in ("val", "test"))
    for row, name in enumerate(names):
        plain = users[name]
        assert [item for item in train.items_BS[row] if item] == plain.train
        assert [item for item in val.history_BL[row] if item] == plain.val_history
        assert [item for item in test.history_BL[row] if item] == plain.test_history
        assert (val.target_B[row], test.target_B[row]) == (plain.val_target, plain.test_target)
        assert set(val.hidden_BH[row]) - {0} == plain.val_hidden
        assert set(test.hidden_BH[row]) - {0} == plain.test_hidden
    trained = [item for plain in users.values() for item in plain.train]
    expected = np.bincount(trained, minlength=len(kept) + 1)
    assert split.windows.train_counts(len(kept) + 1).tolist() == expected.tolist()


def test_items_of_an_overwritten_line_stay_in_the_catalogue() -> None:
    lines = [("u", list("abcde")), ("w", list("ghijk")), ("u", list("ghijf"))]
    split = leave_two_out(tables_of(lines, list("abcdefghijkz")), 20, 5)
    assert split.kept_items.tolist() == list(range(11))
    assert split.kept_lines.tolist() == [1, 2]
    assert split.windows.items[split.windows.offsets[2] :].tolist() == [7, 8, 9, 10, 6]


def test_a_short_later_line_does_not_overwrite() -> None:
    split = leave_two_out(tables_of([("u", list("abcde")), ("u", list("abc"))], list("abcde")), 20, 5)
    assert split.kept_lines.tolist() == [0]


def test_nothing_left_says_what_each_filter_took() -> None:
    lines = [("u", list("abcx")), ("w", list("ab"))]
    with pytest.raises(EmptyDataError, match=r"longest history has 3\.") as caught:
        leave_two_out(tables_of(lines, list("abc")), 20, 5)
    message = str(caught.value)
    assert "1 interactions with an item that the item table lacks were dropped" in message
    assert "2 lines of fewer than 5 interactions were dropped" in message
    assert "--data.min_len" in message


def test_user_row_zero_is_nobody() -> None:
    windows = worked_split().windows
    assert windows.n_users == 4
    assert windows.last(np.array([0]), 3).tolist() == [[0, 0, 0]]

"""Every protocol on a worked example, and against plain loops on random histories with ties and repeats."""

import numpy as np
import pytest

from datamodules.errors import EmptyDataError
from datamodules.protocols import ColdItems, ColdUsers, Division, Frame, GlobalTime, LeaveTwoOut, Protocol
from datamodules.protocols.base import Histories, marked
from datamodules.protocols.cold_items import TESTED, VALIDATED
from datamodules.protocols.global_time import Target
from datamodules.splits import Windowing, leave_two_out
from tests.datamodules.protocols.plain import (
    Line,
    Plain,
    Row,
    found,
    histories,
    names,
    plain_cold_items,
    plain_cold_users,
    plain_global_time,
    random_lines,
    tables_of,
)

WORKED: list[Line] = [
    ("A", [("a", 1), ("b", 2), ("c", 3), ("d", 11), ("e", 12), ("a", 21)]),
    ("B", [("b", 4), ("c", 5), ("b", 13), ("f", 22), ("g", 23)]),
    ("C", [("d", 14), ("c", 15), ("a", 24), ("b", 25)]),
    ("D", [("a", 6), ("c", 7), ("b", 8), ("d", 9)]),
]
"""Times below 10 train, those from 10 are for validation, those from 20 for the test."""
ITEMS = list("abcdefg")
FRAME = Frame(2, 4, "chunks")
MOMENTS = {"valid_from": 10, "test_from": 20}


def divided(protocol: Protocol, lines: list[Line], items: list[str], frame: Frame) -> tuple[Plain, Division]:
    tables = tables_of(lines, items)
    division = protocol.divide(tables, frame)
    return found(division, tables, frame), division


def test_global_time_worked_example() -> None:
    result, division = divided(GlobalTime(**MOMENTS), WORKED, ITEMS, FRAME)  # type: ignore[arg-type]
    assert result.users == ["A", "B", "C", "D"]
    assert result.trained == set("abcd")
    assert result.others == set("efg")
    assert result.chunks == [("A", tuple("abc")), ("B", tuple("bc")), ("D", tuple("cbd"))]
    assert result.val == [
        Row("A", ("c", "d"), "e", frozenset("abcd")),
        Row("B", ("b", "c"), "b", frozenset("bc")),
        Row("C", ("d",), "c", frozenset("d")),
    ]
    assert result.test == [
        Row("A", ("d", "e"), "a", frozenset("abcde")),
        Row("B", ("b", "f"), "g", frozenset("bcf")),
        Row("C", ("c", "a"), "b", frozenset("dca")),
    ]
    assert result.leak == (0, 0)
    counts = division.report.counts
    assert counts["users train"] == 3
    assert counts["test targets of users of whom nothing trains"] == 1
    assert counts["of these are a user's oldest and fill no chunk of 3 to train on"] == 1
    assert division.report.notes == ["Validation begins at time 10, the test at 20, as the file counts time."]


def test_global_time_first_and_all_targets_of_a_period() -> None:
    first, _ = divided(GlobalTime(target="first", **MOMENTS), WORKED, ITEMS, FRAME)
    assert [(row.user, row.target) for row in first.val] == [("A", "d"), ("B", "b")]
    assert [(row.user, row.target) for row in first.test] == [("A", "a"), ("B", "f"), ("C", "a")]
    every, division = divided(GlobalTime(target="all", **MOMENTS), WORKED, ITEMS, FRAME)
    assert [row.user + row.target for row in every.val] == ["Ad", "Ae", "Bb", "Cc"]
    assert [row.user + row.target for row in every.test] == ["Aa", "Bf", "Bg", "Ca", "Cb"]
    assert every.test[2].history == ("b", "f")
    said = "validation targets are a user's very first interaction and are left out"
    assert division.report.counts[said] == 1


def test_cold_users_worked_example() -> None:
    protocol = ColdUsers(share=0.25, seed=0)
    result, division = divided(protocol, WORKED, ITEMS, Frame(2, 4, "last"))
    (held,) = {row.user for row in result.test}
    history = names(dict(WORKED)[held])
    assert result.val == [Row(held, history[:-2][-2:], history[-2], frozenset(history[:-2]))]
    assert result.test == [Row(held, history[:-1][-2:], history[-1], frozenset(history[:-1]))]
    assert result.chunks == [(user, names(line)[-3:]) for user, line in WORKED if user != held]
    assert division.report.counts["users are held out"] == 1
    drawn = [divided(ColdUsers(0.25, seed), WORKED, ITEMS, FRAME)[0].test[0].user for seed in range(9)]
    assert len(set(drawn)) > 1


def test_cold_items_worked_example() -> None:
    protocol = ColdItems(share=0.4, by="time")  # first taken: a b c d e f g; held out: e for validation, f g
    assert round(0.4 * 7) == 3
    result, division = divided(protocol, WORKED, ITEMS, FRAME)
    assert result.others == set("efg")
    assert result.chunks == [
        ("A", ("c", "d", "a")),
        ("B", ("b", "c", "b")),
        ("C", ("c", "a", "b")),
        ("D", ("c", "b", "d")),
    ]
    assert result.val == [Row("A", ("c", "d"), "e", frozenset("abcd"))]
    assert result.test == [Row("B", ("c", "b"), "g", frozenset("bcf"))]
    assert result.leak == (1, 0)
    assert division.n_drawn == 5


@pytest.mark.parametrize("windowing", ["last", "chunks"])
@pytest.mark.parametrize("target", ["last", "first", "all"])
@pytest.mark.parametrize("seed", range(4))
def test_global_time_equals_plain_loops(seed: int, target: Target, windowing: Windowing) -> None:
    lines, items = random_lines(seed)
    protocol, frame = GlobalTime(0.6, 0.2, target=target), Frame(3, 4, windowing)
    result, _ = divided(protocol, lines, items, frame)
    assert result == plain_global_time(lines, protocol, frame)


@pytest.mark.parametrize("windowing", ["last", "chunks"])
@pytest.mark.parametrize("seed", range(4))
def test_cold_users_equal_plain_loops(seed: int, windowing: Windowing) -> None:
    lines, items = random_lines(seed)
    frame = Frame(3, 5, windowing)
    result, _ = divided(ColdUsers(0.3, seed), lines, items, frame)
    held = {row.user for row in result.test}
    assert len(held) == round(0.3 * len(result.users))
    assert result == plain_cold_users(lines, held, frame)


@pytest.mark.parametrize("windowing", ["last", "chunks"])
@pytest.mark.parametrize("by", ["random", "time"])
@pytest.mark.parametrize("seed", range(4))
def test_cold_items_equal_plain_loops(seed: int, by: str, windowing: Windowing) -> None:
    lines, items = random_lines(seed)
    frame, protocol = Frame(3, 4, windowing), ColdItems(0.4, by, seed)  # type: ignore[arg-type]
    kinds = protocol.kinds(Histories.of(tables_of(lines, items), frame.min_len))
    val, test = ({items[row] for row in np.flatnonzero(kinds == kind)} for kind in (VALIDATED, TESTED))
    users = histories(lines, frame.min_len)
    taken = [event for history in users.values() for event in history]
    assert len(val | test) == round(0.4 * len({item for item, _ in taken}))
    assert len(test) - len(val) in (0, 1)
    if by == "time":
        first = {item: min(time for other, time in taken if other == item) for item, _ in taken}
        warm = {item for item in first if item not in val | test}
        assert max(first[item] for item in warm) <= min(first[item] for item in val)
        assert max(first[item] for item in val) <= min(first[item] for item in test)
    result, division = divided(protocol, lines, items, frame)
    assert result == plain_cold_items(lines, val, test, frame)
    predicted = division.places["predict"]
    for user, stop, place in zip(*(part.tolist() for part in predicted), strict=True):
        assert place == division.windows.offsets[user + 1]
        name = result.users[user - 1]
        numbers = division.windows.items[division.windows.offsets[user] : stop].tolist()
        assert len(numbers) == sum(item not in val | test for item, _ in users[name])


@pytest.mark.parametrize(
    ("length", "train", "val", "test"),
    [(13, (0, 11), (1, 11), (2, 12)), (5, (0, 3), (0, 3), (0, 4)), (20, (7, 18), (8, 18), (9, 19))],
)
def test_microlens_worked_windows(
    length: int, train: tuple[int, int], val: tuple[int, int], test: tuple[int, int]
) -> None:
    """Section 2.1 of its description, L = 10: places in the last 13, and of a longer history its own."""
    items = [f"v{place}" for place in range(length)]
    line: Line = ("u", [(item, place) for place, item in enumerate(items)])
    frame = Frame(10, 5, "last")
    result, _ = divided(LeaveTwoOut(), [line], items, frame)
    assert result.chunks == [("u", tuple(items[slice(*train)]))]
    first = max(0, length - 13)
    assert result.val == [Row("u", tuple(items[slice(*val)]), items[-2], frozenset(items[first:-2]))]
    assert result.test == [Row("u", tuple(items[slice(*test)]), items[-1], frozenset(items[first:-1]))]


def test_pmmrec_worked_windows() -> None:
    """Section 2.6 of its description: 23 kept, 20 inputs; here the oldest of a full window is hidden too."""
    items = [f"v{place}" for place in range(30)]
    line: Line = ("u", [(item, 0) for item in items])
    result, _ = divided(LeaveTwoOut(), [line], items, Frame(20, 4, "last"))
    assert result.chunks == [("u", tuple(items[7:28]))]
    assert result.val == [Row("u", tuple(items[8:28]), "v28", frozenset(items[7:28]))]
    assert result.test == [Row("u", tuple(items[9:29]), "v29", frozenset(items[7:29]))]


@pytest.mark.parametrize("windowing", ["last", "chunks"])
@pytest.mark.parametrize("seed", range(3))
def test_leave_two_out_is_what_it_was(seed: int, windowing: Windowing) -> None:
    lines, items = random_lines(seed)
    tables, frame = tables_of(lines, items), Frame(3, 4, windowing)
    division, split = LeaveTwoOut().divide(tables, frame), leave_two_out(tables, *frame)
    assert division.windows.trains is None
    assert division.places == {}
    assert division.n_drawn == len(split.kept_items) + 1
    for part in ("offsets", "items"):
        mine, theirs = getattr(division.windows, part), getattr(split.windows, part)
        assert mine.dtype == theirs.dtype
        assert mine.tobytes() == theirs.tobytes()
    assert division.report.counts == split.report.counts
    users = histories(lines, 4)
    train = {user: history[-6:-2] if windowing == "last" else history[:-2] for user, history in users.items()}
    events = [event for history in train.values() for event in history]
    targets = [history[-1] for history in users.values()]
    older = sum(time < max(other for _, other in events) for _, time in targets)
    same = sum(any(item == other and time < later for other, later in events) for item, time in targets)
    assert found(division, tables, frame).leak == (older, same)


def test_without_times() -> None:
    tables = tables_of(WORKED, ITEMS, times=False)
    in_time: tuple[Protocol, ...] = (GlobalTime(), ColdItems(by="time"))
    for protocol in in_time:
        with pytest.raises(ValueError, match="a file that has none"):
            protocol.divide(tables, FRAME)
    others: tuple[Protocol, ...] = (ColdItems(0.4), ColdUsers(0.3), LeaveTwoOut())
    for protocol in others:
        (note,) = protocol.divide(tables, FRAME).report.notes
        assert "could not be checked" in note


def test_users_that_no_line_is_long_enough_for() -> None:
    for protocol in (GlobalTime(), ColdItems(), ColdUsers()):
        with pytest.raises(EmptyDataError, match=r"--data\.min_len"):
            protocol.divide(tables_of(WORKED, ITEMS), Frame(2, 9, "last"))


def test_one_time_for_everything_cannot_be_divided() -> None:
    same: list[Line] = [(user, [(item, 5) for item, _ in line]) for user, line in WORKED]
    with pytest.raises(EmptyDataError, match="too many interactions have one time"):
        GlobalTime().divide(tables_of(same, ITEMS), FRAME)


def test_periods_without_anything_in_them() -> None:
    for moments, lacking in (((0, 20), "two interactions to train on"), ((10, 99), "test targets")):
        with pytest.raises(EmptyDataError, match=lacking) as caught:
            GlobalTime(valid_from=moments[0], test_from=moments[1]).divide(tables_of(WORKED, ITEMS), FRAME)
        assert "--data.protocol" in str(caught.value)


def test_values_out_of_their_range() -> None:
    for make, values, expected in (
        (GlobalTime, {"train_share": 0.0}, "0 < train_share < 1, found 0.0"),
        (GlobalTime, {"train_share": 0.9, "valid_share": 0.1}, r"train_share \+ valid_share < 1"),
        (GlobalTime, {"valid_from": 3}, "valid_from and test_from together"),
        (GlobalTime, {"valid_from": 3, "test_from": 3}, "valid_from < test_from"),
        (GlobalTime, {"target": "middle"}, "one of last, first, all, found 'middle'"),
        (ColdItems, {"share": 1.0}, "0 < share < 1"),
        (ColdItems, {"by": "size"}, "one of random, time"),
        (ColdUsers, {"seed": -1}, "seed >= 0"),
    ):
        with pytest.raises(ValueError, match=expected):
            make(**values)


def test_masks_of_ranges() -> None:
    assert marked(np.array([0, 2, 2, 4]), np.array([1, 2, 3, 4]), 5).tolist() == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert marked(np.zeros(0, np.int64), np.zeros(0, np.int64), 2).tolist() == [False, False]

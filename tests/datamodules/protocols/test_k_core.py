"""The filter against plain loops, to its fixed point."""

import numpy as np
import pytest

from datamodules.errors import EmptyDataError
from datamodules.protocols import KCore
from tests.datamodules.protocols.plain import Line, names, random_lines, tables_of

CHAIN: list[Line] = [
    ("A", [("a", 1), ("b", 2), ("c", 3)]),
    ("B", [("a", 1), ("b", 2)]),
    ("C", [("c", 5), ("d", 6)]),
    ("D", [("a", 7), ("a", 8)]),
]


def read(kept: KCore, lines: list[Line], items: list[str]) -> tuple[dict[str, list[tuple[str, int]]], int]:
    """What stays by user, and the passes."""
    tables = kept.apply(tables_of(lines, items))
    assert tables.times_of is not None
    assert tables.items["item"].to_list() == items
    names_E = tables.items["item"].gather(tables.items_of).to_list()
    events = list(zip(names_E, tables.times_of.tolist(), strict=True))
    bounds = tables.offsets.tolist()
    (passes,) = (number for what, number in tables.report.counts.items() if what.startswith("passes"))
    return {
        user: events[bounds[place] : bounds[place + 1]] for place, user in enumerate(tables.users.to_list())
    }, passes


def plain_core(lines: list[Line], users: int, items: int) -> dict[str, list[tuple[str, int]]]:
    kept: dict[str, list[tuple[str, int]]] = {}
    for user, history in lines:
        if len(history) >= users:
            kept.pop(user, None)
            kept[user] = history
    while True:
        taken = [item for history in kept.values() for item in names(history)]
        after = {
            user: [event for event in history if taken.count(event[0]) >= items]
            for user, history in kept.items()
        }
        after = {user: history for user, history in after.items() if len(history) >= users}
        if after == kept:
            return kept
        kept = after


def test_worked_example() -> None:
    # d has one interaction; without it C has one; without C, c has one; then A and B, a and b stay, and D.
    kept, passes = read(KCore(2, 2), CHAIN, list("abcd"))
    assert kept == {"A": [("a", 1), ("b", 2)], "B": [("a", 1), ("b", 2)], "D": [("a", 7), ("a", 8)]}
    assert passes == 3


@pytest.mark.parametrize(("users", "items"), [(2, 2), (4, 3), (1, 6), (5, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_plain_loops(seed: int, users: int, items: int) -> None:
    lines, known = random_lines(seed)
    kept, _ = read(KCore(users, items), lines, known)
    assert kept == plain_core(lines, users, items)


def test_nothing_left_and_values_out_of_range() -> None:
    with pytest.raises(EmptyDataError, match=r"--data\.filter\.users"):
        KCore(9, 9).apply(tables_of(CHAIN, list("abcd")))
    with pytest.raises(ValueError, match="users >= 1 and items >= 1, found 0 and 5"):
        KCore(users=0)


def test_a_filter_changes_no_table_it_is_given() -> None:
    tables = tables_of(CHAIN, list("abcd"))
    before = (tables.items_of.copy(), dict(tables.report.counts))
    KCore(2, 2).apply(tables)
    assert np.array_equal(tables.items_of, before[0])
    assert tables.report.counts == before[1]

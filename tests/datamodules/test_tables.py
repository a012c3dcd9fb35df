import polars as pl
import pytest

from datamodules.errors import BadTableError
from datamodules.tables import Report, Tables, complete_items, tables_from_events, tables_from_lines

ITEMS = pl.DataFrame({"item": ["007", "7", "v1", "v2"]})


def histories(tables: Tables) -> dict[str, list[str]]:
    names = tables.items["item"].to_list()
    starts, stops = tables.offsets[:-1].tolist(), tables.offsets[1:].tolist()
    return {
        user: [names[row] for row in tables.items_of[start:stop]]
        for user, start, stop in zip(tables.users, starts, stops, strict=True)
    }


def times(tables: Tables) -> list[int]:
    assert tables.times_of is not None
    return [int(time) for time in tables.times_of]


def events(*rows: tuple[str | None, str | None, str | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(("user", "item", "time"), pl.String), orient="row")


def test_events_are_sorted_by_time_and_ties_keep_the_order_of_the_file() -> None:
    rows = events(
        ("b", "v1", "5"),
        ("a", "v2", "9"),
        ("a", "007", "3"),
        ("b", "7", "5"),
        ("a", "v1", "3"),
        ("b", "v2", "-1"),
    )
    tables = tables_from_events(rows, ITEMS, Report())
    assert histories(tables) == {"b": ["v2", "v1", "7"], "a": ["007", "v1", "v2"]}
    assert times(tables) == [-1, 5, 5, 3, 3, 9]


def test_times_too_far_apart_for_one_key() -> None:
    rows = events(("a", "v1", str(2**62)), ("a", "v2", str(-(2**61))), ("b", "7", "0"), ("b", "v1", "-1"))
    tables = tables_from_events(rows, ITEMS, Report())
    assert histories(tables) == {"a": ["v2", "v1"], "b": ["v1", "7"]}
    assert times(tables) == [-(2**61), 2**62, -1, 0]


def test_fractional_times_sort_by_value() -> None:
    rows = events(("a", "v1", "10.5"), ("a", "v2", "10.25"), ("a", "7", "9"))
    assert histories(tables_from_events(rows, ITEMS, Report())) == {"a": ["7", "v2", "v1"]}


def test_ids_are_names() -> None:
    rows = events(("01", "007", "1"), ("1", "7", "2"))
    assert histories(tables_from_events(rows, ITEMS, Report())) == {"01": ["007"], "1": ["7"]}


def test_spaces_around_names_do_not_count() -> None:
    rows = events((" a", "v1 ", " 2 "), ("a ", " v2", "1"))
    assert histories(tables_from_events(rows, ITEMS, Report())) == {"a": ["v2", "v1"]}


def test_bad_events_are_dropped_and_counted() -> None:
    rows = events(
        ("a", "v1", "1"),
        ("a", "nobody", "2"),
        ("a", "v2", "soon"),
        (None, "v1", "3"),
        (" ", "v2", "3"),
        ("a", None, "4"),
        ("a", "7", "5"),
    )
    tables = tables_from_events(rows, ITEMS, Report())
    assert histories(tables) == {"a": ["v1", "7"]}
    assert tables.report.counts == {
        "interactions read": 7,
        "interactions with an item that the item table lacks were dropped": 2,
        "interactions without a readable time were dropped": 1,
        "interactions without a user were dropped": 2,
        "users read": 1,
    }


def test_mostly_unknown_items_are_an_error() -> None:
    rows = events(("a", "x1", "1"), ("a", "x2", "2"), ("a", "v1", "3"))
    with pytest.raises(BadTableError, match=r"found 2 of 3 with others, such as 'x1', 'x2'"):
        tables_from_events(rows, ITEMS, Report())


def test_lines() -> None:
    lines = pl.DataFrame({"user": ["a", " b ", "", "c"], "items": ["v1 v2", " 007  7 x ", "v1", None]})
    tables = tables_from_lines(lines, ITEMS, Report())
    assert histories(tables) == {"a": ["v1", "v2"], "b": ["007", "7"]}
    assert tables.report.counts["lines without a user or without a tab were dropped"] == 2


def test_repeated_and_nameless_items() -> None:
    names, titles = ["v1", "v1 ", "", None, "v2"], ["first", "second", "", "", "other"]
    items = pl.DataFrame({"item": names, "title": titles})
    tables = tables_from_events(events(("a", "v1", "1")), items, Report())
    assert tables.items["item"].to_list() == ["v1", "v2"]
    assert tables.items["title"].to_list() == ["first", "other"]
    assert tables.report.counts["rows of the item table repeated an id and were dropped"] == 1
    assert tables.report.counts["rows of the item table without an id were dropped"] == 2


def test_times_in_several_units_are_brought_to_one() -> None:
    rows = events(
        ("a", "v1", "1600000000"),
        ("a", "v2", "1500000000000"),
        ("a", "7", "1700000000000000"),
        ("a", "007", "-5"),
    )
    tables = tables_from_events(rows, ITEMS, Report())
    assert histories(tables) == {"a": ["007", "v2", "v1", "7"]}
    (note,) = tables.report.notes
    assert "1 in seconds, 1 in milliseconds, 1 in microseconds" in note
    assert tables.report.counts["interactions have a time before 1970 and come first"] == 1


def test_repeated_interactions_are_counted_and_dropped_where_asked() -> None:
    rows = events(
        ("a", "v1", "5"),
        ("a", "v2", "5"),
        ("a", "v1", "5"),
        ("a", "v1", "6"),
        ("b", "v1", "5"),
        ("a", "v1", "5"),
    )
    kept = tables_from_events(rows, ITEMS, Report())
    assert histories(kept)["a"] == ["v1", "v2", "v1", "v1", "v1"]
    said = "interactions repeat another of the same user, item and time: were kept"
    assert kept.report.counts[said] == 2
    dropped = tables_from_events(rows, ITEMS, Report(), drop_repeats=True)
    assert histories(dropped) == {"a": ["v1", "v2", "v1"], "b": ["v1"]}
    far = events(("a", "v1", str(2**62)), ("a", "v1", str(2**62)), ("b", "v1", str(-(2**61))))
    assert len(tables_from_events(far, ITEMS, Report(), drop_repeats=True).items_of) == 2


def test_an_id_that_a_program_took_for_a_number() -> None:
    items = pl.DataFrame({"item": ["007", "12", "012", "v1"]})
    rows = events(("a", "7", "1"), ("a", "7.0", "2"), ("a", "12", "3"), ("a", "12.0", "4"), ("a", "v1", "5"))
    tables = tables_from_events(rows, items, Report())
    assert histories(tables) == {"a": ["007", "007", "12", "v1"]}
    assert tables.report.counts["interactions with an item that the item table lacks were dropped"] == 1
    said = "interactions write an item's number otherwise (7 or 7.0 for 007): taken as it"
    assert tables.report.counts[said] == 2


def test_items_that_only_interactions_have() -> None:
    items = pl.DataFrame({"item": ["007", "v1"], "title": ["seven", "one"]})
    report = Report()
    names = pl.Series(["v1", "7", "v9 ", "v1", None, " ", "v9"])
    complete = complete_items(items, names, report)
    assert complete.rows() == [("007", "seven"), ("v1", "one"), ("v9", None)]
    assert report.counts == {"items are in interactions only: the item table tells nothing of them": 1}
    with pytest.raises(BadTableError, match=r"found 2 of 3 items with others, such as 'x', 'y'"):
        complete_items(items, pl.Series(["x", "y", "v1"]), Report())

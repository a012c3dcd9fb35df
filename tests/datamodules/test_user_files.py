"""Histories of one's own: formats, order, what is left out."""

from pathlib import Path

import polars as pl
import pytest

from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.user_files import read_users

ROWS = [("b", "y", 3), ("a", "x", 5), ("b", "x", 1), ("a", "z", 2), ("b", "y", 2)]
EXPECTED = [("b", "x"), ("b", "y"), ("b", "y"), ("a", "z"), ("a", "x")]
TABLE = pl.DataFrame(ROWS, schema=["user", "item", "time"], orient="row")


@pytest.mark.parametrize("name", ["u.csv", "u.tsv", "u.parquet", "u.jsonl"])
def test_users_in_the_order_of_the_file_and_items_in_the_order_of_time(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith("sv"):
        TABLE.write_csv(path, separator="," if name == "u.csv" else "\t")
    elif name == "u.parquet":
        TABLE.write_parquet(path)
    else:
        TABLE.write_ndjson(path)
    assert read_users(path)[0].rows() == EXPECTED


def test_lists_dates_and_numbers_as_names(tmp_path: Path) -> None:
    (tmp_path / "u.jsonl").write_text('{"user": 7, "items": [12, 3]}\n{"user": 8, "items": []}\n')
    assert read_users(tmp_path / "u.jsonl")[0].rows() == [("7", "12"), ("7", "3")]
    (tmp_path / "d.csv").write_text("User ID,Product,Date\nu,late,2024-03-01\nu,early,2023-12-31\n")
    assert read_users(tmp_path / "d.csv")[0].rows() == [("u", "early"), ("u", "late")]
    (tmp_path / "n.csv").write_text("user\nb\na\nb\n")
    assert read_users(tmp_path / "n.csv")[0].rows() == [("b",), ("a",)]


def test_numbers_with_a_point_and_lists_of_a_fixed_size_are_names(tmp_path: Path) -> None:
    path = tmp_path / "u.parquet"
    pl.DataFrame({"user": [7.0, 8.0, None], "item": [12.0, float("nan"), 3.0]}).write_parquet(path)
    assert read_users(path)[0].rows() == [("7", "12")]
    pl.DataFrame({"user": [1.5]}).write_parquet(path)
    assert read_users(path)[0].rows() == [("1.5",)]
    pairs = pl.Series("items", [[12, 3], [4, 5]], dtype=pl.Array(pl.Int32, 2))
    times = pl.Series("time", [[2, 1], [1, 2]])
    pl.DataFrame([pl.Series("user", [7, 8]), pairs, times]).write_parquet(path)
    assert read_users(path)[0].rows() == [("7", "3"), ("7", "12"), ("8", "4"), ("8", "5")]


def test_columns_that_are_no_names_are_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "u.parquet"
    pl.DataFrame({"user": ["a"], "item": [{"x": 1}], "time": [[1, 2]]}).write_parquet(path)
    with pytest.raises(BadTableError, match=r"u\.parquet"):
        read_users(path)
    pl.DataFrame({"user": [b"\xff\xfe"]}).write_parquet(path)
    with pytest.raises(BadTableError, match=r"u\.parquet"):
        read_users(path)


def test_a_file_without_items_says_what_its_users_are_taken_for(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("user,items_seen\na,x y z\n")
    _, report = read_users(tmp_path / "u.csv")
    assert "found user, items_seen): its users are taken for those of the data set" in report.lines()[-1]


def test_lines_without_a_user_or_an_item_are_counted(tmp_path: Path) -> None:
    pl.DataFrame({"user": ["a", None, "", "a"], "item": ["x", "y", "y", None]}).write_parquet(
        tmp_path / "u.parquet"
    )
    table, report = read_users(tmp_path / "u.parquet")
    assert table.rows() == [("a", "x")]
    text = "\n".join(report.lines())
    assert "2 lines name no user" in text
    assert "1 lines name no item" in text


def test_what_is_no_file_of_users(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="a file of users"):
        read_users(tmp_path / "none.csv")
    (tmp_path / "odd.csv").write_text("name,value\na,1\n")
    with pytest.raises(BadTableError, match="columns user"):
        read_users(tmp_path / "odd.csv")
    (tmp_path / "odd.jsonl").write_text("[1, 2]\n")
    with pytest.raises(BadTableError, match=r"odd\.jsonl"):
        read_users(tmp_path / "odd.jsonl")
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "odd.parquet")
    with pytest.raises(BadTableError, match="a column user"):
        read_users(tmp_path / "odd.parquet")
    (tmp_path / "times.csv").write_text("user,item,time\na,x,soon\na,y,later\n")
    with pytest.raises(BadTableError, match="numbers or dates"):
        read_users(tmp_path / "times.csv")

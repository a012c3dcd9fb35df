"""Files of interactions with every kind of bad line: what is read equals what was written, or is counted."""

from pathlib import Path

import pytest

from datamodules.errors import BadTableError
from datamodules.headed_files import find_columns, read_columns, simplified, sniff
from datamodules.tables import Report

WANTED = {"user": ("user_id", "userID"), "item": ("item_id", "item"), "time": ("timestamp",)}
HEADER = "item_id,user_id,timestamp\n"
ROWS = [("u1", "i1", "5"), ("u2", "i2", "6")]


def read(path: Path, text: str | bytes) -> tuple[list[tuple[str, ...]], dict[str, int]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    layout, report = sniff(path), Report()
    table = read_columns(path, layout, find_columns(path, layout, WANTED), report)
    return [tuple(map(str, row)) for row in table.rows()], report.counts


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "i1,u1,5\ni2,u2,6\n",
        HEADER + "i1,u1,5\r\ni2,u2,6",
        "\ufeff" + HEADER + "i1,u1,5\ni2,u2,6\n",
        "\n\n" + HEADER + "i1,u1,5\n\n  \ni2,u2,6\n\n",
        "timestamp\tuserID\titem\n5\tu1\ti1\n6\tu2\ti2\n",
        "userID;item;timestamp;rating\nu1;i1;5;3\nu2;i2;6;\n",
        '"item_id","user_id","timestamp"\n"i1","u1","5"\n"i2","u2","6"\n',
        "Item ID|User Id|Timestamp\ni1|u1|5\ni2|u2|6\n",
    ],
)
def test_the_same_lines_however_they_are_written(tmp_path: Path, text: str) -> None:
    rows, counts = read(tmp_path / "a.csv", text)
    assert rows == ROWS
    assert counts == {}


@pytest.mark.parametrize(
    ("lines", "rows", "counts"),
    [
        ("i1,u1,5\ni3,u3\ni2,u2,6\n", ROWS, {"lines had too few columns and were dropped": 1}),
        ("i1,u1,5\ni2;u2;6\n", ROWS, {"lines had another separator and were read all the same": 1}),
        (
            "i1,u1,5\ni2,u2,6,7,8\n",
            ROWS,
            {"lines had more columns than the first: what is beyond was left out": 1},
        ),
        ('i1,u1,5\n"i2,u2,6\n', ROWS, {}),
        ('i1,"u1",5\n"i2",u2,"6\n', ROWS, {}),
        (f"i1,u1,5\n{HEADER}i2,u2,6\n{HEADER}", ROWS, {"lines repeated the header and were dropped": 2}),
        ('i1,"u,1",5\n"i2,u2,6\n', [("u,1", "i1", "5"), ROWS[1]], {}),
        ("i1,u1,5\ni2,u2,soon\n", [ROWS[0], ("u2", "i2", "soon")], {}),
    ],
)
def test_a_bad_line_costs_no_other(
    tmp_path: Path, lines: str, rows: list[tuple[str, ...]], counts: dict[str, int]
) -> None:
    assert read(tmp_path / "a.csv", HEADER + lines) == (rows, counts)


def test_an_open_quote_does_not_swallow_the_file(tmp_path: Path) -> None:
    lines = [f"i{row},u{row},{row}\n" for row in range(1000)]
    lines[3] = f'"{lines[3]}'
    lines[700] = lines[700].replace("\n", '"\n')
    rows, _ = read(tmp_path / "a.csv", HEADER + "".join(lines))
    assert rows == [(f"u{row}", f"i{row}", str(row)) for row in range(1000)]


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        BadTableError, match=r"Expected the columns timestamp .* found 'item_id', 'user_id', 'when'"
    ):
        read(tmp_path / "a.csv", "item_id,user_id,when\ni1,u1,5\n")
    with pytest.raises(BadTableError, match="found none"):
        read(tmp_path / "a.csv", HEADER)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"\n \n", "empty file"),
        (HEADER.encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04 a workbook", "an archive"),
        (b"a\0b", "no text"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(BadTableError, match=message):
        read(tmp_path / "a.csv", content)


def test_names_are_compared_without_case_and_marks() -> None:
    assert simplified("User ID") == simplified("userId") == simplified("user_id") == "userid"

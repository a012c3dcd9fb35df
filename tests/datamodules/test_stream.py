"""What is streamed equals what is read into memory, to the bit and to the word, on files of strangers."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datamodules import array_files, event_sources, events, spill
from datamodules.cache import make_folder
from datamodules.errors import BadTableError, DiskFullError
from datamodules.event_sources import EventSource, ParquetEvents, TextEvents
from datamodules.events import MemoryEvents, read_events, read_lines
from datamodules.headed_files import find_columns, sniff
from datamodules.stream import StreamedEvents
from datamodules.tables import Report, Tables, complete_items

WANTED = {"user": ("user_id",), "item": ("item_id",), "time": ("timestamp",)}
KNOWN = pl.DataFrame(
    {"item": ["007", "12", "012", "v1", "v2", "v3", " v4 ", "v1", ""], "title": list("abcdefghi")}
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything large is small: some lines a piece, some users a file, some interactions a division."""
    monkeypatch.setattr(event_sources, "PIECE", 300)
    monkeypatch.setattr(event_sources, "ROWS", 40)
    monkeypatch.setattr(spill, "USERS", 4)
    monkeypatch.setattr(spill, "ROWS", 16)
    monkeypatch.setattr(array_files, "BLOCK", 30)
    monkeypatch.setattr(events, "STREAM_FROM", 0)


def text_source(path: Path) -> TextEvents:
    layout = sniff(path)
    return TextEvents(path, layout, find_columns(path, layout, WANTED, ("time",)))


def tables_of(
    source: EventSource, folder: Path | None, drop: bool = False, dates: bool = False, complete: bool = True
) -> Tables:
    report = Report()
    read = read_events(source, report, folder, dates)
    assert isinstance(read, MemoryEvents if folder is None else StreamedEvents)
    report.notes.append(f"dates: {read.first_date}")
    items = complete_items(KNOWN, read.item_names(), report) if complete else KNOWN
    return read.tables(items, report, drop)


def assert_same(streamed: Tables, memory: Tables) -> None:
    assert list(streamed.report.counts.items()) == list(memory.report.counts.items())
    assert streamed.report.notes == memory.report.notes
    assert streamed.users.to_list() == memory.users.to_list()
    assert streamed.items.equals(memory.items)
    assert streamed.times_of is not None
    assert memory.times_of is not None
    for one, other in (
        (streamed.offsets, memory.offsets),
        (streamed.items_of, memory.items_of),
        (streamed.times_of, memory.times_of),
    ):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def compare(source: EventSource, folder: Path, drop: bool = False, dates: bool = False) -> Tables:
    """Reads in both ways; answers the tables, or raises what both raise."""
    (folder / "work").mkdir(parents=True)
    memory, wrong = None, ""
    for complete in (False, True):
        memory, wrong = tried(source, None, drop, dates, complete)
        streamed, also_wrong = tried(source, folder / "work", drop, dates, complete)
        assert wrong == also_wrong
        if memory is not None:
            assert streamed is not None
            assert_same(streamed, memory)
            assert isinstance(streamed.items_of, np.memmap)
            assert not (folder / "work" / "spill").exists()
        shutil.rmtree(folder / "work")
        (folder / "work").mkdir()
    if memory is None:
        raise BadTableError(wrong)
    return memory


def tried(
    source: EventSource, folder: Path | None, drop: bool, dates: bool, complete: bool
) -> tuple[Tables | None, str]:
    try:
        return tables_of(source, folder, drop, dates, complete), ""
    except BadTableError as error:
        return None, str(error)


USERS = ["1", "2", "3", "40", "500", "007", "7", "7.0", " 7", "anna", "anna ", "", " ", "émile", '"q"', "1e5"]
ITEMS = [
    "007",
    "7",
    "7.0",
    "12",
    "012",
    "12.0",
    "v1",
    "v2",
    " v2",
    "v3 ",
    "v4",
    "x9",
    "x9 ",
    '"v1"',
    "",
    "0012",
]
TIMES = {
    "whole": ["5", "6", "7", "1600000000", "-3", "0"],
    "units": ["1600000000", "1500000000000", "1700000000000000", "-5", "99", "300000000000000000"],
    "fractions": ["5.5", "5.25", "6", "-1.5", "inf", "1e400"],
    "odd": ["5", "soon", "", " 6", "6 ", "9" * 30, "nan", "+4"],
    "dates": ["2020-01-02", "2020-01-02T03:04:05Z", "2021/02/03", "03.04.2020", "5", "soon"],
}
LINES = [
    "only",
    "a,b",
    "v1;anna;5;x",
    "v1\tanna\t6\tx",
    'v1,"an,na",7,x',
    'v1,"open,7,x',
    "v1,anna,8,x,y,z",
    "item_id,user_id,timestamp,more",
    "",
    "   ",
    'v2,"anna\n",7,x',
]


def a_file(rng: np.random.Generator, path: Path, kind: str, hostile: bool) -> None:
    """Random interactions; the clean ones have plain ids and are read the quick way."""
    n = int(rng.integers(1, 260))
    users = USERS if hostile else [str(k) for k in range(int(rng.integers(1, 30)))]
    items = ITEMS if hostile else [str(k) for k in range(12)] + ["v1", "v2", "v3", "v4", "007"]
    times = TIMES[kind]
    lines = [
        f"{items[i]},{users[u]},{times[t]},x"
        for i, u, t in zip(
            rng.integers(0, len(items), n),
            rng.integers(0, len(users), n),
            rng.integers(0, len(times), n),
            strict=True,
        )
    ]
    if hostile:
        for place in rng.integers(0, n, int(rng.integers(0, 8))):
            lines[place] = LINES[int(rng.integers(0, len(LINES)))]
    end = ["\n", "\r\n"][int(rng.integers(0, 2))]
    text = end.join(["item_id,user_id,timestamp,more", *lines]) + ["", end][int(rng.integers(0, 2))]
    path.write_bytes(["", "\ufeff", "\n\n"][int(rng.choice(3, p=[0.8, 0.1, 0.1]))].encode() + text.encode())


@pytest.mark.parametrize("kind", TIMES)
@pytest.mark.parametrize("hostile", [False, True])
def test_streamed_equals_in_memory_on_any_file(kind: str, hostile: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng([len(kind), hostile])
    for trial in range(10):
        path = tmp_path / f"{trial}.csv"
        a_file(rng, path, kind, hostile)
        try:
            compare(text_source(path), tmp_path / str(trial), bool(trial % 2), bool(trial % 3))
        except BadTableError:
            continue


def test_an_odd_line_at_the_end_of_a_clean_file_begins_again(tmp_path: Path) -> None:
    rows = "".join(f"v{k % 4 + 1},{k % 11},{k}\n" for k in range(400))
    (tmp_path / "a.csv").write_text("item_id,user_id,timestamp\n" + rows + "v1,3\nv2;3;9\n")
    tables = compare(text_source(tmp_path / "a.csv"), tmp_path / "a")
    assert tables.report.counts["lines had too few columns and were dropped"] == 1
    assert tables.report.counts["interactions read"] == 401


def test_times_that_turn_out_to_be_fractions_or_dates(tmp_path: Path) -> None:
    whole = "".join(f"v{k % 4 + 1},{k % 11},{k}\n" for k in range(700))
    dates = "".join(f"v{k % 4 + 1},{k % 11},2020-01-0{k % 9 + 1}\n" for k in range(900))
    for name, tail in (("fractions", whole + "v1,3,7.5\n"), ("dates", dates), ("few", "v1,3,2020-01-01\n")):
        (tmp_path / f"{name}.csv").write_text("item_id,user_id,timestamp\n" + whole + tail)
        tables = compare(text_source(tmp_path / f"{name}.csv"), tmp_path / name, dates=True)
        assert f"dates: {'0' if name == 'dates' else ''}" in tables.report.notes


def test_one_user_with_more_than_a_file_may_hold(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    users = np.where(rng.random(600) < 0.7, 5, rng.integers(0, 40, 600))
    rows = "".join(f"v{k % 4 + 1},{user},{k % 7}\n" for k, user in enumerate(users))
    (tmp_path / "a.csv").write_text("item_id,user_id,timestamp\n" + rows)
    tables = compare(text_source(tmp_path / "a.csv"), tmp_path / "a", drop=True)
    assert np.diff(tables.offsets).max() == 28


def test_without_times_the_order_counts(tmp_path: Path) -> None:
    rows = "".join(f"v{k % 4 + 1},{k % 11}\n" for k in range(300))
    (tmp_path / "a.csv").write_text("item_id,user_id\n" + rows)
    tables = compare(text_source(tmp_path / "a.csv"), tmp_path / "a")
    assert tables.times_of is not None
    assert tables.times_of[:3].tolist() == [0, 11, 22]


PARQUET: dict[str, dict[str, pl.Series]] = {
    "numbers": {
        "user": pl.Series(np.arange(200) * 7 % 30),
        "item": pl.Series([7, 12, 3] * 66 + [7, 12], dtype=pl.UInt64),
        "time": pl.Series(np.arange(200) * 3 % 17, dtype=pl.UInt32),
    },
    "strings": {
        "user": pl.Series([f"u{k * 7 % 30}" if k % 9 else None for k in range(200)]),
        "item": pl.Series([f"v{k % 5}" for k in range(200)]).cast(pl.Categorical),
        "time": pl.Series([f"{k % 17}.5" for k in range(200)]),
    },
    "negative": {
        "user": pl.Series(np.arange(200) * 7 % 30 - 4),
        "item": pl.Series([None if k % 50 == 3 else (7, 12, -4)[k % 3] for k in range(200)]),
        "time": pl.Series([None if k % 50 == 4 else k % 17 / 2 for k in range(200)]),
    },
    "dates": {
        "user": pl.Series(np.arange(200) * 7 % 30),
        "item": pl.Series(["v1", "v2", "v3", "007"] * 50),
        "time": pl.Series(np.arange(200) * 10**15 // 3).cast(pl.Datetime("us")),
    },
    "huge": {
        "user": pl.Series([2**63 + k % 4 for k in range(200)], dtype=pl.UInt64),
        "item": pl.Series(["v1", "v2", "v3", "007"] * 50),
        "time": pl.Series(np.arange(200)),
    },
}


@pytest.mark.parametrize("name", PARQUET)
@pytest.mark.parametrize("files", [1, 3])
def test_parquet_in_one_file_or_many(name: str, files: int, tmp_path: Path) -> None:
    table = pl.DataFrame(PARQUET[name]).rename({"time": "timestamp"})
    paths = [tmp_path / f"{k}.parquet" for k in range(files)]
    for k, path in enumerate(paths):
        table[200 * k // files : 200 * (k + 1) // files].write_parquet(path)
    source = ParquetEvents(paths, {"user": "user", "item": "item", "time": "timestamp"})
    compare(source, tmp_path / "a")


def test_damaged_parquet(tmp_path: Path) -> None:
    pl.DataFrame({"user": [1] * 500, "item": ["v1"] * 500, "time": range(500)}).write_parquet(
        tmp_path / "a.parquet"
    )
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "half.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.parquet").write_text("user,item,time\n1,v1,5\n")
    for name, columns in (("half", "time"), ("text", "time"), ("a", "when")):
        source = ParquetEvents(
            [tmp_path / f"{name}.parquet"], {"user": "user", "item": "item", "time": columns}
        )
        with pytest.raises(BadTableError, match="Parquet"):
            compare(source, tmp_path / name)


class Breaking:
    """A source whose disk is full, or whose process is killed, after some pieces."""

    def __init__(self, source: EventSource, error: BaseException) -> None:
        self.source, self.error = source, error
        self.n_bytes, self.n_rows = source.n_bytes, None

    def read(self, report: Report) -> pl.DataFrame:
        return self.source.read(report)

    def pieces(self, careful: bool, report: Report) -> Iterator[pl.DataFrame]:
        for number, piece in enumerate(self.source.pieces(careful, report)):
            if number == 5:
                raise self.error
            yield piece


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_and_an_interruption_leave_nothing(error: BaseException, tmp_path: Path) -> None:
    rows = "".join(f"v{k % 4 + 1},{k % 11},{k}\n" for k in range(400))
    (tmp_path / "a.csv").write_text("item_id,user_id,timestamp\n" + rows)
    source = text_source(tmp_path / "a.csv")
    expected = DiskFullError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        make_folder(tmp_path / "tables", 1, lambda part: tables_of(Breaking(source, error), part).save(part))
    assert not list(tmp_path.glob("tables*"))
    (tmp_path / "tables.part").mkdir()
    (tmp_path / "tables.part" / "spill").mkdir()  # what a killed process leaves
    (tmp_path / "tables.part" / "spill" / "users-0.bin").write_bytes(b"half")
    folder = make_folder(tmp_path / "tables", 1, lambda part: tables_of(source, part).save(part))
    assert_same(Tables.load(folder), tables_of(source, None))
    assert not (folder / "spill").exists()


def test_space_is_looked_for_before_anything_is_written(tmp_path: Path) -> None:
    class Huge(Breaking):
        def __init__(self, source: EventSource) -> None:
            super().__init__(source, KeyboardInterrupt())
            self.n_rows = 10**15  # type: ignore[assignment]

    (tmp_path / "a.csv").write_text("item_id,user_id,timestamp\nv1,3,4\n")
    with pytest.raises(DiskFullError):
        read_events(Huge(text_source(tmp_path / "a.csv")), Report(), tmp_path)
    assert not (tmp_path / "spill").exists()


LINE_PARTS = ["v1", "v2", " ", "007", "7", "7.0", "x9", "v3\t", "v4", "", "  "]


@pytest.mark.parametrize("trial", range(6))
def test_streamed_lines_equal_those_in_memory(trial: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(trial)
    lines = []
    for user in rng.integers(0, 60, 80):
        parts = [LINE_PARTS[part] for part in rng.integers(0, len(LINE_PARTS), int(rng.integers(0, 9)))]
        name = ["", " 7", "anna ", "007", str(user)][int(rng.choice(5, p=[0.05, 0.05, 0.05, 0.05, 0.8]))]
        lines.append(name + ["\t", " "][int(rng.random() < 0.05)] + " ".join(parts))
    if trial % 2:
        lines[3:3] = ["", "   ", "\ufeffnobody"]
    end = ["\n", "\r\n"][trial % 3 == 2]
    (tmp_path / "a.tsv").write_text(end.join(lines) + end * (trial % 2), newline="")
    tables = []
    for folder in (None, tmp_path):
        report = Report()
        read = read_lines(tmp_path / "a.tsv", folder)
        items = complete_items(KNOWN, read.item_names(), report)
        tables.append(read.tables(items, report))
    memory, streamed = tables
    assert isinstance(streamed.items_of, np.memmap)
    assert not isinstance(memory.items_of, np.memmap)
    assert list(streamed.report.counts.items()) == list(memory.report.counts.items())
    assert streamed.users.to_list() == memory.users.to_list()
    assert streamed.items.equals(memory.items)
    np.testing.assert_array_equal(streamed.offsets, memory.offsets)
    np.testing.assert_array_equal(streamed.items_of, memory.items_of)
    assert not (tmp_path / "codes.npy").exists()


def test_an_empty_file_of_lines(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("")
    for folder in (None, tmp_path):
        with pytest.raises(BadTableError, match="found an empty file"):
            read_lines(tmp_path / "a.tsv", folder)

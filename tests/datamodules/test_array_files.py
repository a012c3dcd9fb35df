import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from datamodules import array_files
from datamodules.array_files import collect, counts_of, file_of, map_array, runs, save_array, within
from datamodules.histories import TrainWindows
from datamodules.sampler import EpochRows
from datamodules.splits import Split, Windowing, Windows, leave_two_out
from datamodules.tables import Report, Tables, tables_from_events


def test_pieces_become_one_file_of_any_length(tmp_path: Path) -> None:
    for n in (0, 1, 12_345):
        whole = np.arange(n, dtype=np.int32)
        pieces = [whole[:1], whole[1:1], whole[1:700], whole[700:]]
        written = collect(iter(pieces), np.int32, tmp_path / "a.npy")
        np.testing.assert_array_equal(written, whole)
        assert isinstance(written, np.memmap)
        assert written.dtype == np.int32
        np.testing.assert_array_equal(collect(iter(pieces), np.int32), whole)


def test_only_a_whole_mapped_file_is_known_by_its_name(tmp_path: Path) -> None:
    array = collect([np.arange(10)], np.int64, tmp_path / "a.npy")
    assert file_of(array) == tmp_path / "a.npy"
    assert file_of(array[2:]) is file_of(array[[1, 2]]) is file_of(np.arange(3)) is file_of(None) is None
    before = (tmp_path / "a.npy").stat().st_mtime_ns
    save_array(tmp_path / "a.npy", array)
    assert (tmp_path / "a.npy").stat().st_mtime_ns == before
    save_array(tmp_path / "b.npy", array[2:])
    np.testing.assert_array_equal(map_array(tmp_path / "b.npy"), np.arange(2, 10))


@pytest.mark.parametrize("block", [1, 7, 10**6])
def test_ranges_and_counts_in_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_files, "BLOCK", block)
    rng = np.random.default_rng(block)
    edges = np.sort(rng.choice(500, 80, replace=False))
    array = rng.integers(0, 9, 500)
    starts, stops = edges[::2], edges[1::2]
    expected = np.concatenate([array[start:stop] for start, stop in zip(starts, stops, strict=True)])
    np.testing.assert_array_equal(np.concatenate(list(within(array, starts, stops))), expected)
    np.testing.assert_array_equal(counts_of(array, 11), np.bincount(array, minlength=11))
    lines = list(runs(np.concatenate([[0], edges])))
    assert [line for some in lines for line in range(some.start, some.stop)] == list(range(len(edges)))


def some_tables(n: int = 3000) -> Tables:
    rng = np.random.default_rng(0)
    columns = {
        "user": rng.zipf(1.3, n) % 200,
        "item": rng.integers(0, 90, n),
        "time": rng.integers(0, 500, n),
    }
    events = pl.DataFrame(columns).cast({"user": pl.String, "item": pl.String})
    items = pl.DataFrame({"item": [str(item) for item in range(95)]})
    return tables_from_events(events, items, Report())


def test_tables_come_back_mapped_and_with_their_times(tmp_path: Path) -> None:
    tables = some_tables()
    tables.save(tmp_path)
    loaded = Tables.load(tmp_path)
    for name in ("offsets", "items_of", "times_of"):
        array = getattr(loaded, name)
        assert isinstance(array, np.memmap)
        np.testing.assert_array_equal(array, getattr(tables, name))
        assert array.dtype == getattr(tables, name).dtype
    assert loaded.users.equals(tables.users)
    assert loaded.report == tables.report
    assert loaded.n_taken() == len(np.unique(tables.items_of))
    (timeless := tmp_path / "timeless").mkdir()
    tables._replace(times_of=None).save(timeless)
    assert Tables.load(timeless).times_of is None


def at_once(tables: Tables, max_len: int, min_len: int, windowing: Windowing) -> tuple[list[int], list[int]]:
    """Windows one user after the other, of distinct users."""
    windows: list[npt.NDArray[np.int32]] = []
    for start, stop in zip(tables.offsets[:-1], tables.offsets[1:], strict=True):
        if stop - start >= min_len:
            windows.append(tables.items_of[start:stop][-(max_len + 3) if windowing == "last" else 0 :])
    used = np.unique(np.concatenate(windows))
    items = np.searchsorted(used, np.concatenate(windows)) + 1
    return [0, 0, *np.cumsum([len(window) for window in windows]).tolist()], items.tolist()


@pytest.mark.parametrize("block", [1, 64, 10**6])
@pytest.mark.parametrize("windowing", ["last", "chunks"])
def test_windows_in_blocks_are_the_windows_at_once(
    block: int, windowing: Windowing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = some_tables()
    tables.save(tmp_path)
    monkeypatch.setattr(array_files, "BLOCK", block)
    mapped = Tables.load(tmp_path)
    (out := tmp_path / "out").mkdir()
    cuts: list[Callable[[], Split]] = [
        lambda: leave_two_out(tables, 6, 4, windowing),
        lambda: leave_two_out(mapped, 6, 4, windowing, out),
    ]
    offsets, items = at_once(tables, 6, 4, windowing)
    for cut in cuts:
        split = cut()
        assert split.windows.offsets.tolist() == offsets
        assert split.windows.items.tolist() == items
        counts = split.windows.train_counts(len(split.kept_items) + 1)
        assert counts.sum() == len(items) - 2 * split.windows.n_users + 2
    assert file_of(split.windows.items) == out / "items.npy"


def test_windows_travel_to_other_processes_as_names_of_files(tmp_path: Path) -> None:
    tables = some_tables(30_000)
    windows = leave_two_out(tables, 6, 4, "chunks", tmp_path).windows
    array_files.save_array(tmp_path / "offsets.npy", windows.offsets)
    windows = windows._replace(offsets=map_array(tmp_path / "offsets.npy"))
    packed = pickle.dumps(windows)
    assert len(packed) < 1000
    other = pickle.loads(packed)
    assert isinstance(other, Windows)
    assert all(isinstance(part, np.memmap) for part in (other.offsets, other.items))
    np.testing.assert_array_equal(other.items, windows.items)
    rows = TrainWindows(windows, 6, 90, users_R=np.arange(1, windows.n_users))
    assert rows.kept_R is None
    assert len(rows) > windows.n_users
    assert len(pickle.dumps(rows)) < 2000
    sent = pickle.loads(pickle.dumps(rows))
    assert isinstance(sent.windows.items, np.memmap)
    asked = EpochRows(0, np.arange(len(rows)))
    np.testing.assert_array_equal(sent.__getitems__(asked).items_BS, rows.__getitems__(asked).items_BS)
    in_memory = pickle.loads(pickle.dumps(Windows(np.zeros(2, np.int64), np.zeros(0, np.int32))))
    assert in_memory.n_users == 1

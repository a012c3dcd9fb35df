import errno
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datamodules.cache import disk_errors, make_folder, write_array, write_atomic
from datamodules.errors import DiskFullError
from tests.data_makers.killing import files_of, killed_at


def fill(folder: Path) -> None:
    for name in ("a", "b", "c"):
        write_atomic(folder / name, name.encode() * 1000)


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    moment = 0
    while True:
        folder = tmp_path / str(moment) / "tables-1"
        died = killed_at(moment, lambda folder=folder: make_folder(folder, 10, fill))  # type: ignore[misc]
        assert not folder.exists() or len(files_of(folder)) == 3
        make_folder(folder, 10, fill)
        assert set(files_of(folder)) == {"a", "b", "c"}
        assert {path.name for path in folder.parent.iterdir()} <= {"tables-1", ".tables-1.lock"}
        if not died:
            break
        moment += 1
    assert moment > 10


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        fill(folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskFullError, match="tables-1"):
        make_folder(tmp_path / "tables-1", 10, fail)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_too_little_space_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=5)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskFullError, match="free are 5 bytes"):
        make_folder(tmp_path / "tables-1", 10, fill)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disks_are_recognised_whoever_writes(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 2**60, 10_000)
    with pytest.raises(DiskFullError), disk_errors(tmp_path, lambda: 1):
        write_array(Path("/dev/full"), numbers)
    with pytest.raises(DiskFullError), disk_errors(tmp_path, lambda: 1):
        pl.DataFrame({"a": numbers}).write_parquet("/dev/full")


def test_arrays_are_read_back(tmp_path: Path) -> None:
    for array in (np.arange(6, dtype=np.int32).reshape(2, 3), np.zeros(0, dtype=np.int64)):
        write_array(tmp_path / "a.npy", array)
        assert (np.load(tmp_path / "a.npy", mmap_mode="r" if array.size else None) == array).all()

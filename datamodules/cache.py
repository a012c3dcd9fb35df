"""Files that are either whole or absent: keys, atomic writes, locks, and full disks."""

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from polars.exceptions import PolarsError

from datamodules.errors import DiskFullError

_PART = ".part"


def digest(parts: Iterable[object]) -> str:
    """A short key of the given values, told apart also where their texts would run together.

    Example:
        >>> digest(["ab", "c"]) == digest(["a", "bc"])
        False
    """
    hasher = hashlib.blake2b(digest_size=10)
    for part in parts:
        text = str(part).encode("utf-8", "surrogatepass")
        hasher.update(f"{len(text)}:".encode() + text)
    return hasher.hexdigest()


def file_stamp(path: Path) -> str:
    """Name, size and time of change: what tells that a raw file is another one."""
    stat = path.stat()
    return f"{path.name} {stat.st_size} {stat.st_mtime_ns}"


@contextmanager
def disk_errors(folder: Path, needed: Callable[[], int]) -> Iterator[None]:
    """Turns "no space left" of the block into the error that says where and how much.

    Args:
        folder: Being written to.
        needed: Asked for the bytes still to be written, only after a failure.

    Raises:
        DiskFullError: If the disk or the user's quota is full.
    """
    try:
        yield
    except (OSError, PolarsError) as error:
        if isinstance(error, DiskFullError) or not _means_full(error):
            raise
        raise DiskFullError(folder, needed(), shutil.disk_usage(folder.parent).free) from error


def _means_full(error: Exception) -> bool:
    codes = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError):
        return error.errno in codes
    # Polars gives the system's error number in its text only.
    return any(f"os error {code})" in str(error) for code in codes)


def check_space(folder: Path, needed: int) -> None:
    """Refuses work that the disk cannot hold before it begins.

    Raises:
        DiskFullError: If fewer than ``needed`` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFullError(folder, needed, free)


def write_atomic(path: Path, content: bytes) -> None:
    """Writes a file that readers see whole or not at all, also after a power cut; one writer at a time.

    What a killed writer leaves beside it has a fixed name, so that the next one takes it away.
    """
    temporary = path.with_name(path.name + _PART)
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Writes a ``.npy`` file; unlike ``np.save`` it says so in the usual way when the disk is full."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    with open(path, "wb") as file:
        file.write(header.getvalue())
        file.write(np.ascontiguousarray(array).data)


def write_json(path: Path, value: object) -> None:
    """Writes a value as JSON, atomically."""
    write_atomic(path, (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())


def make_cache(folder: Path) -> None:
    """Makes the folder of everything prepared.

    Raises:
        OSError: If it cannot be made; says which option names another.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"Expected a folder that can be written for prepared data, {folder}; found: {error.strerror}. "
            "Set --data.cache_dir to another."
        ) from error


def make_folder(folder: Path, needed: int, fill: Callable[[Path], None]) -> Path:
    """Returns the folder, first making it by ``fill`` if it is absent.

    ``fill`` writes into a folder beside it, which is renamed when complete; what an earlier, killed attempt
    left there is removed. A second process waits for the first.

    Args:
        folder: The finished folder.
        needed: Estimate of its bytes, for the error of a full disk.
        fill: Writes the files into the folder it is given.

    Raises:
        DiskFullError: If the disk is full; nothing incomplete is left.
    """
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if folder.exists():
            return folder
        part = folder.with_name(folder.name + _PART)
        shutil.rmtree(part, ignore_errors=True)
        check_space(folder.parent, needed)
        part.mkdir()
        try:
            with disk_errors(folder, lambda: needed):
                fill(part)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        part.rename(folder)
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder; the operating system releases it even if the process is killed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        yield

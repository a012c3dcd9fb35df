"""Writes LMDB files of pickled pictures as the authors' scripts do, hostile records included."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmdb
import numpy as np


class LMDB_Image:
    """The class whose objects they pickle."""

    def __init__(self, image: np.ndarray[Any, np.dtype[np.uint8]], id_: str) -> None:
        self.channels: int = image.shape[2]
        self.size: tuple[int, ...] = image.shape[:2]
        self.image: bytes = image.tobytes()
        self.id = id_


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.path,)


def write_lmdb(
    path: Path,
    pictures: Mapping[str, np.ndarray[Any, np.dtype[np.uint8]]],
    hostile: Mapping[str, object] | None = None,
    folder: bool = False,
) -> None:
    """Writes pictures by key, ``__keys__`` and ``__len__``.

    Args:
        path: The file, or the folder that holds it.
        pictures: Key -> pixels (H, W, 3).
        hostile: Key -> anything else to be pickled there.
        folder: Whether the library makes a folder of it.
    """
    records: dict[str, object] = {key: LMDB_Image(pixels, key) for key, pixels in pictures.items()}
    records.update(hostile or {})
    with (
        lmdb.open(str(path), subdir=folder, map_size=2**26) as environment,
        environment.begin(write=True) as t,
    ):
        for key, record in records.items():
            t.put(key.encode(), pickle.dumps(record))
        t.put(b"__keys__", pickle.dumps(list(records)))
        t.put(b"__len__", pickle.dumps(len(records)))

"""Vectors of items that come with a data set, read as content: nothing in a file is ever executed.

MicroLens releases matrices (``.npy``) whose row k belongs to item k + 1, PixelRec a JSON object of item id
and list of numbers for each item; both forms are read for any data set.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from datamodules.cache import digest, file_stamp, make_folder, write_array
from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.features import open_features
from datamodules.raw_content import RawContent
from zoo.types import VECTOR, ContentTransform

_ENTRY = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:\s*\[([^\[\]]*)\]')
_PIECE = 2**24


@dataclass(frozen=True)
class VectorContent(RawContent):
    """One vector an item: the values are rows of a matrix as text, None where the item has none.

    Args:
        matrix: File of the vectors, mapped and never read whole.
        stamp: Changes when the file does that they come from.
    """

    matrix: Path = Path()
    stamp: str = ""

    @cached_property
    def key(self) -> str:
        """Changes with the file, the items or their order."""
        return digest([self.modality, *self.names, *(value or "" for value in self.values), self.stamp])

    @cached_property
    def _mapped(self) -> npt.NDArray[Any]:
        mapped: npt.NDArray[Any] = np.load(self.matrix, mmap_mode="r", allow_pickle=False)
        return mapped

    def read(self, row: int, open_raw: Callable[[Path], Any]) -> tuple[Any, str]:
        """The vector of a row, None if there is none or a number in it is not finite."""
        value = self.values[row]
        if value is None:
            return None, "there is no vector of it"
        vector = np.array(self._mapped[int(value)])
        return (vector, "") if np.isfinite(vector).all() else (None, "the vector holds NaN or infinity")

    def file_of(self, row: int) -> str:
        """The file."""
        return self.source


def vector_file(
    features: Mapping[str, str], modality: str, transform: ContentTransform, root: Path
) -> Path | None:
    """The file of a modality's vectors; None where the model reads raw content.

    Args:
        features: Modality -> file, as it is or within the root.
        modality: That is read.
        transform: What the model does with it.
        root: Folder of the data set.

    Raises:
        ValueError: If the model reads vectors, and no file of them is named.
    """
    if set(transform.fields) != {VECTOR}:
        return None
    if modality not in features:
        raise ValueError(
            f"The model reads ready vectors of {modality} (its encoder is features), but no file of them is "
            f'named. Set --data.features \'{{"{modality}": "FILE"}}\'.'
        )
    path = Path(features[modality]).expanduser()
    return path if path.is_file() else root / path


def vector_content(modality: str, path: Path, items: pl.Series, cache: Path) -> VectorContent:
    """The vectors of the catalogue.

    Args:
        modality: They stand for.
        path: A matrix (``.npy``) or a JSON object.
        items: Names of catalogue rows 1, 2 and so on.
        cache: Folder where a JSON object becomes a matrix, once.

    Raises:
        DataNotFoundError: If there is no such file, or no vector is one of an item.
        BadTableError: If it holds something else.
    """
    names = ["", *items.to_list()]
    if not path.is_file():
        raise DataNotFoundError(
            f"vectors in {path.absolute()} (--data.features)", "no such file", "Correct the option."
        )
    matrix = path
    if path.suffix == ".json":
        folder = cache / f"vectors-{modality}-{digest([file_stamp(path)])}"
        matrix = (
            make_folder(folder, path.stat().st_size // 2, lambda part: _convert(path, part)) / "vectors.npy"
        )
        listed = (matrix.parent / "names.txt").read_text("utf-8").split("\n")
        row_of = {name: str(row) for row, name in reversed(list(enumerate(listed)))}
    else:
        row_of = {str(row + 1): str(row) for row in range(open_features(modality, path).rows)}
    values = [None, *(row_of.get(name) or row_of.get(name.lstrip("0")) for name in names[1:])]
    if not any(values):
        raise DataNotFoundError(
            f"a vector of at least one item in {path}",
            f"vectors of {', '.join(list(row_of)[:3])} …, while items are called {', '.join(names[1:4])} …",
            "Row k of a .npy file belongs to item k + 1; else write a .json file of item id -> list.",
        )
    return VectorContent(modality, names, values, path.parent, path.name, matrix, file_stamp(path))


def _convert(path: Path, folder: Path) -> None:
    """Writes the matrix and the names of a JSON object of item -> list of numbers, piece by piece.

    Raises:
        BadTableError: If it is none, or the lists differ in length.
    """
    names: list[str] = []
    width = 0
    rows = folder / "rows.bin"
    with open(rows, "wb") as file:
        for name, numbers in _entries(path):
            width = width or numbers.count(",") + 1
            vector = _vector(numbers)
            if vector is None or len(vector) != width:
                raise BadTableError(
                    f"Expected {width:,} numbers for every item in {path}, found {numbers[:60]!r} … "
                    f"({numbers.count(',') + 1:,}) for {name!r}."
                )
            names.append(name.replace("\n", " "))
            file.write(vector.data)
    write_array(
        folder / "vectors.npy", np.memmap(rows, dtype=np.float32, mode="r", shape=(len(names), width))
    )
    rows.unlink()
    (folder / "names.txt").write_text("\n".join(names), "utf-8")


def _vector(numbers: str) -> npt.NDArray[np.float32] | None:
    """Numbers with commas between them; None if something else is among them."""
    try:
        vector = np.fromstring(numbers, dtype=np.float32, sep=",")
    except ValueError:
        return None
    return vector if len(vector) == numbers.count(",") + 1 else None


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    """Item and numbers of each entry; a file of many gigabytes is never held whole.

    Raises:
        BadTableError: If it is of another form, or ends early.
    """
    rest, found = b"", False
    with open(path, "rb") as file:
        while (piece := file.read(_PIECE)) and len(rest) < 4 * _PIECE:
            rest += piece
            end = 0
            for entry in _ENTRY.finditer(rest):
                end, found = entry.end(), True
                yield entry[1].decode("utf-8", "replace"), entry[2].decode("ascii", "replace")
            rest = rest[end:]
    if not found or rest.strip() != b"}":
        raise BadTableError(
            f"Expected a JSON object of item -> list of numbers in {path}, found {rest[:60]!r} "
            f"{'behind its last entry. Is it complete?' if found else 'and no such entry.'}"
        )

"""Feature matrices that come with a data set: opened without executing anything, checked, and completed."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from datamodules.errors import BadTableError, DataNotFoundError

FILES = {modality: f"{modality}_feat.npy" for modality in ("image", "text", "audio", "video")}
"""Modality -> name of its file."""
BadRows = Literal["refuse", "mean"]
"""What becomes of a row with a value that is no number: an error, or the mean of the good rows."""
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_BLOCK = 4096


class FeatureFile(NamedTuple):
    """A matrix in a ``.npy`` file, row r for item r; its header is good, its values are not looked at yet."""

    modality: str
    path: Path
    rows: int
    width: int

    def bad_rows(self) -> npt.NDArray[np.int64]:
        """Rows with a value that is not finite."""
        matrix = self._open()
        starts = range(0, self.rows, _BLOCK)
        good = [np.isfinite(matrix[start : start + _BLOCK]).all(axis=1) for start in starts]
        return np.flatnonzero(~np.concatenate(good)) if good else np.zeros(0, dtype=np.int64)

    def present(self) -> npt.NDArray[np.bool_]:
        """Which catalogue rows (I,) have features: finite, and not all zero."""
        matrix, present_I = self._open(), np.zeros(self.rows + 1, dtype=np.bool_)
        for start in range(0, self.rows, _BLOCK):
            block = matrix[start : start + _BLOCK]
            present_I[start + 1 : start + 1 + len(block)] = np.isfinite(block).all(axis=1) & block.any(axis=1)
        return present_I

    def read(self, bad: BadRows = "refuse") -> npt.NDArray[np.float32]:
        """The vectors of the catalogue, (I, D): a zero row for padding, then the rows of the file.

        Args:
            bad: What to do with rows that hold a value that is not finite. With ``mean`` the whole row
                becomes the mean of the good ones, as MMRec's preprocessing does for items without a picture.

        Raises:
            BadTableError: If there are such rows and they are refused, or no row is good.
        """
        features_ID = np.zeros((self.rows + 1, self.width), dtype=np.float32)
        features_ID[1:] = self._open()
        wrong = self.bad_rows()
        if len(wrong):
            self.check_rows(wrong, bad)
            good_I = np.ones(self.rows + 1, dtype=bool)
            good_I[[0, *(wrong + 1)]] = False
            features_ID[wrong + 1] = features_ID[good_I].mean(axis=0, dtype=np.float64)
        return features_ID

    def check_rows(self, wrong: npt.NDArray[np.int64], bad: BadRows) -> str:
        """A sentence on the rows that are not finite, empty if there are none.

        Raises:
            BadTableError: If there are any and they are refused, or there are no others.
        """
        if not len(wrong):
            return ""
        some = ", ".join(map(str, wrong[:8].tolist())) + (", …" if len(wrong) > 8 else "")
        found = f"{len(wrong):,} of {self.rows:,} rows of {self.path} hold NaN or infinity: {some}"
        if bad == "refuse" or len(wrong) == self.rows:
            raise BadTableError(
                f"Expected finite features, found that {found} (counted from 0). Make these features again, "
                "or set bad_features (--data.bad_features) to mean: these rows become the mean of the rest."
            )
        return f"{found}; they became the mean of the good rows."

    def _open(self) -> npt.NDArray[Any]:
        try:
            matrix: npt.NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:  # shorter than its header says
            raise BadTableError(
                f"Expected {self.rows:,} rows of {self.width:,} numbers in {self.path}, found a file that is "
                f"cut short ({error}). Copy or download it again."
            ) from error
        return matrix


def open_features(modality: str, path: Path) -> FeatureFile:
    """Looks at the header of a feature file; nothing in it is ever executed.

    Raises:
        BadTableError: If it is not a matrix of numbers.
    """
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            reader = _READERS.get(version)
            if reader is None:
                raise ValueError(f"a header of version {version}, which has named fields")
            shape, _, kind = reader(file)
    except ValueError as error:
        raise BadTableError(
            f"Expected a matrix of numbers as numpy.save writes it in {path}, found something else "
            f"({error}). Is the file complete, and not an archive or a web page under this name?"
        ) from error
    if kind.hasobject:
        raise BadTableError(
            f"Expected a matrix of numbers in {path}, found an array of Python objects of shape {shape}: "
            "reading it could execute what it holds, so it is refused. If you trust where it is from, "
            "convert it once: a = numpy.load(path, allow_pickle=True); "
            "numpy.save(path, numpy.stack(list(a)).astype('float32'))."
        )
    if kind.kind not in "fiu" or len(shape) != 2 or not shape[1]:
        raise BadTableError(
            f"Expected a matrix of numbers, one row an item, in {path}, found {kind} of shape {shape}. Save "
            "it as float32 with two dimensions."
        )
    return FeatureFile(modality, path, int(shape[0]), int(shape[1]))


def find_features(
    folder: Path, n_items: int, asked: Collection[str], where: str
) -> tuple[dict[str, FeatureFile], list[str]]:
    """The feature files of a folder.

    Args:
        folder: Where they lie.
        n_items: Catalogue rows, the padding row included.
        asked: Modalities that the model reads; of the others a bad file is only reported.
        where: Name of the data set.

    Returns:
        Modality -> file, of good files only; and a sentence on each bad one.

    Raises:
        DataNotFoundError: If a modality is asked for and has no file.
        BadTableError: If its file is not a matrix with a row an item.
    """
    found: dict[str, FeatureFile] = {}
    notes = []
    for modality in dict.fromkeys([*FILES, *sorted(asked)]):
        path = folder / FILES.get(modality, f"{modality}_feat.npy")
        if not path.is_file():
            if modality in asked:
                raise DataNotFoundError(
                    f"{path.name} in {folder}, the {modality} features of {where} that the model reads",
                    _files(folder),
                    f"Put the file there: a float matrix with {n_items - 1:,} rows, one an item. Or take a "
                    f"model that does without {modality}, if this one has no option to leave it out.",
                )
            continue
        try:
            file = open_features(modality, path)
            _check_count(file, n_items, where)
        except BadTableError as error:
            if modality in asked:
                raise
            notes.append(f"The {modality} features are not used: {error}")
        else:
            found[modality] = file
    return found, notes


def _check_count(file: FeatureFile, n_items: int, where: str) -> None:
    if file.rows != n_items - 1:
        raise BadTableError(
            f"Expected one row for each of the {n_items - 1:,} items of {where} in {file.path}, found "
            f"{file.rows:,} rows. Row r belongs to item r, counted from 0 in the column itemID: take "
            "features and interactions of the same release."
        )


def _files(folder: Path) -> str:
    there = sorted(path.name for path in folder.glob("*_feat.npy"))
    return f"only {' and '.join(there)}" if there else "no feature file"

"""A data set of several parts as its authors released it: part, folder, published size, files of its content.

The subclasses say what the files are called and what is in them.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from lightning.pytorch.utilities import rank_zero_warn

from datamodules.base import RecDataModule
from datamodules.errors import DataNotFoundError, UnknownSubsetError
from datamodules.headed_files import simplified
from datamodules.lmdb import is_lmdb, lmdb_content
from datamodules.raw_content import FramesContent, RawContent
from datamodules.tables import Report, Tables


class Statistics(NamedTuple):
    """What the authors publish of a data set."""

    users: int
    items: int
    interactions: int


class MediaFolder(NamedTuple):
    """Where the files of a modality lie: ``<folder>/<item id><ending><suffix>``."""

    folder: str
    """``{subset}`` stands for the part's name."""
    suffixes: tuple[str, ...]
    ending: str = ""
    """What the first of an item's several files has behind the id, such as ``-1``."""


class ReleasedData(RecDataModule, ABC):
    """One part of a data set, from the files as the authors released them.

    Args:
        root: Folder with the raw data.
        subset: Name of the part; case and punctuation do not count.
        **kwargs: Of ``RecDataModule``.

    Raises:
        UnknownSubsetError: If no part is called ``subset``.
    """

    subsets: ClassVar[dict[str, Statistics | None]]
    """Part -> published statistics, None where there are none to compare with."""
    names: ClassVar[dict[str, tuple[str, ...]]] = {}
    """Part -> what else it may be called; the first stands in the names of its files."""
    media: ClassVar[dict[str, tuple[MediaFolder, ...]]]
    """Modality -> folders that may hold its files; the first that exists does."""
    how_to_get_it: ClassVar[str]

    def __init__(self, root: str, subset: str, **kwargs: Any) -> None:  # noqa: ANN401 - the base's arguments
        super().__init__(root=root, **kwargs)
        self.subset = self.part_called(subset)

    def part_called(self, name: str) -> str:
        """The part that is called so.

        Raises:
            UnknownSubsetError: If none is.
        """
        parts = {simplified(known): part for part in self.subsets for known in self._names_of(part)}
        if simplified(name) not in parts:
            raise UnknownSubsetError(name, self.subsets)
        return parts[simplified(name)]

    def _names_of(self, part: str) -> tuple[str, ...]:
        return (part, *self.names.get(part, ()))

    @cached_property
    @abstractmethod
    def folder(self) -> Path:
        """The part's folder.

        Raises:
            DataNotFoundError: If it is missing; names what was expected and where to get it.
        """

    @property
    def cache_name(self) -> str:
        """Class and part."""
        return f"{type(self).__name__.lower()}-{self.subset}"

    @property
    def file_name(self) -> str:
        """What stands for the part in the names of its files and folders."""
        return self.names.get(self.subset, (self.subset,))[0]

    def compare(self, tables: Tables, n_items: int) -> None:
        """Notes and warns where the sizes are not the published ones.

        Args:
            tables: What was read.
            n_items: Its items, as the authors count them.
        """
        published = self.subsets.get(self.subset)
        if published is None:
            return
        read = tables.report.counts.get("interactions read", 0)
        found = Statistics(tables.users.n_unique(), n_items, read)
        note_sizes(tables.report, self.subset, zip(Statistics._fields, found, published, strict=True))

    def media_folders(self, modality: str) -> tuple[MediaFolder, ...]:
        """Folders that may hold the files of a modality; the first that exists does."""
        return self.media[modality]

    def media_content(self, modality: str, names: Sequence[str]) -> RawContent:
        """The files of a modality by item id.

        Args:
            modality: Such as ``image``.
            names: Catalogue row -> item.

        Raises:
            ValueError: If the data set has no such modality.
            DataNotFoundError: If the folder of the files is missing, or has none of these items.
        """
        if modality not in self.media:
            known = ", ".join(["text", *self.media])
            raise ValueError(
                f"{type(self).__name__} has the modalities {known}, but the model wants {modality!r}."
            )
        return content_of(*self._media_folder(modality), modality, names, self.subset, self.how_to_get_it)

    def picture_content(self, names: Sequence[str], chosen: str | None, stems: Collection[str]) -> RawContent:
        """The pictures from a folder or from an LMDB as the authors' scripts make it.

        Args:
            names: Catalogue row -> item.
            chosen: Folder or LMDB, in the root or elsewhere; by default one of the usual folders, or where
                there is none an LMDB.
            stems: What the name of the part's own LMDB begins with.

        Raises:
            DataNotFoundError: If there are no pictures, or none of these items.
        """
        place = self._chosen(chosen) if chosen is not None else self._found_lmdb(stems)
        if place is None:
            return self.media_content("image", names)
        if is_lmdb(place):
            return lmdb_content(place, "image", names, self.subset)
        return content_of(place, self.media["image"][0], "image", names, self.subset, self.how_to_get_it)

    def _chosen(self, images: str) -> Path:
        choices = [self.root / Path(images).expanduser(), Path(images).expanduser()]
        found = next((place for place in choices if place.is_dir() or is_lmdb(place)), None)
        if found is None:
            raise DataNotFoundError(
                f"a folder of pictures or an LMDB (images: {images}) in {choices[0].absolute()}",
                "none",
                "Correct --data.images, or train without image.",
            )
        return found

    def _found_lmdb(self, stems: Collection[str]) -> Path | None:
        """The part's LMDB, or any; None where a usual folder stands or there is no LMDB."""
        places = list(dict.fromkeys([self.folder, self.folder.parent, self.root]))
        folders = [media.folder.format(subset=self.file_name) for media in self.media_folders("image")]
        if any((place / folder).is_dir() for place in places for folder in folders):
            return None
        lmdbs = [path for place in places for path in sorted(place.glob("*.lmdb")) if is_lmdb(path)]
        wanted = tuple(simplified(stem) for stem in stems)
        own = [path for path in lmdbs if simplified(path.stem).startswith(wanted)]
        return next(iter([*own, *lmdbs]), None)

    def _media_folder(self, modality: str) -> tuple[Path, MediaFolder]:
        """The first of the modality's folders that exists, beside the tables or a level or two above."""
        tried = []
        for choice in self.media_folders(modality):
            for parent in dict.fromkeys([self.folder, self.folder.parent, self.root]):
                place = parent / choice.folder.format(subset=self.file_name)
                if place.is_dir():
                    return place, choice
                tried.append(place)
        expected = f"the {modality} files in {tried[0]}"
        raise DataNotFoundError(
            expected, "no such folder", f"{self.how_to_get_it} Or train without {modality}."
        )


def note_sizes(report: Report, part: str, sizes: Iterable[tuple[str, int, int]]) -> None:
    """Notes and warns where sizes are not the published ones.

    Args:
        report: Takes the note.
        part: Whose sizes they are.
        sizes: What is counted, the number found, the number published.
    """
    wrong = [f"{number:,} {what} instead of {right:,}" for what, number, right in sizes if number != right]
    if wrong:
        note = f"Not the published size of {part}: {', '.join(wrong)}. Is the download complete?"
        report.notes.append(note)
        rank_zero_warn(note)


def what_is_in(folder: Path) -> str:
    """Some names of a folder's entries, for the error that something is missing there."""
    if not folder.exists():
        return "no such folder"
    if not folder.is_dir():
        return f"that {folder} is a file"
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:8]) or "an empty folder"


def content_of(
    folder: Path, media: MediaFolder, modality: str, names: Sequence[str], subset: str, remedy: str
) -> RawContent:
    """The files of a folder by item id, which is looked up in its listing and never joined to its path.

    Args:
        folder: That exists.
        media: Which files of it.
        modality: Of these files.
        names: Catalogue row -> item.
        subset: Whose items they are, for the error.
        remedy: Where to get them.

    Raises:
        DataNotFoundError: If no file is one of an item.
    """
    by_stem = files_by_stem(folder, media.suffixes, media.ending)
    pattern = f"<item id>{media.ending}{media.suffixes[0]}"
    if by_stem.keys().isdisjoint(names):
        raise DataNotFoundError(
            f"{folder}/{pattern} of at least one item",
            f"{len(by_stem)} {modality} files, none of an item of {subset}",
            f"Are the files two folders deeper? {remedy}",
        )
    values = [None, *(by_stem.get(name) for name in names[1:])]
    kind = FramesContent if media.ending else RawContent
    return kind(modality, names, values, folder, f"{folder.name}/{pattern}")


def files_by_stem(folder: Path, suffixes: tuple[str, ...], ending: str = "") -> dict[str, str]:
    """Item id -> file name, by one listing of the folder and of those in it.

    Of several files that in the folder itself stands, then the suffix that comes first.

    Args:
        folder: To list. Names of files in its folders begin with the folder's (``010/0108775015.jpg``).
        suffixes: That count, in any case.
        ending: What a name must have between id and suffix.
    """
    order = {suffix: rank for rank, suffix in enumerate(suffixes)}
    found: dict[str, tuple[bool, int, str]] = {}
    for nested, name in _listed(folder):
        stem, suffix = os.path.splitext(os.path.basename(name))
        rank = order.get(suffix.lower())
        if rank is None or not stem.endswith(ending):
            continue
        item = stem.removesuffix(ending)
        found[item] = min(found.get(item, (nested, rank, name)), (nested, rank, name))
    return {item: name for item, (_, _, name) in found.items()}


def _listed(folder: Path) -> Iterator[tuple[bool, str]]:
    """Names within a folder, and whether they are in a folder of it."""
    below = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                below.append(entry.name)
            else:
                yield False, entry.name
    for name in below:
        with os.scandir(folder / name) as entries:
            yield from ((True, f"{name}/{entry.name}") for entry in entries)

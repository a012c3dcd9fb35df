"""What a catalogue's items are made of before an encoder's transform sees it, and the report of bad items."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from datamodules.cache import digest
from datamodules.clips import open_clip, open_sound, still_frames
from datamodules.errors import BadMediaError
from datamodules.media import open_image
from zoo.types import ClipTransform, ContentTransform, SoundTransform


class BadItem(NamedTuple):
    """One line of the report of bad items."""

    item: str
    modality: str
    file: str
    reason: str


@dataclass(frozen=True)
class RawContent:
    """One modality of a catalogue before it is prepared.

    Args:
        modality: ``text``, ``caption``, ``image``, ``audio`` or ``video``.
        names: Row -> item; row 0 is the padding item.
        values: Row -> the text itself, or a file's name within ``folder``; None where the item has none.
        folder: Where the files lie; None for text.
        source: File the texts come from, or the pattern of file names: shown in reports.
    """

    modality: str
    names: Sequence[str]
    values: Sequence[str | None]
    folder: Path | None
    source: str

    @cached_property
    def key(self) -> str:
        """Changes when any text or any file (by size and time of change) does, or the order of items."""
        if self.folder is None:
            return digest([self.modality, *self.names, *(value or "" for value in self.values)])
        return digest([self.modality, *self.names, *map(self._stamp, self.values)])

    def _stamp(self, value: str | None) -> str:
        if value is None or self.folder is None:
            return ""
        try:
            stat = os.stat(self.folder / value)
        except FileNotFoundError:
            return f"{value} missing"
        return f"{value} {stat.st_size} {stat.st_mtime_ns}"

    def read(self, row: int, open_raw: Callable[[Path], Any]) -> tuple[Any, str]:
        """The raw value of a row, None if there is none, and what is wrong with it, empty if nothing.

        Args:
            row: Catalogue row.
            open_raw: Turns a file into the raw value, see ``opener``.
        """
        value = self.values[row]
        if self.folder is None:
            if value is None or not value.strip():
                return None, "the text is empty"
            return value, "not UTF-8: undecodable bytes were replaced" if "\ufffd" in value else ""
        if value is None:
            return None, "the file is missing"
        try:
            return open_raw(self.folder / value), ""
        except BadMediaError as error:
            return None, str(error)

    def file_of(self, row: int) -> str:
        """What to look at when the row's content is bad."""
        return self.source if self.folder is None else (self.values[row] or self.source)


@dataclass(frozen=True)
class FramesContent(RawContent):
    """Clips as pictures, one file a frame: the values name the first of each, such as ``7-1.jpg``."""

    def _stamp(self, value: str | None) -> str:
        if value is None or self.folder is None:
            return ""
        return " ".join(
            super(FramesContent, self)._stamp(path.name) for path in still_frames(self.folder / value)
        )


def opener(modality: str, transform: ContentTransform) -> Callable[[Path], Any]:
    """What turns a file of the modality into the raw value that a transform takes, and no more of it."""
    if modality == "audio":
        return partial(open_sound, seconds=cast("SoundTransform", transform).seconds)
    if modality == "video":
        return partial(open_clip, choose=cast("ClipTransform", transform).frames)
    return open_image


def bad_items_csv(bad: Iterable[BadItem]) -> bytes:
    """The report of bad items as the bytes of a CSV file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(BadItem._fields)
    writer.writerows(bad)
    return text.getvalue().encode()

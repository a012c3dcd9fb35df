"""Files of your own items: named by a column of the item table, or called by item."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.errors import DataNotFoundError
from datamodules.guess import MEDIA_SUFFIXES
from datamodules.raw_content import RawContent
from datamodules.released import MediaFolder, content_of

FOLDERS = {
    "image": ("images", "image", "covers", "cover", "pictures", "posters", "img"),
    "audio": ("audio", "audios", "sounds", "sound"),
    "video": ("videos", "video", "clips", "clip"),
}
"""Modality -> folders that may hold ``<item id><suffix>``, where no column names files."""


@dataclass(frozen=True)
class PathContent(RawContent):
    """Files that a column of the item table names: within the folder, or refused."""

    def _stamp(self, value: str | None) -> str:
        if value is None or self._refused(value):
            return ""
        try:
            return super()._stamp(value)
        except (OSError, ValueError):  # a name that cannot be one
            return f"{value} missing"

    def _refused(self, value: str) -> str:
        if "://" in value:
            return "an address, not a file: download it first"
        base = os.path.normpath(self.folder or "")
        place = os.path.normpath(os.path.join(base, value))
        inside = place.startswith(base.rstrip(os.sep) + os.sep)
        return "" if inside else f"leads out of {base}: set --data.media_root"

    def read(self, row: int, open_raw: Callable[[Path], Any]) -> tuple[Any, str]:
        """The raw value of a row; see ``RawContent``."""
        value = self.values[row]
        if value is None:
            return None, "no file is named"
        if refused := self._refused(value):
            return None, refused
        return super().read(row, open_raw)

    def any_file(self) -> bool:
        """Whether at least one of the names is that of a file."""
        assert self.folder is not None
        try:
            names = [value for value in self.values if value and not self._refused(value)]
            return any((self.folder / value).is_file() for value in names)
        except (OSError, ValueError):
            return True  # the odd name is reported with its item


def media_content(
    modality: str, names: Sequence[str], column: Sequence[str | None] | None, root: Path, file: str
) -> RawContent:
    """The files of a modality.

    Args:
        modality: Such as ``image``.
        names: Catalogue row -> item.
        column: Catalogue row -> name of its file; None where no column names files.
        root: Folder that the names start from.
        file: Name of the item table.

    Raises:
        ValueError: If a folder has no such modality.
        DataNotFoundError: If no file is where it should be.
    """
    if modality not in FOLDERS:
        known = ", ".join(["text", "caption", *FOLDERS])
        raise ValueError(f"A folder may have the modalities {known}, but the model wants {modality!r}.")
    if column is not None:
        values = [None if not cell else cell.replace("\\", "/") for cell in column]
        content = PathContent(modality, names, values, root, file)
        if not content.any_file():
            some = next((value for value in values if value), "nothing")
            raise DataNotFoundError(
                f"the {modality} files that {file} names in {root.absolute()}",
                f"none, for example not {some}",
                "Set --data.media_root to the folder that these names start from.",
            )
        return content
    for name in FOLDERS[modality]:
        if (root / name).is_dir():
            media = MediaFolder(name, MEDIA_SUFFIXES[modality])
            remedy = f"Call them by item, or name them in a column (--data.{modality}_column)."
            return content_of(root / name, media, modality, names, "these interactions", remedy)
    raise DataNotFoundError(
        f"{modality} files of the items: a column of the item table that names them "
        f"(--data.{modality}_column) or {FOLDERS[modality][0]}/<item id>{MEDIA_SUFFIXES[modality][0]} in "
        f"{root.absolute()}",
        "neither",
        f"Or train without {modality} (--model.{modality} null).",
    )

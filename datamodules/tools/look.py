"""Opens one raw item as training would, and says what is wrong with it or merely odd."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from datamodules.clips import open_clip, open_sound, still_frames
from datamodules.media import open_image
from datamodules.raw_content import FramesContent, RawContent
from datamodules.tables import Report
from zoo.types import Sound

KINDS = ("missing", "corrupt", "duplicate", "short", "large", "dropped")
"""Kinds of findings; ``dropped`` rows of a table."""
READ_SECONDS = 600
"""What is decoded of a sound: enough to see that its file is whole, unless it is an hour long."""


class Finding(NamedTuple):
    """One line of the report."""

    item: str
    modality: str
    kind: str
    lost: str
    """``yes`` where the item goes without this content, or rows are left out; ``no`` for what is only odd."""
    file: str
    reason: str


@dataclass(frozen=True)
class Limits:
    """What is reported as too short or too large.

    Args:
        min_title: Letters of a title.
        max_title: Letters of a title.
        min_side: Pixels of the shorter side of a picture.
        min_seconds: Of a sound.
        min_frames: Of a clip.
        max_megabytes: Of a file.
    """

    min_title: int = 2
    max_title: int = 1000
    min_side: int = 16
    min_seconds: float = 0.5
    min_frames: int = 2
    max_megabytes: float = 100.0


def table_findings(found: Report, files: str) -> list[Finding]:
    """What reading left out: reports say ``dropped`` of it, and of nothing else.

    A row that repeats another is no loss.
    """
    lines = [line for line in found.lines() if "dropped" in line]
    return [
        Finding("", "table", "dropped", "no" if "repeat" in line else "yes", files, line) for line in lines
    ]


@dataclass
class Looked:
    """What looking at one item gave."""

    digest: bytes | None = None
    """Of its bytes; None where there are none."""
    found: list[tuple[str, bool, str]] = field(default_factory=list)
    """Kind, whether the content is lost, reason."""


def look(raw: RawContent, row: int, limits: Limits) -> Looked:
    """Opens the content of a row.

    Raises:
        ModuleNotFoundError: If a library is missing, which is no fault of the item.
    """
    looked = Looked()
    counts: list[int] = []
    try:
        value, reason = raw.read(row, _opener(raw.modality, counts))
    except ModuleNotFoundError:
        raise
    except Exception as error:  # a decoder may do anything with a stranger's file: that is a finding too
        looked.found.append(("corrupt", True, f"stops its decoder: {type(error).__name__}: {error}"))
        return looked
    files = _files(raw, row)
    looked.digest = _digest(files, value)
    if value is None:
        looked.found.append((_kind(raw, row, reason), True, reason))
    elif reason:
        looked.found.append(("corrupt", False, reason))
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    if megabytes > limits.max_megabytes:
        text = f"{megabytes:,.1f} MB, more than {limits.max_megabytes:g}"
        looked.found.append(("large", False, text))
    if value is not None:
        looked.found += [(kind, False, text) for kind, text in _odd(value, counts, limits)]
    return looked


def _opener(modality: str, counts: list[int]) -> Callable[[Path], Any]:
    """Opens the whole of a file; of a clip the first, middle and last frame, after decoding all.

    Args:
        modality: Of the file.
        counts: Takes the number of frames that are chosen from: twice if fewer can be decoded than the
            header promises.
    """

    def choose(n_frames: int) -> Sequence[int]:
        counts.append(n_frames)
        return [0, n_frames // 2, n_frames - 1]

    if modality == "audio":
        return partial(open_sound, seconds=READ_SECONDS)
    if modality == "video":
        return partial(open_clip, choose=choose)
    return open_image


def _files(raw: RawContent, row: int) -> list[Path]:
    """Regular files of a row's content; none where it is text or a record."""
    value = raw.values[row]
    if raw.folder is None or value is None or not raw.folder.is_dir():
        return []
    first = raw.folder / value
    paths = still_frames(first) if isinstance(raw, FramesContent) else [first]
    return [path for path in paths if path.is_file()]


def _digest(files: Sequence[Path], value: object) -> bytes | None:
    """Of the files' bytes, or of what was read where there is no file."""
    hasher = hashlib.blake2b(digest_size=16)
    try:
        for path in files:
            with open(path, "rb") as file:
                while block := file.read(2**20):
                    hasher.update(block)
    except OSError:  # reading it failed before, for which there is a finding
        return None
    if not files:
        if isinstance(value, str):
            hasher.update(value.strip().encode("utf-8", "surrogatepass"))
        elif isinstance(value, Image.Image):
            hasher.update(f"{value.size}".encode() + value.tobytes())
        else:
            return None
    return hasher.digest()


def _kind(raw: RawContent, row: int, reason: str) -> str:
    if raw.folder is None or raw.values[row] is None or reason.endswith("is missing"):
        return "missing"
    return "large" if reason.startswith("too large") else "corrupt"


def _odd(value: object, counts: Sequence[int], limits: Limits) -> list[tuple[str, str]]:
    """What is too short, too long or cut off in content that can be used."""
    if isinstance(value, str):
        letters = len(value.strip())
        if letters < limits.min_title:
            return [("short", f"{letters} letters, fewer than {limits.min_title}: {value.strip()!r}")]
        if letters > limits.max_title:
            return [("large", f"{letters:,} letters, more than {limits.max_title:,}")]
    elif isinstance(value, Image.Image):
        if min(value.size) < limits.min_side:
            width, height = value.size
            return [("short", f"{width} by {height} pixels, fewer than {limits.min_side}")]
    elif isinstance(value, Sound):
        seconds = len(value.samples_T) / value.rate
        if seconds < limits.min_seconds:
            return [("short", f"{seconds:.2f} seconds, fewer than {limits.min_seconds:g}")]
    elif counts:
        odd = []
        if len(counts) > 1:
            odd.append(("corrupt", f"only {counts[-1]} of {counts[0]} frames can be decoded"))
        if counts[-1] < limits.min_frames:
            odd.append(("short", f"{counts[-1]} frames, fewer than {limits.min_frames}"))
        return odd
    return []

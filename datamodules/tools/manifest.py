"""Checksums of what was prepared: another machine's cache, or a later look at this one, can be compared."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from datamodules.cache import write_json

FILE = "manifest.json"
_BLOCK = 2**22
_FINISHED = re.compile(r"(?!features-)[a-z]+-[0-9a-f]{20}")
"""Folders of tables, windows and content; what is being made has a longer name."""
_KEY = re.compile(r"-[0-9a-f]{20}(?=/)")


class Entry(NamedTuple):
    """A file; the path is relative to the manifest's folder."""

    file: str
    bytes: int
    sha256: str


def prepared_files(cache: Path) -> list[Path]:
    """Files of all finished folders of tables, windows and content, in order.

    Features that frozen towers made have checks of their own and are no part of it.
    """
    folders = [path for path in cache.iterdir() if path.is_dir() and _FINISHED.fullmatch(path.name)]
    return sorted(path for folder in folders for path in folder.iterdir() if path.is_file())


def sums(files: Sequence[Path], root: Path) -> list[Entry]:
    """Checksums, with a bar over bytes where somebody watches."""
    sizes = [path.stat().st_size for path in files]
    entries = []
    with tqdm(total=sum(sizes), desc="checksums", unit="B", unit_scale=True, disable=None) as bar:
        for path, size in zip(files, sizes, strict=True):
            hasher = hashlib.sha256()
            with open(path, "rb") as file:
                while block := file.read(_BLOCK):
                    hasher.update(block)
                    bar.update(len(block))
            entries.append(Entry(path.relative_to(root).as_posix(), size, hasher.hexdigest()))
    return entries


def fingerprint(entries: Iterable[Entry]) -> str:
    """One checksum of all: equal for equal bytes, also where folders are named after other raw files.

    Their names hold the time of change of what they were made from.
    """
    lines = sorted(f"{_KEY.sub('', entry.file)} {entry.sha256}" for entry in entries)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_manifest(folder: Path, name: str, entries: Sequence[Entry]) -> Path:
    """Writes ``manifest.json``; nothing in it depends on when or where it is written."""
    path = folder / FILE
    total = {"data": name, "bytes": sum(entry.bytes for entry in entries), "sha256": fingerprint(entries)}
    write_json(path, {**total, "files": [entry._asdict() for entry in entries]})
    return path


def read_manifest(folder: Path) -> list[Entry]:
    """The entries of an earlier manifest; none where there is none."""
    path = folder / FILE
    if not path.is_file():
        return []
    return [Entry(**entry) for entry in json.loads(path.read_text("utf-8"))["files"]]


def changed(before: Iterable[Entry], now: Iterable[Entry]) -> list[str]:
    """Files that are still there with other bytes: finished folders never change by themselves."""
    known = {entry.file: entry.sha256 for entry in before}
    return [entry.file for entry in now if known.get(entry.file, entry.sha256) != entry.sha256]

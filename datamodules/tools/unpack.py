"""Unpacks archives of strangers: regular files inside the folder only, no more bytes than was stated."""

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from datamodules.errors import DownloadError, size_text
from datamodules.tools.fetch import full_disk

MAX_FILES = 2_000_000
_BLOCK = 2**20
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError)
"""What readers raise; of a member that is encrypted or packed in an unknown way ``RuntimeError``."""


class Member(NamedTuple):
    """A regular file of an archive."""

    name: str
    """As the archive has it."""
    size: int
    """As the archive states it."""
    open: Callable[[], IO[bytes] | gzip.GzipFile]


def unpack(archive: Path, into: Path, max_bytes: int) -> list[Path]:
    """Unpacks a zip, a tar (packed or not) or a single gzip file.

    All names are looked at before anything is written; files come to lie in a folder beside their place and
    are moved when all are there, so that what fails leaves nothing.

    Args:
        archive: The file.
        into: Folder that nothing may lead out of.
        max_bytes: Of all files together; counted while they are written, whatever the archive states.

    Returns:
        The files, in the archive's order.

    Raises:
        DownloadError: It is damaged or no archive, or holds what no data set needs: absolute names, names
            with ``..``, links, devices, the same name twice, more bytes than stated; or the disk is full.
    """
    part = into / f".{archive.name}.unpacking"
    shutil.rmtree(part, ignore_errors=True)
    try:
        with full_disk(part, "Nothing is left of what was unpacked."), _Opened(archive) as opened:
            members = _checked(archive, opened, max_bytes)
            part.mkdir(parents=True)
            left = max_bytes
            for place, member in members.items():
                left -= _write(archive, member, part / place, left)
            for place in members:
                (into / place).parent.mkdir(parents=True, exist_ok=True)
                (part / place).replace(into / place)
    except _DAMAGED as error:
        raise _wrong(archive, f"a file that is damaged, encrypted or no archive ({error})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return [into / place for place in members]


class _Opened:
    """The regular files of an archive, checked for what is none."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._file: zipfile.ZipFile | tarfile.TarFile | None = None

    def __enter__(self) -> Iterator[Member]:
        archive = self._archive
        if zipfile.is_zipfile(archive):
            self._file = packed = zipfile.ZipFile(archive)
            return _zip_members(archive, packed)
        if tarfile.is_tarfile(archive):
            self._file = tar = tarfile.open(archive)
            return _tar_members(archive, tar)
        # The size that gzip states is that of its last part modulo 4 GiB: it is counted instead.
        return iter([Member(archive.name.removesuffix(".gz"), 0, lambda: gzip.GzipFile(archive))])

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _zip_members(archive: Path, packed: zipfile.ZipFile) -> Iterator[Member]:
    for info in packed.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir() and kind in (0, stat.S_IFDIR):
            continue
        if kind not in (0, stat.S_IFREG):
            raise _wrong(archive, f"{info.filename!r}, which is a link or a device")

        def read(info: zipfile.ZipInfo = info) -> IO[bytes]:
            return packed.open(info)

        yield Member(info.filename, info.file_size, read)


def _tar_members(archive: Path, tar: tarfile.TarFile) -> Iterator[Member]:
    for info in tar:
        if info.isdir():
            continue
        if not info.isreg():
            raise _wrong(archive, f"{info.name!r}, which is a link or a device")

        def read(info: tarfile.TarInfo = info) -> IO[bytes]:
            file = tar.extractfile(info)
            assert file is not None  # it is a regular file
            return file

        yield Member(info.name, info.size, read)


def _checked(archive: Path, opened: Iterator[Member], max_bytes: int) -> dict[PurePosixPath, Member]:
    """Where the members come to lie within the folder; stops at the first that may not be there."""
    members: dict[PurePosixPath, Member] = {}
    seen: set[str] = set()
    stated = 0
    for member in opened:
        place = _check_name(archive, member.name)
        name = str(place).casefold()  # some disks do not tell a from A
        if name in seen:
            raise _wrong(archive, f"{str(place)!r} twice")
        seen.add(name)
        members[place] = member
        stated += member.size
        if stated > max_bytes or len(members) > MAX_FILES:
            raise _wrong(
                archive,
                f"more than {size_text(max_bytes)} or {MAX_FILES:,} files, which are the most expected",
            )
    if not members:
        raise _wrong(archive, "no file in it")
    return members


def _check_name(archive: Path, name: str) -> PurePosixPath:
    place = PurePosixPath(name)
    bad = not place.parts or place.is_absolute() or ".." in place.parts or "\\" in name or "\0" in name
    if bad or ":" in place.parts[0]:
        raise _wrong(archive, f"the name {name!r}, which leads out of the folder or is no name")
    return place


def _write(archive: Path, member: Member, path: Path, left: int) -> int:
    """Writes a file and answers with its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with member.open() as source, open(path, "xb") as target:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > left:
                raise _wrong(
                    archive, f"more bytes than stated in {member.name!r}: it was not unpacked any further"
                )
            target.write(block)
    return written


def _wrong(archive: Path, found: str) -> DownloadError:
    return DownloadError(
        f"Expected an archive of plain files in {archive}, found {found}. Nothing of it was unpacked. Remove "
        "it and download it again; if it is the same then, do not unpack it by hand either."
    )

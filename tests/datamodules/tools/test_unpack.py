"""Archives of strangers: whole ones are unpacked, hostile ones leave nothing anywhere."""

import errno
import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from datamodules.errors import DownloadError
from datamodules.tools import unpack as unpacking
from datamodules.tools.unpack import unpack

FILES = {"set/u.data": b"1\t2\t3\t4\n" * 1000, "set/README": b"read me"}


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.mkdir("set")
        for name, content in files.items():
            file.writestr(name, content)
    return path


def write_tar(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as file:
        folder = tarfile.TarInfo(".")
        folder.type = tarfile.DIRTYPE
        file.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        for info in more:
            file.addfile(info)
    return path


def tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_an_archive(tmp_path: Path, write: Callable[[Path, dict[str, bytes]], Path]) -> None:
    archive = write(tmp_path / "a.archive", FILES)
    root = tmp_path / "root"
    assert unpack(archive, root, 10_000) == [root / name for name in FILES]
    assert tree(root) == FILES
    assert unpack(archive, root, 10_000) == [root / name for name in FILES]  # again, over what is there
    assert tree(root) == FILES


def test_a_single_file(tmp_path: Path) -> None:
    archive = tmp_path / "table.csv.gz"
    archive.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert unpack(archive, tmp_path / "root", 100) == [tmp_path / "root" / "table.csv"]
    assert tree(tmp_path / "root") == {"table.csv": b"a,b\n1,2\n"}


def refused(archive: Path, match: str, max_bytes: int = 10_000) -> None:
    root = archive.parent / "root"
    before = tree(archive.parent)
    with pytest.raises(DownloadError, match=match):
        unpack(archive, root, max_bytes)
    assert tree(archive.parent) == before
    assert not root.exists() or not list(root.iterdir())


@pytest.mark.parametrize(
    "name", ["../out", "set/../../out", "/tmp/out", "..", "C:/out", "set\\..\\..\\out", "//host/out"]
)
@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_names_that_lead_out(
    tmp_path: Path, name: str, write: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    if write is write_tar:
        info = tarfile.TarInfo(name)
        info.size = 0
        archive = write_tar(tmp_path / "a.tar.gz", FILES, info)
    else:
        archive = write_zip(tmp_path / "a.zip", {**FILES, name: b"x"})
    refused(archive, "leads out of the folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_of_a_tar(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("set/x")
    info.type, info.linkname = kind, "/etc/passwd"
    refused(write_tar(tmp_path / "a.tar.gz", FILES, info), "'set/x', which is a link or a device")


def test_links_of_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        info = zipfile.ZipInfo("set/x")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "/etc")
        file.writestr("set/x/passwd", b"through the link")
    refused(tmp_path / "a.zip", "'set/x', which is a link or a device")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice(tmp_path: Path) -> None:
    refused(write_zip(tmp_path / "a.zip", {**FILES, "set/U.DATA": b"other"}), "'set/U.DATA' twice")


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_more_than_stated(tmp_path: Path, write: Callable[[Path, dict[str, bytes]], Path]) -> None:
    refused(write(tmp_path / "a", {"zeros": bytes(10**6)}), r"more than 10\.0 kB or")


def test_bombs_whose_size_is_not_stated(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"1,2\n" * 10**6))
    refused(tmp_path / "a.gz", "more bytes than stated in 'a'", 10**6)
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(10**6)))  # an empty tar, to some
    refused(tmp_path / "a.gz", "no file in it", 10**6)
    archive = write_zip(tmp_path / "a.zip", {"zeros": bytes(10**6)})
    content = archive.read_bytes()
    size = (10**6).to_bytes(4, "little")
    archive.write_bytes(content.replace(size, (100).to_bytes(4, "little")))  # the header lies
    refused(archive, "damaged|more bytes than stated", 10_000)


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_a_half_archive(tmp_path: Path, write: Callable[[Path, dict[str, bytes]], Path]) -> None:
    archive = write(
        tmp_path / "a.zip", {f"set/{k}": bytes([k % 256]) * 900 + str(k).encode() for k in range(99)}
    )
    archive.write_bytes(archive.read_bytes()[:-300])
    refused(archive, "damaged, encrypted or no archive", 10**6)
    archive.write_bytes(b"<html>Sorry</html>")
    refused(archive, "damaged, encrypted or no archive", 10**6)


def test_an_encrypted_member(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", FILES)
    content = bytearray(archive.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.rfind(mark)
        content[place + at] |= 1
    archive.write_bytes(content)
    refused(archive, "damaged, encrypted or no archive")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_zip(tmp_path / "a.zip", FILES)
    (tmp_path / "root").mkdir()
    write = unpacking._write

    def full(*arguments: object) -> int:
        write(*arguments)  # type: ignore[arg-type]
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacking, "_write", full)
    refused(archive, r"The disk is full.*--data\.root.*Nothing is left")

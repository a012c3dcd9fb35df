"""Downloads from a server on this machine: cut off, changed, damaged, refused."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from datamodules.errors import DownloadError
from datamodules.tools import fetch as fetching
from datamodules.tools.fetch import Fetched, Remote, fetch
from tests.data_makers.file_server import serving

CONTENT = os.urandom(300_000)


def get(url: str, target: Path, known: str = "", **options: Any) -> Fetched:  # noqa: ANN401
    return fetch(Remote(f"{url}/set/a.zip", known, **options), target, retries=3, pause=0.0, timeout=5.0)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_whole_file(tmp_path: Path) -> None:
    with serving(files={"set/a.zip": CONTENT}) as (url, server):
        found = get(url, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert found == Fetched(f"{url}/set/a.zip", 300_000, hashlib.sha256(CONTENT).hexdigest(), '"one"', "")
    assert left(tmp_path) == ["a.zip"]
    assert server.requests == [("/set/a.zip", "")]


def test_a_connection_that_breaks_goes_on_where_it_was(tmp_path: Path) -> None:
    with serving(files={"set/a.zip": CONTENT}, cut_after=100_000, cuts=2) as (url, server):
        get(url, tmp_path / "a.zip", f"md5:{hashlib.md5(CONTENT).hexdigest()}")
        assert [asked for _, asked in server.requests] == ["", "bytes=100000-", "bytes=200000-"]
        assert server.sent == len(CONTENT)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_another_command_goes_on_where_the_first_gave_up(tmp_path: Path) -> None:
    with serving(files={"set/a.zip": CONTENT}, cut_after=50_000, cuts=4) as (url, server):
        with pytest.raises(DownloadError, match=r"No connection to 127.*200\.0 kB have come and are kept"):
            get(url, tmp_path / "a.zip")
        assert left(tmp_path) == ["a.zip.part", "a.zip.part.json"]
        get(url, tmp_path / "a.zip")
        assert server.sent == len(CONTENT)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert left(tmp_path) == ["a.zip"]


class Change(NamedTuple):
    """What is another way when the second command comes."""

    attribute: str
    value: object


@pytest.mark.parametrize(
    "change",
    [
        Change("etag", '"two"'),
        Change("ranges", False),
        Change("files", {"set/a.zip": CONTENT[:40_000]}),
        Change("wrong_part", True),
    ],
)
def test_what_has_changed_on_the_server_is_fetched_from_the_start(
    tmp_path: Path, change: Change, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(files={"set/a.zip": CONTENT}, cut_after=50_000, cuts=4) as (url, server):
        with pytest.raises(DownloadError):
            get(url, tmp_path / "a.zip")
        if change.attribute == "etag":
            server.files = {"set/a.zip": CONTENT[::-1]}
        setattr(server, change.attribute, change.value)
        get(url, tmp_path / "a.zip")
        assert (tmp_path / "a.zip").read_bytes() == server.files["set/a.zip"]
    assert ("from the start" in capsys.readouterr().out) == (change.attribute != "files")


def test_without_an_etag_nothing_is_continued(tmp_path: Path) -> None:
    with serving(files={"set/a.zip": CONTENT}, cut_after=50_000, cuts=1, etag="") as (url, server):
        get(url, tmp_path / "a.zip")
        assert [asked for _, asked in server.requests] == ["", ""]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_another_address_does_not_continue_this_one(tmp_path: Path) -> None:
    with (
        serving(files={"set/a.zip": CONTENT}, cut_after=50_000, cuts=4) as (url, _),
        pytest.raises(DownloadError),
    ):
        get(url, tmp_path / "a.zip")
    with serving(files={"set/a.zip": CONTENT}) as (url, server):
        get(url, tmp_path / "a.zip")
        assert server.requests == [("/set/a.zip", "")]


def test_a_wrong_checksum_leaves_nothing(tmp_path: Path) -> None:
    with serving(files={"set/a.zip": CONTENT}) as (url, _):
        with pytest.raises(
            DownloadError, match=r"md5 checksum 00ff at http.*found [0-9a-f]{32} \(300,000 bytes\)"
        ):
            get(url, tmp_path / "a.zip", "md5:00ff")
    assert left(tmp_path) == []


def test_a_whole_part_is_only_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching._Part, "finish", lambda _: None)
    with serving(files={"set/a.zip": CONTENT}) as (url, server):
        get(url, tmp_path / "a.zip")  # killed before the file was in its place
        monkeypatch.undo()
        get(url, tmp_path / "a.zip")
        assert len(server.requests) == 1
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_server_that_refuses_or_is_busy(tmp_path: Path) -> None:
    with serving(files={"set/a.zip": CONTENT}, failures=[503, 429]) as (url, server):
        get(url, tmp_path / "a.zip")
        assert len(server.requests) == 3
        server.files = {}
        with pytest.raises(DownloadError, match=r"answered 404 .*put it at .*b\.zip"):
            get(url, tmp_path / "b.zip")
        server.failures = [403]
        with pytest.raises(DownloadError, match="answered 403 "):
            get(url, tmp_path / "b.zip")
    with pytest.raises(
        DownloadError, match=r"No connection to 127\.0\.0\.1:\d+ \(.*refused.*Without a network"
    ):
        get(url, tmp_path / "b.zip")
    for address in ("file:///etc", "ftp://x", "/etc"):
        with pytest.raises(DownloadError, match="begins with https"):
            get(address, tmp_path / "b.zip")


@pytest.mark.parametrize("length", [True, False])
def test_more_than_stated_is_refused(tmp_path: Path, length: bool) -> None:
    with serving(files={"set/a.zip": CONTENT}, length=length) as (url, _):
        with pytest.raises(DownloadError, match=r"Expected at most 250\.0 kB"):
            get(url, tmp_path / "a.zip", max_bytes=250_000)
        assert left(tmp_path) == []
        get(url, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    with serving(files={"set/a.zip": CONTENT}) as (url, _):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(DownloadError, match=r"The disk is full.*free are 1\.0 kB.*--data\.root"):
            get(url, tmp_path / "a.zip")
        monkeypatch.undo()
        get(url, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT

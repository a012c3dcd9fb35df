"""``mmzoo data download`` through the command, from a server on this machine; and where it only says how."""

import gzip
import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

import cli
from datamodules.amazon import Amazon
from datamodules.module import DataModule
from datamodules.movielens import MovieLens, MovieLensHistories
from datamodules.ninerec import NineRec
from datamodules.tools import sources
from datamodules.tools.sources import offer_of
from tests.data_makers.amazon import make_amazon
from tests.data_makers.file_server import serving
from tests.data_makers.movielens import make_movielens
from tests.test_cli import failed


def download(name: str, root: Path, *options: str) -> int:
    """Runs the command in this process and returns its status."""
    try:
        cli.main(["data", "download", "--data", name, "--data.root", str(root), *options])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 99
    return 0


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small ``ml-100k.zip``, whose checksum is the one that is published."""
    make_movielens(tmp_path / "made" / "ml-100k", form="100k")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for path in (tmp_path / "made" / "ml-100k").iterdir():
            file.write(path, f"ml-100k/{path.name}")
    known = f"md5:{hashlib.md5(packed.getvalue()).hexdigest()}"
    monkeypatch.setitem(sources.MOVIELENS_SUMS, "100K", known)
    return packed.getvalue()


def histories_of(root: Path) -> MovieLensHistories:
    data = MovieLensHistories(str(root))
    data.prepare_data()
    data.setup()
    return data


def test_movielens_is_fetched_checked_unpacked_and_read(
    tmp_path: Path, archive: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    with serving(files={"ml-100k.zip": archive}, cut_after=1000, cuts=1) as (url, server):
        assert download("ml100k", root, "--base_url", f"{url}/") == 0
        assert [asked for _, asked in server.requests] == ["", "bytes=1000-"]
        said = capsys.readouterr().out
        assert "for research, to be cited, not to be passed on" in said
        assert f"Found: {root}/ml-100k/u.data" in said
        note = json.loads((root / "downloads.json").read_text())["ml-100k.zip"]
        assert note["sha256"] == hashlib.sha256(archive).hexdigest()
        assert set(note["files"]) == {"ml-100k/u.data", "ml-100k/u.user", "ml-100k/u.item"}
        (root / "ml-100k" / "u.item").unlink()
        assert download("ml100k_cf", root, "--base_url", url) == 0  # nothing is fetched twice
        assert len(server.requests) == 2
        assert "has the right checksum" in capsys.readouterr().out
    assert (root / "ml-100k" / "u.item").is_file()
    assert histories_of(root).spec.n_users == 26


def test_a_file_got_by_hand_is_checked_and_unpacked(tmp_path: Path, archive: bytes) -> None:
    (tmp_path / "ml-100k.zip").write_bytes(archive)
    assert download("ml100k", tmp_path, "--base_url", "http://127.0.0.1:9") == 0
    assert (tmp_path / "ml-100k" / "u.data").is_file()


def test_a_file_that_was_changed(tmp_path: Path, archive: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ml-100k.zip").write_bytes(archive[:-1])
    line = ["data", "download", "--data", "ml100k", "--data.root", str(tmp_path)]
    assert "it was changed or is not whole. Remove it" in failed(line, capsys)
    (tmp_path / "ml-100k.zip").unlink()
    with serving(files={"ml-100k.zip": archive[::-1]}) as (url, _):
        assert "with the md5 checksum" in failed([*line, "--base_url", url], capsys)
    assert not (tmp_path / "ml-100k.zip").exists()


def test_without_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--base_url", "http://127.0.0.1:9/x", "--retries", "0"]
    line = ["data", "download", "--data", "ml1m", "--data.root", str(tmp_path), *options]
    assert f"get http://127.0.0.1:9/x/ml-1m.zip elsewhere, put it at {tmp_path}/ml-1m.zip" in failed(
        line, capsys
    )


def test_reviews_come_packed_and_are_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_amazon(tmp_path / "made", "2023")
    files = {
        f"amazon_2023/raw/{folder}/{path.name}.gz": gzip.compress(path.read_bytes())
        for folder in ("review_categories", "meta_categories")
        for path in (tmp_path / "made" / "raw" / folder).iterdir()
    }
    options = ["--data.release", "2023", "--data.subset", "All_Beauty"]
    with serving(files=files) as (url, server):
        assert download("amazon", tmp_path / "root", *options, "--base_url", url) == 0
        assert set(server.requests) == {(f"/{file}", "") for file in files}
    assert set(json.loads((tmp_path / "root" / "downloads.json").read_text())) == {
        "All_Beauty.jsonl.gz",
        "meta_All_Beauty.jsonl.gz",
    }
    (tmp_path / "root" / "All_Beauty.jsonl.gz").write_bytes(b"other")
    line = ["data", "download", "--data", "amazon", "--data.root", str(tmp_path / "root"), *options]
    assert "was changed or is not whole" in failed(line, capsys)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nineRec", "drive.google.com"),
        ("pixelrec", "github.com/westlake-repl/PixelRec"),
        ("microlens", "github.com/westlake-repl/MicroLens"),
        ("hm", "github.com/westlake-repl/IDvs.MoRec"),
        ("mind", "msnews.github.io"),
        ("bili_kwai", "github.com/xyliugo/ODMT"),
        ("amazon", "github.com/GAIR-Lab/IISAN"),
        ("mmrec", "github.com/enoche/MMRec"),
        ("microlens_fair", "recsys.westlake.edu.cn"),
        ("folder", "no such folder"),
    ],
)
def test_where_owners_do_not_offer_it_the_steps_are_said(
    tmp_path: Path, name: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert download(name, tmp_path / "nowhere") == 1
    said = capsys.readouterr().out
    assert "No direct download" in said
    assert str(tmp_path / "nowhere") in said
    assert expected in said
    assert not (tmp_path / "nowhere").exists()


def test_generated_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert download("demo", tmp_path) == download("demo_cf", tmp_path) == 0
    assert "generated on first use" in capsys.readouterr().out


def test_addresses_are_the_owners(tmp_path: Path) -> None:
    found = {}
    modules: dict[str, DataModule] = {
        "100K": MovieLensHistories(),
        "1M": MovieLens(),
        "5-core": Amazon(subset="All_Beauty_5", release="2018"),
        "ratings": Amazon(subset="All_Beauty", release="2018"),
        "2023": Amazon(subset="All_Beauty", release="2023"),
    }
    for name, data in modules.items():
        offer = offer_of(data)
        assert offer is not None
        found[name] = [source.base + source.path for source in offer.sources]
    assert found["100K"] == ["https://files.grouplens.org/datasets/movielens/ml-100k.zip"]
    assert found["1M"] == ["https://files.grouplens.org/datasets/movielens/ml-1m.zip"]
    assert found["5-core"][0].endswith("/amazon_v2/categoryFilesSmall/All_Beauty_5.json.gz")
    assert found["ratings"][0].endswith("/amazon_v2/categoryFilesSmall/All_Beauty.csv")
    assert found["2023"][1].endswith("/amazon_2023/raw/meta_categories/meta_All_Beauty.jsonl.gz")
    assert offer_of(NineRec()) is None
    assert offer_of(Amazon()) is None

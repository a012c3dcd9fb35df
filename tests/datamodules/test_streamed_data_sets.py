"""Data sets beyond the memory: the same tables as those of small ones, whatever is damaged."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

from datamodules import amazon_files, array_files, event_sources, events, spill
from datamodules.amazon import Amazon
from datamodules.base import RecDataModule
from datamodules.bili_kwai import BiliKwai
from datamodules.errors import BadTableError
from datamodules.folder import Folder
from datamodules.microlens import MicroLens
from datamodules.pixelrec import PixelRec
from datamodules.tables import Tables
from tests.data_makers import amazon, folder, lines, microlens, pixelrec
from zoo.types import ModelNeeds

pytestmark = pytest.mark.filterwarnings("ignore:Not the published size", "ignore:Bad ")

CONTENT = (
    "cover",
    "image",
    "video",
    "audio",
    "frame",
    "file",
    "path",
    "address",
    "long_names",
    "title",
    "likes",
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large is small."""
    monkeypatch.setattr(event_sources, "PIECE", 500)
    monkeypatch.setattr(event_sources, "ROWS", 60)
    monkeypatch.setattr(spill, "USERS", 4)
    monkeypatch.setattr(spill, "ROWS", 32)
    monkeypatch.setattr(array_files, "BLOCK", 50)
    monkeypatch.setattr(amazon_files, "_BLOCK", 30)
    monkeypatch.setattr(amazon_files, "_BLOCKS", 2)
    monkeypatch.setattr(events, "STREAM_FROM", 0)


def read(data: RecDataModule, work: Path | None) -> Tables | str:
    """The tables, in memory or streamed, or what is wrong with the files."""
    data.table_folder = work
    try:
        return data.read_tables()
    except BadTableError as error:
        return str(error)


def assert_same(data: RecDataModule, work: Path) -> None:
    work.mkdir()
    memory, streamed = read(data, None), read(data, work)
    if isinstance(memory, str) or isinstance(streamed, str):
        assert memory == streamed
        return
    assert isinstance(streamed.items_of, np.memmap)
    assert not isinstance(memory.items_of, np.memmap)
    assert streamed.report.lines() == memory.report.lines()
    assert streamed.users.to_list() == memory.users.to_list()
    assert streamed.items.equals(memory.items)
    np.testing.assert_array_equal(streamed.offsets, memory.offsets)
    np.testing.assert_array_equal(streamed.items_of, memory.items_of)
    assert (streamed.times_of is None) == (memory.times_of is None)
    if streamed.times_of is not None and memory.times_of is not None:
        np.testing.assert_array_equal(streamed.times_of, memory.times_of)


def of_tables(damage: object) -> list[Any]:
    """No damage, and every kind that is not one of pictures, sounds, videos or titles."""
    return [(), *((kind,) for kind in get_args(damage) if not any(word in kind for word in CONTENT))]


def test_pixelrec(tmp_path: Path) -> None:
    for damage in of_tables(pixelrec.Damage):
        root = tmp_path / f"pixelrec{''.join(damage)}"
        pixelrec.make_pixelrec(root, damage=damage, covers="none")
        assert_same(PixelRec(str(root), subset="200K"), root / "work")


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_microlens(form: str, tmp_path: Path) -> None:
    for damage in of_tables(microlens.Damage):
        root = tmp_path / f"microlens{''.join(damage)}"
        microlens.make_microlens(root, pairs=(form,), damage=damage)
        assert_same(MicroLens(str(root), subset="100K"), root / "work")


@pytest.mark.parametrize("times", get_args(folder.Times))
def test_folder(times: folder.Times, tmp_path: Path) -> None:
    for damage in of_tables(folder.Damage):
        root = tmp_path / f"folder{''.join(damage)}"
        folder.make_folder_tree(root, folder.Style(times=times), media=False, damage=damage)
        assert_same(Folder(str(root)), root / "work")


@pytest.mark.parametrize("parts", [1, 3])
def test_own_tables_in_parquet(parts: int, tmp_path: Path) -> None:
    folder.make_folder_tree(tmp_path, media=False)
    before = Folder(str(tmp_path)).read_tables()
    place = in_parquet(tmp_path / "interactions.csv", parts)
    in_parquet(tmp_path / "items.csv", 1)
    data = Folder(str(tmp_path))
    assert_same(data, tmp_path / "work")
    after = data.read_tables()
    np.testing.assert_array_equal(after.items_of, before.items_of)
    assert after.items.equals(before.items)
    assert after.users.to_list() == before.users.to_list()
    assert "interactions.parquet (Parquet): user is 'user_id'" in "\n".join(after.report.lines())
    assert len(data.table_files()) == parts + 1
    named = Folder(str(tmp_path), interactions="interactions.parquet", items="items.parquet")
    np.testing.assert_array_equal(named.read_tables().items_of, before.items_of)
    whole = (file := sorted(place.glob("*"))[-1] if place.is_dir() else place).read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadTableError, match="Parquet"):
        Folder(str(tmp_path)).read_tables()


@pytest.mark.parametrize("release", get_args(amazon.Release))
@pytest.mark.parametrize("kind", get_args(amazon.Kind))
def test_amazon(release: amazon.Release, kind: amazon.Kind, tmp_path: Path) -> None:
    for damage in of_tables(amazon.Damage):
        root = tmp_path / f"amazon{''.join(damage)}"
        amazon.make_amazon(root, release, kind, damage=damage)
        assert_same(Amazon(str(root), subset="All_Beauty", release=release), root / "work")


NAMES = lines.Names("bilibili_food_users.tsv", "bilibili_food_items_texts.tsv")


def test_lines_of_users(tmp_path: Path) -> None:
    for damage in of_tables(lines.Damage):
        root = tmp_path / f"lines{''.join(damage)}"
        lines.make_lines(root, NAMES, damage=damage)
        assert_same(BiliKwai(str(root), subset="bili_food"), root / "work")


def in_parquet(file: Path, parts: int) -> Path:
    """The pairs of a CSV file as a folder of Parquet files, or one file."""
    table = pl.read_csv(file, schema_overrides={"item_id": pl.String, "title": pl.String})
    place = file.with_suffix(".parquet")
    if parts == 1:
        table.write_parquet(place)
    else:
        place.mkdir()
        for part in range(parts):
            some = table[len(table) * part // parts : len(table) * (part + 1) // parts]
            some.write_parquet(place / f"part-{part}.parquet")
    file.unlink()
    return place


@pytest.mark.parametrize("parts", [1, 3])
def test_pairs_of_microlens_in_parquet(parts: int, tmp_path: Path) -> None:
    tree = microlens.make_microlens(tmp_path, pairs=("csv",))
    data = MicroLens(str(tmp_path), subset="100K")
    before = data.read_tables()
    (file,) = tree.root.rglob("*_pairs.csv")
    place = in_parquet(file, parts)
    data = MicroLens(str(tmp_path), subset="100K")
    assert sum(path.suffix == ".parquet" for path in data.table_files()) == parts
    assert_same(data, tmp_path / "work")
    after = data.read_tables()
    np.testing.assert_array_equal(after.items_of, before.items_of)
    assert after.users.to_list() == before.users.to_list()
    pl.DataFrame({"user": [1], "video": [2]}).write_parquet(
        place / "part-0.parquet" if place.is_dir() else place
    )
    with pytest.raises(BadTableError, match=r"Expected the columns item or videoID, timestamp in .*parquet"):
        MicroLens(str(tmp_path), subset="100K").read_tables()


def prepared(data: RecDataModule) -> RecDataModule:
    data.bind(ModelNeeds({}))
    data.prepare_data()
    data.setup()
    return data


def test_what_is_prepared_is_the_same_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixelrec.make_pixelrec(tmp_path, covers="none")
    streamed = prepared(PixelRec(str(tmp_path), subset="200K", cache_dir=str(tmp_path / "streamed")))
    monkeypatch.setattr(events, "STREAM_FROM", 2**40)
    memory = prepared(PixelRec(str(tmp_path), subset="200K", cache_dir=str(tmp_path / "memory")))
    one = {path.relative_to(streamed.cache): path for path in streamed.cache.rglob("*") if path.is_file()}
    other = {path.relative_to(memory.cache): path for path in memory.cache.rglob("*") if path.is_file()}
    assert one.keys() == other.keys()
    assert {path.name for path in one} >= {"items.npy", "offsets.npy", "times.npy", "users.parquet"}
    for name, path in one.items():
        if path.suffix != ".lock":
            assert path.read_bytes() == other[name].read_bytes(), name
    assert streamed.spec == memory.spec

import copy
import csv
import errno
import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from datamodules.errors import DiskFullError
from datamodules.item_store import ItemStore, Preparation
from datamodules.raw_content import RawContent
from tests.data_makers.killing import files_of, killed_at
from tests.data_makers.transforms import LetterTransform, PixelTransform

N_ITEMS = 24


@pytest.fixture
def covers(tmp_path: Path) -> RawContent:
    """Two dozen pictures, of which the third is truncated, the fifth missing and the seventh unknown."""
    folder = tmp_path / "covers"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for row in range(1, N_ITEMS + 1):
        Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(folder / f"v{row}.jpg")
    (folder / "v3.jpg").write_bytes((folder / "v3.jpg").read_bytes()[:-100])
    (folder / "v5.jpg").unlink()
    names = ["", *(f"v{row}" for row in range(1, N_ITEMS + 1))]
    values = [None, *(f"{name}.jpg" for name in names[1:])]
    values[7] = None
    return RawContent("image", names, values, folder, "covers/<item id>.jpg")


def titles(*values: str | None) -> RawContent:
    names = ["", *(f"v{row}" for row in range(1, len(values) + 1))]
    return RawContent("text", names, [None, *values], None, "QB_item.csv")


def small(parent: Path, raw: RawContent) -> Preparation:
    """A preparation of several chunks."""
    parent.mkdir(exist_ok=True)
    return Preparation(parent, raw, PixelTransform(), chunk_bytes=1)


def store_of(preparation: Preparation, n_items: int) -> ItemStore:
    return ItemStore({preparation.raw.modality: preparation.run()}, np.zeros(n_items, dtype=np.int64))


def test_pictures(tmp_path: Path, covers: RawContent) -> None:
    store = store_of(small(tmp_path / "cache", covers), N_ITEMS + 1)
    ids = np.array([0, 1, 2, 3, 5, 7, 24])
    content = store.content(ids, ["image"])["image"]
    assert content["present"].tolist() == [False, True, True, False, False, False, True]
    assert content["pixels"].shape == (7, 3, 8, 8)
    assert (content["pixels"][[0, 3, 4, 5]] == 127).all()
    assert covers.folder is not None
    with Image.open(covers.folder / "v24.jpg") as image:
        assert (content["pixels"][6].numpy() == PixelTransform()([image.convert("RGB")])["pixels"][0]).all()


def test_report_of_bad_items(tmp_path: Path, covers: RawContent) -> None:
    store = store_of(small(tmp_path / "cache", covers), N_ITEMS + 1)
    bad = [(item.item, item.file) for item in store.bad_items()]
    assert bad == [("v3", "v3.jpg"), ("v5", "v5.jpg"), ("v7", "covers/<item id>.jpg")]
    reasons = [item.reason for item in store.bad_items()]
    assert "truncated" in reasons[0]
    assert reasons[1:] == ["the file is missing", "the file is missing"]
    with open(store.folders["image"] / "bad_items.csv", newline="") as file:
        assert next(csv.reader(file)) == ["item", "modality", "file", "reason"]


def test_titles(tmp_path: Path) -> None:
    raw = titles("a crane", "  ", None, "", "broken \ufffd")
    store = store_of(Preparation(tmp_path, raw, LetterTransform(4)), 6)
    content = store.content(np.arange(6), ["text"])["text"]
    assert content["present"].tolist() == [False, True, False, False, False, True]
    assert content["tokens"][1].tolist() == [ord(letter) for letter in "a cr"]
    assert (content["tokens"][[0, 2, 3, 4]] == -1).all()
    assert [(item.item, item.reason) for item in store.bad_items()] == [
        ("v2", "the text is empty"),
        ("v3", "the text is empty"),
        ("v4", "the text is empty"),
        ("v5", "not UTF-8: undecodable bytes were replaced"),
    ]


def test_killed_anywhere_and_resumed_is_byte_for_byte_the_same(tmp_path: Path, covers: RawContent) -> None:
    expected = files_of(small(tmp_path / "whole", covers).run())
    moment, deaths = 0, 0
    while True:
        parent = tmp_path / f"killed-{moment}"
        died = killed_at(moment, lambda parent=parent: small(parent, covers).run())  # type: ignore[misc]
        assert files_of(small(parent, covers).run()) == expected
        assert [path.name for path in parent.iterdir() if not path.name.startswith(".")] == [
            small(parent, covers).folder.name
        ]
        shutil.rmtree(parent)
        deaths += died
        if not died:
            break
        moment += 1
    assert deaths > 20


def test_killed_again_and_again(tmp_path: Path, covers: RawContent) -> None:
    expected = files_of(small(tmp_path / "whole", covers).run())
    parent = tmp_path / "killed"
    for _ in range(100):
        if not killed_at(25, lambda: small(parent, covers).run()):
            break
    assert files_of(small(parent, covers).run()) == expected


def test_finished_chunks_are_not_done_again(tmp_path: Path, covers: RawContent) -> None:
    preparation = small(tmp_path / "cache", covers)
    whole = preparation.needed_bytes()
    moment = 14
    assert killed_at(moment, lambda: small(tmp_path / "cache", covers).run())
    assert 0 < preparation.needed_bytes() < whole
    preparation.run()
    assert preparation.needed_bytes() == 0


def test_no_space_is_said_before_the_work(
    tmp_path: Path, covers: RawContent, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparation = small(tmp_path / "cache", covers)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskFullError, match=r"needs 4\.8 kB \(4,825 bytes\) more, free are") as caught:
        preparation.run()
    assert str(tmp_path / "cache") in str(caught.value)
    assert "--data.cache_dir" in str(caught.value)


def test_disk_full_on_the_way_loses_nothing(
    tmp_path: Path, covers: RawContent, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = files_of(small(tmp_path / "whole", covers).run())
    calls = 0

    def full(file: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    preparation = small(tmp_path / "cache", covers)
    whole = preparation.needed_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFullError) as caught:
            preparation.run()
    assert 0 < caught.value.needed < whole
    assert files_of(preparation.run()) == expected


def test_whatever_changes_the_content_makes_a_new_folder(tmp_path: Path, covers: RawContent) -> None:
    def folder(raw: RawContent, side: int = 8) -> str:
        return Preparation(tmp_path, copy.deepcopy(raw), PixelTransform(side)).folder.name

    assert covers.folder is not None
    before = folder(covers)
    assert folder(covers) == before
    assert folder(covers, side=9) != before
    os.utime(covers.folder / "v2.jpg", ns=(1, 1))
    touched = folder(covers)
    assert touched != before
    (covers.folder / "v5.jpg").write_bytes((covers.folder / "v4.jpg").read_bytes())
    assert folder(covers) != touched
    first, second = titles("a", "b"), titles("a", "c")
    transform = LetterTransform()
    keys = {Preparation(tmp_path, raw, transform).folder.name for raw in (first, second, titles("b", "a"))}
    assert len(keys) == 3


def test_a_transform_that_breaks_its_word_is_named(tmp_path: Path) -> None:
    class Wrong(LetterTransform):
        def __call__(self, raw: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
            return {"tokens": super().__call__(raw)["tokens"].astype(np.int64)}

    with pytest.raises(TypeError, match="letters-6"):
        Preparation(tmp_path, titles("a"), Wrong()).run()


def test_travels_to_workers_without_its_arrays(tmp_path: Path, covers: RawContent) -> None:
    store = store_of(small(tmp_path / "cache", covers), N_ITEMS + 1)
    packed = pickle.dumps(store)
    assert len(packed) < 2000
    ids = np.arange(N_ITEMS + 1)
    again = pickle.loads(packed).content(ids, ["image"])["image"]["pixels"]
    assert (again == store.content(ids, ["image"])["image"]["pixels"]).all()


def test_a_modality_that_was_not_prepared(tmp_path: Path) -> None:
    store = store_of(Preparation(tmp_path, titles("a"), LetterTransform()), 2)
    with pytest.raises(KeyError, match="found only \\['text'\\]"):
        store.content(np.array([1]), ["image"])

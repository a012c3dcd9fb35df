"""Pictures in the authors' LMDB files: pickles are read as data, and a hostile one does nothing."""

import os
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from datamodules.errors import BadImageError, BadTableError
from datamodules.lmdb import LmdbContent, is_lmdb, lmdb_names, parse_record, picture
from datamodules.media import open_image
from tests.data_makers.lmdb import LMDB_Image, Payload, write_lmdb


def pixels(height: int = 3, width: int = 5, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_record_of_every_protocol(protocol: int) -> None:
    """Before 3 there are no bytes: they come out of a call, which is refused."""
    expected = pixels()
    fields = parse_record(pickle.dumps(LMDB_Image(expected, "i7"), protocol))
    assert fields["id"] == "i7"
    assert (np.asarray(picture(fields)) == expected).all()


def test_the_class_may_claim_any_module() -> None:
    """The authors' records are of ``__main__.LMDB_Image``, which no reader has."""
    record = pickle.dumps(LMDB_Image(pixels(), "i7")).replace(
        LMDB_Image.__module__.encode(), b"x" * len(LMDB_Image.__module__)
    )
    assert parse_record(record)["channels"] == 3


def test_floats_of_a_network_become_a_picture() -> None:
    expected = pixels()
    image = LMDB_Image(expected, "i7")
    image.image = (expected.transpose(2, 0, 1).astype("<f4") / 127.5 - 1).tobytes()
    for shape in (((3, 5), 3), ((3, 3), 5)):  # as height, width, channels; as the first two of (3, 3, 5)
        image.size, image.channels = shape
        assert (np.asarray(picture(parse_record(pickle.dumps(image)))) == expected).all()


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_record_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "executed"
    record = pickle.dumps(Payload(str(mark)), protocol)
    with pytest.raises(BadImageError, match=r"refused: the record asks for .*system|mkdir"):
        parse_record(record)
    hidden = LMDB_Image(pixels(), "i7")
    hidden.id = Payload(str(mark))  # type: ignore[assignment]
    with pytest.raises(BadImageError, match="refused"):
        parse_record(pickle.dumps(hidden, protocol))
    assert not mark.exists()
    pickle.loads(record)
    assert mark.exists(), "the payload would have worked"


def test_no_module_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> ModuleType:
        raise AssertionError("imported")

    record = pickle.dumps(LMDB_Image(pixels(), "i7")).replace(b"LMDB_Image", b"LMDB_Other")
    monkeypatch.setattr("builtins.__import__", refuse)
    with pytest.raises(BadImageError, match=r"asks for .*LMDB_Other"):
        parse_record(record)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"no pickle at all",
        pickle.dumps(LMDB_Image(pixels(), "i7"))[:60],
        pickle.dumps("a text"),
        pickle.dumps({"image": b"", "size": (1, 1), "channels": 3}),
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",  # bytes of a length nobody has
        b"\x80\x04r\xff\xff\xff\xff.",  # a memo of thousands of millions of places
        b"\x80\x04" + b"(" * 100_000 + b".",
        b"\x80\x04b.",
        b"\x80\x04t.",
    ],
)
def test_damaged_records(record: bytes) -> None:
    with pytest.raises(BadImageError, match=r"damaged|no picture"):
        parse_record(record)


def test_keys_that_would_take_ages_to_hash() -> None:
    doubled = b"".join(b"h" + bytes([k]) + b"h" + bytes([k]) + b"\x86\x94" for k in range(60))
    record = b"\x80\x04})\x94" + doubled + b"Ns."
    with pytest.raises(BadImageError, match="damaged"):
        parse_record(record)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": b"short"}, "damaged: 5 bytes for 3 by 5 by 3"),
        ({"size": (60_000, 60_000)}, "too large"),
        ({"size": "35"}, "expected the fields"),
        ({"size": (0, 5)}, "expected height, width"),
        ({"channels": None}, "expected height, width"),
        ({"image": None}, "expected the fields"),
    ],
)
def test_records_that_are_no_picture(change: dict[str, Any], reason: str) -> None:
    image = LMDB_Image(pixels(), "i7")
    vars(image).update(change)
    with pytest.raises(BadImageError, match=reason):
        picture(parse_record(pickle.dumps(image)))


@pytest.mark.parametrize("folder", [False, True])
def test_content_by_item(tmp_path: Path, folder: bool) -> None:
    mark = tmp_path / "executed"
    path = tmp_path / "images.lmdb"
    pictures = {f"i{row}": pixels(seed=row) for row in range(3)}
    write_lmdb(path, pictures, hostile={"i8": Payload(str(mark))}, folder=folder)
    assert is_lmdb(path)
    assert not is_lmdb(tmp_path)
    assert sorted(lmdb_names(path)) == ["i0", "i1", "i2", "i8"]
    names = ["", "i2", "i8", "i9", "gone"]
    content = LmdbContent("image", names, [None, "i2", "i8", None, "gone"], path, path.name)
    found, reason = content.read(1, open_image)
    assert (np.asarray(found) == pictures["i2"]).all()
    assert reason == ""
    assert content.read(2, open_image)[0] is None
    assert "refused" in content.read(2, open_image)[1]
    assert [content.read(row, open_image)[1] for row in (3, 4)] == ["the record is missing"] * 2
    assert content.file_of(2) == "images.lmdb: i8"
    assert not mark.exists()
    key = content.key
    data = path / "data.mdb" if folder else path
    os.utime(data, ns=(1, 1))
    assert LmdbContent("image", names, content.values, path, path.name).key != key


def test_a_file_that_is_no_lmdb(tmp_path: Path) -> None:
    path = tmp_path / "images.lmdb"
    path.write_bytes(b"<html>404</html>" * 1000)
    with pytest.raises(BadTableError, match="cannot be read"):
        lmdb_names(path)


def test_without_the_library_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other.lmdb"
    write_lmdb(path, {"i1": pixels()})
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mmzoo\[lmdb\]'"):
        lmdb_names(path)


def test_greyscale() -> None:
    grey = LMDB_Image(pixels(), "i1")
    grey.image, grey.channels = pixels()[..., 0].tobytes(), 1
    assert picture(parse_record(pickle.dumps(grey))).mode == "RGB"

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.errors import BadImageError, BadMediaError
from datamodules.media import FORMATS, open_file, open_image
from tests.data_makers.parts import huge_png

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))


def encoded(kind: str, image: Image.Image = PICTURE) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_are_told_by_content_not_by_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "cover.jpg"
    path.write_bytes(encoded(kind))
    image = open_image(path)
    assert (image.mode, image.size) == ("RGB", (30, 40))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "cover.png"
    if mode == "I;16":
        image = Image.fromarray(np.full((4, 4), 1000, dtype=np.uint16))
    else:
        image = PICTURE.convert(mode)
    path.write_bytes(encoded("JPEG" if mode == "CMYK" else "PNG", image))
    assert open_image(path).mode == "RGB"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"<html>not found</html>", "not a picture in one of the formats"),
        (encoded("JPEG")[:300], "not a picture|cannot be read"),
        (encoded("JPEG")[:-200], "cannot be read: .*truncated"),
        (encoded("PNG")[:-400], "cannot be read"),
        (encoded("BMP"), "not a picture in one of the formats"),
        (encoded("TIFF"), "not a picture in one of the formats"),
        (huge_png(), "too large"),
        (huge_png(10_000), "too large"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_pictures_have_a_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "cover.jpg"
    path.write_bytes(content)
    with pytest.raises(BadImageError, match=reason):
        open_image(path)


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match="missing"):
        open_image(tmp_path / "no.jpg")
    with pytest.raises(BadImageError, match="cannot be read"):
        open_image(tmp_path)
    with pytest.raises(BadMediaError, match="missing"):
        open_file(tmp_path / "no.wav")


@pytest.mark.parametrize("kind", FORMATS)
def test_damage_anywhere_never_raises_anything_else(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    whole = np.frombuffer(encoded(kind), dtype=np.uint8)
    path = tmp_path / "cover.jpg"
    for _ in range(60):
        broken = whole.copy()
        broken[rng.integers(0, len(whole), 8)] = rng.integers(0, 256, 8)
        path.write_bytes(broken[: rng.integers(1, len(whole))].tobytes())
        with suppress(BadImageError):
            assert open_image(path).mode == "RGB"


def test_sixteen_bit_grey_is_scaled(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    found = np.asarray(open_image(tmp_path / "ramp.png"))
    assert (found[0, :, 0] == np.arange(256)).all()


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (np.asarray(open_image(tmp_path / "clear.png")) == 255).all()

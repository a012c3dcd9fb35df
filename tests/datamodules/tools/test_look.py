"""What is said of one item's content, whole or damaged."""

import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.raw_content import RawContent
from datamodules.tools import look as module
from datamodules.tools.check import look_at_all
from datamodules.tools.look import Finding, Limits
from tests.data_makers.parts import huge_png, jpeg


def gif(path: Path, frames: int) -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)) for _ in range(frames)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)


def sound(path: Path, seconds: float) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * int(8000 * seconds)))


LIMITS = Limits()


def findings(
    folder: Path | None, modality: str, values: list[str | None], limits: Limits = LIMITS
) -> dict[str, list[tuple[str, str]]]:
    """Item (its value) -> kinds and whether they lose the content."""
    names = ["", *(value or "nothing" for value in values)]
    raw = RawContent(modality, names, [None, *values], folder, "source")
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in look_at_all(raw, limits, threads=2):
        found.setdefault(finding.item, []).append((finding.kind, finding.lost))
        assert finding.modality == modality
        assert finding.reason
    return found


def test_titles() -> None:
    titles: list[str | None] = [
        "a title",
        "  ",
        None,
        "caf\ufffd au lait",
        "x",
        "y" * 1001,
        "twice",
        "twice ",
    ]
    assert findings(None, "text", titles) == {
        "  ": [("missing", "yes")],
        "nothing": [("missing", "yes")],
        "caf\ufffd au lait": [("corrupt", "no")],
        "x": [("short", "no")],
        "y" * 1001: [("large", "no")],
        "twice": [("duplicate", "no")],
        "twice ": [("duplicate", "no")],
    }


def test_pictures(tmp_path: Path) -> None:
    good = jpeg(np.random.default_rng(0), (64, 36))
    files = {"good.jpg": good, "cut.jpg": good[: len(good) // 2], "empty.jpg": b"", "huge.png": huge_png()}
    files |= {"page.jpg": b"<html>404</html>", "copy.jpg": good, "page2.jpg": b"<html>404</html>"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    Image.new("RGB", (200, 3)).save(tmp_path / "thin.png")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    values = [*files, "thin.png", "folder.jpg", "loop.jpg", "gone.jpg", None]
    assert findings(tmp_path, "image", values) == {
        "good.jpg": [("duplicate", "no")],
        "copy.jpg": [("duplicate", "no")],
        "cut.jpg": [("corrupt", "yes")],
        "empty.jpg": [("corrupt", "yes")],
        "huge.png": [("large", "yes")],
        "page.jpg": [("corrupt", "yes")],
        "page2.jpg": [("corrupt", "yes")],
        "thin.png": [("short", "no")],
        "folder.jpg": [("corrupt", "yes")],
        "loop.jpg": [("corrupt", "yes")],
        "gone.jpg": [("missing", "yes")],
        "nothing": [("missing", "yes")],
    }
    assert findings(tmp_path, "image", ["good.jpg"], Limits(max_megabytes=1e-4)) == {
        "good.jpg": [("large", "no")]
    }


def test_clips(tmp_path: Path) -> None:
    gif(tmp_path / "good.gif", 5)
    gif(tmp_path / "still.gif", 1)
    content = (tmp_path / "good.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(content[: len(content) * 2 // 5])
    (tmp_path / "wrong.gif").write_bytes(content[:20] + bytes(len(content) - 20))
    found = findings(tmp_path, "video", ["good.gif", "still.gif", "cut.gif", "wrong.gif"])
    assert found == {
        "still.gif": [("short", "no")],
        "cut.gif": [("corrupt", "yes")],
        "wrong.gif": [("corrupt", "yes")],
    }


def test_sounds(tmp_path: Path) -> None:
    sound(tmp_path / "good.wav", 1)
    sound(tmp_path / "short.wav", 0.1)
    content = (tmp_path / "good.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[:9000])
    assert findings(tmp_path, "audio", ["good.wav", "short.wav", "cut.wav"]) == {
        "short.wav": [("short", "no")],
        "cut.wav": [("corrupt", "yes")],
    }


def test_whatever_a_decoder_does_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(path: Path) -> Image.Image:
        raise ZeroDivisionError(f"in the middle of {path.name}")

    monkeypatch.setattr(module, "open_image", breaks)
    (tmp_path / "odd.jpg").write_bytes(b"x")
    raw = RawContent("image", ["", "item"], [None, "odd.jpg"], tmp_path, "source")
    (finding,) = look_at_all(raw, LIMITS)
    reason = "stops its decoder: ZeroDivisionError: in the middle of odd.jpg"
    assert finding == Finding("item", "image", "corrupt", "yes", "odd.jpg", reason)

import io
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from datamodules.clips import open_clip, open_sound
from datamodules.errors import BadMediaError
from datamodules.item_store import ItemStore, Preparation
from datamodules.raw_content import RawContent
from tests.data_makers.parts import RATE, TONE, mp4, wav


def gif(n_frames: int = 8) -> bytes:
    """An animation whose frame k is grey of 20 k."""
    frames = [Image.new("L", (16, 12), 20 * k) for k in range(n_frames)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=80)
    return file.getvalue()


def all_frames(n_frames: int) -> list[int]:
    return list(range(n_frames))


def greys(clip: list[Image.Image]) -> list[int]:
    return [round(float(np.asarray(picture).mean()) / 20) for picture in clip]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav_of_every_width(width: int, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(wav(width=width))  # told by content, not by name
    sound = open_sound(tmp_path / "a.mp3", 10.0)
    assert sound.rate == RATE
    assert sound.samples_T.dtype == np.float32
    np.testing.assert_allclose(sound.samples_T, TONE, atol=0.01 if width == 1 else 1e-4)


def test_channels_are_averaged_and_the_rest_is_not_read(tmp_path: Path) -> None:
    both = np.stack([TONE, -0.5 * TONE], axis=1).ravel()
    (tmp_path / "a.wav").write_bytes(wav(both, channels=2))
    sound = open_sound(tmp_path / "a.wav", 0.25)
    assert len(sound.samples_T) == RATE // 4
    np.testing.assert_allclose(sound.samples_T, 0.25 * TONE[: RATE // 4], atol=1e-4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (wav()[:-500], r"truncated: 3750 of 4000 samples"),
        (wav()[:30], "damaged"),
        (wav(np.empty(0)), "holds no sound"),
        (wav(rate=2**31 - 1), "damaged: 1 channels of"),
        (b"<html>not found</html>" * 9, "cannot be decoded"),
        (gif(), "holds no sound"),
    ],
)
def test_bad_sounds_have_a_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(BadMediaError, match=reason):
        open_sound(tmp_path / "a.wav", 10.0)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "no.wav", tmp_path):
        with pytest.raises(BadMediaError, match="the file is missing"):
            open_sound(path, 1.0)
        with pytest.raises(BadMediaError, match="the file is missing"):
            open_clip(path, all_frames)


def test_frames_of_an_animation(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(gif())
    clip = open_clip(tmp_path / "a.mp4", lambda n: [1, 3, 3, n - 1])
    assert [picture.mode for picture in clip] == ["RGB"] * 4
    assert greys(clip) == [1, 3, 3, 7]
    assert clip[1] is clip[2]
    Image.new("RGB", (4, 4), (20, 20, 20)).save(tmp_path / "still.png")
    assert greys(open_clip(tmp_path / "still.png", all_frames)) == [1]


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "the file is empty"), (gif()[:200], "cannot be|not an")]
)
def test_bad_clips_have_a_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(content)
    with pytest.raises(BadMediaError, match=reason):
        open_clip(tmp_path / "a.gif", all_frames)


@pytest.mark.parametrize("kind", ["wav", "gif"])
def test_damage_anywhere_never_raises_anything_else(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    whole = np.frombuffer(wav() if kind == "wav" else gif(), dtype=np.uint8)
    path = tmp_path / "file"
    for _ in range(60):
        broken = whole.copy()
        broken[rng.integers(0, min(len(whole), 400), 8)] = rng.integers(0, 256, 8)
        path.write_bytes(broken[: rng.integers(1, len(whole))].tobytes())
        with suppress(BadMediaError):
            if kind == "wav":
                assert open_sound(path, 1.0).samples_T.ndim == 1
            else:
                assert open_clip(path, all_frames)


def test_a_video_has_frames_and_a_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    mp4(path)
    asked: list[int] = []

    def choose(n_frames: int) -> list[int]:
        asked.append(n_frames)
        return [0, 5, n_frames - 1]

    assert greys(open_clip(path, choose)) == [0, 5, 11]
    assert asked == [12]
    sound = open_sound(path, 0.5)
    assert sound.rate == 16000
    assert len(sound.samples_T) == 8000
    assert 0.25 < float(sound.samples_T[2000:].std()) < 0.45
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(BadMediaError, match="cannot be decoded"):
        open_clip(path, all_frames)
    (tmp_path / "tone.wav").write_bytes(wav())
    with pytest.raises(BadMediaError, match="holds no pictures"):
        open_clip(tmp_path / "tone.wav", all_frames)


def test_without_the_decoder_preparation_ends_and_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    with pytest.raises(ModuleNotFoundError, match=r"a.mp4 .*install PyAV: .*pip install 'mmzoo\[media\]'"):
        open_clip(tmp_path / "a.mp4", all_frames)
    with pytest.raises(ModuleNotFoundError, match=r"mmzoo\[media\]"):
        open_sound(tmp_path / "a.mp4", 1.0)


class First:
    """Keeps the first quarter second, or the first two frames' means."""

    key = "first"
    fill: dict[str, int] = {}  # noqa: RUF012  # the contract's plain attribute
    seconds = 0.25
    fields: dict[str, tuple[tuple[int, ...], str]] = {"means": ((2,), "float32")}  # noqa: RUF012

    def frames(self, n_frames: int) -> list[int]:
        return [0, n_frames - 1]

    def __call__(self, raw: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
        values = [
            [np.asarray(picture).mean() for picture in one]
            if isinstance(one, list)
            else [len(one.samples_T), one.rate]
            for one in raw
        ]
        return {"means": np.asarray(values, np.float32)}


@pytest.mark.parametrize("modality", ["audio", "video"])
def test_a_bad_item_is_a_row_of_the_report_and_absent(modality: str, tmp_path: Path) -> None:
    folder = tmp_path / modality
    folder.mkdir()
    good, suffix = (wav(), ".wav") if modality == "audio" else (gif(), ".gif")
    for row in (1, 2, 4):
        (folder / f"v{row}{suffix}").write_bytes(good if row != 2 else good[:200])
    names = ["", "v1", "v2", "v3", "v4"]
    raw = RawContent(
        modality, names, [None, *(f"{n}{suffix}" for n in names[1:3]), None, f"v4{suffix}"], folder, "*"
    )
    store = ItemStore({modality: Preparation(tmp_path, raw, First()).run()}, np.zeros(5, dtype=np.int64))
    content = store.content(np.arange(5), [modality])[modality]
    assert content["present"].tolist() == [False, True, False, False, True]
    expected = [RATE / 4, RATE] if modality == "audio" else [0, 140]
    np.testing.assert_allclose(content["means"][[1, 4]], [expected] * 2, atol=2)
    bad = list(store.bad_items())
    assert [(item.item, item.modality) for item in bad] == [("v2", modality), ("v3", modality)]
    assert "truncated" in bad[0].reason or "cannot be decoded" in bad[0].reason or "not an" in bad[0].reason
    assert bad[1].reason == "the file is missing"

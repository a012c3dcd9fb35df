"""What the makers of several data sets need: histories with something to learn, pictures, sounds, clips."""

import io
import struct
import wave
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

RATE = 8000
TONE = np.sin(np.arange(4000) / 5) * 0.5


def histories_of(
    rng: np.random.Generator, items: list[str], n_users: int, longest: int, prefix: str
) -> dict[str, list[str]]:
    """User -> items, oldest first; half of them follow a fixed successor of the item before."""
    n_items = len(items)
    follows = rng.permutation(n_items)
    popular = (n_items * rng.random((n_users, longest)) ** 2).astype(int)
    walk = popular.copy()
    for step in range(1, longest):
        walk[:, step] = np.where(rng.random(n_users) < 0.5, follows[walk[:, step - 1]], popular[:, step])
    lengths = rng.integers(5, longest + 1, n_users)
    names = np.array(items, dtype=object)[walk].tolist()
    numbers = rng.permutation(np.arange(1, 2 * n_users))[:n_users]
    return {
        f"{prefix}{number}": row[:length] for number, row, length in zip(numbers, names, lengths, strict=True)
    }


def steps(rng: np.random.Generator, history: list[str]) -> npt.NDArray[np.int64]:
    """Time since the interaction before: some neighbours have equal times, but not the same item."""
    waits = rng.integers(0, 3, len(history))
    waits[::2] += 1
    waits[1:][np.array(history[1:]) == np.array(history[:-1])] += 1
    return waits


def jpeg(rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    """A picture of a few coloured blobs."""
    coarse = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return file.getvalue()


def huge_png(side: int = 60_000) -> bytes:
    """A small file whose header claims 3.6 thousand million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def wav(samples: npt.NDArray[Any] = TONE, rate: int = RATE, channels: int = 1, width: int = 2) -> bytes:
    """A WAV file; samples -1..1, interleaved where there are several channels."""
    if width == 1:
        data = np.rint(samples * 127 + 128).astype(np.uint8).tobytes()
    else:
        whole = np.rint(samples * (2 ** (8 * width - 1) - 1)).astype("<i8")
        data = whole.view(np.uint8).reshape(-1, 8)[:, :width].tobytes()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(data)
    return file.getvalue()


def mp4(path: Path, n_frames: int = 12) -> None:
    """An MP4 with a tone in stereo; frame k is grey of 20 k."""
    av = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=12)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        tones = container.add_stream("aac", rate=16000)
        tones.layout = "stereo"
        for k in range(n_frames):
            picture = Image.new("RGB", (32, 32), (20 * k,) * 3)
            container.mux(pictures.encode(av.VideoFrame.from_image(picture)))
        container.mux(pictures.encode())
        tone = np.sin(np.arange(16000) / 5).astype(np.float32) * 0.5
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
        frame.sample_rate = 16000
        container.mux(tones.encode(frame))
        container.mux(tones.encode())

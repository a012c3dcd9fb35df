"""Decodes sounds and video clips from strangers, with a reason where that does not work.

WAV is read by the standard library and animated pictures by Pillow; everything else by PyAV, which the extra
``mmzoo[media]`` installs.
"""

import struct
import sys
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from datamodules.errors import BadMediaError
from datamodules.media import MAX_PIXELS, as_rgb, open_file, open_image
from zoo.types import Sound

ANIMATIONS = ("GIF", "WEBP", "PNG")
"""Formats that Pillow decodes frame by frame."""
MAX_RATE = 768_000
"""Samples per second beyond which a header is not believed."""

Choice = Callable[[int], Sequence[int]]
"""From the number of a clip's frames to those that are wanted."""


def open_sound(path: Path, seconds: float) -> Sound:
    """Reads the beginning of a sound, also that of a video, as one channel: the mean of all.

    Args:
        path: Its file.
        seconds: What is read at most.

    Raises:
        BadMediaError: The file is missing, empty, damaged, or holds no sound.
        ModuleNotFoundError: The file needs PyAV, which is not installed.
    """
    start = _start(path)
    if start[:4] == b"RIFF" and start[8:12] == b"WAVE":
        sound = _read_wave(path, seconds) or _decode_sound(path, seconds)
    else:
        sound = _decode_sound(path, seconds)
    if not sound.samples_T.size:
        raise BadMediaError("it holds no sound")
    if not np.isfinite(sound.samples_T).all():
        raise BadMediaError("damaged: samples that are no numbers")
    return sound


def _start(path: Path) -> bytes:
    try:
        with open(open_file(path), "rb") as file:
            return file.read(16)
    except OSError as error:
        raise BadMediaError(f"cannot be read: {error}") from error


def _read_wave(path: Path, seconds: float) -> Sound | None:
    """A WAV file of whole numbers; None if it holds others."""
    try:
        with wave.open(str(path), "rb") as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            if not (0 < rate <= MAX_RATE and channels and 1 <= width <= 4):
                raise BadMediaError(
                    f"damaged: {channels} channels of {rate} samples per second of {width} bytes each"
                )
            wanted = min(file.getnframes(), int(np.ceil(seconds * rate)))
            data = file.readframes(wanted)
    except wave.Error as error:
        if "unknown format" in str(error):
            return None
        raise BadMediaError(f"damaged: {error}") from error
    except (OSError, EOFError, ValueError, RuntimeError, struct.error) as error:
        raise error if isinstance(error, BadMediaError) else BadMediaError(f"damaged: {error}") from error
    if len(data) < wanted * channels * width:
        found = len(data) // (channels * width)
        raise BadMediaError(f"truncated: {found} of {wanted} samples")
    return Sound(_whole_numbers(data, width).reshape(-1, channels).mean(axis=1, dtype=np.float32), rate)


def _whole_numbers(data: bytes, width: int) -> npt.NDArray[np.float32]:
    """Samples of 1 (unsigned), 2, 3 or 4 bytes, the lowest first, as numbers between -1 and 1."""
    raw = np.frombuffer(data, dtype=np.uint8)
    if width == 1:
        return (raw.astype(np.float32) - np.float32(128)) / np.float32(128)
    wide = np.zeros((len(raw) // width, 4), dtype=np.uint8)
    wide[:, 4 - width :] = raw.reshape(-1, width)
    return wide.view("<i4").ravel().astype(np.float32) / np.float32(2**31)


def _decode_sound(path: Path, seconds: float) -> Sound:
    av = _pyav(path)
    parts: list[npt.NDArray[np.float32]] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise BadMediaError("it holds no sound")
            stream = _readable(container.streams.audio[0])
            rate = int(stream.rate)
            floats = av.AudioResampler(
                format="fltp"
            )  # one row a channel; its own mixing would make it louder
            wanted = int(np.ceil(seconds * rate))
            n_read = 0
            for frame in container.decode(stream):
                parts += [part.to_ndarray().mean(axis=0) for part in floats.resample(frame)]
                n_read += frame.samples
                if n_read >= wanted:
                    break
    except (av.error.FFmpegError, OSError, ValueError, EOFError) as error:
        raise _reason(error) from error
    samples = np.concatenate(parts) if parts else np.empty(0, np.float32)
    return Sound(samples[:wanted].astype(np.float32), rate)


def open_clip(path: Path, choose: Choice) -> list[Image.Image]:
    """Reads the wanted frames of a video, an animated picture or a row of still ones, as RGB.

    Args:
        path: Its file; for stills the first of them, ``7-1.jpg``, beside which ``7-2.jpg`` and so on lie.
        choose: Which frames of how many.

    Raises:
        BadMediaError: The file is missing, empty, damaged, too large, or holds no pictures.
        ModuleNotFoundError: The file needs PyAV, which is not installed.
    """
    start = _start(path)
    if start[:3] == b"\xff\xd8\xff":
        return _stills(path, choose)
    is_picture = start[:4] in (b"GIF8", b"\x89PNG") or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
    return _animation(path, choose) if is_picture else _video(path, choose)


def _animation(path: Path, choose: Choice) -> list[Image.Image]:
    frames: dict[int, Image.Image] = {}
    try:
        with Image.open(path, formats=ANIMATIONS) as image:
            _check_size(*image.size)
            wanted = choose(getattr(image, "n_frames", 1))
            for index in sorted(set(wanted)):
                image.seek(index)
                frames[index] = as_rgb(image)
    except (Image.DecompressionBombError, UnidentifiedImageError) as error:
        raise BadMediaError("not an animated picture, or too large") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise _reason(error) from error
    return [frames[index] for index in wanted]


def still_frames(path: Path) -> list[Path]:
    """The frames of a clip that lies as pictures: the first one, and those counted on from it.

    Example:
        >>> still_frames(Path("nowhere/cover.jpg"))
        [PosixPath('nowhere/cover.jpg')]
    """
    stem, _, number = path.stem.rpartition("-")
    frames = [path]
    if stem and number.isdecimal():
        while (following := path.with_name(f"{stem}-{int(number) + len(frames)}{path.suffix}")).is_file():
            frames.append(following)
    return frames


def _stills(path: Path, choose: Choice) -> list[Image.Image]:
    """Where exactly as many frames lie as are wanted, they are the wanted ones: somebody chose before."""
    paths = still_frames(path)
    wanted = choose(len(paths))
    if len(wanted) == len(paths):
        wanted = range(len(paths))
    pictures = {index: open_image(paths[index]) for index in sorted(set(wanted))}
    return [pictures[index] for index in wanted]


def _video(path: Path, choose: Choice) -> list[Image.Image]:
    """Trusts the header's number of frames first; if fewer can be decoded, chooses again among those."""
    av = _pyav(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BadMediaError("it holds no pictures")
            stream = _readable(container.streams.video[0])
            _check_size(stream.width, stream.height)
            n_frames = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
        frames, n_decoded, wanted = _decoded(av, path, choose(max(n_frames, 1)))
        if len(frames) < len(set(wanted)):
            if not n_decoded:
                raise BadMediaError("no frame can be decoded")
            frames, _, wanted = _decoded(av, path, choose(n_decoded))
        return [frames[index] for index in wanted]
    except (av.error.FFmpegError, OSError, ValueError, EOFError, KeyError) as error:
        raise _reason(error) from error


def _decoded(av: Any, path: Path, wanted: Sequence[int]) -> tuple[dict[int, Image.Image], int, Sequence[int]]:  # noqa: ANN401
    """The wanted frames that exist, by index; how many were decoded; and what was wanted."""
    frames: dict[int, Image.Image] = {}
    n_decoded, last, asked = 0, max(wanted), set(wanted)
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            n_decoded = index + 1
            if index in asked:
                frames[index] = frame.to_image()
            if index >= last:
                break
    return frames, n_decoded, wanted


def _readable(stream: Any) -> Any:  # noqa: ANN401 - of an untyped library
    """A stream for which there is a decoder."""
    if stream.codec_context is None:
        raise BadMediaError("of a coding that is not known")
    return stream


def _check_size(width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise BadMediaError(f"too large: {width} by {height}, at most {MAX_PIXELS:,} pixels")


def _reason(error: Exception) -> BadMediaError:
    if isinstance(error, BadMediaError):
        return error
    text = " ".join(str(error).split())
    return BadMediaError(f"cannot be decoded: {getattr(error, 'strerror', None) or text}")


def _pyav(path: Path) -> Any:  # noqa: ANN401 - an untyped library
    """The decoder; its absence is no fault of a file, so that it ends the preparation."""
    try:
        import av
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{path.name} is neither a WAV sound nor an animated picture: to decode it, install PyAV: "
            f"{Path(sys.executable).name} -m pip install 'mmzoo[media]'."
        ) from error
    return av

"""Feature matrices of the demo catalogue, made from its titles, covers, sounds and clips alone.

They stand in for the vectors of pre-trained networks that MMRec's sets come with. Covers and clips go through
convolutions with fixed random weights, whose responses are pooled; of a sound the level of each frequency
band is taken; words of a title, weighted by how rare they are, have fixed random directions. The planted
attributes are never looked at: what a matrix tells of them, it tells as the content does.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from datamodules.clips import open_clip, open_sound
from datamodules.media import open_image

Floats = npt.NDArray[np.float32]

VERSION = 1
"""Raised when the same content gives other features."""
WORD_WIDTH = 128
COVER_SIDE = 48
CLIP_SIDE = 32
CLIP_FRAMES = 8
COVER_LAYERS = ((3, 32, 5), (32, 64, 3), (64, 64, 3))
"""Channels in and out, and side of the filters; every layer halves the side."""
CLIP_LAYERS = ((1, 32, 5), (32, 64, 3))
WINDOW, HOP, BANDS = 256, 128, 32
"""Samples of a window and between two, and bands that a sound's spectrum is divided into."""
SECONDS = 1.0
_AT_ONCE = 64


def text_features(titles: Sequence[str]) -> Floats:
    """Titles as sums of word vectors, (n, 128) of length 1: one fixed random direction a word.

    A word weighs the logarithm of how few titles have it. A title without a word is a zero row.
    """
    words = [title.lower().split() for title in titles]
    found, counts = np.unique([word for title in words for word in set(title)], return_counts=True)
    weights = np.log((1 + len(titles)) / (1 + counts)) + 1
    vectors = {
        word: weight * _direction(word) for word, weight in zip(found.tolist(), weights.tolist(), strict=True)
    }
    rows = np.zeros((len(titles), WORD_WIDTH))
    for row, title in enumerate(words):
        for word in title:
            rows[row] += vectors[word]
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows.astype(np.float32)


def _direction(word: str) -> npt.NDArray[np.float64]:
    seed = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    direction_D: npt.NDArray[np.float64] = np.random.default_rng(seed).normal(size=WORD_WIDTH)
    direction_D /= WORD_WIDTH**0.5
    return direction_D


def image_features(files: Sequence[Path]) -> Floats:
    """Covers through three random convolutions, (n, 320): mean and largest response of every filter."""
    return _standardised(_in_blocks(files, _cover_block))


def _cover_block(files: Sequence[Path]) -> Floats:
    size = (COVER_SIDE, COVER_SIDE)
    pixels = [np.asarray(open_image(file).resize(size, Image.Resampling.BOX)) for file in files]
    pixels_NCHW = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return _responses(pixels_NCHW, COVER_LAYERS, functional.conv2d, dims=2)


def video_features(files: Sequence[Path]) -> Floats:
    """Clips through two random convolutions over space and time, (n, 192), pooled as those of covers."""
    return _standardised(_in_blocks(files, _clip_block))


def _clip_block(files: Sequence[Path]) -> Floats:
    grey = [[_grey(frame) for frame in open_clip(file, _evenly)] for file in files]
    pixels_NCTHW = torch.from_numpy(np.array(grey))[:, None].float() / 127.5 - 1
    return _responses(pixels_NCTHW, CLIP_LAYERS, functional.conv3d, dims=3)


def _evenly(n_frames: int) -> list[int]:
    return [round(place) for place in np.linspace(0, n_frames - 1, CLIP_FRAMES).tolist()]


def _grey(frame: Image.Image) -> npt.NDArray[np.uint8]:
    return np.asarray(frame.convert("L").resize((CLIP_SIDE, CLIP_SIDE), Image.Resampling.BOX))


@torch.no_grad()
def _responses(
    input_: Tensor, layers: tuple[tuple[int, int, int], ...], convolve: Callable[..., Tensor], dims: int
) -> Floats:
    """Mean and largest response of each filter of each layer, (n, 2 * filters)."""
    rng = np.random.default_rng(dims)
    pooled = []
    for n_in, n_out, side in layers:
        shape = (n_out, n_in, *((3,) if dims == 3 else ()), side, side)
        weight = rng.normal(size=shape) * (2 / np.prod(shape[1:])) ** 0.5
        stride = (1, 2, 2) if dims == 3 else (2, 2)
        input_ = functional.relu(convolve(input_, torch.from_numpy(weight.astype(np.float32)), stride=stride))
        flat_NCP = input_.flatten(2)
        pooled += [flat_NCP.mean(2), flat_NCP.amax(2)]
    responses: Floats = torch.cat(pooled, dim=1).numpy()
    return responses


def audio_features(files: Sequence[Path]) -> Floats:
    """Level of each of 32 frequency bands of a sound, its mean and its deviation over time, (n, 64)."""
    return _standardised(_in_blocks(files, lambda block: np.stack([_bands(file) for file in block])))


def _bands(file: Path) -> Floats:
    samples_T = open_sound(file, SECONDS).samples_T
    samples_T = np.pad(samples_T, (0, max(0, WINDOW - len(samples_T))))
    windows_NT = np.lib.stride_tricks.sliding_window_view(samples_T, WINDOW)[::HOP] * np.hanning(WINDOW)
    power_NF = np.abs(np.fft.rfft(windows_NT, axis=1)) ** 2
    band_NB = np.stack([part.sum(axis=1) for part in np.array_split(power_NF, BANDS, axis=1)], axis=1)
    level_NB = np.log(band_NB + 1e-4)
    return np.concatenate([level_NB.mean(axis=0), level_NB.std(axis=0)]).astype(np.float32)


def _in_blocks(files: Sequence[Path], make: Callable[[Sequence[Path]], Floats]) -> Floats:
    return np.concatenate([make(files[start : start + _AT_ONCE]) for start in range(0, len(files), _AT_ONCE)])


def _standardised(rows: Floats) -> Floats:
    """Columns with mean 0 and deviation 1 over the catalogue, so that no filter outweighs the others."""
    deviation = rows.std(axis=0)
    scaled: Floats = (rows - rows.mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1.0)
    return scaled.astype(np.float32)

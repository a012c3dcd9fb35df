"""Small transforms of sounds and clips, so that tests of the data need no encoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from zoo.types import Sound


class LoudnessTransform:
    """Loudness of the first tenth of a second."""

    seconds = 0.1
    key = "loudness"

    def __init__(self) -> None:
        self.fields: dict[str, tuple[tuple[int, ...], str]] = {"samples": ((1,), "int16")}
        self.fill = {"samples": 0}

    def __call__(self, raw: Sequence[Sound]) -> dict[str, npt.NDArray[Any]]:
        loud = [float(np.abs(sound.samples_T).mean()) for sound in raw]
        return {"samples": (np.array(loud)[:, None] * 1000).astype(np.int16)}


class FramesTransform:
    """Some frames, tiny; which ones is a rule of the tests' own."""

    key = "frames"

    def __init__(self, wanted: int = 5) -> None:
        self.wanted = wanted
        self.fields: dict[str, tuple[tuple[int, ...], str]] = {"frames": ((wanted, 3, 4, 4), "uint8")}
        self.fill = {"frames": 0}

    def frames(self, n_frames: int) -> list[int]:
        """The last ones; of a clip of as many as are wanted a rule that would take the first only."""
        return [0] * self.wanted if n_frames == self.wanted else list(range(n_frames - self.wanted, n_frames))

    def __call__(self, raw: Sequence[list[Image.Image]]) -> dict[str, npt.NDArray[Any]]:
        clips = [[np.asarray(frame.resize((4, 4))) for frame in clip] for clip in raw]
        return {"frames": np.array(clips).transpose(0, 1, 4, 2, 3)}

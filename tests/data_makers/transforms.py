"""Small content transforms, so that tests of the data need no encoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


class LetterTransform:
    """Code points of the first letters of a text."""

    def __init__(self, length: int = 6) -> None:
        self.length = length
        self.key = f"letters-{length}"
        self.fields: dict[str, tuple[tuple[int, ...], str]] = {"tokens": ((length,), "int32")}
        self.fill = {"tokens": -1}

    def __call__(self, raw: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        tokens = np.full((len(raw), self.length), -1, dtype=np.int32)
        for row, text in enumerate(raw):
            codes = [ord(letter) for letter in text[: self.length]]
            tokens[row, : len(codes)] = codes
        return {"tokens": tokens}


class PixelTransform:
    """A small square picture."""

    def __init__(self, side: int = 8) -> None:
        self.side = side
        self.key = f"pixels-{side}"
        self.fields: dict[str, tuple[tuple[int, ...], str]] = {"pixels": ((3, side, side), "uint8")}
        self.fill = {"pixels": 127}

    def __call__(self, raw: Sequence[Image.Image]) -> dict[str, npt.NDArray[Any]]:
        small = [np.asarray(image.resize((self.side, self.side), Image.Resampling.BILINEAR)) for image in raw]
        return {"pixels": np.stack(small).transpose(0, 3, 1, 2)}

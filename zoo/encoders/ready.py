"""Vectors that come with a data set, in the place of a tower: what others' encoders made of the items.

PixelRec and MicroLens release such features; the data module says in which file they are
(``--data.features.image FILE``), the spec how wide they are (``--model.image.config.width 1024``).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from zoo.encoders.base import Encoded, Encoder, EncoderSpec
from zoo.types import VECTOR, Content


class VectorTransform:
    """Takes a vector an item as it is.

    Args:
        width: Of the vectors.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.key = f"vectors-{width}"
        self.fields: dict[str, tuple[tuple[int, ...], str]] = {VECTOR: ((width,), "float32")}
        self.fill: dict[str, int] = {}

    @classmethod
    def of(cls, spec: EncoderSpec) -> "VectorTransform":
        """The transform a spec asks for."""
        return cls(width_of(spec))

    def __call__(self, raw: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
        """Vectors of width D as one array (n, D).

        Raises:
            ValueError: They have another width.
        """
        found = sorted({np.shape(one) for one in raw})
        if found != [(self.width,)]:
            raise ValueError(
                f"Expected vectors of width {self.width} (config: {{width: {self.width}}}), found shapes "
                f"{found}. Set the width of the model's encoder to that of the file."
            )
        return {VECTOR: np.stack(raw).astype(np.float32)}


class ReadyFeatures(Encoder):
    """Gives an item's vector; has no weights.

    Args:
        spec: With ``config: {width: D}``.

    Raises:
        ValueError: There is no width, or layer states are asked for.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        if spec.states != "none":
            raise ValueError("Ready features are one vector an item: they have no layer states.")
        self.width = width_of(spec)
        self.depth = 0
        self.network = nn.Identity()

    def transform(self) -> VectorTransform:
        """How vectors are prepared: not at all."""
        return VectorTransform(self.width)

    def config(self) -> dict[str, Any]:
        """The width."""
        return {"width": self.width}

    def blocks(self) -> list[list[str]]:
        """There is nothing to train."""
        return [[]]

    def forward(self, content: Content) -> Encoded:
        """The vectors of N items."""
        return Encoded(self.network(content[VECTOR]))


def width_of(spec: EncoderSpec) -> int:
    """Width of the vectors a spec speaks of.

    Raises:
        ValueError: It says none.

    >>> width_of(EncoderSpec("features", config={"width": 1024}))
    1024
    """
    width = (spec.config or {}).get("width")
    if not isinstance(width, int) or width < 1 or set(spec.config or {}) != {"width"}:
        raise ValueError(
            f"The encoder 'features' takes the width of the vectors as its config, such as {{width: 1024}}, "
            f"found {spec.config!r}. On the command line: --model.image.config.width 1024."
        )
    return width

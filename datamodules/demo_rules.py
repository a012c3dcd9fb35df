"""By which laws the demo's users choose, on which platform.

Every attribute of an item has a law: how its next value follows from the last one and from the user's taste.
"""

from typing import NamedTuple

import numpy as np


class Law(NamedTuple):
    """How one attribute of the next item comes about; the rest of the probability is uniform."""

    values: int
    step: int
    """The previous value v leads to (v + step) modulo values."""
    move: float
    """Probability of following it."""
    taste: float
    """Probability of the user's favourite value."""


TEXT = ("topic",)
IMAGE = ("colour", "shape", "texture")
LAWS = {
    "topic": Law(12, 1, 0.25, 0.65),
    "colour": Law(6, 0, 0.00, 0.85),
    "shape": Law(4, 0, 0.00, 0.85),
    "texture": Law(2, 0, 0.00, 0.50),
    "sound": Law(4, 1, 0.40, 0.30),
    "motion": Law(4, 0, 0.20, 0.55),
}
"""Attribute -> law; the first four make the cell."""
CELL = TEXT + IMAGE
SUB = ("sound", "motion")


class Rules(NamedTuple):
    """By which an item is chosen."""

    laws: dict[str, Law]
    cell: tuple[str, ...] = CELL
    """Attributes that are drawn first and together: what they say is worth most."""
    sub: tuple[str, ...] = SUB
    """Attributes drawn after that, among the few items the cell has left."""


RULES = Rules(LAWS)
EVEN = Rules(
    {
        "topic": Law(12, 1, 0.25, 0.65),
        "colour": Law(6, 0, 0.00, 0.85),
        "sound": Law(4, 1, 0.10, 0.80),
        "motion": Law(4, 0, 0.00, 0.85),
        "shape": Law(4, 0, 0.00, 0.00),
        "texture": Law(2, 0, 0.00, 0.00),
    },
    cell=("topic", "colour", "sound", "motion"),
    sub=("shape", "texture"),
)
"""One attribute a modality decides, each by itself: title, cover, sound and clip are all needed."""


class Platform(NamedTuple):
    """What tells one platform from another; words, pictures and laws are those of all."""

    name: str
    place: int
    """Its number: no name of an item or a user, and no draw, is shared with a platform of another number."""
    topic_mix: float
    """Standard deviation of the log share of a topic, among items and in tastes; 0 makes all alike."""
    rules: Rules = RULES

    def rng(self, seed: int, *stream: int) -> np.random.Generator:
        """A random stream of the platform, the same for the same numbers."""
        return np.random.default_rng([seed, 100 * self.place + stream[0], *stream[1:]])


PLATFORMS = {
    "a": Platform("a", 0, 0.0),
    "b": Platform("b", 1, 0.5),
    "even": Platform("even", 2, 0.0, EVEN),
}
"""``b``: other users, other items, another popularity and another mix of topics than ``a``, by the same laws:
what one teaches holds on both. ``even``: other laws."""


def size_of(names: tuple[str, ...]) -> int:
    """How many combinations of the named attributes there are."""
    return int(np.prod([LAWS[name].values for name in names]))

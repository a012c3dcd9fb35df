"""Fusions by name, so that any model takes any of them from its configuration."""

from collections.abc import Callable
from functools import partial
from typing import Any

from zoo.fusion.attention import CoAttention, MergeAttention
from zoo.fusion.base import Fusion
from zoo.fusion.coarse import FiLM, Gated, ProjectedConcat, ProjectedSum
from zoo.fusion.pooled import Add, Cat
from zoo.names import near

FUSIONS: dict[str, Callable[..., Fusion]] = {
    "add": Add,
    "cat": Cat,
    "cat_3": partial(Cat, blocks=3),
    "sum": ProjectedSum,
    "concat": ProjectedConcat,
    "film": FiLM,
    "gated": Gated,
    "sum_dnn": partial(ProjectedSum, dnn=True),
    "concat_dnn": partial(ProjectedConcat, dnn=True),
    "film_dnn": partial(FiLM, dnn=True),
    "gated_dnn": partial(Gated, dnn=True),
    "co_att": CoAttention,
    "merge_attn": MergeAttention,
}
"""Name -> what makes the fusion from (n_parts, width, dropout) and its own options."""


def create_fusion(name: str, n_parts: int, width: int, dropout: float, **options: Any) -> Fusion:  # noqa: ANN401
    """Makes the fusion of a name.

    Args:
        name: One of ``FUSIONS``.
        n_parts: Parts M an item has.
        width: Width D of each part and of the result.
        dropout: Dropout rate inside the fusion.
        **options: What the fusion takes beside that.

    Raises:
        ValueError: There is no such fusion.
    """
    return _maker(name)(n_parts, width, dropout, **options)


def fusion_needs_tokens(name: str) -> bool:
    """Whether a fusion reads tokens; known before anything is built.

    Raises:
        ValueError: There is no such fusion.

    >>> fusion_needs_tokens("cat_3")
    False
    """
    maker = _maker(name)
    made = maker.func if isinstance(maker, partial) else maker
    assert isinstance(made, type)
    assert issubclass(made, Fusion)
    return made.needs_tokens


def _maker(name: str) -> Callable[..., Fusion]:
    if name not in FUSIONS:
        close = near(name, list(FUSIONS))
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(f"There is no fusion named {name!r}.{hint} Known: {', '.join(FUSIONS)}.")
    return FUSIONS[name]

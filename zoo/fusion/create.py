"""Fusions by name, so that any model takes any of them from its configuration."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import torch

from zoo.fusion.attention import CoAttention, MergeAttention
from zoo.fusion.base import Fusion
from zoo.fusion.coarse import FiLM, Gated, ProjectedConcat, ProjectedSum
from zoo.fusion.id_aware import IdAware
from zoo.fusion.momef import ConcatLinear
from zoo.fusion.pooled import Add, Cat
from zoo.names import near

FUSIONS: dict[str, Callable[..., Fusion]] = {
    "add": Add,
    "cat": Cat,
    "cat_3": partial(Cat, blocks=3),
    "cat_linear": ConcatLinear,
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
    "id_aware": IdAware,
}
"""Name -> what makes the fusion from (n_parts, width, dropout) and its own options."""
SHARED = ("n_parts", "width", "dropout")


def create_fusion(name: str, n_parts: int, width: int, dropout: float, **options: Any) -> Fusion:  # noqa: ANN401
    """Makes the fusion of a name.

    Args:
        name: One of ``FUSIONS``.
        n_parts: Parts M an item has.
        width: Width D of each part and of the result.
        dropout: Dropout rate inside the fusion.
        **options: What the fusion takes beside that.

    Raises:
        ValueError: There is no such fusion, it has no such option, or it does not take that many parts.
    """
    maker = _maker(name)
    fixed = maker.keywords if isinstance(maker, partial) else {}
    known = [option for option in signature(maker).parameters if option not in (*SHARED, *fixed)]
    for option in options:
        if option not in known:
            close = near(option, known)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(
                f"The fusion {name!r} has no option {option!r}.{hint} "
                f"Its options: {', '.join(known) or 'none'}."
            )
    return maker(n_parts, width, dropout, **options)


def check_fusion(name: str, n_parts: int, width: int, **options: Any) -> None:  # noqa: ANN401
    """Refuses what ``create_fusion`` would refuse, in no time: before any tower is loaded.

    Raises:
        ValueError: There is no such fusion, it has no such option, or it does not take that many parts.

    >>> check_fusion("gated", n_parts=2, width=64)
    """
    with torch.device("meta"):
        create_fusion(name, n_parts, width, dropout=0.0, **options)


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

"""Sequence backbones by name."""

from collections.abc import Collection
from inspect import signature
from typing import Any

from zoo.names import near
from zoo.sequence.bert4rec import BERT4Rec
from zoo.sequence.gru4rec import GRU4Rec
from zoo.sequence.nextitnet import NextItNet
from zoo.sequence.sasrec import SASRec

Backbone = SASRec | GRU4Rec | NextItNet | BERT4Rec
BACKBONES: dict[str, type[Backbone]] = {
    "sasrec": SASRec,
    "gru4rec": GRU4Rec,
    "nextitnet": NextItNet,
    "bert4rec": BERT4Rec,
}
"""Name -> class; what a class takes beside the arguments that all share are its options."""


SHARED = ("width", "max_len", "n_layers", "n_heads", "dropout")
"""Arguments that a model gives to every backbone that takes them."""


def backbone_class(name: str, options: Collection[str] = ()) -> type[Backbone]:
    """The class of a backbone's name.

    Args:
        name: One of ``BACKBONES``.
        options: Names of options it must have.

    Raises:
        ValueError: There is no such backbone, or it has no such option; the message says what there is.
    """
    if name not in BACKBONES:
        close = near(name, list(BACKBONES))
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(f"There is no backbone named {name!r}.{hint} Known: {', '.join(BACKBONES)}.")
    make = BACKBONES[name]
    own = [option for option in signature(make).parameters if option not in SHARED]
    if unknown := [option for option in options if option not in own]:
        raise ValueError(
            f"The backbone {name!r} has no option {' or '.join(map(repr, unknown))}; "
            f"its options are: {', '.join(own) or 'none'}."
        )
    return make


def create_backbone(
    name: str,
    width: int,
    max_len: int,
    n_blocks: int,
    n_heads: int,
    dropout: float,
    **options: Any,  # noqa: ANN401  # checked against the class
) -> Backbone:
    """Makes the sequence backbone of a name.

    Args:
        name: One of ``BACKBONES``.
        width: Width D of item vectors and states.
        max_len: Longest history L.
        n_blocks: Blocks or layers.
        n_heads: Attention heads, where it has attention.
        dropout: Dropout rate, where it has dropout.
        **options: What the backbone takes beside that.

    Raises:
        ValueError: There is no such backbone, or it has no such option.
    """
    make = backbone_class(name, options)
    values = dict(zip(SHARED, (width, max_len, n_blocks, n_heads, dropout), strict=True))
    known = signature(make).parameters
    shared: dict[str, Any] = {argument: value for argument, value in values.items() if argument in known}
    return make(**shared, **options)

"""Which parameters of a tower are trained; always by name, never by tensor index."""

from typing import Any, Literal

import torch

from zoo.encoders.base import Encoder
from zoo.encoders.tower import Tower, evaluating


def freeze(encoder: Encoder, tune: int | Literal["none", "all"]) -> None:
    """Leaves the top blocks trainable and freezes the rest, and what the pooled vector does not depend on.

    Args:
        encoder: The tower. What no block covers (a final norm) is trained with any block.
        tune: Blocks trained from the top, ``all`` (the embedding too) or ``none``.

    Raises:
        ValueError: There are fewer blocks than asked for.
    """
    blocks = encoder.blocks()
    depth = len(blocks) - 1
    if isinstance(tune, int) and not 0 <= tune <= depth:
        raise ValueError(
            f"tune={tune}: this tower has {depth} blocks. Give 0 to {depth}, 'all' (with the embedding) or "
            "'none'."
        )
    frozen: list[str] = []
    if tune in ("none", 0):
        frozen = [""]
    elif tune != "all":
        assert isinstance(tune, int)
        frozen = [prefix for block in blocks[: depth + 1 - tune] for prefix in block]
    fixed = {name for name, p in encoder.named_parameters() if name.startswith(tuple(frozen)) and frozen}
    fixed |= unused_parameters(encoder) if isinstance(encoder, Tower) and tune not in ("none", 0) else set()
    for name, parameter in encoder.named_parameters():
        # Tables that the network itself holds fixed (sine positions) stay so.
        parameter.requires_grad_(parameter.requires_grad and name not in fixed)
    encoder.train(encoder.training)


def unused_parameters(encoder: Tower) -> set[str]:
    """Names of parameters that the pooled vector does not depend on: mask tokens, unread poolers.

    Found by walking the graph of one forward pass of one item; no gradient is computed. Trained, they would
    never get a gradient, and distributed training would wait for it.
    """
    with evaluating(encoder), torch.enable_grad():
        root = encoder(encoder.blank()).pooled_ND.grad_fn
    seen: set[Any] = set()
    used: set[int] = set()
    stack = [root] if root is not None else []
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            used.add(id(variable))
        stack.extend(after for after, _ in node.next_functions if after is not None)
    return {name for name, p in encoder.named_parameters() if p.requires_grad and id(p) not in used}

"""Which parameters of a tower are trained: by name, and by tensor index only where parity asks for it."""

from typing import Any, Literal

import torch

from zoo.encoders.base import Encoder
from zoo.encoders.tower import Tower, evaluating

LEGACY_TENSORS = 165
"""Tensors that ``legacy_bottom`` trains: MMSR's scripts give 164 and freeze what has a larger index."""


def freeze(
    encoder: Encoder, tune: int | Literal["none", "all", "legacy_bottom"], tokens: bool = False
) -> None:
    """Leaves some blocks trainable and freezes the rest, and what the output does not depend on.

    Args:
        encoder: The tower. What no block covers (a final norm) is trained with any block.
        tune: Blocks trained from the top, ``all`` (the embedding too) or ``none``. ``legacy_bottom`` is for
            parity with the released code of MMSR (arXiv 2403.17372), whose comments promise the top two
            blocks: the first 165 tensors in the order of ``named_parameters`` are trained and the others
            frozen, so that a tower of up to 165 tensors is trained whole.
        tokens: The model reads the tower's tokens rather than its pooled vector.

    Raises:
        ValueError: There are fewer blocks than asked for, or tokens are read that the tower does not give.
    """
    fixed = _fixed(encoder, tune)
    if isinstance(encoder, Tower) and tune not in ("none", 0):
        fixed |= unused_parameters(encoder, tokens)
    for name, parameter in encoder.named_parameters():
        # Tables that the network itself holds fixed (sine positions) stay so.
        parameter.requires_grad_(parameter.requires_grad and name not in fixed)
    encoder.train(encoder.training)


def _fixed(encoder: Encoder, tune: int | Literal["none", "all", "legacy_bottom"]) -> set[str]:
    """Names of the parameters that ``tune`` leaves out."""
    names = [name for name, _ in encoder.named_parameters()]
    if tune == "all":
        return set()
    if tune in ("none", 0):
        return set(names)
    if tune == "legacy_bottom":
        return set(names[LEGACY_TENSORS:])
    assert isinstance(tune, int)
    blocks = encoder.blocks()
    depth = len(blocks) - 1
    if not 0 <= tune <= depth:
        raise ValueError(
            f"tune={tune}: this tower has {depth} blocks. Give 0 to {depth}, 'all' (with the embedding) or "
            "'none'."
        )
    frozen = tuple(prefix for block in blocks[: depth + 1 - tune] for prefix in block)
    return {name for name in names if frozen and name.startswith(frozen)}


def unused_parameters(encoder: Tower, tokens: bool = False) -> set[str]:
    """Names of parameters that the output does not depend on: mask tokens, unread poolers and head norms.

    Found by walking the graph of one forward pass of one item; no gradient is computed. Trained, they would
    never get a gradient, and distributed training would wait for it.

    Args:
        encoder: The tower.
        tokens: The output that counts is the tokens, otherwise the pooled vector.

    Raises:
        ValueError: The tower gives no tokens.
    """
    with evaluating(encoder), torch.enable_grad():
        encoded = encoder(encoder.blank())
    if tokens and encoded.tokens_NTD is None:
        raise ValueError(f"{encoder.spec.name!r} gives one pooled vector an item and no tokens.")
    root = (encoded.tokens_NTD if tokens else encoded.pooled_ND).grad_fn
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

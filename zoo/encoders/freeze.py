"""Which parameters of a tower are trained, and at which rate; always by name, never by tensor index."""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from zoo.encoders.base import Encoder
from zoo.encoders.tower import Tower, evaluating


class Rates(NamedTuple):
    """Learning rate and weight decay of a parameter group."""

    lr: float
    weight_decay: float


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


def parameter_groups(
    module: nn.Module,
    rates: Rates,
    special: Mapping[str, Rates] | None = None,
    decay_norms_and_biases: bool = True,
) -> list[dict[str, Any]]:
    """Optimiser groups of the trainable parameters, each with its own learning rate and weight decay.

    Args:
        module: The whole model.
        rates: Of every parameter that no prefix covers.
        special: Name prefix of a part, such as ``encoders.text`` -> its rates. A prefix covers whole name
            parts (``encoders.text`` does not cover ``encoders.text_head``); the longest one wins. MoRec's
            official code matches the substring ``fc`` instead, which catches the MLPs of today's Swin.
        decay_norms_and_biases: Decay vectors too, as MoRec does; otherwise their groups have no decay.

    Returns:
        Non-empty groups in a fixed order, each with ``params``, ``lr``, ``weight_decay`` and ``name``.

    Raises:
        ValueError: A prefix covers no parameter.
    """
    special = dict(special or {})
    names = [name for name, _ in module.named_parameters()]
    for prefix in special:
        if not any(_covers(prefix, name) for name in names):
            parts = sorted({re.match(r"[^.]*(\.[^.]*)?", name).group() for name in names})  # type: ignore[union-attr]
            raise ValueError(f"No parameter lies under {prefix!r}. The model's parts are {parts[:20]}.")
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in sorted(module.named_parameters()):
        if not parameter.requires_grad:
            continue
        prefix = max((p for p in special if _covers(p, name)), key=len, default="")
        rate = special.get(prefix, rates)
        plain = parameter.ndim < 2 and not decay_norms_and_biases
        title = (prefix or "model") + ("/no_decay" if plain else "")
        decay = 0.0 if plain else rate.weight_decay
        group = groups.setdefault(title, {"params": [], "lr": rate.lr, "weight_decay": decay, "name": title})
        group["params"].append(parameter)
    return [groups[title] for title in sorted(groups)]


def _covers(prefix: str, name: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")

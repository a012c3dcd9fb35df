"""Parameter groups by name, and learning-rate schedules over the optimiser steps of a run."""

import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

from torch import nn

Schedule = Literal["constant", "linear", "cosine"]


class Rates(NamedTuple):
    """Learning rate and weight decay of a parameter group."""

    lr: float
    weight_decay: float


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


def rate_factor(
    schedule: Schedule, warmup_steps: int, total_steps: Callable[[], float]
) -> Callable[[int], float]:
    """The factor of the learning rate by step: a linear warm-up, then the schedule down to 0.

    Args:
        schedule: ``constant`` stays at 1 after the warm-up.
        warmup_steps: Optimiser steps of the warm-up.
        total_steps: Gives the optimiser steps of the run. It is asked in the first step that needs it, not
            before: a Lightning trainer that is asked while it sets up makes its loaders on the spot, and a
            resumed run would then start its epoch over.

    >>> factor = rate_factor("linear", warmup_steps=1, total_steps=lambda: 5)
    >>> [factor(step) for step in range(6)]
    [0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    steps = cache(total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        if schedule == "constant" or step == warmup_steps:
            return 1.0
        done = min(1.0, (step - warmup_steps) / max(1, steps() - warmup_steps))
        return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))

    return factor

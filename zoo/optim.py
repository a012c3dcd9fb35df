"""Parameter groups by name, learning-rate schedules over the steps of a run, optimisers gone on with."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from zoo.checkpoints import CheckpointMismatchError

Schedule = Literal["constant", "linear", "cosine", "exponential"]
"""Over the steps of a run; ``exponential`` by epochs, without an end."""


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
        if not any(covers(prefix, name) for name in names):
            parts = sorted({re.match(r"[^.]*(\.[^.]*)?", name).group() for name in names})  # type: ignore[union-attr]
            raise ValueError(f"No parameter lies under {prefix!r}. The model's parts are {parts[:20]}.")
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in sorted(module.named_parameters()):
        if not parameter.requires_grad:
            continue
        prefix = max((p for p in special if covers(p, name)), key=len, default="")
        rate = special.get(prefix, rates)
        plain = parameter.ndim < 2 and not decay_norms_and_biases
        title = (prefix or "model") + ("/no_decay" if plain else "")
        decay = 0.0 if plain else rate.weight_decay
        group = groups.setdefault(title, {"params": [], "lr": rate.lr, "weight_decay": decay, "name": title})
        group["params"].append(parameter)
    return [groups[title] for title in sorted(groups)]


def covers(prefix: str, name: str) -> bool:
    """Whether a name lies under a prefix of whole name parts.

    >>> covers("encoders.text", "encoders.text.bias"), covers("encoders.text", "encoders.text_head.bias")
    (True, False)
    """
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


def restore_optimizer(
    optimizer: torch.optim.Optimizer, stored: Sequence[Mapping[str, Any]], source: str
) -> None:
    """Goes on with a source's optimiser: its moments, its learning rates before any schedule, its decay.

    NineRec's own codes do so; the rates given for the target then have no effect.

    Args:
        optimizer: Of the model that starts.
        stored: States of the source's optimisers.
        source: Where they come from, for errors.

    Raises:
        CheckpointMismatchError: There is none, or it is of other parameter groups.
    """
    leave = "Leave --model.transfer_optimizer out: the optimiser then starts afresh."
    if not stored:
        raise CheckpointMismatchError(f"{source} holds no optimiser, only weights. {leave}")
    there, here = stored[0], optimizer.state_dict()
    groups = [[(g.get("name"), len(g["params"])) for g in side["param_groups"]] for side in (there, here)]
    if groups[0] != groups[1]:
        raise CheckpointMismatchError(
            f"The optimiser of {source} has the groups {groups[0]} (name, tensors), this model's has "
            f"{groups[1]}: it trains other parameters. {leave}"
        )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for row, state in there["state"].items():
        moment = state.get("exp_avg")
        if moment is not None and moment.shape != parameters[row].shape:
            raise CheckpointMismatchError(
                f"The optimiser of {source} has moments of {tuple(moment.shape)} where this model has a "
                f"parameter of {tuple(parameters[row].shape)}. {leave}"
            )
    for own, other in zip(here["param_groups"], there["param_groups"], strict=True):
        own |= {"lr": other.get("initial_lr", other["lr"]), "weight_decay": other["weight_decay"]}
    # Copies: the file stays mapped otherwise, and the moments change with every step.
    here["state"] = {
        row: {key: value.clone() if isinstance(value, Tensor) else value for key, value in state.items()}
        for row, state in there["state"].items()
    }
    optimizer.load_state_dict(here)

"""Gradients taken apart, so that two losses can be weighed by them."""

from collections.abc import Sequence
from typing import cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from zoo.losses.min_norm import Gradients


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters a model trains, in order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def gradients_of(
    module: LightningModule, loss: Tensor, parameters: Sequence[nn.Parameter], keep_graph: bool = False
) -> Gradients:
    """Gradients of a loss, their mean over the processes of the run.

    Args:
        module: Whose trainer says which processes there are.
        loss: A scalar.
        parameters: What it is derived by; those it does not reach get None.
        keep_graph: Another loss of the same graph is derived next.
    """
    found = torch.autograd.grad(loss, list(parameters), allow_unused=True, retain_graph=keep_graph)
    if module.trainer.world_size == 1:
        return found
    # What a batch does not reach on one process, another's may.
    full = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
    flat = module.trainer.strategy.reduce(torch.cat([g.flatten() for g in full]), reduce_op="mean")
    sizes = [g.numel() for g in full]
    parts = cast(Tensor, flat).split_with_sizes(sizes)
    return [part.view_as(g) for part, g in zip(parts, full, strict=True)]


def give(parameters: Sequence[nn.Parameter], gradients: Gradients) -> None:
    """Puts gradients where an optimiser looks for them."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def require_unscaled(module: LightningModule) -> None:
    """Refuses float16, whose gradients are scaled behind a model's back.

    Raises:
        ValueError: The trainer runs in float16.
    """
    if str(module.trainer.precision).startswith("16"):
        raise ValueError(
            f"{type(module).__name__} weighs two losses by their gradients, which "
            f"--trainer.precision {module.trainer.precision} scales. Take bf16-mixed or 32."
        )

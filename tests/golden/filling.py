"""The fill rule and the inputs shared by the golden values of PMMRec and MMSR."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def waves(shape: tuple[int, ...], phase: float = 0.5, step: float = 0.11) -> Tensor:
    """An input: element k, row by row, is sin(phase + step k); float64."""
    values = [math.sin(phase + step * k) for k in range(math.prod(shape))]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


def filled(shapes: Sequence[tuple[int, ...]], norms: Sequence[int] = ()) -> list[Tensor]:
    """Parameters in the authors' order: element k of number i is 0.3 sin(1 + 0.9 i + 0.37 k); float64.

    Args:
        shapes: Of each parameter.
        norms: Numbers of those that are weights of a norm: they get 1 on top.
    """
    tensors = []
    for i, shape in enumerate(shapes):
        values = [0.3 * math.sin(1 + 0.9 * i + 0.37 * k) for k in range(math.prod(shape))]
        tensors.append(torch.tensor(values, dtype=torch.float64).reshape(shape) + (i in norms))
    return tensors


def fill_in_order(modules: Sequence[nn.Linear | nn.LayerNorm]) -> list[Tensor]:
    """Values for weight and bias of each module, in that order, without setting them."""
    shapes = [tuple(p.shape) for module in modules for p in (module.weight, module.bias)]
    norms = [2 * n for n, module in enumerate(modules) if isinstance(module, nn.LayerNorm)]
    return filled(shapes, norms)


@torch.no_grad()
def set_in_order(modules: Sequence[nn.Linear | nn.LayerNorm]) -> None:
    """Fills weight and bias of each module, in that order."""
    parameters = [p for module in modules for p in (module.weight, module.bias)]
    for parameter, value in zip(parameters, fill_in_order(modules), strict=True):
        parameter.copy_(value)

"""Dropout whose random bits cost little on a CPU.

PyTorch draws one number of its generator for every value there, which takes longer than the linear layer
before it; here one number of 64 bits decides about four values.
"""

import torch
from torch import Tensor, nn

STEPS = 2**16
"""Rates are multiples of 1 / STEPS on a CPU: 0.1 is 0.1000061 there."""


class Dropout(nn.Dropout):
    """``nn.Dropout`` for backbones: the same rule, other draws on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Drops values in training."""
        return drop(input, self.p) if self.training else input


def drop(value: Tensor, rate: float) -> Tensor:
    """Sets a share of the values to zero and scales the others up by as much.

    Args:
        value: Of any shape.
        rate: The share.
    """
    dropped = round(rate * STEPS)
    if value.device.type != "cpu" or torch.compiler.is_compiling() or dropped == STEPS:
        return nn.functional.dropout(value, rate)
    if not dropped:
        return value
    n_values = value.numel()
    words = torch.empty(-(-n_values // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.int16)[:n_values].view(value.shape) >= dropped - STEPS // 2
    return value * kept.to(value.dtype).mul_(STEPS / (STEPS - dropped))

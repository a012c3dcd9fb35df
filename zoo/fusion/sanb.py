"""What side networks are made of: adapter blocks, gates, and linear layers side by side.

The block and the gate are those of IISAN, SIGIR 2024, https://arxiv.org/abs/2404.02059, official code
GAIR-Lab/IISAN. The dropout that code declares for the block is never applied there and does not exist here.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["relu", "gelu"]
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}
GATE_TEMPERATURE = 0.1
SPREAD = 0.01
"""Standard deviation of a block's weights at the start, which leaves it close to the identity."""


def gate(mu: Tensor) -> Tensor:
    """The share a gate lets through: one half at the start, where its parameter is 0.

    >>> gate(torch.tensor([0.0, 0.1]))
    tensor([0.5000, 0.7311])
    """
    return torch.sigmoid(mu / GATE_TEMPERATURE)


class SANB(nn.Module):
    """The side adapter blocks of G towers at one step: x + W_up act(W_down x + b) + b'.

    Args:
        n_towers: Towers G.
        width: Width D of the states.
        bottleneck: Width k between the two products.
        activation: Between them.
    """

    def __init__(self, n_towers: int, width: int, bottleneck: int, activation: Activation = "relu") -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.down_GDk = nn.Parameter(torch.randn(n_towers, width, bottleneck) * SPREAD)
        self.down_bias_G1k = nn.Parameter(torch.zeros(n_towers, 1, bottleneck))
        self.up_GkD = nn.Parameter(torch.randn(n_towers, bottleneck, width) * SPREAD)
        self.up_bias_G1D = nn.Parameter(torch.zeros(n_towers, 1, width))

    def narrow(self, x_GND: Tensor) -> Tensor:
        """What passes the bottleneck, (G, N, k)."""
        return self.activation(torch.baddbmm(self.down_bias_G1k, x_GND, self.down_GDk))

    def widen(self, x_GND: Tensor, narrow_GNk: Tensor) -> Tensor:
        """The block's output (G, N, D) from its input and what has passed the bottleneck."""
        return x_GND + torch.baddbmm(self.up_bias_G1D, narrow_GNk, self.up_GkD)

    def forward(self, x_GND: Tensor) -> Tensor:
        """One step of G towers."""
        return self.widen(x_GND, self.narrow(x_GND))


class Linears(nn.Module):
    """M linear layers side by side as one product: each row of M has its own.

    IISAN-Versa's dimension transformation is one for the states of a tower, each state having its own.

    Args:
        n_layers: Layers M.
        n_in: Width E of what goes in.
        width: Width D of what comes out.
        xavier: Xavier-normal weights and zero biases instead of PyTorch's default.
    """

    def __init__(self, n_layers: int, n_in: int, width: int, *, xavier: bool = False) -> None:
        super().__init__()
        bound = n_in**-0.5
        self.weight_MED = nn.Parameter(torch.empty(n_layers, n_in, width).uniform_(-bound, bound))
        self.bias_M1D = nn.Parameter(torch.empty(n_layers, 1, width).uniform_(-bound, bound))
        if xavier:
            for weight_ED in self.weight_MED:
                nn.init.xavier_normal_(weight_ED)
            nn.init.zeros_(self.bias_M1D)

    def forward(self, x_NME: Tensor) -> Tensor:
        """(N, M, E) to (N, M, D)."""
        x_MND: Tensor = torch.baddbmm(self.bias_M1D, x_NME.transpose(0, 1), self.weight_MED)
        return x_MND.transpose(0, 1)

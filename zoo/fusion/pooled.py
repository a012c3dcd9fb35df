"""Fusions of pooled vectors: one vector a modality in, one an item out.

ADD and CAT of "Where to Go Next for Recommender Systems? ID- vs. Modality-based Recommender Models
Revisited", SIGIR 2023, https://arxiv.org/abs/2303.13835, official code https://github.com/westlake-repl/IDvs.MoRec.
"""

from typing import cast

import torch
from torch import Tensor, nn

from zoo.encoders.base import Encoded
from zoo.fusion.base import Fusion


class Add(Fusion):
    """ADD: the parts are added. Takes any number of them and has no parameters.

    Args:
        n_parts: Number of parts M.
        width: Width D; the arguments are those of every fusion.
        dropout: Has no effect: nothing is drawn.
    """

    def __init__(self, n_parts: int = 2, width: int = 0, dropout: float = 0.0) -> None:
        super().__init__()

    def forward(self, parts: list[Encoded]) -> Tensor:
        """Adds the pooled vectors of M parts, (N, D)."""
        total_ND = parts[0].pooled_ND
        for part in parts[1:]:
            total_ND = total_ND + part.pooled_ND
        return total_ND


class Cat(Fusion):
    """CAT: the parts side by side, then blocks of dropout, linear layer and GELU.

    Args:
        n_parts: Number of parts M.
        width: Width D of each part and of the result.
        dropout: Dropout rate before each linear layer.
        blocks: Number of blocks: 1 for CAT, 3 for ``cat_3``. The first goes from M D to D, others keep D.
    """

    def __init__(self, n_parts: int, width: int, dropout: float = 0.1, blocks: int = 1) -> None:
        super().__init__()
        self.n_parts = n_parts
        layers: list[nn.Module] = []
        for block in range(blocks):
            linear = nn.Linear(n_parts * width if block == 0 else width, width)
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
            layers += [nn.Dropout(dropout), linear, nn.GELU()]
        self.blocks = nn.Sequential(*layers)

    def forward(self, parts: list[Encoded]) -> Tensor:
        """Fuses the pooled vectors of M parts to (N, D).

        Raises:
            ValueError: There are more or fewer parts than the layer was made for.
        """
        if len(parts) != self.n_parts:
            msg = f"Cat was made for n_parts={self.n_parts} but got {len(parts)}."
            raise ValueError(msg)
        return cast(Tensor, self.blocks(torch.cat([part.pooled_ND for part in parts], dim=-1)))

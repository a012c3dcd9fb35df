"""Coarse-grained fusions: pooled vectors pass one layer norm, then are added, joined, modulated or gated.

"An Empirical Study of Training ID-Agnostic Multi-modal Sequential Recommenders", 2024,
https://arxiv.org/abs/2403.17372, official code https://github.com/MMSR23/MMSR. FiLM is that of "FiLM: Visual
Reasoning with a General Conditioning Layer", AAAI 2018, https://arxiv.org/abs/1709.07871.

All parts share ONE layer norm, as in the official code. The forms with ``dnn`` end in three blocks of
dropout, linear layer and ReLU, so that their item vectors have no negative entry.
"""

from abc import abstractmethod
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from zoo.encoders.base import Encoded
from zoo.fusion.base import Fusion
from zoo.fusion.parts import require_pair, require_parts, require_several

NORM_EPS = 1e-6
DNN_BLOCKS = 3


def xavier_linear(n_in: int, n_out: int) -> nn.Linear:
    """A linear layer with Xavier-normal weights and zero biases."""
    linear = nn.Linear(n_in, n_out)
    nn.init.xavier_normal_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class Coarse(Fusion):
    """What the four share: the norm before and the optional layers after.

    Args:
        n_parts: Number of parts M.
        width: Width D of each part and of the result.
        dropout: Dropout rate of the layers after.
        dnn: Append three blocks of dropout, linear layer and ReLU.

    Raises:
        ValueError: The fusion does not take this number of parts.
    """

    title: ClassVar[str]
    """The name in configurations."""

    def __init__(self, n_parts: int, width: int, dropout: float = 0.1, dnn: bool = False) -> None:
        super().__init__()
        require_several(self.title, n_parts)
        self.n_parts = n_parts
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        tail: list[nn.Module] = []
        for _ in range(DNN_BLOCKS if dnn else 0):
            tail += [nn.Dropout(dropout), xavier_linear(width, width), nn.ReLU()]
        self.tail = nn.Sequential(*tail)

    def forward(self, parts: list[Encoded]) -> Tensor:
        """Fuses the pooled vectors of M parts to (N, D).

        Raises:
            ValueError: There are more or fewer parts than the fusion was made for.
        """
        require_parts(self.title, self.n_parts, parts)
        return cast(Tensor, self.tail(self.mix([self.norm(part.pooled_ND) for part in parts])))

    @abstractmethod
    def mix(self, normed: list[Tensor]) -> Tensor:
        """Fuses M normed vectors (N, D)."""


class ProjectedSum(Coarse):
    """``sum``: every part has its own linear layer; the results are added. Takes any number of parts.

    Args:
        n_parts: Number of parts M.
        width: Width D of each part and of the result.
        dropout: Dropout rate of the layers after.
        dnn: Append three blocks of dropout, linear layer and ReLU.
    """

    title = "sum"

    def __init__(self, n_parts: int, width: int, dropout: float = 0.1, dnn: bool = False) -> None:
        super().__init__(n_parts, width, dropout, dnn)
        self.projects = nn.ModuleList(xavier_linear(width, width) for _ in range(n_parts))

    def mix(self, normed: list[Tensor]) -> Tensor:
        """W_1 x_1 + ... + W_M x_M."""
        total_ND: Tensor = self.projects[0](normed[0])
        for project, part_ND in zip(self.projects[1:], normed[1:], strict=True):
            total_ND = total_ND + project(part_ND)
        return total_ND


class ProjectedConcat(Coarse):
    """``concat``: the parts side by side, then one linear layer. Takes any number of parts.

    Args:
        n_parts: Number of parts M.
        width: Width D of each part and of the result.
        dropout: Dropout rate of the layers after.
        dnn: Append three blocks of dropout, linear layer and ReLU.
    """

    title = "concat"

    def __init__(self, n_parts: int, width: int, dropout: float = 0.1, dnn: bool = False) -> None:
        super().__init__(n_parts, width, dropout, dnn)
        self.output = xavier_linear(n_parts * width, width)

    def mix(self, normed: list[Tensor]) -> Tensor:
        """W [x_1; ...; x_M]."""
        return cast(Tensor, self.output(torch.cat(normed, dim=-1)))


class FiLM(Coarse):
    """``film``: the first part scales and shifts the second, entry by entry; then one linear layer.

    Args:
        n_parts: Number of parts, which must be 2: text modulates image in the paper.
        width: Width D of each part and of the result.
        dropout: Dropout rate of the layers after.
        dnn: Append three blocks of dropout, linear layer and ReLU.

    Raises:
        ValueError: There are not two parts.
    """

    title = "film"

    def __init__(self, n_parts: int, width: int, dropout: float = 0.1, dnn: bool = False) -> None:
        require_pair(self.title, n_parts, "the first scales and shifts the second")
        super().__init__(n_parts, width, dropout, dnn)
        self.scale_shift = xavier_linear(width, 2 * width)
        self.output = xavier_linear(width, width)

    def mix(self, normed: list[Tensor]) -> Tensor:
        """W_o (scale * x_2 + shift), with scale and shift from x_1."""
        first_ND, second_ND = normed
        scale_ND, shift_ND = self.scale_shift(first_ND).chunk(2, dim=-1)
        return cast(Tensor, self.output(scale_ND * second_ND + shift_ND))


class Gated(Coarse):
    """``gated``: a sigmoid gate made from the first part lets the second through; then one linear layer.

    Args:
        n_parts: Number of parts, which must be 2: text gates image in the paper.
        width: Width D of each part and of the result.
        dropout: Dropout rate of the layers after.
        dnn: Append three blocks of dropout, linear layer and ReLU.

    Raises:
        ValueError: There are not two parts.
    """

    title = "gated"

    def __init__(self, n_parts: int, width: int, dropout: float = 0.1, dnn: bool = False) -> None:
        require_pair(self.title, n_parts, "the first gates the second")
        super().__init__(n_parts, width, dropout, dnn)
        self.gate = xavier_linear(width, width)
        self.value = xavier_linear(width, width)
        self.output = xavier_linear(width, width)

    def mix(self, normed: list[Tensor]) -> Tensor:
        """W_o (sigmoid(W_g x_1) * W_v x_2)."""
        first_ND, second_ND = normed
        return cast(Tensor, self.output(torch.sigmoid(self.gate(first_ND)) * self.value(second_ND)))

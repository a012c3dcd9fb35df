"""NextItNet: dilated causal convolutions over the items of a history.

"A Simple Convolutional Generative Network for Next Item Recommendation", WSDM 2019,
https://arxiv.org/abs/1808.05163, with residual block (b), in the form of NineRec, TPAMI 2024,
https://arxiv.org/abs/2309.07705, official code https://github.com/westlake-repl/NineRec (baef644).
"""

from typing import ClassVar, cast

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.sequence.base import Padding
from zoo.sequence.padding import PaddedSlots

DILATIONS = (1, 4)
KERNEL = 3
NORM_EPS = 1e-8


class CausalConv(nn.Module):
    """A convolution over a slot and the ``KERNEL`` - 1 slots before it, ``dilation`` apart.

    Args:
        width: Channels D in and out.
        dilation: Distance of the slots it sees.
    """

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.before = (KERNEL - 1) * dilation
        self.conv = nn.Conv1d(width, width, KERNEL, dilation=dilation)

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """(B, L, D) of the states up to each slot, zeros before the first."""
        channels_BDL = F.pad(hidden_BLD.transpose(1, 2), (self.before, 0))
        return cast(Tensor, self.conv(channels_BDL)).transpose(1, 2)


class ResidualBlock(nn.Module):
    """Twice a causal convolution, a layer norm and a ReLU, the second at double dilation, and the input.

    Args:
        width: Channels D.
        dilation: Of the first convolution.
    """

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(CausalConv(width, dilation * times) for times in (1, 2))
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=NORM_EPS) for _ in range(2))

    def forward(self, hidden_BLD: Tensor, real_BL: Tensor, padded: PaddedSlots) -> Tensor:
        """One block.

        Args:
            hidden_BLD: States of the block below.
            real_BL: True where a slot holds an item.
            padded: Clears padded slots before they are convolved, if they are to be skipped.

        Returns:
            (B, L, D) states.
        """
        output_BLD = hidden_BLD
        for conv, norm in zip(self.convs, self.norms, strict=True):
            output_BLD = F.relu(norm(conv(padded.clear(output_BLD, real_BL))))
        return hidden_BLD + output_BLD


class NextItNet(nn.Module):
    """The NextItNet user encoder: no dropout, no positions, nothing after the last block.

    With ``padding: skip`` padded slots are zero before every convolution, like the slots before the beginning
    of the history: the state at a real position depends neither on what stands at padded positions nor on how
    much padding there is.

    Args:
        width: Width D of item vectors and states.
        max_len: Longest history.
        n_layers: Repetitions of the two residual blocks with dilations 1 and 4.
        padding: What stands at padded slots, see ``zoo.sequence.padding.PaddedSlots``.

    Raises:
        ValueError: An unknown ``padding``.
    """

    masked: ClassVar[bool] = False

    def __init__(self, width: int, max_len: int, n_layers: int = 2, padding: Padding = "skip") -> None:
        super().__init__()
        self.max_len = max_len
        self.padded = PaddedSlots(padding, width, max_len, "NextItNet")
        self.blocks = nn.ModuleList(ResidualBlock(width, dilation) for dilation in DILATIONS * n_layers)

    def forward(self, item_BLD: Tensor, real_BL: Tensor) -> Tensor:
        """Reads the histories; see ``zoo.sequence.base.SequenceBackbone``.

        Raises:
            ValueError: The histories are longer than ``max_len``.
        """
        hidden_BLD: Tensor = self.padded(item_BLD, real_BL)
        for block in self.blocks:
            hidden_BLD = block(hidden_BLD, real_BL, self.padded)
        return hidden_BLD[:, -item_BLD.shape[1] :]

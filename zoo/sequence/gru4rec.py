"""GRU4Rec: a recurrent network over the items of a history.

"Session-based Recommendations with Recurrent Neural Networks", ICLR 2016, https://arxiv.org/abs/1511.06939,
in the two forms of NineRec, TPAMI 2024, https://arxiv.org/abs/2309.07705, official code
https://github.com/westlake-repl/NineRec (baef644): dropout on the input, two layers without bias.
"""

from typing import ClassVar, cast

from torch import Tensor, nn

from zoo.sequence.base import Padding
from zoo.sequence.padding import PaddedSlots


class GRU4Rec(nn.Module):
    """The GRU user encoder.

    With ``padding: skip`` the state at a real position depends neither on what stands at padded positions nor
    on how much padding there is: without biases a state of zero stays exactly zero while the input is zero.

    Args:
        width: Width D of item vectors, hidden states and user states.
        max_len: Longest history.
        n_layers: Recurrent layers.
        dropout: Rate on the input.
        padding: What stands at padded slots, see ``zoo.sequence.padding.PaddedSlots``.
        project: Add a linear layer after the recurrence, as the PixelRec-style form of the official code
            does (there with a dropout of 0).

    Raises:
        ValueError: An unknown ``padding``.
    """

    masked: ClassVar[bool] = False

    def __init__(
        self,
        width: int,
        max_len: int,
        n_layers: int = 2,
        dropout: float = 0.1,
        padding: Padding = "skip",
        project: bool = False,
    ) -> None:
        super().__init__()
        self.max_len = max_len
        self.padded = PaddedSlots(padding, width, max_len, "GRU4Rec")
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(width, width, n_layers, bias=False, batch_first=True)
        # The official code initialises the first layer only; the others keep PyTorch's default.
        nn.init.xavier_uniform_(cast(Tensor, self.gru.weight_ih_l0))
        nn.init.xavier_uniform_(cast(Tensor, self.gru.weight_hh_l0))
        self.project: nn.Module = nn.Identity()
        if project:
            self.project = nn.Linear(width, width)
            nn.init.xavier_normal_(self.project.weight)

    def forward(self, item_BLD: Tensor, real_BL: Tensor) -> Tensor:
        """Reads the histories; see ``zoo.sequence.base.SequenceBackbone``.

        Raises:
            ValueError: The histories are longer than ``max_len``.
        """
        input_BLD = self.dropout(self.padded(item_BLD, real_BL))
        hidden_BLD, _ = self.gru(input_BLD)
        return cast(Tensor, self.project(hidden_BLD[:, -item_BLD.shape[1] :]))

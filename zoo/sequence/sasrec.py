"""SASRec: a causal Transformer over the items of a history, in two forms.

"Self-Attentive Sequential Recommendation", ICDM 2018, https://arxiv.org/abs/1808.09781, official code
https://github.com/kang205/SASRec (``paper``), and as it is used by "Where to Go Next for Recommender Systems?
ID- vs. Modality-based Recommender Models Revisited", SIGIR 2023, https://arxiv.org/abs/2303.13835, official
code https://github.com/westlake-repl/IDvs.MoRec (``morec``, the default: the other papers build on it).
"""

from typing import ClassVar, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.sequence.base import causal_mask, one_of, too_long
from zoo.sequence.block import NORM_EPS, PAPER_NORM_EPS, PaperBlock, SASRecBlock
from zoo.sequence.dropout import Dropout
from zoo.sequence.layout import Layout

Form = Literal["morec", "paper"]
"""``morec``: layer norms of the input and after the residual sums, projections without bias, an inner
feed-forward width of 4 D, no norm at the end. ``paper``: item vectors times sqrt(D), norms before the layers
and at the end, projections with bias, a feed-forward width of D."""


class SASRec(nn.Module):
    """The SASRec user encoder.

    It has ``n_layers * (12 D^2 + 9 D) + max_len * D + 2 D`` parameters, in the paper's form ``n_layers *
    (6 D^2 + 10 D) + max_len * D + 2 D``. States at real positions depend neither on what stands at padded
    positions nor on how much padding there is.

    Args:
        width: Width D of item vectors and states.
        max_len: Longest history; one learned position each.
        n_layers: Transformer blocks.
        n_heads: Attention heads; must divide the width.
        dropout: The one rate, on the input, the attention weights and what ``form`` says of a block.
        form: See ``Form``.

    Raises:
        ValueError: The heads do not divide the width, or there is no such form.

    >>> backbone = SASRec(width=512, max_len=20)
    >>> sum(parameter.numel() for parameter in backbone.parameters())
    6311936
    """

    masked: ClassVar[bool] = False
    packs: ClassVar[bool] = True

    def __init__(
        self,
        width: int,
        max_len: int,
        n_layers: int = 2,
        n_heads: int = 2,
        dropout: float = 0.1,
        form: Form = "morec",
    ) -> None:
        super().__init__()
        one_of("SASRec", "form", form, get_args(Form))
        if width % n_heads:
            msg = f"SASRec: n_heads={n_heads} must divide width={width}; change one of them."
            raise ValueError(msg)
        self.max_len = max_len
        self.form = form
        self.position_LD = nn.Parameter(torch.empty(max_len, width))
        self.norm = nn.LayerNorm(width, eps=PAPER_NORM_EPS if form == "paper" else NORM_EPS)
        self.dropout = Dropout(dropout)
        make = PaperBlock if form == "paper" else SASRecBlock
        self.blocks = nn.ModuleList(make(width, n_heads, dropout) for _ in range(n_layers))
        nn.init.xavier_normal_(self.position_LD)

    def forward(self, item_BLD: Tensor, real_BL: Tensor) -> Tensor:
        """Reads the histories.

        Args:
            item_BLD: Item vectors, left-padded; L may be anything up to ``max_len``.
            real_BL: True where a slot holds an item.

        Returns:
            (B, L, D) user states.

        Raises:
            ValueError: The histories are longer than ``max_len``.
        """
        length = item_BLD.shape[1]
        if length > self.max_len:
            raise too_long("SASRec", self.max_len, length)
        # Positions are counted from the newest item, so trimming padding on the left changes nothing.
        position_LD = self.position_LD[self.max_len - length :]
        hidden_BLD = self.first(item_BLD, position_LD)
        allowed_B1LL = causal_mask(real_BL)
        for block in self.blocks:
            hidden_BLD = block(hidden_BLD, allowed_B1LL)
        return self.last(hidden_BLD)

    def at_positions(self, item_PD: Tensor, layout: Layout) -> Tensor:
        """Reads the real positions of a batch alone; ``forward`` gives the same there.

        Args:
            item_PD: Their item vectors.
            layout: Where they stand.

        Returns:
            (P, D) user states.

        Raises:
            ValueError: The histories are longer than ``max_len``.
        """
        hidden_RD, allowed = self._entered(item_PD, layout)
        for block in self._layers():
            hidden_RD = block.at_rows(hidden_RD, layout, allowed)
        return layout.leave(self.last(hidden_RD))

    def newest(self, item_PD: Tensor, layout: Layout) -> Tensor:
        """The states (B, D) at the newest positions; the last block computes no others.

        Args:
            item_PD: Item vectors of the real positions.
            layout: Where they stand; every user has one.

        Raises:
            ValueError: The histories are longer than ``max_len``.
        """
        hidden_RD, allowed = self._entered(item_PD, layout)
        *lower, last = self._layers()
        for block in lower:
            hidden_RD = block.at_rows(hidden_RD, layout, allowed)
        groups = zip(layout.split(layout.to_slots(hidden_RD)), allowed, strict=True)
        states = [last.read(part[:, -1:], part, mask[:, :, -1:]) for part, mask in groups]
        return layout.to_users(self.last(torch.cat(states)[:, 0]))

    def first(self, item: Tensor, position: Tensor) -> Tensor:
        """What the first block reads; takes slots (..., D) one by one."""
        if self.form == "paper":
            return cast(Tensor, self.dropout(item * item.shape[-1] ** 0.5 + position))
        return cast(Tensor, self.dropout(self.norm(item + position)))

    def last(self, hidden: Tensor) -> Tensor:
        """User states of what the last block gives."""
        return cast(Tensor, self.norm(hidden)) if self.form == "paper" else hidden

    def _layers(self) -> list[SASRecBlock]:
        return [cast(SASRecBlock, block) for block in self.blocks]

    def _entered(self, item_PD: Tensor, layout: Layout) -> tuple[Tensor, list[Tensor]]:
        """The first states, and what attention may look at in every group."""
        length = max(slots for _, slots in layout.groups)
        if length > self.max_len:
            raise too_long("SASRec", self.max_len, length)
        position_PD = F.embedding(self.max_len - 1 - layout.back_P, self.position_LD)
        hidden_RD = layout.enter(self.first(item_PD, position_PD))
        allowed = [causal_mask(real) for real in layout.real()]
        if hidden_RD.device.type == "cpu":  # all blocks add the same to their scores
            allowed = [torch.where(part, 0.0, float("-inf")) for part in allowed]
        return hidden_RD, allowed

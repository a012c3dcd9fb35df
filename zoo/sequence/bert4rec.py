"""BERT4Rec: a bidirectional Transformer that guesses hidden items of a history.

"BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer", CIKM 2019,
https://arxiv.org/abs/1904.06690, in the two forms of NineRec, TPAMI 2024, https://arxiv.org/abs/2309.07705,
official code https://github.com/westlake-repl/NineRec (baef644).

There the mask is an item of its own, with a title that the text encoder reads, which can be drawn as a
negative and is ranked with the others at evaluation. Here it is a learned vector and no item.
"""

from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.sequence.base import mutual_mask, one_of, too_long
from zoo.sequence.block import NORM_EPS, SASRecBlock

REC_NORM_EPS = 1e-12


class BERT4Rec(nn.Module):
    """The BERT4Rec user encoder (``zoo.sequence.base.MaskedBackbone``).

    States at real slots depend neither on what stands at padded slots nor on how much padding there is.

    Args:
        width: Width D of item vectors and states.
        max_len: Longest history; there is one learned position more, for the item to guess.
        n_layers: Transformer blocks.
        n_heads: Attention heads; must divide the width.
        dropout: Rate on the input, the attention weights and the outputs of both layers of a block.
        mask_prob: Share of the items hidden in training, each drawn on its own (NineRec: 0.4, its
            PixelRec-style form 0.6).
        form: ``own``: SASRec's blocks. ``rec``: the PixelRec-style form: biased projections, a feed-forward
            layer as wide as the states, exact GELU, parameters from N(0, 0.02).

    Raises:
        ValueError: The heads do not divide the width, an unknown ``form``, or a share outside (0, 1).
    """

    masked: ClassVar[bool] = True

    def __init__(
        self,
        width: int,
        max_len: int,
        n_layers: int = 2,
        n_heads: int = 2,
        dropout: float = 0.1,
        mask_prob: float = 0.4,
        form: Literal["own", "rec"] = "own",
    ) -> None:
        super().__init__()
        one_of("BERT4Rec", "form", form, ("own", "rec"))
        if width % n_heads:
            raise ValueError(f"BERT4Rec: n_heads={n_heads} must divide width={width}; change one of them.")
        if not 0 < mask_prob < 1:
            raise ValueError(f"BERT4Rec: mask_prob is a share between 0 and 1; found {mask_prob}.")
        self.max_len = max_len
        self.mask_prob = mask_prob
        self.position_SD = nn.Parameter(torch.empty(max_len + 1, width))
        self.mask_D = nn.Parameter(torch.empty(width))
        self.norm = nn.LayerNorm(width, eps=NORM_EPS if form == "own" else REC_NORM_EPS)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_block(width, n_heads, dropout, form) for _ in range(n_layers))
        if form == "own":
            nn.init.xavier_normal_(self.position_SD)
            nn.init.xavier_normal_(self.mask_D[None])
        else:
            self.apply(_small_normal)
            nn.init.normal_(self.position_SD, std=0.02)
            nn.init.normal_(self.mask_D, std=0.02)

    def forward(self, item_BLD: Tensor, real_BL: Tensor) -> Tensor:
        """Reads all slots in both directions.

        Args:
            item_BLD: Item vectors, left-padded; up to ``max_len`` + 1 slots.
            real_BL: True where a slot holds an item or hides one.

        Returns:
            (B, L, D) states.

        Raises:
            ValueError: There are more slots.
        """
        length, n_slots = item_BLD.shape[1], len(self.position_SD)
        if length > n_slots:
            raise too_long("BERT4Rec", n_slots, length)
        # Positions are counted from the newest slot, so trimming padding on the left changes nothing.
        hidden_BLD: Tensor = self.dropout(self.norm(item_BLD + self.position_SD[n_slots - length :]))
        allowed_B1LL = mutual_mask(real_BL)
        for block in self.blocks:
            hidden_BLD = block(hidden_BLD, allowed_B1LL)
        return hidden_BLD

    def draw(self, real_BS: Tensor) -> Tensor:
        """Hides each real slot with probability ``mask_prob``, (B, S) bool, from the default generator."""
        return (torch.rand(real_BS.shape, device=real_BS.device) < self.mask_prob) & real_BS

    def hide(self, item_BSD: Tensor, hidden_BS: Tensor) -> Tensor:
        """Item vectors with the learned mask vector at the hidden slots."""
        return torch.where(hidden_BS[..., None], self.mask_D.to(item_BSD.dtype), item_BSD)

    def next_state(self, item_BLD: Tensor, real_BL: Tensor) -> Tensor:
        """State (B, D) at a hidden slot after the history: the user vector."""
        n_users = len(item_BLD)
        mask_B1D = self.mask_D.to(item_BLD.dtype).expand(n_users, 1, -1)
        seen_BSD = torch.cat([item_BLD, mask_B1D], dim=1)
        return cast(Tensor, self(seen_BSD, torch.cat([real_BL, real_BL.new_ones(n_users, 1)], dim=1))[:, -1])


def _block(width: int, n_heads: int, dropout: float, form: Literal["own", "rec"]) -> SASRecBlock:
    if form == "own":
        return SASRecBlock(width, n_heads, dropout)
    return SASRecBlock(width, n_heads, dropout, bias=True, inner=1, activation=F.gelu, eps=REC_NORM_EPS)


def _small_normal(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)

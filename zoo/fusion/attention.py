"""Fusions that let the tokens of an item's modalities look at each other: merge attention and co-attention.

"An Empirical Study of Training ID-Agnostic Multi-modal Sequential Recommenders", 2024,
https://arxiv.org/abs/2403.17372, official code https://github.com/MMSR23/MMSR. Merge attention is also the
fusion of "Multi-Modality is All You Need for Transferable Recommender Systems", ICDE 2024,
https://arxiv.org/abs/2312.09602, official code https://github.com/ICDE24/PMMRec.

Layers have BERT's geometry: norms after the residual sums, exact GELU, one head for every 64 of the width.
Both codes look for pre-trained BERT weights here, but no name matches and the layers start from random ones;
so do ours.
"""

from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.encoders.base import Encoded
from zoo.encoders.tower import mean_tokens
from zoo.fusion.base import Fusion
from zoo.fusion.parts import (
    part_mask,
    part_tokens,
    require_pair,
    require_parts,
    require_several,
    side_by_side,
)

NORM_EPS = 1e-12
INIT_STD = 0.02
HEAD_WIDTH = 64


def bert_heads(width: int) -> int:
    """Heads of a width: one for every 64, fewer where that does not divide.

    >>> bert_heads(768), bert_heads(64), bert_heads(200)
    (12, 1, 2)
    """
    return next(n for n in range(max(1, width // HEAD_WIDTH), 0, -1) if width % n == 0)


class Attention(nn.Module):
    """Multi-head attention, its output added to the query and normed.

    Args:
        width: Width D of the tokens.
        n_heads: Attention heads; they share the width.
        dropout: Rate on attention weights and on the output.
    """

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.attention_dropout = dropout
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def split(self, tokens_NTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of every token, each (N, heads, T, D / heads)."""
        packed = self.query_key_value(tokens_NTD).unflatten(-1, (3, self.n_heads, -1))
        query, key, value = packed.permute(
            2, 0, 3, 1, 4
        ).unbind()  # (N, T, 3, heads, w) -> 3 x (N, heads, T, w)
        return query, key, value

    def look(
        self, tokens_NTD: Tensor, query: Tensor, key: Tensor, value: Tensor, mask_NT: Tensor | None
    ) -> Tensor:
        """Lets ``tokens_NTD``, whose query is given, read keys and values of real tokens; (N, T, D)."""
        allowed = None if mask_NT is None else mask_NT[:, None, None]  # broadcasts over heads and queries
        rate = self.attention_dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=rate)
        mixed_NTD = self.output(mixed.transpose(1, 2).flatten(2))  # (N, heads, T, w) -> (N, T, D)
        return cast(Tensor, self.norm(tokens_NTD + self.dropout(mixed_NTD)))

    def forward(self, tokens_NTD: Tensor, mask_NT: Tensor | None) -> Tensor:
        """Self-attention: every token reads the real ones, (N, T, D)."""
        return self.look(tokens_NTD, *self.split(tokens_NTD), mask_NT)

    def exchange(
        self, a_NTD: Tensor, a_mask_NT: Tensor | None, b_NTD: Tensor, b_mask_NT: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Cross-attention both ways with the same weights: a reads b, and b reads the a of before."""
        a_query, a_key, a_value = self.split(a_NTD)
        b_query, b_key, b_value = self.split(b_NTD)
        return (
            self.look(a_NTD, a_query, b_key, b_value, b_mask_NT),
            self.look(b_NTD, b_query, a_key, a_value, a_mask_NT),
        )


class FeedForward(nn.Module):
    """Linear layer, exact GELU, linear layer; the result added to the input and normed.

    Args:
        width: Width D of the tokens.
        inner: Width between the two layers.
        dropout: Rate on the output.
    """

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.feed_in = nn.Linear(width, inner)
        self.feed_out = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        """(N, T, D) to (N, T, D)."""
        fed_NTD = self.feed_out(F.gelu(self.feed_in(tokens_NTD)))
        return cast(Tensor, self.norm(tokens_NTD + self.dropout(fed_NTD)))


class MergeLayer(nn.Module):
    """One layer of BERT: self-attention, then a feed-forward layer."""

    def __init__(self, width: int, n_heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, n_heads, dropout)
        self.feed = FeedForward(width, ffn, dropout)

    def forward(self, tokens_NTD: Tensor, mask_NT: Tensor | None) -> Tensor:
        """(N, T, D) to (N, T, D); only real tokens are read."""
        return cast(Tensor, self.feed(self.attention(tokens_NTD, mask_NT)))


class CoLayer(nn.Module):
    """Cross-attention both ways with shared weights, then self-attention and feed-forward of each side."""

    def __init__(self, width: int, n_heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.cross = Attention(width, n_heads, dropout)
        self.attentions = nn.ModuleList(Attention(width, n_heads, dropout) for _ in range(2))
        self.feeds = nn.ModuleList(FeedForward(width, ffn, dropout) for _ in range(2))

    def forward(self, sides: list[Tensor], masks: list[Tensor | None]) -> list[Tensor]:
        """Two token tensors (N, T, D), of different T, to two of the same shapes."""
        crossed = self.cross.exchange(sides[0], masks[0], sides[1], masks[1])
        return [
            feed(attention(side_NTD, mask_NT))
            for attention, feed, side_NTD, mask_NT in zip(
                self.attentions, self.feeds, crossed, masks, strict=True
            )
        ]


class TokenFusion(Fusion):
    """What the two share: sizes, checked; the table of token types; BERT's initial weights."""

    needs_tokens = True
    title: ClassVar[str]
    """The name in configurations."""
    layer: ClassVar[type[MergeLayer | CoLayer]]

    def __init__(
        self,
        n_parts: int,
        width: int,
        dropout: float,
        n_heads: int | None,
        ffn: int | None,
        n_layers: int,
        token_types: bool,
    ) -> None:
        super().__init__()
        require_several(self.title, n_parts)
        self.n_parts = n_parts
        n_heads = bert_heads(width) if n_heads is None else n_heads
        ffn = 4 * width if ffn is None else ffn
        for option, value in (("n_heads", n_heads), ("ffn", ffn), ("n_layers", n_layers)):
            if value < 1:
                raise ValueError(f"The fusion {self.title!r}: {option} must be at least 1; found {value}.")
        if width % n_heads:
            raise ValueError(
                f"The fusion {self.title!r}: n_heads={n_heads} does not divide width={width}. Change one of "
                f"them; without n_heads this width gets {bert_heads(width)}."
            )
        self.layers = nn.ModuleList(self.layer(width, n_heads, ffn, dropout) for _ in range(n_layers))
        self.type_MD = nn.Parameter(torch.empty(n_parts, width)) if token_types else None

    def reset_parameters(self) -> None:
        """Normal weights of deviation 0.02, zero biases."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=INIT_STD)
                nn.init.zeros_(module.bias)
        if self.type_MD is not None:
            nn.init.normal_(self.type_MD, std=INIT_STD)

    def typed(self, parts: list[Encoded]) -> list[Encoded]:
        """The parts with their types added to their tokens, if there are types.

        Raises:
            ValueError: There are more or fewer parts than the fusion was made for.
        """
        require_parts(self.title, self.n_parts, parts)
        if self.type_MD is None:
            return parts
        return [
            Encoded(part.pooled_ND, part_tokens(part) + type_D, part_mask(part))
            for part, type_D in zip(parts, self.type_MD, strict=True)
        ]


class MergeAttention(TokenFusion):
    """``merge_attn``: the tokens of all parts in one row, self-attention over it, the mean of the real ones.

    Takes any number of parts. It has ``n_layers * (12 D^2 + 13 D)`` parameters with ``ffn`` 4 D, and M D more
    with token types.

    Args:
        n_parts: Number of parts M.
        width: Width D of tokens and of the result.
        dropout: Rate on attention weights and on the output of every sub-layer.
        n_heads: Attention heads; by default one for every 64 of the width, 12 at 768.
        ffn: Inner width of the feed-forward layers; by default 4 D.
        n_layers: Layers.
        token_types: Add a learned vector a part to its tokens. The official code makes them and drops them
            again, so the default has none.

    Raises:
        ValueError: Fewer than two parts, heads that do not divide the width, or a size that is not positive.
    """

    title = "merge_attn"
    layer = MergeLayer

    def __init__(
        self,
        n_parts: int,
        width: int,
        dropout: float = 0.1,
        n_heads: int | None = None,
        ffn: int | None = None,
        n_layers: int = 1,
        token_types: bool = False,
    ) -> None:
        super().__init__(n_parts, width, dropout, n_heads, ffn, n_layers, token_types)
        self.reset_parameters()

    def forward(self, parts: list[Encoded]) -> Tensor:
        """Fuses the tokens of M parts to (N, D); a part without tokens is one token."""
        tokens_NTD, mask_NT = side_by_side(self.typed(parts))
        for layer in self.layers:
            tokens_NTD = layer(tokens_NTD, mask_NT)
        return mean_tokens(tokens_NTD, mask_NT)


class CoAttention(TokenFusion):
    """``co_att``: two parts read each other, then themselves; their mean tokens are joined by a linear layer.

    Both directions of the cross-attention have one set of weights, as in the official code; self-attention
    and feed-forward are each part's own. It has ``n_layers * (28 D^2 + 32 D) + 2 D^2 + D`` parameters with
    ``ffn`` 4 D, and 2 D more with token types.

    Args:
        n_parts: Number of parts, which must be 2.
        width: Width D of tokens and of the result.
        dropout: Rate on attention weights and on the output of every sub-layer.
        n_heads: Attention heads; by default one for every 64 of the width, 12 at 768.
        ffn: Inner width of the feed-forward layers; by default 4 D.
        n_layers: Layers.
        token_types: Add a learned vector a part to its tokens.

    Raises:
        ValueError: Not two parts, heads that do not divide the width, or a size that is not positive.
    """

    title = "co_att"
    layer = CoLayer

    def __init__(
        self,
        n_parts: int,
        width: int,
        dropout: float = 0.1,
        n_heads: int | None = None,
        ffn: int | None = None,
        n_layers: int = 1,
        token_types: bool = True,
    ) -> None:
        require_pair(self.title, n_parts, "each reads the other")
        super().__init__(n_parts, width, dropout, n_heads, ffn, n_layers, token_types)
        self.output = nn.Linear(2 * width, width)
        self.reset_parameters()

    def forward(self, parts: list[Encoded]) -> Tensor:
        """Fuses the tokens of two parts to (N, D); a part without tokens is one token."""
        parts = self.typed(parts)
        sides, masks = [part_tokens(part) for part in parts], [part_mask(part) for part in parts]
        readable = [None if mask_NT is None else never_empty(mask_NT) for mask_NT in masks]
        for layer in self.layers:
            sides = layer(sides, readable)
        means = [mean_tokens(side_NTD, mask_NT) for side_NTD, mask_NT in zip(sides, masks, strict=True)]
        return cast(Tensor, self.output(torch.cat(means, dim=-1)))


def never_empty(mask_NT: Tensor) -> Tensor:
    """The mask, with all tokens of an item that has no real one: a softmax over nothing has no value.

    >>> never_empty(torch.tensor([[True, False], [False, False]])).int().tolist()
    [[1, 0], [1, 1]]
    """
    return mask_NT | ~mask_NT.any(dim=1, keepdim=True)

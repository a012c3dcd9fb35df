"""Blocks of Transformers: attention and a feed-forward layer, in two orders of sums and norms."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.sequence.attention import mixed_values
from zoo.sequence.dropout import Dropout
from zoo.sequence.layout import Layout

NORM_EPS = 1e-6
PAPER_NORM_EPS = 1e-8


class SASRecBlock(nn.Module):
    """Self-attention and a feed-forward layer, each added to its input and then normalised.

    Args:
        width: Width D of the states.
        n_heads: Attention heads; they share the width.
        dropout: Rate on attention weights and on the outputs of both layers.
        bias: Whether the projections of the attention have biases.
        inner: Width of the feed-forward layer in multiples of D.
        activation: Of the feed-forward layer.
        eps: Of the layer norms.
    """

    def __init__(
        self,
        width: int,
        n_heads: int,
        dropout: float,
        *,
        bias: bool = False,
        inner: int = 4,
        activation: Callable[[Tensor], Tensor] = torch.relu_,
        eps: float = NORM_EPS,
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.attention_dropout = dropout
        self.activation = activation
        self.query_key_value = nn.Linear(width, 3 * width, bias=bias)
        self.output = nn.Linear(width, width, bias=bias)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.feed_in = nn.Linear(width, inner * width)
        self.feed_out = nn.Linear(inner * width, width)
        self.feed_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier-normal matrices, zero biases."""
        # One product serves three projections; each keeps the spread of a D x D matrix of its own.
        for matrix_DD in self.query_key_value.weight.chunk(3):
            nn.init.xavier_normal_(matrix_DD)
        nn.init.xavier_normal_(self.output.weight)
        nn.init.xavier_normal_(self.feed_in.weight)
        nn.init.xavier_normal_(self.feed_out.weight)
        for layer in (self.query_key_value, self.output, self.feed_in, self.feed_out):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, hidden_BLD: Tensor, allowed_B1LL: Tensor) -> Tensor:
        """One layer of the Transformer.

        Args:
            hidden_BLD: States of the layer below.
            allowed_B1LL: Bool, query by key, true where attention is allowed.

        Returns:
            (B, L, D) states.
        """
        start_BLD = self.start(hidden_BLD)
        mixed_BLD = self.mix(self.project(start_BLD, hidden_BLD), allowed_B1LL)
        return self.finish(start_BLD, mixed_BLD)

    def at_rows(self, hidden_RD: Tensor, layout: Layout, allowed: list[Tensor]) -> Tensor:
        """One layer without padded positions: only attention sees histories side by side.

        Args:
            hidden_RD: States of the layer below.
            layout: Which history and position each row is.
            allowed: What ``forward`` has for a batch, for each group of it.

        Returns:
            (R, D) states.
        """
        start_RD = self.start(hidden_RD)
        groups = layout.split(layout.to_slots(self.project(start_RD, hidden_RD)))
        mixed = [self.mix(*group).flatten(0, 1) for group in zip(groups, allowed, strict=True)]
        return self.finish(start_RD, layout.to_rows(torch.cat(mixed)))

    def start(self, hidden: Tensor) -> Tensor:
        """What asks the attention, and what its answer is added to: the states themselves here."""
        return hidden

    def project(self, start: Tensor, hidden: Tensor) -> Tensor:
        """Queries of the one, keys and values of the other, side by side, (..., 3 D)."""
        return cast(Tensor, self.query_key_value(hidden))

    def mix(self, projected_BLX: Tensor, allowed_B1LL: Tensor) -> Tensor:
        """What each slot attends to, (B, L, D), before the output projection.

        Args:
            projected_BLX: Queries, keys and values side by side: X = 3 D.
            allowed_B1LL: Bool, or what is added to the scores.
        """
        split = projected_BLX.unflatten(-1, (3, self.n_heads, -1))  # type: ignore[no-untyped-call]
        query, key, value = split.permute(2, 0, 3, 1, 4)  # (B, L, 3, heads, w) -> 3 x (B, heads, L, w)
        rate = self.attention_dropout if self.training else 0.0
        return mixed_values(query, key, value, allowed_B1LL, rate).transpose(1, 2).flatten(2)

    def read(self, query_BQD: Tensor, hidden_BLD: Tensor, allowed_B1QL: Tensor) -> Tensor:
        """The layer at Q of the L slots: what only they need is computed for them alone.

        Args:
            query_BQD: The states of the Q slots.
            hidden_BLD: The states of all.
            allowed_B1QL: Bool, or what is added to the scores.

        Returns:
            (B, Q, D) states.
        """
        start_BQD = self.start(query_BQD)
        projected_BQD, projected_BLY = self.project_apart(start_BQD, hidden_BLD)  # Y = 2 D
        query = projected_BQD.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
        split = projected_BLY.unflatten(-1, (2, self.n_heads, -1))  # type: ignore[no-untyped-call]
        key, value = split.permute(2, 0, 3, 1, 4)  # (B, L, 2, heads, w) -> 2 x (B, heads, L, w)
        rate = self.attention_dropout if self.training else 0.0
        mixed = mixed_values(query, key, value, allowed_B1QL, rate).transpose(1, 2).flatten(2)
        return self.finish(start_BQD, mixed)

    def project_apart(self, start: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Queries of the one, (..., D), and keys and values of the other, (..., 2 D)."""
        width, weight, bias = start.shape[-1], self.query_key_value.weight, self.query_key_value.bias
        own, others = (None, None) if bias is None else (bias[:width], bias[width:])
        return F.linear(start, weight[:width], own), F.linear(hidden, weight[width:], others)

    def finish(self, hidden: Tensor, mixed: Tensor) -> Tensor:
        """All that follows the mixture of values; takes slots (..., D) one by one."""
        hidden = self.attention_norm(hidden + self.dropout(self.output(mixed)))
        fed = self.feed_out(self.activation(self.feed_in(hidden)))
        return cast(Tensor, self.feed_norm(hidden + self.dropout(fed)))


class PaperBlock(SASRecBlock):
    """SASRec's block as its authors have it: queries are normalised, and keys and values are not.

    Attention is added to the normalised states, the sum is normalised, and the feed-forward layer, of width D
    with dropout after both its products, is added to that: https://github.com/kang205/SASRec, ``model.py``.

    Args:
        width: Width D of the states.
        n_heads: Attention heads; they share the width.
        dropout: Rate on attention weights and in the feed-forward layer.
    """

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__(width, n_heads, dropout, bias=True, inner=1, eps=PAPER_NORM_EPS)

    def start(self, hidden: Tensor) -> Tensor:
        """The normalised states."""
        return cast(Tensor, self.attention_norm(hidden))

    def project(self, start: Tensor, hidden: Tensor) -> Tensor:
        """Two products, as queries come from other states than keys and values."""
        return torch.cat(self.project_apart(start, hidden), dim=-1)

    def finish(self, hidden: Tensor, mixed: Tensor) -> Tensor:
        """All that follows the mixture of values; takes slots (..., D) one by one."""
        hidden = self.feed_norm(hidden + self.output(mixed))
        fed = self.feed_out(self.dropout(self.activation(self.feed_in(hidden))))
        return hidden + cast(Tensor, self.dropout(fed))

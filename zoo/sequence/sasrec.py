"""SASRec: a causal Transformer over the items of a history.

"Self-Attentive Sequential Recommendation", ICDM 2018, https://arxiv.org/abs/1808.09781, in the form used by
"Where to Go Next for Recommender Systems? ID- vs. Modality-based Recommender Models Revisited", SIGIR 2023,
https://arxiv.org/abs/2303.13835, official code https://github.com/westlake-repl/IDvs.MoRec: layer norms after
the residual sums, projections without bias, an inner feed-forward width of 4 D, no norm at the end.
"""

from collections.abc import Callable
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.sequence.attention import mixed_values
from zoo.sequence.base import causal_mask, too_long
from zoo.sequence.dropout import Dropout
from zoo.sequence.layout import Layout

NORM_EPS = 1e-6


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
        mixed_BLD = self.mix(self.query_key_value(hidden_BLD), allowed_B1LL)
        return self.finish(hidden_BLD, mixed_BLD)

    def at_rows(self, hidden_RD: Tensor, layout: Layout, allowed: list[Tensor]) -> Tensor:
        """One layer without padded positions: only attention sees histories side by side.

        Args:
            hidden_RD: States of the layer below.
            layout: Which history and position each row is.
            allowed: What ``forward`` has for a batch, for each group of it.

        Returns:
            (R, D) states.
        """
        groups = layout.split(layout.to_slots(self.query_key_value(hidden_RD)))
        mixed = [self.mix(*group).flatten(0, 1) for group in zip(groups, allowed, strict=True)]
        return self.finish(hidden_RD, layout.to_rows(torch.cat(mixed)))

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
        width, weight, bias = query_BQD.shape[-1], self.query_key_value.weight, self.query_key_value.bias
        own, others = (None, None) if bias is None else (bias[:width], bias[width:])
        projected_BQD = F.linear(query_BQD, weight[:width], own)
        query = projected_BQD.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
        split = F.linear(hidden_BLD, weight[width:], others).unflatten(-1, (2, self.n_heads, -1))  # type: ignore[no-untyped-call]
        key, value = split.permute(2, 0, 3, 1, 4)  # (B, L, 2, heads, w) -> 2 x (B, heads, L, w)
        rate = self.attention_dropout if self.training else 0.0
        mixed = mixed_values(query, key, value, allowed_B1QL, rate).transpose(1, 2).flatten(2)
        return self.finish(query_BQD, mixed)

    def finish(self, hidden: Tensor, mixed: Tensor) -> Tensor:
        """All that follows the mixture of values; takes slots (..., D) one by one."""
        hidden = self.attention_norm(hidden + self.dropout(self.output(mixed)))
        fed = self.feed_out(self.activation(self.feed_in(hidden)))
        return cast(Tensor, self.feed_norm(hidden + self.dropout(fed)))


class SASRec(nn.Module):
    """The SASRec user encoder.

    It has ``n_layers * (12 D^2 + 9 D) + max_len * D + 2 D`` parameters. States at real positions depend
    neither on what stands at padded positions nor on how much padding there is.

    Args:
        width: Width D of item vectors and states.
        max_len: Longest history; one learned position each.
        n_layers: Transformer blocks.
        n_heads: Attention heads; must divide the width.
        dropout: The one rate, on the input, the attention weights and the outputs of both layers of a block.

    Raises:
        ValueError: The heads do not divide the width.

    >>> backbone = SASRec(width=512, max_len=20)
    >>> sum(parameter.numel() for parameter in backbone.parameters())
    6311936
    """

    masked: ClassVar[bool] = False
    packs: ClassVar[bool] = True

    def __init__(
        self, width: int, max_len: int, n_layers: int = 2, n_heads: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if width % n_heads:
            msg = f"SASRec: n_heads={n_heads} must divide width={width}; change one of them."
            raise ValueError(msg)
        self.max_len = max_len
        self.position_LD = nn.Parameter(torch.empty(max_len, width))
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(SASRecBlock(width, n_heads, dropout) for _ in range(n_layers))
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
        hidden_BLD: Tensor = self.dropout(self.norm(item_BLD + position_LD))
        allowed_B1LL = causal_mask(real_BL)
        for block in self.blocks:
            hidden_BLD = block(hidden_BLD, allowed_B1LL)
        return hidden_BLD

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
        return layout.leave(hidden_RD)

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
        return layout.to_users(torch.cat(states)[:, 0])

    def _layers(self) -> list[SASRecBlock]:
        return [cast(SASRecBlock, block) for block in self.blocks]

    def _entered(self, item_PD: Tensor, layout: Layout) -> tuple[Tensor, list[Tensor]]:
        """The first states, and what attention may look at in every group."""
        length = max(slots for _, slots in layout.groups)
        if length > self.max_len:
            raise too_long("SASRec", self.max_len, length)
        position_PD = F.embedding(self.max_len - 1 - layout.back_P, self.position_LD)
        hidden_RD = layout.enter(self.dropout(self.norm(item_PD + position_PD)))
        allowed = [causal_mask(real) for real in layout.real()]
        if hidden_RD.device.type == "cpu":  # all blocks add the same to their scores
            allowed = [torch.where(part, 0.0, float("-inf")) for part in allowed]
        return hidden_RD, allowed

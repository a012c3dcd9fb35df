"""Attention weights, their dropout, and their mixture, by what is fastest where."""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.sequence.dropout import drop


def mixed_values(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor, rate: float) -> Tensor:
    """Scaled dot-product attention.

    PyTorch's own has no fast path on a CPU when weights are dropped out: what it does then takes more passes
    over the weights, and slower draws.

    Args:
        query: (B, heads, Q, w).
        key: (B, heads, T, w).
        value: (B, heads, T, w).
        allowed: Bool, true where a query may look at a key, or what is added to the score: 0 or -inf. It
            broadcasts to (B, heads, Q, T).
        rate: Dropout rate of the weights; 0 outside training.

    Returns:
        (B, heads, Q, w).
    """
    if not rate or query.device.type != "cpu" or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=rate)
    score = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if allowed.dtype == torch.bool:
        score = score.masked_fill_(~allowed, float("-inf"))
    else:
        score = score.add_(allowed)
    return drop(score.softmax(-1), rate) @ value

"""Titles without the padding that no title of a batch reaches: on the host, before they go to the device."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.types import Content

PAD = -1
"""Marks the end of a title in token matrices, whatever the tower's own padding id is."""


def trim_tokens(content: Content) -> Content:
    """Cuts a text content to its longest real title; for the host, where nothing has to be waited for.

    Changes no vector of a tower that does not read padding.
    """
    tokens_NT = content["tokens"]
    real_T = (tokens_NT != PAD).any(dim=0)
    longest = int(real_T.nonzero().max()) + 1 if bool(real_T.any()) else 1
    return {**content, "tokens": tokens_NT[:, :longest]}


@torch.no_grad()
def ignores_padding(pooled: Callable[[Content], Tensor], tokens_1T: Tensor, max_tokens: int) -> bool:
    """Whether a title has the same vector with and without padding behind it.

    Networks that mix positions otherwise than by attention, as FNet by a Fourier transform, read padding.

    Args:
        pooled: Gives the vectors of titles; in evaluation mode.
        tokens_1T: One title of no more than ``max_tokens`` tokens, without padding.
        max_tokens: Length to pad to.
    """
    padded_1T = F.pad(tokens_1T, (0, max_tokens - tokens_1T.shape[1]), value=PAD)
    short_1D, long_1D = pooled({"tokens": tokens_1T}), pooled({"tokens": padded_1T})
    return torch.allclose(short_1D, long_1D, rtol=0, atol=1e-4 * float(short_1D.abs().max()))

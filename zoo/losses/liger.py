"""Softmax over the catalogue by Liger's kernels, on a GPU and where the extra ``fused`` is installed.

"Liger Kernel: Efficient Triton Kernels for LLM Training", 2024, https://arxiv.org/abs/2410.10989. Products
are PyTorch's, in float32 as its settings have it; softmax and gradient of a block of scores are one kernel.

Not run on a GPU: tested with the library's interface only.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

HELD_SCORES = 2**27
"""Scores of a block of rows, 512 MB; the library's own measure, about as much memory as the states, makes
blocks of a few rows where catalogues are large and vectors narrow."""
LEFT_OUT = -100
"""Target of rows that do not count."""


def liger_ce(user_PD: Tensor, table_ID: Tensor, target_P: Tensor, weight_P: Tensor | None = None) -> Tensor:
    """What ``zoo.losses.full.full_ce`` computes, with the same arguments.

    Raises:
        ImportError: The library is not installed.
    """
    cross_entropy = _library()
    target_P = target_P - 1  # the padding item is no candidate: the table is given without it
    if weight_P is not None:
        target_P = torch.where(weight_P > 0, target_P, LEFT_OUT)
    with torch.autocast(user_PD.device.type, enabled=False):
        total = cross_entropy(
            user_PD.float(),
            table_ID[1:].float(),
            target_P,
            ignore_index=LEFT_OUT,
            reduction="sum",
            chunk_mem_const=max(1, HELD_SCORES // user_PD.numel()),
        )
    return total / (len(target_P) if weight_P is None else weight_P.sum().clamp(min=1))


def _library() -> Callable[..., Tensor]:
    try:
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy
    except ImportError as error:
        raise ImportError(
            "full_kernel: liger needs the package liger-kernel, which is not installed: pip install "
            "'mmzoo[fused]', or take full_kernel: own."
        ) from error
    return cast(Callable[..., Tensor], liger_fused_linear_cross_entropy)

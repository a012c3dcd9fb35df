"""Softmax over the whole catalogue, in memory that does not grow with labels times items."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.losses.fused import fused_cross_entropy, untraced
from zoo.losses.liger import liger_ce
from zoo.losses.rows import mean_of, require_rows

FullKernel = Literal["own", "liger"]
"""What computes the softmax over the catalogue on a GPU."""

UNTILED = 4096
"""Catalogue rows up to which nothing is gained by tiles."""
TILE_COLUMNS = 2048
"""Items at a time on a CPU: with the rows of a block their scores stay in its cache."""
TILE_ROWS = 256
MIN_ROWS = 64
HELD_SCORES = 2**24
"""Scores kept of a block of rows until their sum over all items is known; 64 MB."""


def full_ce(
    user_PD: Tensor,
    table_ID: Tensor,
    target_P: Tensor,
    weight_P: Tensor | None = None,
    kernel: FullKernel = "own",
) -> Tensor:
    """Cross-entropy of the next item against every item of the catalogue.

    Everything is in float32 whatever the autocast state; there is no second derivative.

    Args:
        user_PD: User states at the real positions.
        table_ID: Item vectors of the whole catalogue; row 0 is padding and is no candidate.
        target_P: Catalogue ids of the next items.
        weight_P: 1 where a row counts and 0 where not; by default all do.
        kernel: What computes it on a GPU; on a CPU it is our own form.

    Returns:
        Mean loss over the positions that count, a scalar.

    Raises:
        ValueError: The batch has no position.

    >>> import torch
    >>> full_ce(torch.zeros(2, 3), torch.ones(5, 3), torch.tensor([1, 4])).exp()
    tensor(4.)
    """
    require_rows(user_PD)
    if kernel == "liger" and user_PD.is_cuda:
        return liger_ce(user_PD, table_ID, target_P, weight_P)
    if user_PD.device.type == "cpu" and table_ID.shape[0] > UNTILED:
        with torch.autocast("cpu", enabled=False):
            return _tiled_ce(user_PD.float(), table_ID.float(), target_P, weight_P)
    padding_P1 = target_P.new_zeros(target_P.shape[0], 1)
    return fused_cross_entropy(user_PD, table_ID, target_P, padding_P1, weight_P=weight_P)


class _TiledCrossEntropy(torch.autograd.Function):
    """Blocks of rows against tiles of the catalogue, gradients made in the forward pass.

    A tile's softmax is taken while its scores are in the cache. What a tile weighs in that over all items
    multiplies the D columns of its products, not its scores; what targets add to the gradients comes at the
    end.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch gives its type no name
        user_PD: Tensor,
        table_ID: Tensor,
        target_P: Tensor,
        weight_P: Tensor | None,
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad[:2])
        grad_table_ID = torch.zeros_like(table_ID) if wanted else None
        grad_user_PD = torch.empty_like(user_PD) if wanted else None
        loss_P = user_PD.new_empty(user_PD.shape[0])
        tiles = _tiles(table_ID, grad_table_ID)
        block = min(len(user_PD), max(MIN_ROWS, min(TILE_ROWS, HELD_SCORES // len(table_ID))))
        buffers = [user_PD.new_empty(block, len(item_CD)) for item_CD, _, _ in tiles]
        for start in range(0, len(user_PD), block):
            part = slice(start, min(start + block, len(user_PD)))
            grad_RD, weight_R = (None if x is None else x[part] for x in (grad_user_PD, weight_P))
            loss_P[part] = _block(user_PD[part], tiles, buffers, grad_RD, weight_R)
        right_PD = table_ID[target_P]
        loss_P -= (user_PD * right_PD).sum(1)
        if grad_user_PD is not None and grad_table_ID is not None:
            own_PD = user_PD if weight_P is None else user_PD * weight_P[:, None]
            grad_user_PD -= right_PD if weight_P is None else right_PD * weight_P[:, None]
            grad_table_ID.index_add_(0, target_P, own_PD, alpha=-1)
        count = user_PD.new_full((), len(user_PD)) if weight_P is None else weight_P.sum().clamp(min=1)
        ctx.save_for_backward(grad_user_PD, grad_table_ID, count)
        return mean_of(loss_P, weight_P)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        grad_user_PD, grad_table_ID, count = ctx.saved_tensors
        scale = grad / count
        return grad_user_PD * scale, grad_table_ID * scale, None, None


_tiled_ce = untraced(_TiledCrossEntropy.apply)

Tile = tuple[Tensor, Tensor, Tensor | None]
"""Items (C, D), their bias (C,), where their gradient is summed."""


def _tiles(table_ID: Tensor, grad_table_ID: Tensor | None) -> list[Tile]:
    """Views of the catalogue, and of what is made for it."""
    n_items = len(table_ID)
    n_tiles = -(-n_items // TILE_COLUMNS)
    bias_I = table_ID.new_zeros(n_items)
    bias_I[0] = float("-inf")  # the padding item is no candidate
    items, bias = table_ID.tensor_split(n_tiles), bias_I.tensor_split(n_tiles)
    grads = [None] * n_tiles if grad_table_ID is None else list(grad_table_ID.tensor_split(n_tiles))
    return list(zip(items, bias, grads, strict=True))


def _block(
    user_RD: Tensor, tiles: list[Tile], buffers: list[Tensor], grad_RD: Tensor | None, weight_R: Tensor | None
) -> Tensor:
    """Log of the sum over all items (R,); fills the gradient of the rows and adds to that of the items."""
    n_rows = len(user_RD)
    total_TR = user_RD.new_empty(len(tiles), n_rows)
    mean_TRD = user_RD.new_empty(len(tiles), n_rows, user_RD.shape[1])
    shares = [buffer[:n_rows] for buffer in buffers]
    for tile, (item_CD, bias_C, _) in enumerate(tiles):
        score_RC = torch.addmm(bias_C, user_RD, item_CD.T, out=shares[tile])
        best_R = score_RC.amax(1)
        share_RC = torch.softmax(score_RC, 1, out=score_RC)
        # The best score's share is 1 / sum of exp(score - best): its log completes log-sum-exp.
        torch.sub(best_R, share_RC.amax(1).log_(), out=total_TR[tile])
        if grad_RD is not None:
            torch.mm(share_RC, item_CD, out=mean_TRD[tile])
    total_R = total_TR.logsumexp(0)
    if grad_RD is not None:
        weight_TR1 = (total_TR - total_R).exp_()[..., None]
        if weight_R is not None:
            weight_TR1 *= weight_R[:, None]
        torch.sum(mean_TRD * weight_TR1, 0, out=grad_RD)
        for share_RC, own_RD, (_, _, grad_CD) in zip(shares, weight_TR1 * user_RD, tiles, strict=True):
            assert grad_CD is not None
            grad_CD.addmm_(share_RC.T, own_RD)
    return total_R

"""Scores and softmax cross-entropy in one operation that never holds the whole score matrix.

Rows are taken in blocks; each block's scores are turned into gradients while they are still in the cache, so
the backward pass has nothing to recompute and only vectors to keep. The idea is that of "Cut Your Losses in
Large-Vocabulary Language Models", ICLR 2025, https://arxiv.org/abs/2411.09009, with library products in place
of own kernels.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.losses.rows import mean_of, require_rows


def fused_cross_entropy(
    user_PD: Tensor,
    item_ND: Tensor,
    target_P: Tensor,
    removed_PS: Tensor,
    bias_N: Tensor | None = None,
    shift_P: Tensor | None = None,
    weight_P: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy of the inner products of users with items, (P, N) scores that are never stored.

    Everything is in float32 whatever the autocast state. Gradients go to users and items only, and only once:
    there is no second derivative.

    Args:
        user_PD: User states.
        item_ND: Item vectors.
        target_P: Row of ``item_ND`` that is right.
        removed_PS: Rows of ``item_ND`` that are no candidates, repetitions allowed. The target always is one.
        bias_N: Added to the scores of an item; may be -inf.
        shift_P: Added to the score of the target; with ``bias_N`` finite there.
        weight_P: 1 where a row counts and 0 where not; by default all do.

    Returns:
        A scalar; 0 where no row counts.

    Raises:
        ValueError: There is no row.
    """
    require_rows(user_PD)
    bias_N = user_PD.new_zeros(item_ND.shape[0], dtype=torch.float32) if bias_N is None else bias_N.float()
    shift_P = user_PD.new_zeros(user_PD.shape[0], dtype=torch.float32) if shift_P is None else shift_P.float()
    with torch.autocast(user_PD.device.type, enabled=False):
        return _cross_entropy(
            user_PD.float(), item_ND.float(), target_P, removed_PS, bias_N, shift_P, weight_P
        )


class _FusedCrossEntropy(torch.autograd.Function):
    """The gradient of softmax cross-entropy is made where the scores are: in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch gives its type no name
        user_PD: Tensor,
        item_ND: Tensor,
        target_P: Tensor,
        removed_PS: Tensor,
        bias_N: Tensor,
        shift_P: Tensor,
        weight_P: Tensor | None,
    ) -> Tensor:
        n_rows, n_items = user_PD.shape[0], item_ND.shape[0]
        block = block_rows(n_items, user_PD.device.type)
        buffer_RN = user_PD.new_empty(min(block, n_rows), n_items)
        loss_P = user_PD.new_empty(n_rows)
        wanted = any(ctx.needs_input_grad[:2])
        grad_user_PD = torch.empty_like(user_PD) if wanted else None
        grad_item_ND = torch.zeros_like(item_ND) if wanted else None
        for start in range(0, n_rows, block):
            rows = slice(start, min(start + block, n_rows))
            score_RN = torch.addmm(bias_N, user_PD[rows], item_ND.T, out=buffer_RN[: rows.stop - start])
            target_R1 = target_P[rows, None]
            right_R1 = score_RN.gather(1, target_R1) + shift_P[rows, None]
            score_RN.scatter_(1, removed_PS[rows], float("-inf"))
            score_RN.scatter_(1, target_R1, right_R1)
            best_R1 = score_RN.amax(1, keepdim=True)
            share_RN = torch.softmax(score_RN, 1, out=score_RN)
            # The best score's share is 1 / sum of exp(score - best): its log completes log-sum-exp.
            loss_P[rows] = (best_R1 - share_RN.amax(1, keepdim=True).log() - right_R1)[:, 0]
            if grad_user_PD is not None and grad_item_ND is not None:
                share_RN.scatter_add_(1, target_R1, torch.full_like(right_R1, -1.0))
                if weight_P is not None:
                    share_RN.mul_(weight_P[rows, None])
                torch.mm(share_RN, item_ND, out=grad_user_PD[rows])
                grad_item_ND.addmm_(share_RN.T, user_PD[rows])
        count = user_PD.new_full((), n_rows) if weight_P is None else weight_P.sum().clamp(min=1)
        ctx.save_for_backward(grad_user_PD, grad_item_ND, count)
        return mean_of(loss_P, weight_P)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        grad_user_PD, grad_item_ND, count = ctx.saved_tensors
        scale = grad / count
        return grad_user_PD * scale, grad_item_ND * scale, None, None, None, None, None


# The number of blocks varies with P: tracing the loop would compile anew for each number.
untraced = cast(Callable[[Callable[..., Any]], Callable[..., Tensor]], torch.compiler.disable)
_cross_entropy = untraced(_FusedCrossEntropy.apply)


def block_rows(n_items: int, device: str) -> int:
    """Rows whose scores are held at once: what a CPU's cache likes, and large products elsewhere.

    Args:
        n_items: Columns N.
        device: Device type, as in ``torch.device.type``.

    >>> block_rows(3_000, "cpu"), block_rows(1_000_000, "cpu"), block_rows(100_000, "cuda")
    (349, 64, 1342)
    """
    return max(64, (2**20 if device == "cpu" else 2**27) // n_items)

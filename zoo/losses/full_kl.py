"""One recommender's softmax over the whole catalogue taught by another's, without keeping any scores.

The distillation of GUIDER (WSDM 2025, https://doi.org/10.1145/3701551.3703507; code
https://github.com/Neon-Jing/Guider): KL divergence of the student's softmax from the teacher's, over all
items, without a temperature. Rows are taken in blocks whose gradients are made while their scores are there,
as in ``zoo.losses.fused``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.losses.fused import block_rows


class Scorer(NamedTuple):
    """Scores as inner products that need not be made all at once: rows and items of one recommender."""

    row_PD: Tensor
    item_ID: Tensor


def full_kl(student: Scorer, teacher: Scorer, weight_P: Tensor | None = None) -> Tensor:
    """Weighted sum over rows of the KL divergence of the student's softmax from the teacher's.

    In float32 whatever the autocast state. Gradients go to the student only, and only once.

    Args:
        student: Its P rows and I items; every item is a candidate.
        teacher: The same rows and items as it sees them, in a width of its own.
        weight_P: Weight of each row; by default one P-th. A user that stands for several rows of a batch has
            their share: the same loss with fewer products.

    Returns:
        A scalar.

    >>> row_PD, item_ID = torch.ones(1, 1), torch.tensor([[0.0], [1.0]])
    >>> float(full_kl(Scorer(row_PD, item_ID), Scorer(row_PD, item_ID)))
    0.0
    """
    n_rows = student.row_PD.shape[0]
    if weight_P is None:
        weight_P = student.row_PD.new_full((n_rows,), 1.0 / max(n_rows, 1))
    with torch.autocast(student.row_PD.device.type, enabled=False):
        guide = (part.detach().float() for part in teacher)
        return _full_kl(student.row_PD.float(), student.item_ID.float(), *guide, weight_P.float())


class _FullKL(torch.autograd.Function):
    """The gradient of the divergence is the difference of two softmaxes: made where the scores are."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch gives its type no name
        row_PD: Tensor,
        item_ID: Tensor,
        guide_PD: Tensor,
        guide_ID: Tensor,
        weight_P: Tensor,
    ) -> Tensor:
        n_rows, n_items = row_PD.shape[0], item_ID.shape[0]
        block = block_rows(n_items, row_PD.device.type)
        loss_P = row_PD.new_zeros(n_rows)
        wanted = any(ctx.needs_input_grad[:2])
        grad_row_PD, grad_item_ID = torch.empty_like(row_PD), torch.zeros_like(item_ID)
        buffer_2RI = row_PD.new_empty(2, min(block, n_rows), n_items)
        for start in range(0, n_rows, block):
            rows = slice(start, min(start + block, n_rows))
            own_RI, guide_RI = buffer_2RI[:, : rows.stop - start].unbind()
            torch.mm(row_PD[rows], item_ID.T, out=own_RI)
            torch.mm(guide_PD[rows], guide_ID.T, out=guide_RI)
            own_RI -= own_RI.logsumexp(1, keepdim=True)
            guide_RI -= guide_RI.logsumexp(1, keepdim=True)
            share_RI = guide_RI.exp()
            loss_P[rows] = (share_RI * guide_RI.sub_(own_RI)).sum(1)
            if wanted:
                gap_RI = own_RI.exp_().sub_(share_RI).mul_(weight_P[rows, None])
                torch.mm(gap_RI, item_ID, out=grad_row_PD[rows])
                grad_item_ID.addmm_(gap_RI.T, row_PD[rows])
        ctx.save_for_backward(grad_row_PD, grad_item_ID)
        return (loss_P * weight_P).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        grad_row_PD, grad_item_ID = ctx.saved_tensors
        return grad_row_PD * grad, grad_item_ID * grad, None, None, None


# The number of blocks varies with P: tracing the loop would compile anew for each number.
_untraced = cast(Callable[[Callable[..., Any]], Callable[..., Tensor]], torch.compiler.disable)
_full_kl = _untraced(_FullKL.apply)

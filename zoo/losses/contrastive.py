"""Contrastive losses: InfoNCE with several positives a row, and between two views of the same rows.

InfoNCE is that of "Representation Learning with Contrastive Predictive Coding",
https://arxiv.org/abs/1807.03748. All are in float32 at least, whatever the autocast state.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.losses.rows import mean_of


def multi_positive_nce(positive_PK: Tensor, negative_PC: Tensor, weight_P: Tensor | None = None) -> Tensor:
    """Minus the log of the positives' share, all positives of a row in one sum inside the logarithm.

    The form of MIL-NCE, "End-to-End Learning of Visual Representations from Uncurated Instructional Videos",
    CVPR 2020, https://arxiv.org/abs/1912.06430: one good positive is enough.

    Args:
        positive_PK: Logits of K positives a row; -inf where a row has fewer. At least one must be finite.
        negative_PC: Logits of C negatives a row; -inf where one is none. A log count may be added to a logit.
        weight_P: False, or 0, for rows that do not count; by default all do.

    Returns:
        Mean over the rows that count, a scalar; 0 where none does.

    >>> multi_positive_nce(torch.zeros(1, 2), torch.zeros(1, 6)).exp()
    tensor(4.)
    """
    positive_PK, negative_PC = widened(positive_PK), widened(negative_PC)
    loss_P = torch.cat([positive_PK, negative_PC], dim=1).logsumexp(1) - positive_PK.logsumexp(1)
    return mean_of(loss_P, weight_P)


def symmetric_nce(
    left_BD: Tensor, right_BD: Tensor, temperature: float, real_B: Tensor | None = None
) -> Tensor:
    """Cosine InfoNCE from each of two views to the other; row b of one belongs to row b of the other.

    The mean of both directions, as in "Learning Transferable Visual Models From Natural Language
    Supervision", ICML 2021, https://arxiv.org/abs/2103.00020.

    Args:
        left_BD: One view.
        right_BD: The other view.
        temperature: Divides the cosines.
        real_B: False for rows that stand for nothing: they are neither anchors nor negatives.

    Returns:
        A scalar; 0 where there is only one row.

    >>> symmetric_nce(torch.ones(4, 2), torch.ones(4, 2), temperature=0.1).exp()
    tensor(4.)
    """
    with torch.autocast(left_BD.device.type, enabled=False):
        logit_BB = unit(left_BD) @ unit(right_BD).T / temperature
    if real_B is not None:
        # The diagonal stays, so that a row that stands for nothing has a finite loss to weigh with zero.
        nothing_BB = ~(real_B[:, None] & real_B) & ~torch.eye(
            len(real_B), dtype=torch.bool, device=real_B.device
        )
        logit_BB = logit_BB.masked_fill(nothing_BB, float("-inf"))
    right_B = logit_BB.diagonal()
    loss_B = (logit_BB.logsumexp(0) + logit_BB.logsumexp(1)) / 2 - right_B
    return mean_of(loss_B, real_B)


def unit(x_ND: Tensor) -> Tensor:
    """Rows scaled to length one, in float32 at least; a zero row stays zero."""
    return F.normalize(widened(x_ND), dim=-1)


def widened(x: Tensor) -> Tensor:
    """Half precision as float32; anything wider as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))

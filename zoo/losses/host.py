"""Losses that MMRec's recommenders share (enoche/MMRec, e775373, ``common/loss.py``)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def bpr_shifted(positive_B: Tensor, negative_B: Tensor) -> Tensor:
    """Bayesian personalised ranking, -mean log(1e-10 + sigmoid(s+ - s-)): BPR's, VBPR's and LightGCN's.

    Args:
        positive_B: Scores of the positives.
        negative_B: Scores of the negatives.
    """
    return -torch.log(1e-10 + torch.sigmoid(positive_B - negative_B)).mean()


def bpr(positive_B: Tensor, negative_B: Tensor) -> Tensor:
    """Bayesian personalised ranking, -mean log sigmoid(s+ - s-): FREEDOM's, LATTICE's, MGCN's and GUIDER's.

    Args:
        positive_B: Scores of the positives.
        negative_B: Scores of the negatives.
    """
    return -F.logsigmoid(positive_B - negative_B).mean()


def embedding_norms(*rows: Tensor) -> Tensor:
    """Frobenius norms, not squared, summed and divided by the number of rows of the last argument.

    >>> embedding_norms(torch.tensor([[3.0, 4.0]]), torch.zeros(5, 2)).item()
    1.0
    """
    total = torch.stack([torch.linalg.vector_norm(part) for part in rows]).sum()
    return total / rows[-1].shape[0]


def half_squares(*rows: Tensor) -> Tensor:
    """Half the sum of all squares, divided by nothing.

    >>> half_squares(torch.tensor([[3.0, 4.0]]), torch.ones(2, 1)).item()
    13.5
    """
    return 0.5 * torch.stack([part.square().sum() for part in rows]).sum()

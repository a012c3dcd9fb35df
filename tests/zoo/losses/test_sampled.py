import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.losses.sampled import bce, bce_pairs, bpr

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def test_bce_adds_the_two_means() -> None:
    user_PD, positive_PD, negative_PD = torch.randn(3, 7, 4).unbind()
    positive_P, negative_P = (user_PD * positive_PD).sum(-1), (user_PD * negative_PD).sum(-1)
    ones_P = torch.ones(7)
    expected = F.binary_cross_entropy_with_logits(positive_P, ones_P)
    expected = expected + F.binary_cross_entropy_with_logits(negative_P, 0 * ones_P)
    torch.testing.assert_close(bce(user_PD, positive_PD, negative_PD), expected, atol=1e-6, rtol=1e-6)


def test_bce_pairs_is_one_mean() -> None:
    user_BD, positive_BD, negative_BD = torch.randn(3, 7, 4).unbind()
    logits = torch.cat([(user_BD * positive_BD).sum(-1), (user_BD * negative_BD).sum(-1)])
    labels = torch.cat([torch.ones(7), torch.zeros(7)])
    expected = F.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(bce_pairs(user_BD, positive_BD, negative_BD), expected, atol=1e-6, rtol=1e-6)


def test_bpr() -> None:
    user_PD, positive_PD, negative_PD = torch.randn(3, 7, 4).unbind()
    difference_P = (user_PD * (positive_PD - negative_PD)).sum(-1)
    expected = -torch.sigmoid(difference_P).log().mean()
    torch.testing.assert_close(bpr(user_PD, positive_PD, negative_PD), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "at_zero"), [(bce, 2 * math.log(2)), (bce_pairs, math.log(2)), (bpr, math.log(2))]
)
def test_float32_from_half_precision(loss: Loss, at_zero: float) -> None:
    zeros_PD = torch.zeros(3, 4, dtype=torch.bfloat16)
    value = loss(zeros_PD, zeros_PD, zeros_PD)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(at_zero)


@pytest.mark.parametrize("loss", [bce, bce_pairs, bpr])
def test_no_rows_are_refused(loss: Loss) -> None:
    nothing_PD = torch.empty(0, 4)
    with pytest.raises(ValueError, match="no position with a next item"):
        loss(nothing_PD, nothing_PD, nothing_PD)

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.losses.sampled import bce, bce_pairs, bpr, calibrated_power, gbce

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


def test_gbce_raises_the_positives_probability_to_a_power() -> None:
    user_PD, positive_PD, negative_PD = torch.randn(3, 7, 4).unbind()
    positive_P, negative_P = (user_PD * positive_PD).sum(-1), (user_PD * negative_PD).sum(-1)
    expected = -(torch.sigmoid(positive_P) ** 0.3).log().mean() - (1 - torch.sigmoid(negative_P)).log().mean()
    found = gbce(user_PD, positive_PD, negative_PD, beta=0.3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    plain = gbce(user_PD, positive_PD, negative_PD, beta=1.0)
    torch.testing.assert_close(plain, bce(user_PD, positive_PD, negative_PD), atol=0, rtol=0)


def test_full_calibration_takes_back_what_sampling_adds() -> None:
    """The paper's claim, on one user: with t = 1 the best score of an item is its log odds.

    An item with probability p is the positive that often, and a negative (1 - p) rate of the time. Where the
    loss is least, the probability that the model gives is p, however few negatives are drawn.
    """
    p, rate = 0.2, 0.01
    logits = torch.linspace(-4, 4, 8001, dtype=torch.float64)

    def best(t: float) -> float:
        beta = calibrated_power(t, rate)
        loss = p * beta * F.softplus(-logits) + (1 - p) * rate * F.softplus(logits)
        return torch.sigmoid(logits[loss.argmin()]).item()

    assert best(1.0) == pytest.approx(p, abs=1e-3)
    assert best(0.0) > 0.95


@pytest.mark.parametrize(("t", "rate"), [(-0.1, 0.5), (1.1, 0.5), (0.5, 0.0), (0.5, 1.5)])
def test_calibration_out_of_range_is_refused(t: float, rate: float) -> None:
    with pytest.raises(ValueError, match=f"found t {t} and rate {rate}"):
        calibrated_power(t, rate)


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

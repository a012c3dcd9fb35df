"""Contrastive losses against plain loops and the library's cross-entropy."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.losses.contrastive import multi_positive_nce, symmetric_nce


def test_one_positive_is_cross_entropy() -> None:
    logit_PC = torch.randn(5, 7)
    loss = multi_positive_nce(logit_PC[:, :1], logit_PC[:, 1:])
    torch.testing.assert_close(loss, F.cross_entropy(logit_PC, torch.zeros(5, dtype=torch.long)))


def test_positives_are_summed_inside_the_logarithm() -> None:
    positive_PK, negative_PC = torch.randn(4, 3), torch.randn(4, 6)
    good_P, bad_P = positive_PK.exp().sum(1), negative_PC.exp().sum(1)
    expected = -(good_P / (good_P + bad_P)).log().mean()
    torch.testing.assert_close(multi_positive_nce(positive_PK, negative_PC), expected)


def test_absent_logits_change_nothing_and_get_no_gradient() -> None:
    logits = torch.randn(4, 9, requires_grad=True)
    absent = torch.zeros(4, 9, dtype=torch.bool)
    absent[0, 1:3] = absent[2, 4:] = True  # row 0 has one positive, row 2 no negative
    masked = logits.masked_fill(absent, float("-inf"))
    loss = multi_positive_nce(masked[:, :3], masked[:, 3:])
    rows = []
    for row, gone in zip(logits, absent, strict=True):
        good, bad = row[:3][~gone[:3]].exp().sum(), row[3:][~gone[3:]].exp().sum()
        rows.append(-(good / (good + bad)).log())
    torch.testing.assert_close(loss, torch.stack(rows).mean())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(gradient).all()
    assert not gradient[absent].any()


def test_rows_that_do_not_count() -> None:
    positive_PK, negative_PC = torch.randn(4, 2), torch.randn(4, 3)
    weight_P = torch.tensor([True, False, True, False])
    loss = multi_positive_nce(positive_PK, negative_PC, weight_P)
    torch.testing.assert_close(loss, multi_positive_nce(positive_PK[weight_P], negative_PC[weight_P]))
    none = multi_positive_nce(positive_PK, negative_PC, torch.zeros(4, dtype=torch.bool))
    assert none.item() == 0


def views(n: int = 5) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 4, requires_grad=True), torch.randn(n, 4, requires_grad=True)


def test_symmetric_is_the_mean_of_two_cross_entropies() -> None:
    left_BD, right_BD = views()
    logit_BB = F.normalize(left_BD, dim=1) @ F.normalize(right_BD, dim=1).T / 0.1
    own_B = torch.arange(5)
    expected = (F.cross_entropy(logit_BB, own_B) + F.cross_entropy(logit_BB.T, own_B)) / 2
    loss = symmetric_nce(left_BD, right_BD, 0.1)
    torch.testing.assert_close(loss, expected)
    ours = torch.autograd.grad(loss, (left_BD, right_BD))
    torch.testing.assert_close(ours, torch.autograd.grad(expected, (left_BD, right_BD)))


def test_symmetric_leaves_out_rows_that_stand_for_nothing() -> None:
    left_BD, right_BD = views()
    real_B = torch.tensor([True, False, True, True, False])
    loss = symmetric_nce(left_BD, right_BD, 0.5, real_B)
    torch.testing.assert_close(loss, symmetric_nce(left_BD[real_B], right_BD[real_B], 0.5))
    gradients = torch.autograd.grad(loss, (left_BD, right_BD))
    for gradient in gradients:
        assert torch.isfinite(gradient).all()
        assert not gradient[~real_B].any()


@pytest.mark.parametrize("real", [None, [True], [False]])
def test_a_single_row_has_nothing_to_tell_apart(real: list[bool] | None) -> None:
    left_BD, right_BD = views(1)
    loss = symmetric_nce(left_BD, right_BD, 0.1, None if real is None else torch.tensor(real))
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(torch.autograd.grad(loss, left_BD)[0]).all()


def test_float32_under_autocast() -> None:
    left_BD, right_BD = views()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = symmetric_nce(left_BD, right_BD, 0.1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, symmetric_nce(left_BD, right_BD, 0.1), atol=0, rtol=0)

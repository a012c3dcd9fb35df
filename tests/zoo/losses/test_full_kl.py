"""Distillation over the whole catalogue against the formula written out."""

import pytest
import torch
from torch import Tensor

from zoo.losses import full_kl as module
from zoo.losses.full_kl import Scorer, full_kl


def written_out(student: Scorer, teacher: Scorer, weight_P: Tensor) -> Tensor:
    own_PI = torch.log_softmax(student.row_PD @ student.item_ID.T, 1)
    guide_PI = torch.log_softmax(teacher.row_PD @ teacher.item_ID.T, 1)
    return (weight_P * (guide_PI.exp() * (guide_PI - own_PI)).sum(1)).sum()


def scorers(n_rows: int = 7, n_items: int = 11) -> tuple[Scorer, Scorer]:
    torch.manual_seed(0)
    student = Scorer(torch.randn(n_rows, 3).requires_grad_(), torch.randn(n_items, 3).requires_grad_())
    return student, Scorer(torch.randn(n_rows, 5), torch.randn(n_items, 5))


@pytest.mark.parametrize("block", [2, 100])
def test_equals_the_formula_in_value_and_gradient(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(module, "block_rows", lambda *_: block)
    student, teacher = scorers()
    weight_P = torch.rand(7)
    found, wanted = full_kl(student, teacher, weight_P), written_out(student, teacher, weight_P)
    torch.testing.assert_close(found, wanted)
    gradients = (torch.autograd.grad(3 * loss, list(student)) for loss in (found, wanted))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_repeated_user_is_one_row_of_its_share() -> None:
    student, teacher = scorers(3)
    twice = [0, 1, 1, 2, 1]
    repeated = full_kl(
        Scorer(student.row_PD[twice], student.item_ID), Scorer(teacher.row_PD[twice], teacher.item_ID)
    )
    torch.testing.assert_close(full_kl(student, teacher, torch.tensor([1, 3, 1]) / 5), repeated)


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = scorers()
    moving = Scorer(teacher.row_PD.requires_grad_(), teacher.item_ID.requires_grad_())
    full_kl(student, moving).backward()  # type: ignore[no-untyped-call]
    assert moving.row_PD.grad is None
    assert student.item_ID.grad is not None


def test_half_precision_scores_are_made_in_full() -> None:
    student, teacher = scorers()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = full_kl(student, teacher)
    torch.testing.assert_close(loss, full_kl(student, teacher))

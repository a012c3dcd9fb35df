"""Losses over distinct items against the official definition: every slot of the batch is a column."""

import math

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from tests.zoo.losses.test_in_batch import make_batch
from zoo.losses.distill import (
    candidate_log_counts,
    distillation_ce,
    distillation_ramp,
    log_shares,
    slot_ce,
    slot_scores,
)
from zoo.losses.in_batch import in_batch_ce
from zoo.losses.rows import target_slots

BLOCKED = -10_000.0


def views(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Three views of a batch in which items repeat within and between users, float64."""
    user_PD, item_ND, slots_BS, positions_P, log_pop_BS = make_batch(seed)
    generator = torch.Generator().manual_seed(seed)
    user_MPD = torch.randn(3, *user_PD.shape, generator=generator, dtype=torch.float64)
    item_MND = torch.randn(3, *item_ND.shape, generator=generator, dtype=torch.float64)
    return user_MPD.requires_grad_(), item_MND.requires_grad_(), slots_BS, positions_P, log_pop_BS.double()


def slot_logits(
    user_PD: Tensor, item_ND: Tensor, slots_BS: Tensor, positions_P: Tensor, log_pop_BS: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits of all B S slots, what is no candidate lowered to -10,000 as officially, and the labels."""
    n_slots = slots_BS.shape[1]
    slots = slots_BS.flatten()
    logits = user_PD @ item_ND[slots].T - log_pop_BS.flatten()
    labels = []
    for row, position in enumerate(positions_P.tolist()):
        user, step = divmod(position, n_slots - 1)
        labels.append(user * n_slots + step + 1)
        own = {0, *slots_BS[user].tolist()}
        blocked = torch.tensor([int(slot) in own for slot in slots])
        blocked[labels[-1]] = False
        logits[row] = logits[row].masked_fill(blocked, BLOCKED)
    return logits, torch.tensor(labels)


@pytest.mark.parametrize("seed", range(3))
def test_cross_entropy_equals_slot_form(seed: int) -> None:
    user_MPD, item_MND, *batch = views(seed)
    score_MPN, log_count_PN = slot_scores(user_MPD, item_MND, batch[0], batch[1], batch[2])
    loss_M = slot_ce(score_MPN, log_count_PN, target_slots(batch[0], batch[1]))
    for view, loss in enumerate(loss_M):
        expected = F.cross_entropy(*slot_logits(user_MPD[view], item_MND[view], *batch))
        torch.testing.assert_close(loss, expected)
        fused = in_batch_ce(user_MPD[view], item_MND[view], *batch)
        torch.testing.assert_close(fused.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_distillation_equals_slot_form(seed: int, temperature: float) -> None:
    user_MPD, item_MND, *batch = views(seed)
    score_MPN, log_count_PN = slot_scores(user_MPD, item_MND, batch[0], batch[1], batch[2])
    student, teacher = log_shares(score_MPN[:2], log_count_PN, temperature)
    loss = distillation_ce(student, teacher, log_count_PN, temperature)
    theirs = [slot_logits(user_MPD[view], item_MND[view], *batch)[0] / temperature for view in (0, 1)]
    products = theirs[1].softmax(1) * theirs[0].log_softmax(1)
    expected = -(temperature**2) * products.sum(1).mean()
    torch.testing.assert_close(loss, expected)
    wanted = (user_MPD, item_MND)
    torch.testing.assert_close(torch.autograd.grad(loss, wanted), torch.autograd.grad(expected, wanted))


def test_counts_block_own_items_but_for_the_one_target_slot() -> None:
    slots_BS = torch.tensor([[0, 1, 2, 2], [3, 1, 4, 4]])
    log_count_N = torch.tensor([-math.inf, *[math.log(n) for n in (2, 2, 1, 2)], -math.inf])
    count_PN = candidate_log_counts(slots_BS, torch.tensor([1, 2, 5]), log_count_N).exp()
    expected = [[0, 0, 1, 1, 2, 0], [0, 0, 1, 1, 2, 0], [0, 0, 2, 0, 1, 0]]
    torch.testing.assert_close(count_PN, torch.tensor(expected).float())


def test_shares_of_all_slots_sum_to_one() -> None:
    user_MPD, item_MND, slots_BS, positions_P, log_pop_BS = views(0)
    score_MPN, log_count_PN = slot_scores(user_MPD, item_MND, slots_BS, positions_P, log_pop_BS)
    share_MPN = log_shares(score_MPN, log_count_PN, 0.5)
    total_MP = (share_MPN + log_count_PN).exp().sum(-1)
    torch.testing.assert_close(total_MP, torch.ones_like(total_MP))
    assert torch.isfinite(share_MPN).all()


def test_least_where_the_student_is_the_teacher() -> None:
    score_PN, none_PN = torch.randn(2, 4, 7), torch.zeros(4, 7)
    student_PN, teacher_PN = log_shares(score_PN, none_PN)
    entropy = -(teacher_PN.exp() * teacher_PN).sum(-1).mean()
    torch.testing.assert_close(distillation_ce(teacher_PN, teacher_PN, none_PN), entropy)
    assert distillation_ce(student_PN, teacher_PN, none_PN) > entropy


def test_no_gradient_into_a_detached_teacher() -> None:
    score_PN, none_PN = torch.randn(4, 7, requires_grad=True), torch.zeros(4, 7)
    student_PN = torch.randn(4, 7, requires_grad=True)
    teacher_PN = log_shares(score_PN, none_PN)
    loss = distillation_ce(log_shares(student_PN, none_PN), teacher_PN.detach(), none_PN)
    torch.autograd.backward(loss)
    assert score_PN.grad is None
    assert student_PN.grad is not None


def test_float32_under_autocast() -> None:
    user_MPD, item_MND, slots_BS, positions_P, log_pop_BS = views(1)
    batch = (user_MPD.float(), item_MND.float(), slots_BS, positions_P, log_pop_BS.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        score_MPN, log_count_PN = slot_scores(*batch)
    assert score_MPN.dtype == log_count_PN.dtype == torch.float32
    torch.testing.assert_close(score_MPN, slot_scores(*batch)[0], atol=0, rtol=0)


def test_batch_without_positions_is_refused() -> None:
    nothing_P = torch.empty(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="no position with a next item"):
        slot_scores(
            torch.empty(2, 0, 2), torch.ones(2, 2, 2), torch.zeros(1, 3).long(), nothing_P, torch.zeros(1, 3)
        )


def test_never_asks_the_device_for_a_value() -> None:
    batch = views(2)
    with FakeTensorMode() as mode:  # its tensors have shapes only: reading a value is an error
        score_MPN, log_count_PN = slot_scores(*(mode.from_tensor(tensor) for tensor in batch))
        shares = log_shares(score_MPN, log_count_PN, 0.3)
        torch.autograd.backward(distillation_ce(shares[0], shares[1], log_count_PN, 0.3))
    assert score_MPN.shape == (3, *log_count_PN.shape)


def test_ramp() -> None:
    assert distillation_ramp(1, 0.0) == 0.0
    assert distillation_ramp(7, 0.25) == 0.25
    assert distillation_ramp(10, 20) == pytest.approx(math.exp(-1.25))
    assert distillation_ramp(20, 20) == distillation_ramp(99, 20) == 1.0
    ramp = [distillation_ramp(epoch, 8) for epoch in range(1, 9)]
    assert ramp == sorted(ramp)

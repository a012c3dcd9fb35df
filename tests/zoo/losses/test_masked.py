"""Losses over hidden slots: weights against plain selection."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.losses.in_batch import debiased_ce
from zoo.losses.masked import MASKED_LOSSES, masked_loss
from zoo.losses.sampled import bce, bpr, gbce
from zoo.types import SequenceBatch

WIDTH, N_ITEMS = 6, 12
ITEMS_BS = torch.tensor([[0, 0, 3, 5], [1, 2, 3, 4], [0, 9, 8, 9]])
HIDDEN_BS = torch.tensor([[0, 0, 0, 1], [1, 0, 1, 0], [0, 0, 1, 0]]).bool()
every = pytest.mark.parametrize("loss", sorted(MASKED_LOSSES))


def make_batch() -> SequenceBatch:
    generator = torch.Generator().manual_seed(0)
    negatives_BS = torch.randint(1, N_ITEMS, ITEMS_BS.shape, generator=generator) * (ITEMS_BS != 0)
    log_pop_I = torch.randn(N_ITEMS, generator=generator)
    return SequenceBatch(
        user_B=torch.arange(1, 4),
        items_BS=ITEMS_BS,
        negatives_BL=negatives_BS,
        unique_N=torch.arange(N_ITEMS),
        slots_BS=ITEMS_BS,
        negative_slots_BL=negatives_BS,
        content={},
        log_pop_BS=log_pop_I[ITEMS_BS] * (ITEMS_BS != 0),
        positions_P=ITEMS_BS[:, :-1].flatten().nonzero()[:, 0],
    )


def make_vectors() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    user_BSD = torch.randn(*ITEMS_BS.shape, WIDTH, generator=generator).requires_grad_()
    item_ND = torch.randn(N_ITEMS, WIDTH, generator=generator).requires_grad_()
    return user_BSD, item_ND


def selected(loss: str, user_BSD: Tensor, item_ND: Tensor, batch: SequenceBatch) -> Tensor:
    """The same losses on the hidden slots alone."""
    user_RD, target_R = user_BSD[HIDDEN_BS], ITEMS_BS[HIDDEN_BS]
    if loss == "full":
        return F.cross_entropy(user_RD @ item_ND[1:].T, target_R - 1)
    if loss == "in_batch":
        own_RS = ITEMS_BS[HIDDEN_BS.nonzero()[:, 0]]
        return debiased_ce(user_RD, item_ND, target_R, own_RS, batch.slots_BS, batch.log_pop_BS)
    assert batch.negatives_BL is not None
    vectors = user_RD, item_ND[target_R], item_ND[batch.negatives_BL[HIDDEN_BS]]
    return {"bce": bce, "bpr": bpr}[loss](*vectors) if loss != "gbce" else gbce(*vectors, beta=0.3)


@every
def test_equals_the_loss_of_the_hidden_slots(loss: str) -> None:
    batch, vectors = make_batch(), make_vectors()
    found = masked_loss(loss, *vectors, batch, HIDDEN_BS, beta=0.3)
    expected = selected(loss, *vectors, batch)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    ours = torch.autograd.grad(found, vectors)
    theirs = torch.autograd.grad(expected, vectors)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@every
def test_nothing_hidden_is_zero_with_zero_gradients(loss: str) -> None:
    vectors = make_vectors()
    found = masked_loss(loss, *vectors, make_batch(), torch.zeros_like(HIDDEN_BS), beta=0.3)
    assert found.item() == 0
    for gradient in torch.autograd.grad(found, vectors):
        assert gradient.isfinite().all()
        assert not gradient.any()


def test_a_loss_for_next_items_only_is_refused() -> None:
    with pytest.raises(ValueError, match=r"bce, bpr, full, gbce, in_batch; found 'last_bce'"):
        masked_loss("last_bce", *make_vectors(), make_batch(), HIDDEN_BS)

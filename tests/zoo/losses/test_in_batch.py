"""The loss over distinct items against the loss over slots, which is written here with plain loops."""

from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from zoo.losses import fused
from zoo.losses.in_batch import in_batch_ce

WIDTH = 6


def slot_form(
    user_PD: Tensor, item_ND: Tensor, slots_BS: Tensor, positions_P: Tensor, log_pop_BS: Tensor
) -> Tensor:
    """The definition: every slot of the batch is a candidate, duplicates kept, in batch order."""
    n_users, n_slots = slots_BS.shape
    losses = []
    for row, position in enumerate(positions_P.tolist()):
        user, step = divmod(position, n_slots - 1)
        target = (user, step + 1)
        own = set(slots_BS[user].tolist())
        logits: list[Tensor] = []
        right = -1
        for b in range(n_users):
            for s in range(n_slots):
                slot = int(slots_BS[b, s])
                if (b, s) != target and (slot == 0 or slot in own):
                    continue
                if (b, s) == target:
                    right = len(logits)
                logits.append(user_PD[row] @ item_ND[slot] - log_pop_BS[b, s])
        losses.append(F.cross_entropy(torch.stack(logits), torch.tensor(right)))
    return torch.stack(losses).mean()


def make_batch(
    seed: int, n_users: int = 6, length: int = 5, n_items: int = 9
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Few items and many slots, so that items repeat within and between users; two items are in no slot."""
    generator = torch.Generator().manual_seed(seed)
    slots_BS = torch.randint(1, n_items - 2, (n_users, length + 1), generator=generator)
    for user in range(n_users):
        slots_BS[user, : user % length] = 0
    positions_P = (slots_BS[:, :-1] != 0).flatten().nonzero()[:, 0]
    log_pop_N = torch.randn(n_items, generator=generator)
    log_pop_N[0] = 0
    user_PD = torch.randn(len(positions_P), WIDTH, generator=generator).requires_grad_()
    item_ND = torch.randn(n_items, WIDTH, generator=generator).requires_grad_()
    return user_PD, item_ND, slots_BS, positions_P, log_pop_N[slots_BS]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_equals_slot_form(seed: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "block_rows", lambda n_items, device: block)
    batch = make_batch(seed)
    loss, expected = in_batch_ce(*batch), slot_form(*batch)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    ours = torch.autograd.grad(3 * loss, batch[:2])
    theirs = torch.autograd.grad(3 * expected, batch[:2])
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_padding_vector_changes_nothing() -> None:
    user_PD, item_ND, *rest = make_batch(0)
    loss = in_batch_ce(user_PD, item_ND, *rest)
    changed_ND = item_ND.detach().clone()
    changed_ND[0] = 1e4
    torch.testing.assert_close(in_batch_ce(user_PD, changed_ND, *rest), loss, atol=0, rtol=0)
    (grad_ND,) = torch.autograd.grad(loss, item_ND)
    assert not grad_ND[0].any()


def test_single_user_has_no_other_candidate() -> None:
    slots_BS = torch.tensor([[0, 1, 2, 1]])
    user_PD = torch.randn(2, WIDTH, requires_grad=True)
    loss = in_batch_ce(user_PD, torch.randn(3, WIDTH), slots_BS, torch.tensor([1, 2]), torch.zeros(1, 4))
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert user_PD.grad is not None
    torch.testing.assert_close(user_PD.grad, torch.zeros_like(user_PD))


def test_float32_under_autocast() -> None:
    batch = make_batch(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = in_batch_ce(*batch)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, in_batch_ce(*batch), atol=0, rtol=0)


def test_half_precision_vectors_get_half_precision_gradients() -> None:
    user_PD, item_ND, *rest = make_batch(1)
    half_PD = user_PD.detach().bfloat16().requires_grad_()
    loss = in_batch_ce(half_PD, item_ND.detach().bfloat16(), *rest)
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert half_PD.grad is not None
    assert half_PD.grad.dtype == torch.bfloat16


def test_batch_without_positions_is_refused() -> None:
    nothing_P = torch.empty(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="no position with a next item"):
        in_batch_ce(
            torch.empty(0, 2), torch.ones(2, 2), torch.zeros(1, 3).long(), nothing_P, torch.zeros(1, 3)
        )


def test_never_asks_the_device_for_a_value() -> None:
    batch = make_batch(2)
    with FakeTensorMode() as mode:  # its tensors have shapes only: reading a value is an error
        torch.autograd.backward(in_batch_ce(*(mode.from_tensor(tensor) for tensor in batch)))


def test_compiled_around_the_loss() -> None:
    batch = make_batch(3)
    compiled = cast(
        Callable[..., Tensor], torch.compile(lambda *args: 2 * in_batch_ce(*args), backend="eager")
    )
    torch.testing.assert_close(compiled(*batch), 2 * in_batch_ce(*batch), atol=0, rtol=0)

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.losses import fused
from zoo.losses.full import full_ce


def make_rows(n_rows: int = 50, n_items: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    user_PD = torch.randn(n_rows, 8, generator=generator).requires_grad_()
    table_ID = torch.randn(n_items, 8, generator=generator).requires_grad_()
    return user_PD, table_ID, torch.randint(1, n_items, (n_rows,), generator=generator)


@pytest.mark.parametrize("block", [1, 16, 50, 1000])
def test_equals_cross_entropy(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "block_rows", lambda n_items, device: block)
    user_PD, table_ID, target_P = make_rows()
    loss = full_ce(user_PD, table_ID, target_P)
    expected = F.cross_entropy(user_PD @ table_ID[1:].T, target_P - 1)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    ours = torch.autograd.grad(loss, (user_PD, table_ID))
    theirs = torch.autograd.grad(expected, (user_PD, table_ID))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_same_value_without_gradients() -> None:
    rows = make_rows()
    with torch.no_grad():
        loss = full_ce(*rows)
    torch.testing.assert_close(loss, full_ce(*rows), atol=0, rtol=0)
    assert not loss.requires_grad


def test_scores_far_apart_stay_finite() -> None:
    table_ID = torch.tensor([[0.0], [1.0], [-1.0]])
    loss = full_ce(torch.tensor([[1000.0]]), table_ID, torch.tensor([2]))
    assert loss.item() == pytest.approx(2000)


def test_nan_is_not_hidden() -> None:
    user_PD, table_ID, target_P = make_rows()
    broken_ID = table_ID.detach().clone()
    broken_ID[3] = torch.nan
    assert full_ce(user_PD, broken_ID, target_P).isnan()


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no position with a next item"):
        full_ce(torch.empty(0, 2), torch.ones(3, 2), torch.empty(0, dtype=torch.int64))

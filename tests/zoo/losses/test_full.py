from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.losses import full, fused
from zoo.losses.full import full_ce


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the numbers in the largest tensor that an operation makes."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Runs the operation."""
        result = func(*args, **(kwargs or {}))
        made = result if isinstance(result, tuple | list) else [result]
        self.numbers = max(self.numbers, *(x.numel() for x in made if isinstance(x, Tensor)), 0)
        return result


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


@pytest.mark.parametrize(("columns", "rows", "weighed"), [(7, 16, False), (15, 64, True), (29, 50, True)])
def test_tiles_equal_cross_entropy(
    columns: int, rows: int, weighed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"UNTILED": 0, "TILE_COLUMNS": columns, "TILE_ROWS": rows, "MIN_ROWS": 1}.items():
        monkeypatch.setattr(full, name, value)
    user_PD, table_ID, target_P = make_rows()
    weight_P = (torch.arange(len(user_PD)) % 3 > 0).float() if weighed else None
    loss = full_ce(user_PD, table_ID, target_P, weight_P)
    kept_P = slice(None) if weight_P is None else weight_P > 0
    expected = F.cross_entropy((user_PD @ table_ID[1:].T)[kept_P], target_P[kept_P] - 1)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    ours = torch.autograd.grad(3 * loss, (user_PD, table_ID))
    theirs = torch.autograd.grad(3 * expected, (user_PD, table_ID))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(full_ce(user_PD, table_ID, target_P, weight_P), loss, atol=0, rtol=0)


@pytest.mark.parametrize("untiled", [0, full.UNTILED])
def test_memory_does_not_grow_with_labels(untiled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor has as many numbers as there are scores: of 64 rows' scores at most."""
    monkeypatch.setattr(full, "UNTILED", untiled)
    monkeypatch.setattr(full, "HELD_SCORES", 0)
    monkeypatch.setattr(fused, "block_rows", lambda n_items, device: 64)
    user_PD, table_ID, target_P = make_rows(640, 3000)
    with Largest() as largest:  # type: ignore[no-untyped-call]
        full_ce(user_PD, table_ID, target_P).backward()  # type: ignore[no-untyped-call]
    assert largest.numbers <= 64 * 3000


def test_tiles_keep_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full, "UNTILED", 0)
    test_nan_is_not_hidden()


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

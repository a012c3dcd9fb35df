"""Liger's kernels: what they are given, and when they are asked; the kernels themselves need a GPU."""

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.losses.full import full_ce
from zoo.losses.liger import liger_ce

MODULE = "liger_kernel.transformers.functional"


def plain(
    user_PD: Tensor,
    weight_ID: Tensor,
    target_P: Tensor,
    *,
    reduction: str,
    ignore_index: int,
    chunk_mem_const: int,
) -> Tensor:
    """The library's function, by its documentation."""
    assert chunk_mem_const >= 1
    return F.cross_entropy(user_PD @ weight_ID.T, target_P, reduction=reduction, ignore_index=ignore_index)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(MODULE)
    module.liger_fused_linear_cross_entropy = plain  # type: ignore[attr-defined]
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, MODULE, module)


def rows() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    user_PD = torch.randn(20, 4, generator=generator).requires_grad_()
    table_ID = torch.randn(9, 4, generator=generator).requires_grad_()
    return user_PD, table_ID, torch.randint(1, 9, (20,), generator=generator)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("share", [None, 0.5, 0.0])
def test_equals_our_own_form(share: float | None) -> None:
    user_PD, table_ID, target_P = rows()
    weight_P = None if share is None else (torch.arange(20) < 20 * share).float()
    losses = [make(user_PD, table_ID, target_P, weight_P) for make in (liger_ce, full_ce)]
    torch.testing.assert_close(*losses, atol=1e-6, rtol=1e-6)
    ours, theirs = (torch.autograd.grad(loss, (user_PD, table_ID)) for loss in losses)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_a_cpu_never_asks_for_it() -> None:
    assert full_ce(*rows(), kernel="liger") == full_ce(*rows())


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    with pytest.raises(ImportError, match=r"pip install 'mmzoo\[fused\]'"):
        liger_ce(*rows())

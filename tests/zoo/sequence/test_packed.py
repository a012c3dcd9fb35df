"""Without padding: the states, losses and gradients of the padded form."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from zoo.sequence import attention
from zoo.sequence.attention import mixed_values
from zoo.sequence.base import causal_mask, is_packing
from zoo.sequence.dropout import Dropout, drop
from zoo.sequence.gru4rec import GRU4Rec
from zoo.sequence.layout import Layout
from zoo.sequence.sasrec import Form, SASRec
from zoo.types import LengthGroups

WIDTH, MAX_LEN = 16, 12


def make(lengths: list[int], n_heads: int = 2, form: Form = "morec") -> tuple[SASRec, Tensor, Tensor, Tensor]:
    """A backbone, item vectors (B, L, D), what is real of them (B, L), and its flat indices."""
    torch.manual_seed(0)
    longest = max(lengths)
    real_BL = torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]
    item_BLD = torch.randn(len(lengths), longest, WIDTH, requires_grad=True)
    return SASRec(WIDTH, MAX_LEN, 2, n_heads, form=form), item_BLD, real_BL, real_BL.flatten().nonzero()[:, 0]


def layout_of(lengths: list[int], positions_P: Tensor, grouped: bool) -> Layout:
    groups: tuple[Any, ...] = tuple(LengthGroups.of(np.array(lengths))) if grouped else ()
    return Layout.of(positions_P, len(lengths), max(lengths), *groups)


LENGTHS = [[3, 12, 1, 2, 9, 3, 12], [7, 6, 7, 7, 6], [1, 1, 12], [5]]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize(("n_heads", "form"), [(1, "morec"), (2, "morec"), (2, "paper")])
def test_equals_the_padded_form(lengths: list[int], grouped: bool, n_heads: int, form: Form) -> None:
    backbone, item_BLD, real_BL, positions_P = make(lengths, n_heads, form)
    backbone.eval()
    padded_PD = backbone(item_BLD, real_BL).flatten(0, 1)[positions_P]
    layout = layout_of(lengths, positions_P, grouped)
    packed_PD = backbone.at_positions(item_BLD.flatten(0, 1)[positions_P], layout)
    torch.testing.assert_close(packed_PD, padded_PD, atol=1e-6, rtol=1e-6)
    wanted = [item_BLD, *backbone.parameters()]
    weight_PD = torch.randn_like(padded_PD)
    ours, theirs = (
        torch.autograd.grad((state * weight_PD).sum(), wanted) for state in (packed_PD, padded_PD)
    )
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("form", ["morec", "paper"])
@torch.no_grad()
def test_the_newest_states_alone(lengths: list[int], grouped: bool, form: Form) -> None:
    backbone, item_BLD, real_BL, positions_P = make(lengths, form=form)
    expected_BD = backbone.eval()(item_BLD, real_BL)[:, -1]
    layout = layout_of(lengths, positions_P, grouped)
    found_BD = backbone.newest(item_BLD.flatten(0, 1)[positions_P], layout)
    torch.testing.assert_close(found_BD, expected_BD, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("grouped", [True, False])
def test_equals_the_padded_form_in_training(grouped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With draws that drop nothing, training takes the way of evaluation."""
    monkeypatch.setattr(attention, "drop", lambda value, rate: value)
    lengths = LENGTHS[0]
    backbone, item_BLD, real_BL, positions_P = make(lengths)
    for module in backbone.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    state_PD = backbone.at_positions(
        item_BLD.flatten(0, 1)[positions_P], layout_of(lengths, positions_P, grouped)
    )
    padded_PD = backbone.eval()(item_BLD, real_BL).flatten(0, 1)[positions_P]
    torch.testing.assert_close(state_PD, padded_PD, atol=1e-6, rtol=1e-6)


def test_rows_are_slots_only_where_groups_are_full() -> None:
    for lengths, grouped, keeps in (
        (LENGTHS[0], False, False),
        (LENGTHS[0], True, True),
        (LENGTHS[1], False, True),
    ):
        _, _, _, positions_P = make(lengths)
        assert layout_of(lengths, positions_P, grouped).keeps_slots is keeps


def test_no_value_is_asked_of_the_device() -> None:
    backbone, item_BLD, _, positions_P = make(LENGTHS[0])
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:  # reading a value would be an error
        item_PD = mode.from_tensor(item_BLD.detach().flatten(0, 1)[: len(positions_P)])
        layout = Layout.of(mode.from_tensor(positions_P), len(LENGTHS[0]), MAX_LEN)
        assert backbone.at_positions(item_PD, layout).shape == item_PD.shape


def test_too_long_is_refused() -> None:
    backbone, item_BLD, _, positions_P = make([3, 12])
    with pytest.raises(ValueError, match="12 positions but got histories of length 13"):
        backbone.at_positions(item_BLD.flatten(0, 1)[positions_P], Layout.of(positions_P, 2, 13))


def test_a_backbone_says_whether_it_packs() -> None:
    assert is_packing(SASRec(WIDTH, MAX_LEN))
    assert not is_packing(GRU4Rec(WIDTH, MAX_LEN))


@pytest.mark.parametrize("added", [True, False])
def test_attention_equals_the_library(added: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "drop", lambda value, rate: value)
    query, key, value = (torch.randn(3, 2, 5, 4) for _ in range(3))
    allowed = causal_mask(torch.arange(5) >= torch.tensor([0, 2, 4])[:, None])
    given = torch.where(allowed, 0.0, float("-inf")) if added else allowed
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
    torch.testing.assert_close(mixed_values(query, key, value, given, 0.5), expected)
    torch.testing.assert_close(mixed_values(query, key, value, given, 0.0), expected)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    value = torch.ones(333, 301, requires_grad=True)
    dropped = drop(value, rate)
    assert (dropped == 0).float().mean().item() == pytest.approx(rate, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert len(torch.unique(dropped)) == 2
    (grad,) = torch.autograd.grad(dropped.sum(), value)
    torch.testing.assert_close(grad, dropped.detach())


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (drop(torch.ones(100_000, 8), 0.5) > 0).float()
    correlation = torch.corrcoef(kept.T) - torch.eye(8)
    assert correlation.abs().max() < 0.02


def test_dropout_repeats_with_the_seed_and_rests_outside_training() -> None:
    value = torch.randn(7, 5)
    torch.manual_seed(3)
    first = drop(value, 0.3)
    torch.manual_seed(3)
    assert torch.equal(drop(value, 0.3), first)
    assert Dropout(0.3).eval()(value) is value
    assert Dropout(0.0)(value) is value
    assert not Dropout(1.0)(value).any()

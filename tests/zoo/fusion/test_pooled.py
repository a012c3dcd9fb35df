import pytest
import torch
from torch import nn
from torch.nn import functional as F

from zoo.fusion.base import Fusion
from zoo.fusion.pooled import Concat, Sum


def test_sum_adds() -> None:
    a_ND, b_ND, c_ND = torch.randn(3, 5, 4).unbind()
    torch.testing.assert_close(Sum()([a_ND, b_ND, c_ND]), a_ND + b_ND + c_ND)
    torch.testing.assert_close(Sum()([a_ND]), a_ND)
    assert not list(Sum().parameters())


@pytest.mark.parametrize("blocks", [1, 3])
def test_concat_is_linear_layers_and_gelus(blocks: int) -> None:
    fusion = Concat(n_parts=2, width=4, blocks=blocks).eval()
    parts = list(torch.randn(2, 5, 4).unbind())
    expected_ND = torch.cat(parts, dim=1)
    linears = [module for module in fusion.modules() if isinstance(module, nn.Linear)]
    for linear in linears:
        expected_ND = F.gelu(expected_ND @ linear.weight.T + linear.bias)
    torch.testing.assert_close(fusion(parts), expected_ND)
    assert [linear.in_features for linear in linears] == [8, 4, 4][:blocks]


def test_concat_drops_inputs_in_training() -> None:
    fusion = Concat(n_parts=2, width=64, dropout=0.5).train()
    parts = list(torch.randn(2, 5, 64).unbind())
    assert not torch.equal(fusion(parts), fusion(parts))


def test_concat_starts_from_xavier() -> None:
    torch.manual_seed(0)
    (linear,) = (module for module in Concat(2, 256).modules() if isinstance(module, nn.Linear))
    assert linear.weight.std().item() == pytest.approx((2 / (512 + 256)) ** 0.5, rel=0.02)
    assert not linear.bias.any()


def test_concat_refuses_another_number_of_parts() -> None:
    with pytest.raises(ValueError, match="n_parts=2 but got 3"):
        Concat(2, 4)(list(torch.randn(3, 5, 4).unbind()))


def test_both_are_fusions() -> None:
    assert isinstance(Sum(), Fusion)
    assert isinstance(Concat(2, 4), Fusion)

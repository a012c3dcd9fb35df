import pytest
import torch
from torch import nn
from torch.nn import functional as F

from zoo.encoders.base import Encoded
from zoo.fusion.base import Fusion
from zoo.fusion.pooled import Add, Cat


def parts_of(*vectors: torch.Tensor) -> list[Encoded]:
    return [Encoded(pooled_ND=vector) for vector in vectors]


def test_add_adds() -> None:
    a_ND, b_ND, c_ND = torch.randn(3, 5, 4).unbind()
    torch.testing.assert_close(Add()(parts_of(a_ND, b_ND, c_ND)), a_ND + b_ND + c_ND)
    torch.testing.assert_close(Add()(parts_of(a_ND)), a_ND)
    assert not list(Add().parameters())


@pytest.mark.parametrize("blocks", [1, 3])
def test_cat_is_linear_layers_and_gelus(blocks: int) -> None:
    fusion = Cat(n_parts=2, width=4, blocks=blocks).eval()
    parts = list(torch.randn(2, 5, 4).unbind())
    expected_ND = torch.cat(parts, dim=1)
    linears = [module for module in fusion.modules() if isinstance(module, nn.Linear)]
    for linear in linears:
        expected_ND = F.gelu(expected_ND @ linear.weight.T + linear.bias)
    torch.testing.assert_close(fusion(parts_of(*parts)), expected_ND)
    assert [linear.in_features for linear in linears] == [8, 4, 4][:blocks]


def test_cat_drops_inputs_in_training() -> None:
    fusion = Cat(n_parts=2, width=64, dropout=0.5).train()
    parts = list(torch.randn(2, 5, 64).unbind())
    assert not torch.equal(fusion(parts_of(*parts)), fusion(parts_of(*parts)))


def test_cat_starts_from_xavier() -> None:
    torch.manual_seed(0)
    (linear,) = (module for module in Cat(2, 256).modules() if isinstance(module, nn.Linear))
    assert linear.weight.std().item() == pytest.approx((2 / (512 + 256)) ** 0.5, rel=0.02)
    assert not linear.bias.any()


def test_cat_refuses_another_number_of_parts() -> None:
    with pytest.raises(ValueError, match="n_parts=2 but got 3"):
        Cat(2, 4)(parts_of(*torch.randn(3, 5, 4).unbind()))


def test_both_are_fusions() -> None:
    assert isinstance(Add(), Fusion)
    assert isinstance(Cat(2, 4), Fusion)

import pytest
import torch
from torch import Tensor, nn

from zoo.encoders.base import Encoded
from zoo.fusion.coarse import Coarse, FiLM, Gated, ProjectedConcat, ProjectedSum

ALL = [ProjectedSum, ProjectedConcat, FiLM, Gated]


def vectors(n_parts: int, n: int = 5, width: int = 8) -> list[Encoded]:
    return [Encoded(part_ND) for part_ND in torch.randn(n_parts, n, width).unbind()]


@pytest.mark.parametrize("fusion_class", ALL)
@pytest.mark.parametrize("dnn", [False, True])
def test_every_parameter_counts(fusion_class: type[Coarse], dnn: bool) -> None:
    torch.manual_seed(0)
    fusion = fusion_class(2, 8, dropout=0.0, dnn=dnn)
    item_ND: Tensor = fusion(vectors(2))
    item_ND.square().sum().backward()  # type: ignore[no-untyped-call]
    assert item_ND.shape == (5, 8)
    assert all(p.grad is not None for p in fusion.parameters())
    assert (item_ND >= 0).all().item() is dnn


@pytest.mark.parametrize("fusion_class", ALL)
def test_one_norm_for_all_parts(fusion_class: type[Coarse]) -> None:
    fusion = fusion_class(2, 8)
    norms = [module for module in fusion.modules() if isinstance(module, nn.LayerNorm)]
    assert [norm.eps for norm in norms] == [1e-6]
    parts = vectors(2)
    scaled = [part._replace(pooled_ND=3.0 * part.pooled_ND + 1.0) for part in parts]
    torch.testing.assert_close(fusion(scaled), fusion(parts))


@pytest.mark.parametrize("fusion_class", [ProjectedSum, ProjectedConcat])
def test_any_number_of_parts(fusion_class: type[Coarse]) -> None:
    for n_parts in (2, 3, 4):
        fusion = fusion_class(n_parts, 8)
        assert fusion(vectors(n_parts)).shape == (5, 8)
    with pytest.raises(ValueError, match="n_parts=4 but got 3"):
        fusion(vectors(3))
    with pytest.raises(ValueError, match="at least two parts, but the model has 1"):
        fusion_class(1, 8)


@pytest.mark.parametrize(("fusion_class", "name"), [(FiLM, "film"), (Gated, "gated")])
@pytest.mark.parametrize("n_parts", [1, 3])
def test_pairs_only(fusion_class: type[Coarse], name: str, n_parts: int) -> None:
    with pytest.raises(ValueError, match=f"'{name}' takes exactly two parts .* has {n_parts}.*merge_attn"):
        fusion_class(n_parts, 8)


def test_film_scales_and_shifts_the_second_part() -> None:
    fusion = FiLM(2, 8)
    nn.init.zeros_(fusion.scale_shift.weight)
    with torch.no_grad():
        fusion.scale_shift.bias.copy_(torch.tensor([2.0] * 8 + [0.5] * 8))
    parts = vectors(2)
    torch.testing.assert_close(fusion(parts), fusion.output(2.0 * fusion.norm(parts[1].pooled_ND) + 0.5))


def test_a_closed_gate_lets_nothing_through() -> None:
    fusion = Gated(2, 8)
    nn.init.constant_(fusion.gate.bias, -100.0)
    torch.testing.assert_close(fusion(vectors(2)), fusion.output.bias.expand(5, 8))


def test_layers_start_from_xavier() -> None:
    torch.manual_seed(0)
    fusion = ProjectedConcat(2, 256, dnn=True)
    linears = [module for module in fusion.modules() if isinstance(module, nn.Linear)]
    assert len(linears) == 4
    for linear in linears:
        expected = (2 / (linear.in_features + 256)) ** 0.5
        assert linear.weight.std().item() == pytest.approx(expected, rel=0.03)
        assert not linear.bias.any()


def test_dropout_is_in_the_tail_alone() -> None:
    parts = vectors(2, width=64)
    plain, deep = (ProjectedSum(2, 64, dropout=0.5, dnn=dnn).train() for dnn in (False, True))
    torch.testing.assert_close(plain(parts), plain(parts))
    assert not torch.equal(deep(parts), deep(parts))

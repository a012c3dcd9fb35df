"""Weights of two losses by the norm of their mixed gradient."""

import pytest
import torch

from zoo.losses.min_norm import inner_product, min_norm_mix, min_norm_share, mixed


def test_share_is_that_of_the_shortest_combination() -> None:
    torch.manual_seed(0)
    one, two = torch.randn(6), torch.randn(6)
    share = min_norm_share(one @ one, one @ two, two @ two)
    grid = torch.linspace(0, 1, 10_001)
    norms = (grid[:, None] * one + (1 - grid)[:, None] * two).norm(dim=1)
    torch.testing.assert_close(share, grid[norms.argmin()], atol=1e-3, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_accumulated_closed_form_equals_the_rule_on_the_sum(seed: int) -> None:
    torch.manual_seed(seed)
    own, guide = torch.randn(8), torch.randn(8)
    both = own + guide
    share = min_norm_share(own @ own, own @ both, both @ both)
    mix = min_norm_mix([own], [guide])
    torch.testing.assert_close(mix.own, share.clamp(min=0.5))
    torch.testing.assert_close(mix.guide, (1 - share).clamp(min=1e-4))


def test_parameters_are_matched_by_place_and_missing_gradients_are_zero() -> None:
    own, guide = [torch.ones(2), None, torch.ones(1), None], [torch.ones(2), torch.ones(3), None, None]
    assert float(inner_product(own, guide)) == 2
    mix = min_norm_mix(own, guide)
    first, second, third, fourth = mixed(own, guide, mix)
    assert fourth is None
    assert first is not None
    assert second is not None
    assert third is not None
    torch.testing.assert_close(first, (mix.own + mix.guide).expand(2))
    torch.testing.assert_close(second, mix.guide.expand(3))
    torch.testing.assert_close(third, mix.own.expand(1))


def test_no_distillation_gradient_leaves_the_own_loss() -> None:
    mix = min_norm_mix([torch.ones(2)], [torch.zeros(2)])
    assert float(mix.own) == pytest.approx(0.999, abs=1e-6)
    assert float(mix.guide) == pytest.approx(0.001, abs=1e-7)


def test_losses_without_a_common_parameter_are_refused() -> None:
    with pytest.raises(ValueError, match="share no parameter"):
        min_norm_mix([torch.ones(2), None], [None, torch.ones(2)])

"""Values of the authors' classes (Neon-Jing/Guider at 5aaf514) and of geomloss, CPU float32."""

import pytest
import torch

from zoo.losses.full_kl import Scorer, full_kl
from zoo.losses.min_norm import min_norm_mix, min_norm_share
from zoo.losses.sinkhorn import Cloud, Power, sinkhorn_divergence

STUDENT = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
TEACHER = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
GUIDES = [(0.5, 0.5), (-0.1, 0.5), (-0.2, 0.3), (-1.0, 0.1)]


def test_divergence_over_all_items() -> None:
    found = full_kl(Scorer(STUDENT, torch.eye(3)), Scorer(TEACHER, torch.eye(3)))
    assert float(found) == pytest.approx(0.0751086, abs=1e-6)


@pytest.mark.parametrize(
    ("power", "blur", "value", "iterations"),
    [(1, 0.1, 1.060303, 7), (1, 0.05, 1.060560, 8), (2, 0.05, 0.6250, 8)],
)
def test_transport_between_users(power: Power, blur: float, value: float, iterations: int) -> None:
    found = sinkhorn_divergence(Cloud(STUDENT), Cloud(TEACHER), power=power, blur=blur)
    assert float(found.value) == pytest.approx(value, abs=2e-6 if power == 1 else 5e-5)
    assert found.iterations == iterations


def test_transport_between_single_points_is_their_distance() -> None:
    found = sinkhorn_divergence(Cloud(torch.tensor([[1.0, 2.0, 2.0]])), Cloud(torch.zeros(1, 3)))
    assert float(found.value) == pytest.approx(2.9999, abs=1e-5)


@pytest.mark.parametrize(
    ("guide", "weights"),
    list(zip(GUIDES, [(0.999, 0.001), (0.615385, 0.384615), (0.5, 0.999), (0.5, 0.990099)], strict=True)),
)
def test_mix_with_accumulated_gradients(guide: tuple[float, ...], weights: tuple[float, float]) -> None:
    mix = min_norm_mix([torch.tensor([1.0, 0.0])], [torch.tensor(guide)])
    assert (float(mix.own), float(mix.guide)) == pytest.approx(weights, abs=1e-6)


@pytest.mark.parametrize(
    ("guide", "share"), list(zip(GUIDES, [0.001, 0.246575, 0.215686, 0.501247], strict=True))
)
def test_share_without_accumulation(guide: tuple[float, ...], share: float) -> None:
    own, other = torch.tensor([1.0, 0.0]), torch.tensor(guide)
    assert float(min_norm_share(own @ own, own @ other, other @ other)) == pytest.approx(share, abs=1e-6)
    mix = min_norm_mix([own], [other], accumulated=False)
    assert float(mix.own) == pytest.approx(max(share, 0.5), abs=1e-6)

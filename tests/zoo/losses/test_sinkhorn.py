"""Optimal transport between clouds: its parts, and the library the rule was taken from."""

import math

import pytest
import torch

from zoo.losses import sinkhorn as module
from zoo.losses.sinkhorn import Cloud, Power, diameter, epsilons, sinkhorn_divergence


def clouds() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    # In float32 the distance of a point to itself is off by the root of a rounding error, here and there.
    return torch.randn(6, 9, dtype=torch.float64), torch.randn(4, 9, dtype=torch.float64) + 1


@pytest.mark.slow
@pytest.mark.parametrize(("power", "blur"), [(1, 0.1), (2, 0.05), (2, 0.5)])
def test_equals_geomloss(power: Power, blur: float) -> None:
    geomloss = pytest.importorskip("geomloss")
    one_PD, other_QD = clouds()
    library = geomloss.SamplesLoss("sinkhorn", p=power, blur=blur)
    random = [torch.rand(n).double().softmax(0) for n in (6, 4)]
    for weights in ([None, None], random):
        one, same = (one_PD.clone().requires_grad_() for _ in range(2))
        parts = [one, other_QD] if weights[0] is None else [weights[0], one, weights[1], other_QD]
        wanted = library(*parts)
        found = sinkhorn_divergence(Cloud(same), Cloud(other_QD), weights[0], weights[1], power, blur)
        torch.testing.assert_close(found.value, wanted.squeeze())
        gradients = torch.autograd.grad(wanted, one), torch.autograd.grad(found.value, same)
        torch.testing.assert_close(*gradients)


def test_scores_as_points_equal_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "block_rows", lambda *_: 4)  # three blocks of coordinates
    torch.manual_seed(0)
    shapes = [(5, 3), (11, 3), (6, 4), (11, 4)]
    user_PD, item_ID, other_QD, axis_ID = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    factored = Cloud(user_PD.requires_grad_(), item_ID.requires_grad_()), Cloud(other_QD, axis_ID)
    plain = Cloud(user_PD @ item_ID.T), Cloud(other_QD @ axis_ID.T)
    torch.testing.assert_close(diameter(*factored), diameter(*plain))
    values = [sinkhorn_divergence(*pair).value for pair in (factored, plain)]
    torch.testing.assert_close(*values)
    gradients = [torch.autograd.grad(value, [user_PD, item_ID]) for value in values]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_weights_stand_for_repeated_points() -> None:
    one_PD, other_QD = clouds()
    repeated = sinkhorn_divergence(Cloud(one_PD[[0, 1, 1, 2]]), Cloud(other_QD))
    weighted = sinkhorn_divergence(Cloud(one_PD[:3]), Cloud(other_QD), torch.tensor([0.25, 0.5, 0.25]))
    torch.testing.assert_close(repeated.value, weighted.value)


def test_same_clouds_are_no_distance_apart() -> None:
    one_PD, _ = clouds()
    assert sinkhorn_divergence(Cloud(one_PD), Cloud(one_PD)).value == pytest.approx(0, abs=1e-5)
    point = Cloud(torch.ones(2, 3))
    assert sinkhorn_divergence(point, point).value == pytest.approx(0, abs=1e-5)


def test_annealing_ends_at_the_blur() -> None:
    steps = epsilons(13.0, 2, 0.05)
    assert steps[0] == steps[1] == 169
    assert steps[-1] == pytest.approx(0.0025)
    assert len(steps) == math.ceil(math.log2(13 / 0.05)) + 2
    assert epsilons(0.05, 1, 0.1) == [0.05, 0.1]
    assert epsilons(0.0, 1, 0.1) == [0.1]


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="positive blur"):
        sinkhorn_divergence(Cloud(torch.ones(1, 2)), Cloud(torch.ones(1, 2)), blur=0.0)

import pytest
import torch

from zoo.encoders.base import Encoded
from zoo.encoders.tower import mean_tokens
from zoo.fusion.project import MapProject, Project

MASK_NT = torch.tensor([[True, True, False, False], [True] * 4])


def part(n_tokens: int = 4) -> Encoded:
    return Encoded(torch.randn(2, 6), torch.randn(2, n_tokens, 6), MASK_NT if n_tokens == 4 else None)


def test_pooled() -> None:
    project = Project(6, 3)
    given = part()
    projected = project(given)
    torch.testing.assert_close(projected.pooled_ND, project.linear(given.pooled_ND))
    assert projected.tokens_NTD is None


def test_tokens_are_projected_and_their_mean_is_the_pooled_vector() -> None:
    project = Project(6, 3, tokens=True)
    given = part()
    projected = project(given)
    assert given.tokens_NTD is not None
    assert projected.tokens_NTD.shape == (2, 4, 3)
    expected_ND = project.linear(mean_tokens(given.tokens_NTD, MASK_NT))
    torch.testing.assert_close(projected.pooled_ND, expected_ND)
    assert projected.mask_NT is given.mask_NT


def test_xavier_or_pytorchs_start() -> None:
    torch.manual_seed(0)
    assert not Project(64, 64).linear.bias.any()
    assert Project(64, 64).linear.weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.05)
    assert Project(64, 64, xavier=False).linear.bias.any()


def test_a_map_is_convolved_where_its_positions_are() -> None:
    project = MapProject(6, 3)
    maps_NCHW = torch.randn(2, 6, 4, 4)
    given = Encoded(torch.empty(2, 6), maps_NCHW.flatten(2).transpose(1, 2))
    projected = project(given)
    expected_NCHW = project.convolution(maps_NCHW).relu()
    torch.testing.assert_close(projected.tokens_NTD, expected_NCHW.flatten(2).transpose(1, 2))
    torch.testing.assert_close(projected.pooled_ND, expected_NCHW.mean((2, 3)))
    assert [name for name, _ in project.named_parameters()] == ["convolution.weight"]


def test_a_map_must_be_square() -> None:
    with pytest.raises(ValueError, match="there are 6 positions"):
        MapProject(6, 3)(part(6))

"""Neighbour tables against the dense matrices they stand for, their order, and what is refused."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo.graph import memory, neighbours
from zoo.graph.memory import GraphTooLargeError, require_memory
from zoo.graph.neighbours import companions, cosines, nearest, spread, symmetric


def fill(shape: tuple[int, ...], phase: float, scale: float) -> Tensor:
    n = math.prod(shape)
    return (scale * torch.sin(0.7 * torch.arange(n, dtype=torch.float64) + phase)).float().reshape(shape)


def dense(index_NK: Tensor, weight_NK: Tensor | None = None) -> Tensor:
    return spread(index_NK, torch.eye(len(index_NK)), weight_NK)


def reference_nearest(feature_ND: Tensor, k: int) -> list[list[int]]:
    """The stated order, by sorting all pairs."""
    unit_ND = torch.nn.functional.normalize(feature_ND, dim=-1)
    cosine = (unit_ND @ unit_ND.T).tolist()
    return [
        sorted(range(len(cosine)), key=lambda j: (j != i, -round(cosine[i][j] * 2**20), j))[:k]
        for i in range(len(cosine))
    ]


def test_the_item_graph_of_freedom() -> None:
    image, text = (nearest(fill((5, n), phase, 1), 2).index_NK for n, phase in ((3, 0.2), (4, 0.9)))
    mixed = 0.1 * dense(image) + 0.9 * dense(text)
    assert mixed[0].tolist() == pytest.approx([0.5, 0, 0.45, 0.05, 0], abs=1e-6)


def test_weighted_graph() -> None:
    index, cosine = nearest(torch.tensor([[1, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]]), 2)
    graph = dense(index, symmetric(index, cosine))
    block = torch.tensor([[0.555556, 0.444444], [0.444444, 0.555556]])
    expected = torch.zeros(4, 4)
    expected[:2, :2] = expected[2:, 2:] = block
    torch.testing.assert_close(graph, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("block", [1, 50, 10**6])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    feature_ND = fill((23, 5), 0.3, 1)
    monkeypatch.setattr(neighbours, "BLOCK", block)
    found = nearest(feature_ND, 6)
    assert found.index_NK.tolist() == reference_nearest(feature_ND, 6)
    torch.testing.assert_close(found.cosine_NK, cosines(feature_ND, found.index_NK))


def test_order_of_ties() -> None:
    same = torch.ones(6, 3).index_put((torch.tensor([4]),), torch.tensor([1.0, 0.0, 0.0]))
    assert nearest(same, 3).index_NK.tolist() == [
        [0, 1, 2],
        [1, 0, 2],
        [2, 0, 1],
        [3, 0, 1],
        [4, 0, 1],
        [5, 0, 1],
    ]


def test_rows_without_features() -> None:
    index, cosine = nearest(torch.cat([torch.zeros(2, 3), torch.eye(3)]), 2)
    assert index[:2].tolist() == [[0, 1], [1, 0]]
    weight = symmetric(index, cosine)
    assert not weight[:2].any()
    assert torch.isfinite(weight).all()


def test_gradients_of_weights() -> None:
    feature_ND = fill((7, 4), 0.4, 1).requires_grad_()
    index = nearest(feature_ND, 3).index_NK
    unit_ND = torch.nn.functional.normalize(feature_ND, dim=-1)
    full = unit_ND @ unit_ND.T * torch.zeros(7, 7).scatter(1, index, 1.0)
    root = full.sum(1).rsqrt()
    x_ND, goal_ND = fill((7, 2), 0.1, 1), fill((7, 2), 0.9, 1)
    (expected,) = torch.autograd.grad(((root[:, None] * full * root) @ x_ND * goal_ND).sum(), feature_ND)
    sparse = spread(index, x_ND, symmetric(index, cosines(feature_ND, index)))
    (found,) = torch.autograd.grad((sparse * goal_ND).sum(), feature_ND)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("pairs", [1, 60, 10**6])
def test_companions(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "PAIRS", pairs)
    matrix = np.random.default_rng(0).random((17, 11)) < 0.3
    matrix[5] = False
    user_E, item_E = (part.astype(np.int64) for part in np.nonzero(matrix))
    found = companions(user_E, item_E, 17, 11, k=4)
    common = matrix.astype(int) @ matrix.T.astype(int)
    for user in range(17):
        others = sorted(
            (j for j in range(17) if j != user and common[user, j]), key=lambda j: (-common[user, j], j)
        )
        rows = others[:4] + [0] * (4 - len(others[:4]))
        assert found.index_UK[user].tolist() == rows
        assert found.count_UK[user].tolist() == [common[user, j] for j in others[:4]] + [0] * (
            4 - len(others[:4])
        )


def test_more_neighbours_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="10 neighbours were asked for, but there are 5 rows"):
        nearest(torch.eye(5), 10)


def test_a_graph_beyond_memory_is_refused_with_numbers() -> None:
    with pytest.raises(
        GraphTooLargeError, match=r"A graph takes 1048576\.00 GiB, and .* free on cpu\. Buy more\."
    ):
        require_memory("A graph", 2**50, torch.device("cpu"), "Buy more.")


def test_a_large_graph_is_announced(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "ANNOUNCED", 100)
    nearest(torch.eye(5), 2)
    assert "5 rows with 5 features: building it takes 0.00 GiB" in caplog.text

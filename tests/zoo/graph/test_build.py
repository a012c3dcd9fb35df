"""Graphs against dense matrices, gradients, and the edges that are left out."""

import pytest
import torch

from zoo.graph.build import drop_edges, mean_graph, symmetric_graph
from zoo.graph.propagate import make_graph, mean_over_layers, propagate

EDGES = torch.tensor([[0, 0, 1, 2, 2], [0, 1, 1, 1, 2]])
"""Three users, four items; the last item has no edge."""


def adjacency() -> torch.Tensor:
    a_NN = torch.zeros(7, 7)
    a_NN[EDGES[0], EDGES[1] + 3] = 1
    return a_NN + a_NN.T


def test_symmetric_graph_divides_by_no_degree_of_zero() -> None:
    a_NN = adjacency()
    root_N = a_NN.sum(1).rsqrt().nan_to_num(posinf=0)
    expected = root_N[:, None] * a_NN * root_N
    for epsilon in (0.0, 1e-7):
        found = symmetric_graph(EDGES, 3, 4, epsilon)
        torch.testing.assert_close(found.matrix.to_dense(), expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(found.transposed.to_dense(), expected.T, atol=1e-6, rtol=0)


def test_mean_graph() -> None:
    a_NN = adjacency() + torch.eye(7)
    found = mean_graph(EDGES, 3, 4)
    torch.testing.assert_close(found.matrix.to_dense(), a_NN / a_NN.sum(1, keepdim=True))
    torch.testing.assert_close(found.transposed.to_dense(), (a_NN / a_NN.sum(1, keepdim=True)).T)


def test_propagation_and_its_gradient_are_those_of_the_dense_matrix() -> None:
    torch.manual_seed(0)
    dense = (torch.rand(5, 6) * (torch.rand(5, 6) < 0.5)).contiguous()
    row_E, column_E = dense.nonzero().T
    graph = make_graph(row_E, column_E, dense[row_E, column_E], 5, 6)
    x_ND = torch.randn(6, 3, requires_grad=True)
    (propagate(graph, x_ND).square().sum()).backward()  # type: ignore[no-untyped-call]
    found, x_ND.grad = x_ND.grad, None
    (dense @ x_ND).square().sum().backward()  # type: ignore[no-untyped-call]
    assert found is not None
    assert x_ND.grad is not None
    torch.testing.assert_close(found, x_ND.grad)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert propagate(graph, x_ND.detach().bfloat16()).dtype == torch.float32
        (within,) = torch.autograd.grad(propagate(graph, x_ND).square().sum(), x_ND)
    assert torch.equal(within, found)


def test_mean_over_layers() -> None:
    graph, x_ND = mean_graph(EDGES, 3, 4), torch.randn(7, 2)
    dense = graph.matrix.to_dense()
    expected = (x_ND + dense @ x_ND + dense @ dense @ x_ND) / 3
    torch.testing.assert_close(mean_over_layers(graph, x_ND, 2), expected)


def test_edges_are_dropped_without_replacement_and_by_their_weight() -> None:
    # One popular item with 50 users, and 50 users with an item of their own.
    users = torch.arange(100)
    edge_2E = torch.stack([users, torch.where(users < 50, 0, users)])
    torch.manual_seed(0)
    kept = torch.zeros(100)
    for _ in range(200):
        some_2E = drop_edges(edge_2E, 100, 100, 0.7)
        assert some_2E.shape == (2, 30)
        assert len(set(some_2E[0].tolist())) == 30
        kept[some_2E[0]] += 1
    assert kept[:50].sum() < 0.4 * kept[50:].sum()
    assert (kept > 0).all()
    assert drop_edges(edge_2E, 100, 100, 0.0) is edge_2E
    with pytest.raises(ValueError, match="leaves none of 100"):
        drop_edges(edge_2E, 100, 100, 0.999)


def test_the_draw_has_the_distribution_of_multinomial() -> None:
    edge_2E = torch.tensor([[0, 1, 2, 2, 3], [0, 0, 0, 1, 2]])
    degree_u, degree_i = torch.tensor([1.0, 1, 2, 1]), torch.tensor([3.0, 1, 1])
    weight_E = (degree_u[edge_2E[0]] * degree_i[edge_2E[1]]).rsqrt()
    torch.manual_seed(0)
    n, found, expected = 20_000, torch.zeros(5), torch.zeros(5)
    for _ in range(n // 10):
        key_E = drop_edges(edge_2E, 4, 3, 0.6)
        for pair in key_E.T:
            found[(edge_2E.T == pair).all(1)] += 1
    drawn = torch.multinomial(weight_E.expand(n, 5), 2)
    expected.scatter_add_(0, drawn.ravel(), torch.ones(2 * n))
    torch.testing.assert_close(found / (n // 10), expected / n, atol=0.04, rtol=0)

"""Propagation over sparse graphs: products with a fixed matrix, and means over layers of them."""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Graph(NamedTuple):
    """A fixed weighted graph as the sparse matrix of its propagation, and that matrix transposed.

    Both in compressed rows: a backward pass through the transposed one costs what the forward pass does.
    """

    matrix: Tensor
    transposed: Tensor


def make_graph(row_E: Tensor, column_E: Tensor, weight_E: Tensor, n_rows: int, n_columns: int) -> Graph:
    """A graph from its edges, on their device.

    Args:
        row_E: What each edge leads to, from 0.
        column_E: What it comes from, from 0; no pair of row and column stands twice.
        weight_E: What it is multiplied by.
        n_rows: Nodes that receive.
        n_columns: Nodes that send.
    """
    return Graph(
        _rows(row_E, column_E, weight_E, n_rows, n_columns),
        _rows(column_E, row_E, weight_E, n_columns, n_rows),
    )


def _rows(row_E: Tensor, column_E: Tensor, weight_E: Tensor, n_rows: int, n_columns: int) -> Tensor:
    """The matrix in compressed rows."""
    order_E = (row_E * n_columns + column_E).argsort()
    bounds = torch.arange(n_rows + 1, device=row_E.device)
    start_R = torch.searchsorted(row_E[order_E].contiguous(), bounds)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Sparse (CSR tensor|invariant).*")
        return torch.sparse_csr_tensor(
            start_R, column_E[order_E], weight_E[order_E], (n_rows, n_columns), check_invariants=False
        )


class _Product(torch.autograd.Function):
    """A constant sparse matrix times a dense one."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, x_ND: Tensor) -> Tensor:  # noqa: ANN401
        ctx.transposed = transposed
        return matrix @ x_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor]:  # noqa: ANN401
        # Where a step does its own backward passes, autocast is on, and sparse products are of float32.
        with torch.autocast(grads[0].device.type, enabled=False):
            return None, None, ctx.transposed @ grads[0].contiguous()


def propagate(graph: Graph, x_ND: Tensor) -> Tensor:
    """Sums, for every node, what its edges bring it; in float32 also under autocast.

    Args:
        graph: Of n nodes that receive and N that send.
        x_ND: Vectors of the N.

    Returns:
        Vectors of the n, (n, D).

    >>> one, two = torch.tensor([0]), torch.tensor([1])
    >>> graph = make_graph(one, two, torch.tensor([0.5]), n_rows=1, n_columns=2)
    >>> propagate(graph, torch.tensor([[1.0], [8.0]])).tolist()
    [[4.0]]
    """
    with torch.autocast(x_ND.device.type, enabled=False):
        out_ND: Tensor = _Product.apply(*graph, x_ND.float())
    return out_ND


def mean_over_layers(graph: Graph, x_ND: Tensor, n_layers: int) -> Tensor:
    """Mean of the vectors themselves and of what 1 to ``n_layers`` propagations make of them (LightGCN)."""
    layers = [x_ND]
    for _ in range(n_layers):
        layers.append(propagate(graph, layers[-1]))
    return torch.stack(layers).mean(0)


def mean_over_nodes(graph: Graph, user_UD: Tensor, item_ID: Tensor, n_layers: int) -> tuple[Tensor, Tensor]:
    """``mean_over_layers`` of a graph whose nodes are the users, then the items; split again."""
    mean_ND = mean_over_layers(graph, torch.cat([user_UD, item_ID]), n_layers)
    return mean_ND[: len(user_UD)], mean_ND[len(user_UD) :]

"""Means over what each user has consumed: the rows of the training matrix, each divided by its sum."""

from torch import Tensor

from zoo.graph.propagate import Graph, make_graph


def profile_graph(edge_2E: Tensor, n_users: int, n_items: int, weight_E: Tensor | None = None) -> Graph:
    """The graph whose product with item vectors is a mean (U, D) over each user's items.

    A user without a pair gets a zero vector. ``zoo.graph.propagate.propagate`` makes the product.

    Args:
        edge_2E: Distinct (user, item) pairs, from 0.
        n_users: Users U.
        n_items: Items I.
        weight_E: What each pair counts; by default all alike.

    >>> import torch
    >>> from zoo.graph.propagate import propagate
    >>> graph = profile_graph(torch.tensor([[0, 0], [0, 1]]), n_users=2, n_items=2)
    >>> propagate(graph, torch.tensor([[1.0], [3.0]])).tolist()
    [[2.0], [0.0]]
    """
    user_E, item_E = edge_2E
    counted_E = edge_2E.new_ones(len(user_E)).float() if weight_E is None else weight_E
    sum_U = counted_E.new_zeros(n_users).index_add(0, user_E, counted_E)
    return make_graph(user_E, item_E, counted_E / sum_U[user_E], n_users, n_items)

"""Graphs of users and items from training pairs, in the normalisations of MMRec's recommenders.

Nodes are the users, then the items, both from 0. Formulas: enoche/MMRec (e775373), ``models/*.py``.
"""

import torch
from torch import Tensor

from zoo.graph.propagate import Graph, make_graph

EPSILON = 1e-7
"""What the authors add to a degree."""


def symmetric_graph(edge_2E: Tensor, n_users: int, n_items: int, epsilon: float = EPSILON) -> Graph:
    """Edges both ways, each divided by the root of the product of its ends' degrees; no self-loops.

    LightGCN's, BM3's, FREEDOM's and, with ``epsilon`` 0, MGCN's: a node without an edge gets nothing, so that
    its degree is never divided by.

    Args:
        edge_2E: Distinct (user, item) pairs.
        n_users: Users.
        n_items: Items.
        epsilon: Added to every degree.
    """
    weight_E = edge_weights(edge_2E, n_users, n_items, epsilon)
    row_F, column_F = _both_ways(edge_2E, n_users)
    return make_graph(row_F, column_F, torch.cat([weight_E, weight_E]), n_users + n_items, n_users + n_items)


def user_item_graph(edge_2E: Tensor, n_users: int, n_items: int, epsilon: float = 0.0) -> Graph:
    """The part of ``symmetric_graph`` that goes from items to users, (users, items); MGCN's."""
    user_E, item_E = edge_2E
    return make_graph(user_E, item_E, edge_weights(edge_2E, n_users, n_items, epsilon), n_users, n_items)


def mean_graph(edge_2E: Tensor, n_users: int, n_items: int) -> Graph:
    """Edges both ways and a self-loop everywhere, every row summing to 1; LATTICE's."""
    loop_N = torch.arange(n_users + n_items, device=edge_2E.device)
    row_F, column_F = _both_ways(edge_2E, n_users)
    row_F, column_F = torch.cat([row_F, loop_N]), torch.cat([column_F, loop_N])
    weight_F = torch.cat(degrees(edge_2E, n_users, n_items)).add(1).reciprocal()[row_F]
    return make_graph(row_F, column_F, weight_F, len(loop_N), len(loop_N))


def drop_edges(edge_2E: Tensor, n_users: int, n_items: int, dropout: float) -> Tensor:
    """Some of the pairs, drawn without replacement; those between nodes of high degree go first.

    FREEDOM's and GUIDER's degree-sensitive edge dropout: the probability is in proportion to the weight the
    pair has in ``symmetric_graph``. The draw is the same as ``torch.multinomial``'s, whose pairs may be no
    more than 2 ** 24: the least of exponential waiting times.

    Args:
        edge_2E: Distinct (user, item) pairs.
        n_users: Users.
        n_items: Items.
        dropout: Share left out; at most 0 keeps all.

    Returns:
        ``int(E * (1 - dropout))`` pairs, in no particular order.

    Raises:
        ValueError: Nothing would be left.
    """
    if dropout <= 0:
        return edge_2E
    keep = int(edge_2E.shape[1] * (1.0 - dropout))
    if keep < 1:
        raise ValueError(
            f"Edge dropout {dropout} leaves none of {edge_2E.shape[1]} training pairs. Give a value below 1, "
            "or more pairs."
        )
    weight_E = edge_weights(edge_2E, n_users, n_items)
    soon_E = weight_E / torch.empty_like(weight_E).exponential_()
    return edge_2E[:, soon_E.topk(keep, sorted=False).indices]


def degrees(edge_2E: Tensor, n_users: int, n_items: int) -> tuple[Tensor, Tensor]:
    """Pairs of every user (U,) and of every item (I,), as floats."""
    user_E, item_E = edge_2E
    return (
        torch.bincount(user_E, minlength=n_users).float(),
        torch.bincount(item_E, minlength=n_items).float(),
    )


def edge_weights(edge_2E: Tensor, n_users: int, n_items: int, epsilon: float = EPSILON) -> Tensor:
    """One over the root of the product of both ends' degrees (E,)."""
    user_U, item_I = degrees(edge_2E, n_users, n_items)
    user_E, item_E = edge_2E
    return (user_U + epsilon).rsqrt()[user_E] * (item_I + epsilon).rsqrt()[item_E]


def _both_ways(edge_2E: Tensor, n_users: int) -> tuple[Tensor, Tensor]:
    user_E, item_E = edge_2E
    node_E = item_E + n_users
    return torch.cat([user_E, node_E]), torch.cat([node_E, user_E])

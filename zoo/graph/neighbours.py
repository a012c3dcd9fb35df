"""Neighbours by content and by common interactions, as index tables (N, K): never a matrix of all pairs.

The item graphs of FREEDOM (arXiv 2211.06924), DRAGON (arXiv 2301.12097), LATTICE (arXiv 2104.09036) and MGCN
(arXiv 2308.03588) are K-nearest-neighbour graphs by cosine. Every row has exactly K neighbours, so a graph is
a table of indices with one of weights, and its product with vectors is a gather and a sum. Similarities are
made in blocks of rows.

**Order.** A row is its own first neighbour. The others follow by falling cosine; cosines that differ by less
than a millionth are equal, because rounding differs by more between machines, and then the lower row comes
first. The toolbox these hosts come from leaves ties to the sorting routine, which for many items with one and
the same feature vector (the mean vector of missing pictures) can leave an item out of its own neighbours.

K stands for neighbours in this file.
"""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.graph.memory import require_memory

BLOCK = 2**22
"""Similarities made at a time."""
STEPS = 2**20
"""Steps of the cosine between 0 and 1 that tell neighbours apart."""
PAIRS = 2**22
"""Pairs of users with a common item that are counted at a time."""

Ids = npt.NDArray[np.int64]


class Neighbours(NamedTuple):
    """The K nearest rows of every row, itself first."""

    index_NK: Tensor
    """Rows, int64."""
    cosine_NK: Tensor
    """Their cosines."""


# By content ----------------------------------------------------------------------------------------------


@torch.no_grad()
def nearest(feature_ND: Tensor, k: int) -> Neighbours:
    """The K rows of largest cosine of every row, in the order this file states; no gradient.

    Args:
        feature_ND: Features; a zero row has cosine 0 with all others.
        k: Neighbours K of a row, itself included.

    Returns:
        Indices and cosines (N, K).

    Raises:
        ValueError: There are fewer than K rows.
        GraphTooLargeError: The tables do not fit in memory.

    >>> nearest(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]]), 2).index_NK.tolist()
    [[0, 1], [1, 0], [2, 3], [3, 2]]
    """
    n = len(feature_ND)
    _require_rows(n, k)
    rows = min(n, max(1, BLOCK // n))
    _announce_nearest(feature_ND, k, rows)
    with torch.autocast(feature_ND.device.type, enabled=False):
        unit_ND = F.normalize(feature_ND.float(), dim=-1)
        blocks = [_nearest_block(unit_ND, first, min(n, first + rows), k) for first in range(0, n, rows)]
    return Neighbours(torch.cat([b.index_NK for b in blocks]), torch.cat([b.cosine_NK for b in blocks]))


def _nearest_block(unit_ND: Tensor, first: int, last: int, k: int) -> Neighbours:
    """Neighbours of the rows ``first`` to ``last``: the largest keys, which order by cosine, then by row."""
    n = len(unit_ND)
    cosine_BN = unit_ND[first:last] @ unit_ND.T
    key_BN = (cosine_BN * STEPS).round_().long()
    own_B1 = torch.arange(first, last, device=unit_ND.device)[:, None]
    key_BN.scatter_(1, own_B1, 2 * STEPS)  # first, whatever rounding makes of its cosine
    key_BN.mul_(n).sub_(torch.arange(n, device=unit_ND.device))
    index_BK = key_BN.topk(k, dim=1).indices
    return Neighbours(index_BK, cosine_BN.gather(1, index_BK))


def _require_rows(n: int, k: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(
            f"{k} neighbours were asked for, but there are {n} rows, a row itself included: give a knn_k "
            f"between 1 and {n}."
        )


def _announce_nearest(feature_ND: Tensor, k: int, rows: int) -> None:
    n, width = feature_ND.shape
    # The features scaled, a block of cosines with its keys and what sorting takes, and the two tables twice.
    n_bytes = 4 * n * width + 28 * rows * n + 24 * n * k
    require_memory(
        f"The graph of the {k} nearest neighbours of {n:,} rows with {width} features",
        n_bytes,
        feature_ND.device,
        "Give narrower features or fewer neighbours, or a machine with more memory.",
    )


def cosines(feature_ND: Tensor, index_NK: Tensor) -> Tensor:
    """Cosines (N, K) of every row with its neighbours, with gradient; in float32.

    Args:
        feature_ND: Narrow vectors: N x K of them are gathered.
        index_NK: Neighbours.
    """
    unit_ND = F.normalize(feature_ND.float(), dim=-1)
    # Not by plain indexing: on a CPU its gradient depends on which thread comes first.
    return torch.einsum("nd,nkd->nk", unit_ND, F.embedding(index_NK, unit_ND))


def symmetric(index_NK: Tensor, value_NK: Tensor) -> Tensor:
    """Values divided by the roots of the row sums at both ends (G5 and G6 of the hosts), with gradient.

    The graph itself is not symmetric: a neighbour need not have the row among its own. A row whose sum is not
    positive gives and takes nothing; the authors' dense form makes such a row infinite, then zero, or NaN.

    Args:
        index_NK: Neighbours.
        value_NK: Their cosines, or mixtures of cosines.

    Returns:
        Weights (N, K).

    >>> found = nearest(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]]), 2)
    >>> symmetric(*found)[0]
    tensor([0.5556, 0.4444])
    """
    root_N = inverse_root(value_NK.sum(1))
    return root_N[:, None] * value_NK * F.embedding(index_NK, root_N[:, None])[..., 0]


def inverse_root(degree_N: Tensor) -> Tensor:
    """One over the square root, 0 where a degree is not positive; the gradient is finite there too."""
    positive_N = degree_N > 0
    return torch.where(positive_N, torch.where(positive_N, degree_N, 1.0).rsqrt(), 0.0)


def spread(index_NK: Tensor, x_ND: Tensor, weight_NK: Tensor | None = None) -> Tensor:
    """The graph times vectors: weighted sums over neighbours (N, D), or their mean; with gradient.

    Without weights this is the frozen binary graph of FREEDOM and DRAGON (G4): its symmetric normalisation
    divides every entry by K, because every row has K entries and the authors count rows only.

    Args:
        index_NK: Neighbours.
        x_ND: Vectors.
        weight_NK: Weights of the neighbours.
    """
    with torch.autocast(x_ND.device.type, enabled=False):
        if weight_NK is None:
            return F.embedding_bag(index_NK, x_ND.float(), mode="mean")
        return F.embedding_bag(index_NK, x_ND.float(), mode="sum", per_sample_weights=weight_NK.float())


# By common interactions ----------------------------------------------------------------------------------


class Companions(NamedTuple):
    """Users with the most items in common with every user, most first; short lists end in count 0."""

    index_UK: Ids
    """Rows of users; 0 where the count is 0."""
    count_UK: Ids
    """Common items."""


def companions(user_E: Ids, item_E: Ids, n_users: int, n_items: int, k: int) -> Companions:
    """The K other users with whom every user has the most training items in common.

    Ties go to the lower row. Only pairs of users that have an item in common are ever looked at, in blocks
    of users.

    Args:
        user_E: User of every distinct training pair, from 0, sorted.
        item_E: Item of every pair, from 0.
        n_users: Users.
        n_items: Items.
        k: Companions K kept a user.

    Raises:
        GraphTooLargeError: The tables do not fit in memory.

    >>> found = companions(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 1]), 4, 2, k=2)
    >>> found.index_UK.tolist(), found.count_UK.tolist()
    ([[1, 2], [0, 2], [0, 1], [0, 0]], [[2, 1], [2, 1], [1, 1], [0, 0]])
    """
    degree_I = np.bincount(item_E, minlength=n_items)
    n_pairs_U = np.bincount(user_E, weights=degree_I[item_E], minlength=n_users).astype(np.int64)
    end_U = np.cumsum(n_pairs_U)
    edge_U = np.concatenate([[0], np.cumsum(np.bincount(user_E, minlength=n_users))])
    require_memory(
        f"The graph of the {k} users with most items in common, of {n_users:,} users",
        16 * n_users * k + 56 * min(int(end_U[-1]), max(PAIRS, int(n_pairs_U.max()))),
        torch.device("cpu"),
        "Keep fewer companions, or leave out the items that almost everybody has.",
    )
    users_of = _binary(item_E, user_E, n_items, n_users)
    index_UK, count_UK = np.zeros((n_users, k), np.int64), np.zeros((n_users, k), np.int64)
    first = 0
    while first < n_users:
        done = end_U[first] - n_pairs_U[first]
        last = max(first + 1, int(np.searchsorted(end_U, done + PAIRS, side="right")))
        edges = slice(edge_U[first], edge_U[last])
        items_of = _binary(user_E[edges] - first, item_E[edges], last - first, n_items)
        _keep_most(_product(items_of, users_of), first, index_UK[first:last], count_UK[first:last])
        first = last
    return Companions(index_UK, count_UK)


def _binary(row_E: Ids, column_E: Ids, n_rows: int, n_columns: int) -> Tensor:
    """A sparse matrix of ones."""
    index_2E = torch.from_numpy(np.stack([row_E, column_E]))
    ones_E = torch.ones(len(row_E))
    return torch.sparse_coo_tensor(index_2E, ones_E, (n_rows, n_columns), check_invariants=False).coalesce()


def _product(left: Tensor, right: Tensor) -> Tensor:
    """The product of two sparse matrices, sparse."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Sparse (CSR tensor|invariant).*")
        product: Tensor = torch.sparse.mm(left, right)
    return product


def _keep_most(common: Tensor, first: int, index_BK: Ids, count_BK: Ids) -> None:
    """Writes the companions of the users from ``first`` on, from their sparse numbers of common items."""
    n_users = common.shape[1]
    row, other = common._indices().numpy()
    count = common._values().numpy().astype(np.int64)
    different = row + first != other
    row, other, count = row[different], other[different], count[different]
    if not len(row):
        return
    # One number orders by user, then by falling count, then by row, and sorts faster than three.
    most = int(count.max())
    key = np.sort((row * (most + 1) + most - count) * n_users + other)
    rest, other = np.divmod(key, n_users)
    row, less = np.divmod(rest, most + 1)
    start_B = np.searchsorted(row, np.arange(len(index_BK)))
    place = np.arange(len(row)) - start_B[row]
    kept = place < index_BK.shape[1]
    index_BK[row[kept], place[kept]] = other[kept]
    count_BK[row[kept], place[kept]] = most - less[kept]

"""The frozen item graph of a model: its modalities' neighbour graphs, added up in one table of neighbours."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from zoo.graph.neighbours import nearest, spread, symmetric


class ItemGraph(nn.Module):
    """A fixed graph of items as K neighbours and weights a row; a checkpoint carries it.

    Args:
        n_items: Items.
        n_neighbours: Columns K of the tables.
    """

    index_IK: Tensor
    weight_IK: Tensor

    def __init__(self, n_items: int, n_neighbours: int) -> None:
        super().__init__()
        self.register_buffer("index_IK", torch.zeros(n_items, n_neighbours, dtype=torch.int64))
        self.register_buffer("weight_IK", torch.zeros(n_items, n_neighbours))

    @torch.no_grad()
    def fill(self, index_IK: Tensor, weight_IK: Tensor) -> None:
        """Takes neighbours and weights over."""
        self.index_IK.copy_(index_IK)
        self.weight_IK.copy_(weight_IK)

    def forward(self, x_ID: Tensor, n_layers: int = 1) -> Tensor:
        """The graph times vectors (I, D), as often as asked for."""
        for _ in range(n_layers):
            x_ID = spread(self.index_IK, x_ID, self.weight_IK)
        return x_ID


def mean_graph_of(
    features: Mapping[str, Tensor], shares: Mapping[str, float], k: int
) -> tuple[Tensor, Tensor]:
    """The frozen graph of FREEDOM and DRAGON: the mean over the k nearest items (G4), by modality and share.

    Args:
        features: Modality -> features (I, width).
        shares: Modality -> weight of its graph.
        k: Neighbours of an item, itself included.

    Returns:
        Neighbours and weights (I, M x k).
    """
    tables = {m: nearest(features[m], k).index_NK for m in shares}
    weights = [torch.full_like(tables[m], share / k, dtype=torch.float32) for m, share in shares.items()]
    return torch.cat(list(tables.values()), dim=1), torch.cat(weights, dim=1)


def cosine_graph_of(feature_ID: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The weighted graph of LATTICE and MGCN: the cosines of the k nearest items, normalised (G5, G6)."""
    index_IK, cosine_IK = nearest(feature_ID, k)
    return index_IK, symmetric(index_IK, cosine_IK)


def shares_of(modalities: Sequence[str], small: Mapping[str, float]) -> dict[str, float]:
    """Weight of each modality's graph: small ones as given, what is left of 1 for the other, the text.

    Args:
        modalities: At least one; a single one has all.
        small: Modality -> its weight where it is not alone.

    Raises:
        ValueError: The weights do not leave a share for the text, or there is no modality.

    >>> shares_of(("image", "text"), {"image": 0.1, "audio": 0.1})
    {'image': 0.1, 'text': 0.9}
    >>> shares_of(("audio",), {"image": 0.1, "audio": 0.1})
    {'audio': 1.0}
    """
    given = {m: small[m] for m in modalities if m in small}
    rest = [m for m in modalities if m not in small]
    total = sum(given.values())
    if not modalities or min(small.values()) < 0 or total > 1:
        raise ValueError(
            f"The item graph of {', '.join(modalities) or 'no modality'} got the weights {given}: expected "
            "at least one modality, and weights from 0 to 1 whose sum is at most 1."
        )
    if not rest and total > 0:
        return {m: given[m] / total for m in modalities}
    shares = given | {m: (1 - total) / len(rest) for m in rest}
    return {m: shares[m] for m in modalities}

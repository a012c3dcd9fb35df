"""User-user structure of FMMRec's third stage, and what it adds to user vectors.

Users are neighbours where what they have consumed looks alike, once by the attribute-rich and once by the
attribute-poor part of its content. A user's vector moves towards the neighbours of the second kind and away
from those of the first. The released code keeps six dense users x users matrices and repeats the two
products in every step; the graphs here are the k neighbours of each user, and the move, in which nothing is
trained, is made once.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.fair.disentangle import Branches
from zoo.graph.neighbours import nearest, spread, symmetric

AUDIO, TEXT = "audio", "text"


class UserGraph(NamedTuple):
    """The most similar users of each user, the user's own row first."""

    index_UK: Tensor
    weight_UK: Tensor


def user_graph(profile_UD: Tensor, k: int) -> UserGraph:
    """The k most similar users of each by cosine, normalised by the degrees of both ends (G5 of the hosts).

    Args:
        profile_UD: What describes each user.
        k: Neighbours, the user's own row included.

    Raises:
        ValueError: There are fewer users than neighbours.
    """
    if not 1 <= k <= len(profile_UD):
        raise ValueError(
            f"--model.neighbours: expected 1 to {len(profile_UD)}, the number of users, found {k}."
        )
    index_UK, cosine_UK = nearest(profile_UD, k)
    return UserGraph(index_UK, symmetric(index_UK, cosine_UK))


def sources(weights: Mapping[str, float], parity: bool) -> dict[str, str]:
    """Modality of a graph -> modality whose features it is made of.

    Args:
        weights: Modalities of the graphs.
        parity: Make the audio graphs from text, as the released code does: audio is then not used at all.
    """
    return {modality: TEXT if parity and modality == AUDIO else modality for modality in weights}


@torch.no_grad()
def signed_graph(
    profiles: Mapping[str, Branches], weights: Mapping[str, float], k: int, parity: bool = False
) -> UserGraph:
    """All graphs side by side: the filtered ones count for a neighbour, the biased ones against it.

    Args:
        profiles: Modality -> biased and filtered profile of every user.
        weights: Modality -> share of its graphs.
        k: Neighbours of a user in each graph.
        parity: As for ``sources``.

    Returns:
        2 x M x k neighbours a user, whose weighted sum is what the structure adds to a user's vector.
    """
    found = []
    for modality, source in sources(weights, parity).items():
        for sign, profile_UD in zip((-1.0, 1.0), profiles[source], strict=True):
            graph = user_graph(profile_UD, k)
            found.append(UserGraph(graph.index_UK, sign * weights[modality] * graph.weight_UK))
    return UserGraph(*(torch.cat(parts, dim=1) for parts in zip(*found, strict=True)))


def edges(weights: Mapping[str, float], k: int) -> int:
    """Neighbours of a user in ``signed_graph``."""
    return 2 * len(weights) * k


@torch.no_grad()
def correction(graph: UserGraph, vector_UD: Tensor) -> Tensor:
    """What the structure adds to user vectors (U, D), up to its weight.

    Args:
        graph: Signed; without an edge nothing is added.
        vector_UD: User vectors of the host.
    """
    if not graph.index_UK.shape[1]:
        return torch.zeros_like(vector_UD)
    return spread(graph.index_UK, vector_UD, graph.weight_UK)

"""Stage 2 of all modalities and the structure made of it: found by what it is made from, or made now."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from zoo.fair.disentangle import Branches
from zoo.fair.labels import Labels
from zoo.fair.split_training import SplitOptions, train_split
from zoo.fair.store import array_digest, finish_stage, read_result, stage_folder
from zoo.fair.structure import UserGraph, signed_graph, sources
from zoo.graph.propagate import Graph, propagate


class Consumed(NamedTuple):
    """Who has consumed what, and what it is like; users and items count from 0."""

    edge_2E: Tensor
    """Training pairs."""
    graph: Graph
    """Whose product with item vectors is a mean over each user's items."""
    features: Mapping[str, Tensor]
    """Modality -> features of the items (I, D)."""
    labels: Labels


class Structure(NamedTuple):
    """How users are linked."""

    weights: Mapping[str, float]
    """Modality -> share of its graphs."""
    neighbours: int
    parity: bool


def structure_of(
    consumed: Consumed,
    structure: Structure,
    options: Mapping[str, SplitOptions],
    root: str | None,
    outer: Trainer,
) -> UserGraph:
    """Splits the features of each modality and links users by both parts.

    Args:
        consumed: What it is made from.
        structure: How users are linked.
        options: Modality -> how its features are split.
        root: Where stages are kept, if anywhere.
        outer: The trainer of the run at hand.
    """
    if not structure.weights:
        nobody_U0 = consumed.edge_2E.new_empty(consumed.labels.class_KU.shape[1], 0)
        return UserGraph(nobody_U0, nobody_U0.float())
    profiles = {}
    for modality in dict.fromkeys(sources(structure.weights, structure.parity).values()):
        branches = _split(consumed, modality, options[modality], root, outer)
        profiles[modality] = Branches(*(propagate(consumed.graph, part_ID) for part_ID in branches))
    return signed_graph(profiles, *structure)


def _split(
    consumed: Consumed, modality: str, options: SplitOptions, root: str | None, outer: Trainer
) -> Branches:
    """Both branches of the items."""
    edge_2E, graph, features, labels = consumed
    feature_ID = features[modality]
    settings = {
        "features": _digest(feature_ID),
        "pairs": _digest(edge_2E),
        "attributes": dict(zip(labels.names, map(_digest, labels.class_KU), strict=True)),
        **options._asdict(),
    }
    with stage_folder(root, f"split-{modality}", settings) as folder:
        found = read_result(folder)
        if found is None:
            profile_UD = propagate(graph, feature_ID)
            torch.manual_seed(options.seed)
            branches = train_split(feature_ID, profile_UD, edge_2E[0], labels, options, folder, outer)
            found = branches._asdict()
            finish_stage(folder, found)
    return Branches(**{name: part.to(feature_ID.device) for name, part in found.items()})


def _digest(tensor: Tensor) -> str:
    return array_digest(tensor.detach().cpu().numpy())

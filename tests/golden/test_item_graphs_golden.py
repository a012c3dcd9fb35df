"""Values the authors' classes gave on the toy set, float32, for the hosts with graphs of items."""

import pytest
import torch
from torch import Tensor

from tests.golden.hosts import fill, on_toy_set, toy_loss, toy_scores
from zoo.collaborative import CollaborativeRecommender
from zoo.models.bm3 import BM3
from zoo.models.dragon import DRAGON, shares_by_count
from zoo.models.freedom import FREEDOM
from zoo.models.lattice import LATTICE
from zoo.models.mgcn import MGCN

TABLES = {"users.weight": 0, "item_ids.weight": 1}
PROJECTIONS = {
    "projections.image.weight": 2,
    "projections.image.bias": 3,
    "projections.text.weight": 4,
    "projections.text.bias": 5,
}


def agrees(
    model: CollaborativeRecommender, loss: float, scores: list[float], tolerance: float = 1e-6
) -> None:
    """Compares the loss of the toy batch and the scores of user 0."""
    assert toy_loss(model) == pytest.approx(loss, abs=1e-6)
    assert toy_scores(model) == pytest.approx(scores, abs=tolerance)


def freedom() -> FREEDOM:
    return on_toy_set(
        FREEDOM(width=4, knn_k=2, image_weight=0.1, dropout=0.0, reg_weight=0.01), TABLES | PROJECTIONS
    )


def lattice() -> LATTICE:
    """A phase for every parameter; the modalities have equal weights, as zeros have after the softmax."""
    return on_toy_set(
        LATTICE(width=4, knn_k=2, n_layers=2, reg_weight=0.01, modalities=["image", "text"]),
        TABLES | PROJECTIONS | {"modality_weight": 0},
        amplitudes={"modality_weight": 0.0},
    )


def test_freedom() -> None:
    model = freedom()
    agrees(model, 0.7064007, [0.010334, -0.009523, 0.009876, -0.008549, 0.008650])
    assert model.item_graph(torch.eye(5))[0].tolist() == pytest.approx([0.5, 0, 0.45, 0.05, 0], abs=1e-6)


def test_bm3() -> None:
    model = on_toy_set(
        BM3(width=4, n_layers=2, dropout=0.0, reg_weight=0.01, contrast_weight=2.0),
        TABLES | PROJECTIONS | {"predictor.weight": 6, "predictor.bias": 7},
    )
    agrees(model, 11.0925417, [0.023155, 0.021847, 0.023456, 0.021708, 0.023441])


def test_lattice() -> None:
    scores = [0.051346, -0.063827, 0.069980, -0.069386, 0.058683]
    model = lattice()
    agrees(model, 0.6986939, scores)
    # The second batch reads the graph that the first one left.
    assert torch.stack(list(model.losses(*batch()).values())).sum().item() == pytest.approx(
        0.6986939, abs=1e-6
    )


def batch() -> tuple[Tensor, Tensor, Tensor]:
    return torch.tensor([0, 1, 2, 3]), torch.tensor([1, 2, 3, 0]), torch.tensor([3, 4, 0, 1])


def test_mgcn() -> None:
    phases = {"attention.0.weight": 6, "attention.0.bias": 7, "attention.2.weight": 8}
    for number, name in enumerate(("gates.image", "gates.text", "preferences.image", "preferences.text")):
        phases |= {f"{name}.weight": 9 + 2 * number, f"{name}.bias": 10 + 2 * number}
    model = on_toy_set(
        MGCN(width=4, knn_k=2, n_layers=2, n_item_layers=1, reg_weight=0.01, contrast_weight=0.1),
        TABLES | PROJECTIONS | phases,
    )
    agrees(model, 1.3434079, [0.004214, -0.003136, 0.003957, -0.002125, 0.002761])


def test_dragon() -> None:
    modalities = ("image", "text", "audio")
    names = ("preference", "project.0.weight", "project.0.bias", "project.2.weight", "project.2.bias")
    phases = {
        f"branches.{modality}.{name}": 5 * i + j
        for i, modality in enumerate(modalities)
        for j, name in enumerate(names)
    }
    model = on_toy_set(
        DRAGON(width=64, knn_k=2, n_companions=1, reg_weight=0.01),
        phases | {"modality_weight": 1},
        modalities,
        amplitudes={"modality_weight": 1.0},
    )
    with torch.no_grad():
        model.modality_weight.copy_(fill((4, 3, 1), 1, 1.0).softmax(dim=1))
    model.user_graph.fill(torch.tensor([[1], [0], [1], [0]]), shares_by_count(torch.ones(4, 1)))
    agrees(model, 0.3556411, [7.983878, 10.127363, 9.392037, 7.546978, 5.299662], tolerance=2e-6)

"""Values the authors' classes gave on the toy set, float32, for BPR's kin."""

import pytest
import torch

from tests.golden.hosts import on_toy_set, toy_loss, toy_scores
from zoo.graph.build import symmetric_graph, user_item_graph
from zoo.losses.host import bpr, bpr_shifted
from zoo.models.lightgcn import LightGCN
from zoo.models.vbpr import VBPR


def test_vbpr() -> None:
    model = on_toy_set(
        VBPR(width=4, modalities=["text", "image"], reg_weight=0.01),
        {"users.weight": 0, "item_ids.weight": 1, "project.weight": 2, "project.bias": 3},
    )
    assert toy_loss(model) == pytest.approx(0.6983871, abs=1e-6)
    assert toy_scores(model) == pytest.approx([0.033894, -0.018819, 0.067497, -0.006997, 0.007958], abs=1e-6)


def test_lightgcn() -> None:
    model = on_toy_set(
        LightGCN(width=4, n_layers=2, reg_weight=0.01), {"users.weight": 0, "item_ids.weight": 1}
    )
    assert toy_loss(model) == pytest.approx(0.6950130, abs=1e-6)
    assert toy_scores(model) == pytest.approx([0.003658, -0.002470, 0.002449, -0.001551, 0.002352], abs=1e-6)


def test_symmetric_graph() -> None:
    edge_2E = torch.tensor([[0, 0, 1, 2, 2], [0, 1, 1, 1, 2]])
    expected = torch.tensor([[0.707107, 0.408248, 0], [0, 0.577350, 0], [0, 0.408248, 0.707107]])
    both = symmetric_graph(edge_2E, 3, 3).matrix.to_dense()
    torch.testing.assert_close(both[:3, 3:], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(both[3:, :3], expected.T, atol=1e-6, rtol=0)
    assert not both[:3, :3].any()
    assert not both[3:, 3:].any()
    block = user_item_graph(edge_2E, 3, 3).matrix.to_dense()
    torch.testing.assert_close(block, expected, atol=1e-6, rtol=0)


def test_ranking_losses_differ_in_the_shift_only() -> None:
    above_B, below_B = torch.tensor([0.3, -30.0]), torch.tensor([0.1, 30.0])
    plain_B = torch.stack([bpr(above_B[i], below_B[i]) for i in range(2)])
    shifted_B = torch.stack([bpr_shifted(above_B[i], below_B[i]) for i in range(2)])
    assert plain_B[0].item() == pytest.approx(shifted_B[0].item(), abs=1e-6)
    assert plain_B[1].item() == pytest.approx(60.0)
    assert shifted_B[1].item() == pytest.approx(23.02585)

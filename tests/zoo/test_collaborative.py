"""The base of the models of pairs: what it refuses, what a checkpoint holds, what an epoch draws."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.golden.hosts import BATCH, ToySource, on_toy_set, toy_scores
from zoo.checkpoints import CheckpointMismatchError
from zoo.collaborative import CollaborativeRecommender
from zoo.models.bpr import BPR
from zoo.models.lightgcn import LightGCN
from zoo.models.vbpr import VBPR
from zoo.types import LabelBatch


def stored(model: CollaborativeRecommender, folder: Path) -> Path:
    """A checkpoint of the weights alone."""
    checkpoint: dict[str, Any] = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    model.on_save_checkpoint(checkpoint)
    checkpoint["pytorch-lightning_version"] = "2.6.0"
    torch.save(checkpoint, folder / "model.ckpt")
    return folder / "model.ckpt"


PHASES = {"users.weight": 0.0, "item_ids.weight": 1.0}


def test_a_checkpoint_brings_its_graph(tmp_path: Path) -> None:
    model = on_toy_set(LightGCN(width=4, n_layers=2), PHASES)
    loaded = LightGCN.load_from_checkpoint(stored(model, tmp_path))
    assert torch.equal(loaded.edge_2E, model.edge_2E)
    assert toy_scores(loaded) == toy_scores(model)


def test_loaded_pairs_replace_the_graph_made_before() -> None:
    model, other = on_toy_set(LightGCN(width=4), PHASES), on_toy_set(LightGCN(width=4), PHASES)
    before = toy_scores(other)
    state = model.state_dict()
    state["edge_2E"] = state["edge_2E"].flip(1).clone()
    state["edge_2E"][1, 0] = 1
    other.load_state_dict(state)
    assert toy_scores(other) != before


def test_a_checkpoint_brings_its_features(tmp_path: Path) -> None:
    model = on_toy_set(VBPR(width=4), {**PHASES, "project.weight": 2.0, "project.bias": 3.0})
    loaded = VBPR.load_from_checkpoint(stored(model, tmp_path))
    assert torch.equal(loaded.features["image"], model.features["image"])
    assert toy_scores(loaded) == toy_scores(model)


def test_features_are_asked_for_and_their_absence_is_told() -> None:
    assert VBPR(width=4, modalities=["image"]).needs().features == {"image"}
    source = ToySource(modalities=["image"])
    with pytest.raises(ValueError, match=r"reads features of text, image; the data has image.*modalities"):
        VBPR(width=4).attach(source.spec(), source)
    VBPR(width=4, modalities=["image"]).attach(source.spec(), source)
    with pytest.raises(ValueError, match=r"BPR reads no features; --model\.modalities names text"):
        BPR(modalities=["text"])
    assert VBPR(modalities=["image", "text"]).used_modalities == ("text", "image"), "The authors' order."


def test_data_without_pairs_and_other_pairs_are_refused() -> None:
    source = ToySource()
    with pytest.raises(ValueError, match="learns from pairs of users and items"):
        BPR().attach(source.spec()._replace(n_edges=0), source)
    model = on_toy_set(BPR(width=4), PHASES)
    with pytest.raises(CheckpointMismatchError, match=r"trained on 9 pairs.*now gives 8"):
        model.attach(source.spec()._replace(n_edges=8), source)
    with pytest.raises(CheckpointMismatchError, match="fingerprint"):
        model.attach(source.spec()._replace(fingerprint="another"), source)


def test_tables_and_recommendations_count_from_one() -> None:
    model = on_toy_set(BPR(width=4), PHASES)
    user_UD, item_ID = model.tables()
    assert user_UD.shape == (5, 4)
    assert item_ID.shape == (6, 4)
    assert not user_UD[0].any()
    assert not item_ID[0].any()
    batch = LabelBatch(torch.tensor([2]), torch.zeros(1, 0).long(), torch.tensor([[1, 4]]))
    model.top_k = 5
    predictions = model.predict_step(batch, 0)
    assert predictions.item_BK.shape == (1, 5)
    best = [item for item in predictions.item_BK[0].tolist() if item]
    expected = torch.tensor(toy_scores(model, user=1)).argsort(descending=True) + 1
    assert best == [item for item in expected.tolist() if item not in (1, 4)]


def test_scores_carry_a_gradient() -> None:
    model = on_toy_set(LightGCN(width=4), PHASES)
    scores_BI = model.scores(BATCH.user_B - 1, model.propagate())
    assert scores_BI[0].tolist() == pytest.approx(toy_scores(model), abs=1e-7)
    scores_BI.sum().backward()  # type: ignore[no-untyped-call]
    assert model.users.weight.grad is not None

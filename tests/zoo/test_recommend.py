"""Recommending from histories given by hand: as in prediction, kept vectors, new items, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

import zoo
from datamodules.demo import Demo
from datamodules.demo_mmrec import DemoCF
from tests.miniature import miniature
from zoo.base import Predictions, Recommender
from zoo.checkpoints import CheckpointMismatchError
from zoo.histories import Histories, to_histories
from zoo.recommend import weight_state

HISTORIES = [[3, 4, 5], [7], [*range(1, 40)]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recommend")


def ready(name: str, root: Path, **options: Any) -> tuple[Recommender, Demo | DemoCF]:  # noqa: ANN401
    """A model with random weights that has its catalogue."""
    torch.manual_seed(0)
    model = zoo.create(name, **{**miniature(name), **options})
    pairs = model.needs().batch == "interaction"
    data = (DemoCF if pairs else Demo)(root=str(root / "demo"), size="tiny")
    data.bind(model.needs())
    data.prepare_data()
    data.setup()
    model.attach(data.spec, data.items)
    return model, data


@pytest.mark.parametrize("name", ["morec", "iisan", "idrec", "guider_sequential", "morec_dssm", "vbpr"])
def test_what_predict_gives(name: str, root: Path) -> None:
    model, data = ready(name, root)
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, use_distributed_sampler=False
    )
    batches = trainer.predict(model, datamodule=data)
    assert batches is not None
    whole = Predictions(*(torch.cat(part) for part in zip(*batches, strict=True)))
    rows = list(data.predict_dataloader())
    users = torch.cat([batch.user_B for batch in rows]).tolist()
    histories = [[i for i in line.tolist() if i] for batch in rows for line in batch.hidden_BH]
    found = model.recommend(histories, 10, users=users if model.reads_users else None, batch_size=70)
    assert torch.equal(found.item_BK, whole.item_BK)
    torch.testing.assert_close(found.score_BK, whole.score_BK)


def test_the_catalogue_is_encoded_once_until_a_weight_changes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = ready("morec", root)
    calls: list[int] = []
    encode = model.encode_catalogue

    def counted() -> tuple[torch.Tensor, torch.Tensor | None]:
        calls.append(1)
        return encode()

    monkeypatch.setattr(model, "encode_catalogue", counted)
    first = model.recommend(HISTORIES, data=data)
    again = model.recommend(HISTORIES, 5)
    assert len(calls) == 1
    assert torch.equal(first.item_BK[:, :5], again.item_BK)
    assert first.names is not None
    assert first.names[1][0] == data.item_names[int(first.item_BK[1, 0])]
    assert again.names is None
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = weight_state(model)
    optimizer.step()
    assert weight_state(model) != before
    changed = model.recommend(HISTORIES)
    assert len(calls) == 2
    assert not torch.equal(changed.score_BK, first.score_BK)
    model.load_state_dict(model.state_dict())
    model.recommend(HISTORIES)
    assert len(calls) == 3
    assert model.training


def test_names_and_hiding(root: Path) -> None:
    model, data = ready("morec", root)
    rows = model.recommend(HISTORIES, 10, data=data)
    named = model.recommend([[data.item_names[i] for i in line] for line in HISTORIES], 10, data=data)
    assert torch.equal(rows.item_BK, named.item_BK)
    for line, items in zip(HISTORIES, rows.item_BK.tolist(), strict=True):
        assert not set(line) & set(items)
    everything = data.spec.n_items - 1
    seen = model.recommend(HISTORIES, everything, hide_history=False)
    assert all(set(line) <= set(items) for line, items in zip(HISTORIES, seen.item_BK.tolist(), strict=True))
    few = model.recommend(HISTORIES, everything, data=data)
    assert few.names is not None
    assert list(map(len, few.names)) == [everything - len(line) for line in HISTORIES]
    assert few.item_BK[2, -1] == 0


class Some:
    """A few items of a catalogue under new names, as new ones."""

    def __init__(self, data: Demo, rows: list[int]) -> None:
        self.source, self.rows = data.items, np.array([0, *rows])
        self.n_items = len(self.rows)
        self.counts_I = np.zeros(self.n_items, dtype=np.int64)
        self.item_names = ["", *(f"new {row}" for row in rows)]

    def content(self, ids_N: np.ndarray[Any, Any], modalities: Any) -> Any:  # noqa: ANN401
        return self.source.content(self.rows[ids_N], modalities)

    def feature_folder(self, modality: str, key: str) -> None:
        return None


@pytest.mark.parametrize("name", ["morec", "iisan"])
def test_new_items_score_as_their_twins_in_the_catalogue(name: str, root: Path) -> None:
    model, data = ready(name, root)
    assert isinstance(data, Demo)
    n_items, twins = data.spec.n_items, [9, 2, 50]
    new = Some(data, twins)
    everything = model.recommend([[20, 21]], n_items - 1, hide_history=False, data=data)
    score = dict(zip(everything.item_BK[0].tolist(), everything.score_BK[0].tolist(), strict=True))
    found = model.recommend([[20, 21]], n_items + 2, items=new, hide_history=False, data=data)
    assert found.names is not None
    for row, name_, value in zip(
        found.item_BK[0].tolist(), found.names[0], found.score_BK[0].tolist(), strict=True
    ):
        assert value == pytest.approx(score[twins[row - n_items] if row >= n_items else row], abs=2e-3)
        assert name_.startswith("new ") == (row >= n_items)
    both = [["new 9", "new 2"], [data.item_names[9], data.item_names[2]]]
    history = model.recommend(both, 5, items=new, data=data, hide_history=False)
    torch.testing.assert_close(history.score_BK[0], history.score_BK[1], atol=2e-3, rtol=1e-3)
    assert set(model.recommend(HISTORIES, 5, data=data).item_BK.flatten().tolist()) < set(range(n_items))


def test_what_is_refused_in_words(root: Path) -> None:
    morec, data = ready("morec", root)
    idrec, _ = ready("idrec", root)
    vbpr, pairs = ready("vbpr", root)
    assert isinstance(data, Demo)
    with pytest.raises(ValueError, match="does not encode items from their content"):
        idrec.recommend(HISTORIES, items=Some(data, [1]))
    with pytest.raises(ValueError, match="history 1 is empty"):
        morec.recommend([[1], []])
    with pytest.raises(ValueError, match="say who they are"):
        vbpr.recommend()
    with pytest.raises(ValueError, match="nobody to recommend to"):
        vbpr.recommend(users=[])
    with pytest.raises(ValueError, match="rows from 1 to"):
        morec.recommend([[data.spec.n_items]])
    with pytest.raises(ValueError, match="1 of 2 item names are not in the catalogue"):
        morec.recommend([["nothing", data.item_names[1]]], data=data)
    with pytest.raises(ValueError, match="given by name"):
        morec.recommend([["nothing"]])
    same = Some(data, [3])
    same.item_names = ["", data.item_names[3]]
    with pytest.raises(ValueError, match="1 of the 1 new items are in the catalogue"):
        morec.recommend(HISTORIES, items=same, data=data)
    with pytest.raises(RuntimeError, match="is not trained"):
        zoo.create("idrec").recommend(HISTORIES)
    known = vbpr.recommend(users=[pairs.user_names[2]], data=pairs, k=20).item_BK[0].tolist()
    assert isinstance(pairs, DemoCF)
    assert not set(known) & set(pairs.items.item_E[pairs.items.user_E == 2].tolist())


def test_a_refusal_leaves_the_model_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = ready("morec", root)
    model.train()
    everything = data.spec.n_items - 1
    with pytest.raises(ValueError, match=f"k from 1 to the {everything} items"):
        model.recommend(HISTORIES, everything + 1)
    with pytest.raises(ValueError, match="batch_size of at least 1"):
        model.recommend(HISTORIES, batch_size=0)
    with pytest.raises(ValueError, match=r"whole numbers or names, found 1\.5"):
        model.recommend([[1.5, 2.0]])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="rows from 1 to"):
        model.recommend([[everything + 1]])

    def broken(*args: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model, "users_of", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        model.recommend(HISTORIES)
    assert model.training
    assert all(part.training for part in model.children())


def test_another_catalogue_only_on_purpose(root: Path) -> None:
    model, _ = ready("morec", root)
    other = Demo(root=str(root / "demo"), size="tiny", platform="b")
    other.bind(model.needs())
    other.prepare_data()
    other.setup()
    with pytest.raises(CheckpointMismatchError, match="other_catalogue"):
        model.recommend(HISTORIES, data=other)
    found = model.recommend(HISTORIES, data=other, other_catalogue=True)
    assert found.names is not None
    assert set(found.names[0]) <= set(other.item_names)
    idrec, _ = ready("idrec", root)
    with pytest.raises(CheckpointMismatchError, match="same data set"):
        idrec.recommend(HISTORIES, data=other, other_catalogue=True)
    short = Demo(root=str(root / "demo"), size="tiny", max_len=5)
    short.bind(model.needs())
    short.prepare_data()
    short.setup()
    with pytest.raises(CheckpointMismatchError, match="max_len"):
        model.recommend(HISTORIES, data=short)


def test_blocks_of_lists() -> None:
    lists = Histories.of([[1, 2, 3], [], [4]])
    assert lists.block(slice(0, 3), 2).tolist() == [[2, 3], [0, 0], [0, 4]]
    assert lists.block(slice(1, 3)).tolist() == [[0], [4]]
    assert to_histories([["b"], ["a", "b"]], ["", "a", "b"]).items.tolist() == [2, 1, 2]

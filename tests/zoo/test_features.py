"""Frozen features: on disk and back, resumed, shared, and the same as towers that run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from datamodules.demo import Demo
from tests.miniature import TEXT
from zoo.content import ContentRecommender
from zoo.encoders.base import Encoded
from zoo.features import Features, FeatureStore, tower_digest
from zoo.sequential import SequentialRecommender
from zoo.types import CatalogSpec


class Tokens(SequentialRecommender):
    """Item vectors from tokens: their mean, projected."""

    @property
    def uses_tokens(self) -> bool:
        return True

    def build_parts(self, spec: CatalogSpec) -> None:
        super().build_parts(spec)
        self.heads = torch.nn.ModuleDict(
            {m: torch.nn.Linear(self.encoder(m).token_width, self.width) for m in self.specs}
        )

    def fuse(self, parts: dict[str, Encoded]) -> Tensor:
        found: Tensor = self.heads["text"](parts["text"].pooled_ND)
        return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    module = Demo(root=str(tmp_path_factory.mktemp("demo")), size="tiny", batch_size=8)
    module.bind(make().needs())
    module.prepare_data()
    module.setup("fit")
    return module


def make(**changes: Any) -> Tokens:  # noqa: ANN401
    torch.manual_seed(0)
    return Tokens(width=8, text={**TEXT, "cached": True, **changes})


def attached(data: Demo, **changes: Any) -> Tokens:  # noqa: ANN401
    model = make(**changes)
    torch.manual_seed(0)
    model.attach(data.spec, data.items)
    return model.eval()


def test_cached_tokens_give_the_vectors_of_running_towers(data: Demo) -> None:
    running, cached = attached(data, cached=False), attached(data)
    table_ID = running.item_table()
    cached.cache_features()
    features = cached.features["text"]
    assert features.values_I.dtype == torch.float16
    assert features.values_I.shape == (data.spec.n_items, 30, 32)
    torch.testing.assert_close(cached.item_table(), table_ID, rtol=0, atol=2e-3)


def test_features_are_made_once(data: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = attached(data), attached(data)
    first.cache_features()
    monkeypatch.setattr(ContentRecommender, "_frozen_parts", None)  # whoever calls it now fails
    second.cache_features()
    assert torch.equal(first.features["text"].values_I, second.features["text"].values_I)


def test_a_stopped_run_is_taken_up(data: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(data.items), "feature_folder", lambda *_: str(tmp_path / "features"))
    model = attached(data)
    model.item_chunk = 40
    store = FeatureStore(tmp_path / "features", data.spec.n_items)
    parts = model._frozen_parts("text")
    for _ in range(2):
        store.write(*next(parts))
    assert store.rows_done() == 81
    del store

    encoded: list[int] = []
    tower = model.encoder("text")
    tower.register_forward_pre_hook(lambda _, inputs: encoded.append(len(inputs[0]["present"])))
    model.cache_features()
    assert sum(encoded) == data.spec.n_items - 81 + len(encoded)  # every chunk brings the padding row again
    whole = attached(data)
    whole.features = {"text": Features("tokens", *_all_rows(whole))}
    assert torch.equal(model.features["text"].values_I, whole.features["text"].values_I)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features", "features.lock"]


def _all_rows(model: Tokens) -> tuple[Tensor, Tensor, Tensor]:
    parts = [part for _, part in model._frozen_parts("text")]
    values, mask, present = (torch.cat([p[name] for p in parts]) for name in ("values", "mask", "present"))
    return values, mask, present


def test_features_on_the_host_reach_the_batch_before_the_transfer(
    data: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = attached(data)
    model.cache_features()
    batch = next(iter(data.train_dataloader()))
    assert "text" not in batch.content
    direct = model.encode_items(batch.unique_N, batch.content)
    assert model.on_before_batch_transfer(batch, 0) is batch  # they are where the model is
    monkeypatch.setattr(Tokens, "device", torch.device("meta"))
    filled = model.on_before_batch_transfer(batch, 0)
    assert set(filled.content["text"]) == {"frozen_tokens", "mask", "present"}
    assert torch.equal(model.encode_items(filled.unique_N, filled.content), direct)


def test_a_towers_digest_is_that_of_its_weights(data: Demo) -> None:
    one, same, other = attached(data), attached(data), attached(data)
    with torch.no_grad():
        next(other.encoder("text").parameters()).flatten()[0] += 1e-3
    digests = [tower_digest(model.encoder("text")) for model in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_a_missing_modality_is_one_learned_token(data: Demo) -> None:
    model = attached(data, cached=False)
    with torch.no_grad():
        model.stand_ins["text"].fill_(2.0)
    content = data.items.content(np.arange(4), ["text"])
    content["text"]["present"] = torch.tensor([False, True, False, True])
    part = model.encode_parts(torch.arange(4), content)["text"]
    assert part.tokens_NTD is not None
    assert part.mask_NT is not None
    assert part.mask_NT[1].tolist() == [True] + [False] * 29
    torch.testing.assert_close(part.pooled_ND[1], torch.full((32,), 2.0))
    assert not torch.allclose(part.pooled_ND[0], part.pooled_ND[2])


def test_the_full_softmax_is_for_vectors_that_cost_little() -> None:
    with pytest.raises(ValueError, match=r"text and image would be encoded anew.*cached: true"):
        zoo.create("morec", loss="full")
    assert zoo.create("idrec", loss="full").needs().negatives == "none"

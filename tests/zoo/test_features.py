"""Frozen features: on disk and back, resumed, shared, and the same as towers that run."""

import contextlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.demo import Demo
from tests.miniature import TEXT
from zoo.content import ContentRecommender
from zoo.encoders.base import Encoded
from zoo.feature_build import FeatureBuild, Make, Team
from zoo.feature_store import FeatureStore
from zoo.features import Features, tower_digest, where_text
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


def build(store: FeatureStore, make: Make) -> bool:
    """Makes a store alone."""
    return FeatureBuild(store, "features", Team()).run(make)


class States(Tokens):
    """Item vectors from the mean of layer states."""

    @property
    def uses_tokens(self) -> bool:
        return False

    @property
    def uses_states(self) -> bool:
        return True


def attached(data: Demo, chunk: int = 512, **changes: Any) -> Tokens:  # noqa: ANN401
    model = make(**changes)
    model.item_chunk = chunk
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
    monkeypatch.setattr(ContentRecommender, "frozen_rows", lambda *_: pytest.fail("made again"))
    second.cache_features()
    assert torch.equal(first.features["text"].values_I, second.features["text"].values_I)


class Pooled(Tokens):
    """Item vectors from the pooled ones."""

    @property
    def uses_tokens(self) -> bool:
        return False


def test_another_pooling_makes_other_features(data: Demo) -> None:
    found = []
    for pool in ("cls", "mean"):
        torch.manual_seed(0)
        model = Pooled(width=8, text={**TEXT, "cached": True, "pool": pool})
        torch.manual_seed(0)
        model.attach(data.spec, data.items)
        model.cache_features()
        found.append(model.features["text"].values_I)
    assert found[0].shape == found[1].shape
    assert not torch.allclose(found[0], found[1], atol=1e-3)


class Killed(Exception):
    """Stands for a kill in the middle of the work."""


def test_a_killed_build_is_taken_up_and_ends_the_same_to_the_last_bit(
    data: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(data.items), "feature_folder", lambda *_: str(tmp_path / "whole"))
    attached(data, chunk=40).cache_features()
    monkeypatch.setattr(type(data.items), "feature_folder", lambda *_: str(tmp_path / "killed"))
    encoded: list[int] = []
    for made in (2, 1, -1):  # chunks before each kill
        model = attached(data, chunk=40)
        rows = model.frozen_rows

        def make(
            *args: Any,  # noqa: ANN401
            left: list[int] = [made],  # noqa: B006
            rows: Any = rows,  # noqa: ANN401
        ) -> dict[str, Tensor]:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            encoded.append(args[1])
            found: dict[str, Tensor] = rows(*args)
            return found

        monkeypatch.setattr(model, "frozen_rows", make)
        with contextlib.suppress(Killed):
            model.cache_features()
    assert encoded == [0, 40, 80, 120]
    names = [path.name for path in sorted((tmp_path / "whole").iterdir())]
    assert names == ["manifest.json", "mask.npy", "present.npy", "values.npy"]
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


def test_two_processes_share_the_work(data: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[int, list[int]] = {0: [], 1: []}
    barrier = threading.Barrier(2)
    said: list[bool] = [False]

    def broadcast(value: bool, rank: int) -> bool:
        if rank == 0:
            said[0] = value
        barrier.wait()
        return said[0]

    def work(rank: int) -> None:
        store = FeatureStore(tmp_path / "both", data.spec.n_items, 20)
        model = models[rank]

        def make(start: int, stop: int) -> dict[str, Tensor]:
            made[rank].append(start)
            return model.frozen_rows("text", start, stop)

        FeatureBuild(store, "", Team(rank, 2, barrier.wait, lambda value: broadcast(value, rank))).run(make)

    models = [attached(data), attached(data)]
    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert made == {0: [0, 20, 40, 60, 80], 1: [100, 120, 140]}
    alone = FeatureStore(tmp_path / "alone", data.spec.n_items, 20)
    build(alone, lambda a, b: models[0].frozen_rows("text", a, b))
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            alone.read().values(),
            FeatureStore(tmp_path / "both", data.spec.n_items, 20).read().values(),
            strict=True,
        )
    )


def test_a_first_state_that_all_items_share_is_kept_once(data: Demo, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = {**TEXT, "pool": "cls", "states": "all"}
    model = States(width=8, text={**spec, "cached": False})
    model.attach(data.spec, data.items)
    model.eval()
    store = FeatureStore(tmp_path / "store", data.spec.n_items, 50)
    with torch.no_grad():
        build(store, lambda a, b: model.frozen_rows("text", a, b))
    found = Features.of("states", store.read())
    assert found.values_I.shape == (data.spec.n_items, 1, 32)
    ids = torch.tensor([3, 9])
    gathered = found.gather(ids).states_NKD
    content = data.items.content(ids.numpy(), ["text"])["text"]
    with torch.no_grad():
        running = model.encoder("text")(content).states_NKD
    assert gathered is not None
    assert running is not None
    torch.testing.assert_close(gathered, running, rtol=0, atol=2e-3)


def test_features_live_on_the_device_if_they_fit_into_its_share(data: Demo) -> None:
    model = attached(data)
    model.cache_features()
    features, meta = model.features["text"], torch.device("meta")
    assert features.placed(torch.device("cpu"), 0) is features
    assert features.placed(meta, 2 * features.nbytes).values_I.device.type == "meta"
    large = features.placed(meta, 2 * features.nbytes - 1)
    assert large.staged
    assert large.values_I is features.values_I
    assert large.present_I.device.type == "meta"
    said = where_text({"text": large, "image": features.placed(meta, 2**40)}, meta, 10 * 2**30)
    assert said.startswith("Frozen tokens of image (")
    assert "live on meta: they fit into 50% of the 10.0 GiB free there" in said
    assert "stay on the host, memory-mapped: they do not fit" in said


def test_staged_features_come_with_the_batch_and_change_nothing(data: Demo) -> None:
    model = attached(data)
    model.cache_features()
    table_ID = model.item_table()
    batch = next(iter(data.train_dataloader()))
    with torch.no_grad():
        loss = torch.stack(list(model.training_loss(batch).values())).sum()
    model.features["text"] = model.features["text"]._replace(staged=True)
    sent = model.on_before_batch_transfer(batch, 0)
    assert sent.content["text"]["values"].shape == (len(batch.unique_N), 30, 32)
    assert sent.content["text"]["values"].dtype == torch.float16
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(Features, "gather", lambda *_: pytest.fail("the step asked the host"))
        assert torch.equal(torch.stack(list(model.training_loss(sent).values())).sum(), loss)
        assert torch.equal(model.item_table(), table_ID)


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


def test_towers_wait_on_the_host_and_are_called_back(data: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, str]] = []
    model = attached(data)
    monkeypatch.setattr(model, "_send", lambda modality, device: sent.append((modality, str(device))))
    monkeypatch.setattr(type(model), "device", torch.device("meta"))
    monkeypatch.setattr(Features, "placed", lambda features, *_: features)
    model._features("text")  # to be found below
    sent.clear()
    model.cache_features()
    assert sent == [("text", "cpu")]
    assert any(name.startswith("encoders.text") for name in model.state_dict()), "a checkpoint holds them"
    model.features = {}
    assert model.running("text") is model.encoder("text")
    assert sent[-1] == ("text", "meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("share", [0.5, 0.0])
def test_on_a_gpu_features_live_there_or_come_from_page_locked_memory(
    data: Demo, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr("zoo.features.DEVICE_SHARE", share)
    host, model = attached(data), attached(data).cuda()
    for each in (host, model):
        each.cache_features()
    features = model.features["text"]
    assert features.staged is (share == 0.0)
    assert features.values_I.is_cuda is (share > 0.0)
    assert {p.device.type for p in model.encoder("text").parameters()} == {"cpu"}
    torch.testing.assert_close(model.item_table().cpu(), host.item_table(), rtol=0, atol=1e-5)
    batch = next(iter(data.train_dataloader()))
    sent = model.on_before_batch_transfer(batch, 0)
    if features.staged:
        assert sent.content["text"]["values"].is_pinned()
    sent = model.transfer_batch_to_device(sent, torch.device("cuda"), 0)
    with torch.no_grad():
        loss, expected = (sum(m.training_loss(b).values()) for m, b in ((model, sent), (host, batch)))
    torch.testing.assert_close(torch.as_tensor(loss).cpu(), torch.as_tensor(expected), rtol=1e-4, atol=1e-4)

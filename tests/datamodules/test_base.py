"""The data module with and without a trainer: caches, loaders, ranks and seeds."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from datamodules.base import RecDataModule
from datamodules.errors import DiskFullError
from datamodules.histories import TrainWindows
from datamodules.ninerec import NineRec
from datamodules.sampler import EpochRows
from tests.data_makers.ninerec import make_ninerec
from tests.data_makers.transforms import LetterTransform, PixelTransform
from zoo.types import EvalBatch, ItemSource, ModelNeeds, PairBatch, SequenceBatch

pytestmark = pytest.mark.filterwarnings(
    "ignore:Not the published size", "ignore:.*does not have many workers"
)

NEEDS = ModelNeeds({"text": LetterTransform(), "image": PixelTransform()}, negatives="positions")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ninerec")
    make_ninerec(folder, "QB", n_users=61)
    return folder


def ready(root: Path, needs: ModelNeeds = NEEDS, **options: Any) -> NineRec:  # noqa: ANN401
    data = NineRec(str(root), **options)
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


class Watcher(LightningModule):
    """A model that keeps what it is given."""

    def __init__(self, needs: ModelNeeds) -> None:
        super().__init__()
        self.wanted = needs
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[Any] = []

    def needs(self) -> ModelNeeds:
        return self.wanted

    def training_step(self, batch: SequenceBatch | PairBatch, batch_idx: int) -> Tensor:
        self.seen.append(batch)
        return self.weight * batch.unique_N.sum()

    def validation_step(self, batch: EvalBatch, batch_idx: int) -> None:
        self.seen.append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize("workers", [0, 2])
def test_under_a_trainer(root: Path, tmp_path: Path, workers: int) -> None:
    model = Watcher(NEEDS)
    data = NineRec(str(root), batch_size=16, eval_batch_size=32, num_workers=workers)
    trainer = Trainer(
        default_root_dir=tmp_path, max_epochs=1, accelerator="cpu", devices=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    training = [batch for batch in model.seen if isinstance(batch, SequenceBatch)]
    assert sorted(torch.cat([batch.user_B for batch in training]).tolist()) == list(range(1, 62))
    assert set(training[0].content) == {"text", "image"}
    assert training[0].content["image"]["pixels"].dtype == torch.uint8
    validation = [batch for batch in model.seen if isinstance(batch, EvalBatch)]
    assert torch.cat([batch.user_B for batch in validation]).tolist() == list(range(1, 62))


def test_spec_and_source(root: Path) -> None:
    data = ready(root)
    assert isinstance(data, RecDataModule)
    source: ItemSource = data.items
    assert data.spec.n_items == source.n_items == len(data.item_names) == len(source.counts_I)
    assert data.spec.n_users == len(data.user_names) == 62
    assert data.spec.max_len == 20
    assert source.counts_I[0] == 0
    rows = [batch.items_BS for batch in data.train_dataloader()]
    counted = np.bincount(np.concatenate([items.flatten() for items in rows]), minlength=source.n_items)
    assert (counted[1:] == source.counts_I[1:]).all()


def test_pairs_when_the_model_asks_for_them(root: Path) -> None:
    data = ready(root, ModelNeeds({"text": LetterTransform()}, batch="pair"), batch_size=100)
    batches = list(data.train_dataloader())
    assert all(isinstance(batch, PairBatch) for batch in batches)
    assert sum(len(batch.user_B) for batch in batches) == data.items.counts_I.sum()


def test_cached_modalities_are_prepared_but_not_sent(root: Path) -> None:
    data = ready(root, NEEDS._replace(cached=frozenset({"image"})))
    assert set(next(iter(data.train_dataloader())).content) == {"text"}
    assert "image" in data.items.content(np.array([1]), ["image"])


def test_ids_alone_need_no_content(root: Path) -> None:
    data = ready(root, ModelNeeds({}))
    assert next(iter(data.train_dataloader())).content == {}


def test_every_stage_has_every_user_once(root: Path) -> None:
    data = ready(root, eval_batch_size=7)
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        users = torch.cat([batch.user_B for batch in loader])
        assert users.tolist() == list(range(1, 62))


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_the_rows(root: Path, world_size: int) -> None:
    trained, evaluated = [], []
    for rank in range(world_size):
        data = ready(root)
        device = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(  # type: ignore[assignment]  # what the loaders read of a trainer
            global_rank=rank, world_size=world_size, strategy=device, lightning_module=Watcher(NEEDS)
        )
        trained += [user for batch in data.train_dataloader() for user in batch.user_B.tolist()]
        evaluated += [user for batch in data.test_dataloader() for user in batch.user_B.tolist()]
    assert sorted(evaluated) == list(range(1, 62))
    assert set(trained) == set(range(1, 62))
    assert len(trained) < 61 + world_size


def test_histories_of_one_length_share_a_batch(root: Path) -> None:
    lengths: dict[bool, list[list[int]]] = {}
    for bucket in (False, True):
        batches = list(ready(root, batch_size=8, bucket=bucket, max_len=9).train_dataloader())
        assert sorted(user for batch in batches for user in batch.user_B.tolist()) == list(range(1, 62))
        lengths[bucket] = [(batch.items_BS > 0).sum(1).tolist() for batch in batches]
    waste = {b: sum(max(n) * len(n) - sum(n) for n in lengths[b]) for b in lengths}
    assert waste[True] < waste[False]


def test_lengths_are_those_of_the_rows(root: Path) -> None:
    dataset = ready(root, max_len=5).train_dataloader().dataset
    assert isinstance(dataset, TrainWindows)
    rows = dataset.__getitems__(EpochRows(0, np.arange(len(dataset))))
    assert np.array_equal((rows.items_BS > 0).sum(1), dataset.lengths())


def test_seed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first_users(seed: int | None = None) -> list[int]:
        return next(iter(ready(root, seed=seed).train_dataloader())).user_B.tolist()  # type: ignore[no-any-return]

    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert first_users() == first_users(0)
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert first_users() == first_users(7) != first_users(0)


def test_a_prepared_cache_is_used_again(root: Path) -> None:
    data = ready(root)
    before = {path: path.stat().st_mtime_ns for path in data.cache.rglob("*.npy")}
    assert before
    assert {path: path.stat().st_mtime_ns for path in ready(root).cache.rglob("*.npy")} == before


def test_stale_caches_are_never_read(tmp_path: Path) -> None:
    make_ninerec(tmp_path)
    first = ready(tmp_path)
    assert ready(tmp_path, max_len=5).spec.max_len == 5
    assert next(iter(ready(tmp_path, max_len=5).test_dataloader())).history_BL.shape[1] == 5
    assert ready(tmp_path, min_len=20).spec.n_users < first.spec.n_users
    behaviours = tmp_path / "QB" / "QB_behaviour.tsv"
    lines = behaviours.read_text().splitlines(keepends=True)
    behaviours.write_text("".join(lines[:-1]))
    assert ready(tmp_path).spec.n_users == first.spec.n_users - 1
    cover = tmp_path / "QB" / "QB_cover" / f"{first.item_names[1]}.jpg"
    before = ready(tmp_path).items.content(np.array([1]), ["image"])["image"]["pixels"]
    shutil.copy(tmp_path / "QB" / "QB_cover" / f"{first.item_names[2]}.jpg", cover)
    after = ready(tmp_path).items.content(np.array([1]), ["image"])["image"]["pixels"]
    assert (before != after).any()


def test_one_module_sees_files_that_change_under_it(tmp_path: Path) -> None:
    make_ninerec(tmp_path)
    data = ready(tmp_path)
    before = data.spec.n_users
    behaviours = tmp_path / "QB" / "QB_behaviour.tsv"
    behaviours.write_text("".join(behaviours.read_text().splitlines(keepends=True)[:-3]))
    with pytest.raises(RuntimeError, match="the raw files have changed"):
        data.setup()
    data.prepare_data()
    data.setup()
    assert data.spec.n_users == before - 3


def test_setup_before_preparation(tmp_path: Path) -> None:
    make_ninerec(tmp_path)
    data = NineRec(str(tmp_path))
    with pytest.raises(RuntimeError, match=r"Call prepare_data\(\)"):
        data.setup()
    with pytest.raises(RuntimeError, match=r"prepare_data\(\) and setup\(\)"):
        data.train_dataloader()
    data.prepare_data()
    data.bind(NEEDS)
    with pytest.raises(RuntimeError, match="prepared text and image"):
        data.setup()


def test_a_disk_too_small_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_ninerec(tmp_path)
    data = NineRec(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    data.bind(ModelNeeds({"text": LetterTransform(), "image": PixelTransform(4096)}))
    usage = shutil.disk_usage(tmp_path)._replace(free=10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskFullError, match=r"2\.1 GB .* free are 100\.0 MB"):
        data.prepare_data()
    assert not list(data.cache.glob("image-*"))
    assert list(data.cache.glob("tables-*"))


@pytest.mark.parametrize(("option", "value"), [("min_len", 3), ("max_len", 0), ("batch_size", 0)])
def test_numbers_out_of_range(option: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"Expected {option} >= "):
        NineRec(**{option: value})  # type: ignore[arg-type]


def test_what_people_look_at(root: Path) -> None:
    data = ready(root)
    cover = data.cover(1)
    assert cover is not None
    assert cover.mode == "RGB"
    assert data.cover(0) is None
    assert data.raw_title(0) == ""
    assert data.raw_title(1)
    assert data.report().startswith("ninerec-QB:\n  40 items read\n  61 lines of users read\n")


def test_cache_elsewhere_leaves_the_data_untouched(tmp_path: Path) -> None:
    make_ninerec(tmp_path / "data")
    before = sorted(os.listdir(tmp_path / "data"))
    ready(tmp_path / "data", cache_dir=str(tmp_path / "cache"))
    assert sorted(os.listdir(tmp_path / "data")) == before
    assert (tmp_path / "cache" / "ninerec-QB").is_dir()

from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tests.data_makers.toy_run import Plan, ToyData, ToyModel
from tests.zoo.callbacks.test_checkpoint import trainer
from zoo.callbacks.ranks import RankWriter
from zoo.metrics.topk import NAMES


class Batch(NamedTuple):
    user_B: Tensor
    target_B: Tensor


class Rows(Dataset[int]):
    """Users 5 to 1, in that order."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, row: int) -> int:
        return 5 - row


def collate(users: list[int]) -> Batch:
    user_B = torch.tensor(users)
    return Batch(user_B, user_B + 1)


class Data(ToyData):
    item_names = ("", *(f"v{row}" for row in range(1, 24)))
    user_names = ("", *(f"u{row}" for row in range(1, 6)))

    def test_dataloader(self) -> DataLoader[int]:
        return DataLoader(Rows(), batch_size=2, collate_fn=collate)


class Ranked(ToyModel):
    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return {"rank_B": batch.user_B * 10, "rank_repeat_B": batch.user_B}


class Valued(ToyModel):
    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return {"values_BM": batch.user_B[:, None] / torch.arange(1.0, len(NAMES) + 1)}


class Silent(ToyModel):
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        return None


def test_one_line_a_user_in_the_order_of_the_catalogue(tmp_path: Path) -> None:
    run = trainer(tmp_path, RankWriter())
    for _ in range(2):  # the second time does not add to the first
        run.test(Ranked(), datamodule=Data(Plan(str(tmp_path))), verbose=False)
    table = pl.read_parquet(tmp_path / "ranks.parquet")
    assert table.columns == ["user", "target", "rank", "rank_repeat"]
    assert table["user"].to_list() == ["u1", "u2", "u3", "u4", "u5"]
    assert table.row(2) == ("u3", "v4", 30, 3)
    assert not list(tmp_path.glob("*.part"))


def test_metrics_of_users_with_several_targets(tmp_path: Path) -> None:
    trainer(tmp_path, RankWriter()).test(Valued(), datamodule=Data(Plan(str(tmp_path))), verbose=False)
    table = pl.read_parquet(tmp_path / "users.parquet")
    assert table.columns == ["user", *NAMES]
    assert table["user"].to_list() == ["u1", "u2", "u3", "u4", "u5"]
    assert table["ndcg@5"].to_list() == [0.5, 1.0, 1.5, 2.0, 2.5]
    assert not (tmp_path / "ranks.parquet").exists()


def test_a_model_without_ranks_is_told_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="returns no ranks"):
        trainer(tmp_path, RankWriter()).test(Silent(), datamodule=Data(Plan(str(tmp_path))), verbose=False)
    assert not (tmp_path / "ranks.parquet").exists()

from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
import torch
from torch import Tensor

from tests.data_makers.toy_run import Plan, ToyData, ToyModel
from tests.zoo.callbacks.test_checkpoint import trainer
from zoo.callbacks.predictions import PredictionWriter


class Found(NamedTuple):
    user_B: Tensor
    item_BK: Tensor
    score_BK: Tensor


class Predicting(ToyModel):
    def predict_step(self, batch: Tensor, batch_idx: int) -> Found:
        user_B = torch.arange(len(batch)) + 10 * batch_idx + 1
        item_BK = torch.stack([user_B % 5 + 1, torch.zeros_like(user_B)], dim=1)  # one candidate each
        return Found(user_B, item_BK, item_BK.half() / 2)


class Data(ToyData):
    predict_dataloader = ToyData.val_dataloader
    item_names = ("", *(f"v{row}" for row in range(1, 24)))
    user_names = ("", *(f"u{row}" for row in range(1, 38)))


@pytest.mark.parametrize("folder", [None, "elsewhere"])
def test_writes_names_ranks_and_scores(tmp_path: Path, folder: str | None) -> None:
    writer = PredictionWriter(None if folder is None else str(tmp_path / folder))
    run = trainer(tmp_path, writer)
    for _ in range(2):  # the second time does not add to the first
        run.predict(Predicting(), datamodule=Data(Plan(str(tmp_path))), return_predictions=False)
    path = tmp_path / (folder or "") / "predictions.parquet"
    table = pl.read_parquet(path)
    assert table.columns == ["user", "rank", "item", "score"]
    assert table["user"].to_list() == [f"u{row}" for row in range(1, 38)]
    assert table.row(3) == ("u4", 1, "v5", 2.5)
    assert table["rank"].unique().to_list() == [1]  # the empty second place is no line
    assert not list(path.parent.glob("*.part"))

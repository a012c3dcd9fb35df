from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tests.data_makers.toy_run import Plan, ToyData, ToyModel
from tests.zoo.callbacks.test_checkpoint import trainer
from zoo.callbacks import pictures
from zoo.callbacks.pictures import RecommendationStrip, StripRow, draw_strip
from zoo.types import EvalBatch

BATCH = EvalBatch(
    torch.arange(3),
    torch.tensor([[0, 0, 3], [1, 2, 3], [4, 5, 6]]),
    torch.tensor([7, 8, 9]),
    torch.zeros(3, 1, dtype=torch.long),
)


class OneBatch(Dataset[EvalBatch]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, row: int) -> EvalBatch:
        return BATCH


class Shown(ToyData):
    """Items 1 to 19 have a cover, of one colour each."""

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(OneBatch(), batch_size=None)

    def cover(self, row: int) -> Image.Image | None:
        return Image.new("RGB", (10, 20), (row, 0, 0)) if row < 20 else None

    def raw_title(self, row: int) -> str:
        return f"a rather long title,\nof item {row} 蜂蜜"


class Recommending(ToyModel):
    def validation_step(self, batch: EvalBatch, batch_idx: int) -> None:  # type: ignore[override]
        self.seen = 1

    def recommend_rows(self, batch: EvalBatch, k: int) -> Tensor:
        assert batch.history_BL.shape == (2, 3)
        return torch.tensor([[7, 20, 0], [1, 2, 3]])[:, :k]


def test_strip_shows_history_target_and_hits() -> None:
    rows = [StripRow([3], 7, [5, 7]), StripRow([1, 2, 3, 4], 25, [25, 0])]
    strip = np.asarray(draw_strip(rows, Shown(Plan("")), n_history=3))
    step, middle = pictures.TILE + pictures.GAP, pictures.GAP + pictures.TILE // 2
    line = strip[middle]
    at = [middle + column * step for column in range(6)]
    at = [x + gap * pictures.GAP for x, gap in zip(at, [0, 0, 0, 2, 4, 4], strict=True)]
    assert [tuple(line[x]) for x in at] == [
        (255, 255, 255),
        (255, 255, 255),
        (3, 0, 0),
        (7, 0, 0),
        (5, 0, 0),
        (7, 0, 0),
    ]
    frame = pictures.TILE // 2 + 2
    assert tuple(line[at[3] - frame]) == (0xE0, 0xA0, 0x00)
    assert tuple(line[at[5] - frame]) == (0x20, 0x90, 0x40)
    assert tuple(line[at[4] - frame]) == (255, 255, 255)
    below = strip[middle + pictures.TILE + pictures.TEXT + 2 * pictures.GAP]
    assert tuple(below[at[3]]) == (0xD8, 0xD8, 0xD8)  # no cover
    assert tuple(below[at[0]]) == (2, 0, 0)  # the three most recent ones


def test_logged_at_every_validation(tmp_path: Path) -> None:
    run = trainer(tmp_path, RecommendationStrip(users=2, n_history=3, k=3), enable_checkpointing=False)
    logger = TensorBoardLogger(tmp_path, name="log", version="")
    run.loggers = [logger]
    run.fit(Recommending(), datamodule=Shown(Plan(str(tmp_path))))
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "log"))
    events.Reload()
    images = events.Images("val/strip")
    assert [image.step for image in images] == [10, 20]
    assert images[0].width == 7 * (pictures.TILE + pictures.GAP) + 5 * pictures.GAP


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("logger", "no TensorBoard logger"),
        ("covers", "none of the items looked at has a cover"),
        ("data", "ToyData shows no covers"),
        ("model", "ToyModel has no recommend_rows"),
    ],
)
def test_says_once_why_it_draws_nothing(tmp_path: Path, missing: str, words: str) -> None:
    run = trainer(tmp_path)
    run.loggers = [] if missing == "logger" else [TensorBoardLogger(tmp_path)]
    data = ToyData(Plan("")) if missing == "data" else Shown(Plan(""))
    run.datamodule = data  # type: ignore[attr-defined]
    model = ToyModel() if missing == "model" else Recommending()
    batch = BATCH._replace(target_B=BATCH.target_B + 20) if missing == "covers" else BATCH
    strip = RecommendationStrip()
    with pytest.warns(UserWarning, match=words):
        strip.on_validation_batch_end(run, model, None, batch, 0)
    strip.on_validation_batch_end(run, model, None, batch, 0)

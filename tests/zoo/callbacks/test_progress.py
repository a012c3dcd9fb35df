from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.data_makers.toy_run import Plan, ToyData, ToyModel
from tests.zoo.callbacks.test_checkpoint import trainer
from zoo.callbacks import progress
from zoo.callbacks.progress import RateProgressBar, count
from zoo.types import PairBatch, SequenceBatch

ZERO = torch.zeros(3, dtype=torch.long)
SEQUENCE = SequenceBatch(ZERO, ZERO, None, torch.arange(8), ZERO, None, {}, ZERO, torch.arange(20))
PAIR = PairBatch(ZERO, ZERO, ZERO, None, torch.arange(6), ZERO, ZERO, {})


def test_counts_distinct_items_and_labels() -> None:
    assert count(SEQUENCE) == (7, 20)
    assert count(PAIR) == (5, 3)
    assert count(ZERO) == (0, 0)


def test_rates_stand_in_the_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Counted(ToyModel):
        def on_train_batch_end(self, outputs: object, batch: Tensor, batch_idx: int) -> None:
            seen.append(bar.get_metrics(self.trainer, self))

    seen: list[Mapping[str, object]] = []
    bar = RateProgressBar(refresh_rate=1)
    monkeypatch.setattr(progress, "WINDOW", 0.0)
    monkeypatch.setattr(progress, "count", lambda batch: (7, 20))
    run = trainer(tmp_path, bar, max_epochs=1, enable_checkpointing=False, enable_progress_bar=True)
    run.fit(Counted(), datamodule=ToyData(Plan(str(tmp_path))))
    assert {"items/s", "labels/s"} <= set(seen[-1])
    assert "v_num" not in seen[-1]
    assert "labels/s=" in capsys.readouterr().out

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from tests.data_makers.toy_run import Plan, ToyData, ToyModel
from tests.zoo.callbacks.test_checkpoint import trainer
from zoo.callbacks import cost
from zoo.callbacks.checkpoint import StepCheckpoint
from zoo.callbacks.cost import CostMeter, peak, reset_peak, resident

STEPS = 10
CPU = torch.device("cpu")


class Slow(ToyModel):
    """Steps of 5 ms, validations and a preparation of 100 ms; every third parameter is frozen."""

    def __init__(self, step: float = 0.005, validation: float = 0.1) -> None:
        super().__init__()
        self.step, self.validation = step, validation
        self.item.requires_grad_(False)
        self.features = {"text": 0}
        self.feature_seconds: dict[str, float] = {}

    def on_fit_start(self) -> None:
        self.feature_seconds = {"text": 1.25}

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        time.sleep(self.step)
        return super().training_step(batch, batch_idx)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        time.sleep(self.validation)


def measured(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "cost.json").read_text())
    assert isinstance(found, dict)
    return found


def test_epochs_without_validation(tmp_path: Path) -> None:
    run = trainer(tmp_path, CostMeter(), max_epochs=3)
    run.fit(Slow(), datamodule=ToyData(Plan(str(tmp_path))))
    found = measured(tmp_path)
    assert len(found["epoch_seconds"]) == 3
    assert all(seconds >= STEPS * 0.005 for seconds in found["epoch_seconds"])
    assert (found["cached"], found["feature_seconds"]) == (["text"], {"text": 1.25})
    assert found["parameters"] - found["trainable"] == 24 * 8
    assert found["memory_bytes"] > found["memory_before_bytes"] > 0
    assert found["device"] == "cpu"


def test_a_validation_within_an_epoch_holds_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    class Clocked(ToyModel):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            now[0] += 1
            return super().training_step(batch, batch_idx)

        def on_validation_epoch_start(self) -> None:
            super().on_validation_epoch_start()
            now[0] += 100

    monkeypatch.setattr("zoo.callbacks.cost.time.monotonic", lambda: now[0])
    run = trainer(tmp_path, CostMeter(), max_epochs=2, val_check_interval=4)
    run.fit(Clocked(), datamodule=ToyData(Plan(str(tmp_path))))
    assert measured(tmp_path)["epoch_seconds"] == [STEPS, STEPS]


class Dies(CostMeter):
    """Ends the process's training in the middle of the second epoch."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if (trainer.current_epoch, batch_idx) == (1, 6):
            raise RuntimeError("killed")


def test_only_whole_epochs_of_a_resumed_run_count(tmp_path: Path) -> None:
    data = ToyData(Plan(str(tmp_path)))
    first = trainer(tmp_path, Dies(), StepCheckpoint(2, str(tmp_path)), max_epochs=3)
    with pytest.raises(RuntimeError, match="killed"):
        first.fit(Slow(), datamodule=data)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    stored["callbacks"]["CostMeter"] = stored["callbacks"].pop("Dies")
    torch.save(stored, tmp_path / "last.ckpt")
    run = trainer(tmp_path, CostMeter(), max_epochs=3)
    run.fit(Slow(), datamodule=data, ckpt_path=str(tmp_path / "last.ckpt"), weights_only=True)
    assert len(measured(tmp_path)["epoch_seconds"]) == 2  # the first and the third


@pytest.mark.skipif(not cost.RESET.exists(), reason="needs Linux")
def test_a_peak_is_forgotten() -> None:
    reset_peak(CPU)
    before = peak(CPU)
    block = torch.ones(16 * 2**20)
    assert peak(CPU) - before > 0.9 * block.nbytes
    del block
    reset_peak(CPU)
    assert peak(CPU) - before < 0.5 * 64 * 2**20


def test_without_proc_the_peak_is_that_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "STATUS", tmp_path / "status")
    monkeypatch.setattr(cost, "RESET", tmp_path / "clear_refs")
    reset_peak(CPU)
    assert resident("VmHWM") == peak(CPU) > 2**20

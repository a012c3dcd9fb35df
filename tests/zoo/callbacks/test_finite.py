from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from tests.data_makers.toy_run import Plan, ToyData, ToyModel
from tests.zoo.callbacks.test_checkpoint import trainer
from zoo.callbacks.checkpoint import BestCheckpoint, StepCheckpoint
from zoo.callbacks.finite import FiniteGuard, all_finite


class Breaking(ToyModel):
    """Loses its loss, or only its gradients, at one step."""

    def __init__(self, at: int, what: str = "loss") -> None:
        super().__init__()
        self.at, self.what = at, what

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if self.trainer.global_step != self.at:
            return loss
        if self.what == "loss":
            return loss * torch.tensor(float("nan"))
        return loss + 0 * torch.sqrt(0 * self.item.weight.sum())  # finite, with a gradient that is not


def fit(folder: Path, model: ToyModel, every: int = 50) -> Trainer:
    run = trainer(
        folder,
        FiniteGuard(),
        BestCheckpoint(str(folder)),
        StepCheckpoint(1, str(folder)),
        log_every_n_steps=every,
    )
    run.fit(model, datamodule=ToyData(Plan(str(folder))))
    return run


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("at", [3, 9, 12])
def test_stops_before_a_broken_checkpoint(tmp_path: Path, at: int, what: str) -> None:
    with pytest.raises(FloatingPointError, match=f"epoch {at // 10}") as caught:
        fit(tmp_path, Breaking(at, what))
    assert str(tmp_path / "last.ckpt") in str(caught.value)
    assert "--model.lr" in str(caught.value)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    # Where step `at` ends an epoch, the one before it is the last to be saved.
    assert stored["global_step"] == at
    assert all_finite(stored["state_dict"].values())


def test_names_the_first_bad_batch_at_the_logging_cadence(tmp_path: Path) -> None:
    run = trainer(tmp_path, FiniteGuard(), log_every_n_steps=4, enable_checkpointing=False)
    with pytest.raises(FloatingPointError, match=r"epoch 0, batch 1 .*Last good checkpoint: none yet"):
        run.fit(Breaking(1), datamodule=ToyData(Plan(str(tmp_path))))
    assert run.global_step == 4


def test_leaves_a_sound_run_alone(tmp_path: Path) -> None:
    assert fit(tmp_path, ToyModel(), every=1).global_step == 20

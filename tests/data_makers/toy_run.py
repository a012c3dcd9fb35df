"""A training of seconds with everything in it that a restart can get wrong, and a way to kill it anywhere."""

import json
import os
import signal
from multiprocessing import set_start_method
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from datamodules.loader import ResumableLoader
from datamodules.negatives import uniform_negatives
from datamodules.sampler import EpochRows, EvalSampler, TrainBatchSampler
from zoo.callbacks.checkpoint import BestCheckpoint, StayingEarlyStopping, StepCheckpoint
from zoo.seeding import reseed

N_ITEMS = 24
N_ROWS = 37


class Plan(NamedTuple):
    """How to train, and where to die: ("step" | "validation" | "epoch_end" | "save" | "never", count)."""

    folder: str
    workers: int = 0
    persistent: bool = False
    accumulate: int = 1
    max_epochs: int = 7
    patience: int = 2
    every_n_steps: int = 2
    trainer: tuple[tuple[str, Any], ...] = ()
    die: str = "never"
    die_after: int = 0


class ToyRows(Dataset[Tensor]):
    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.items_US = np.sort(rng.integers(1, N_ITEMS, size=(N_ROWS, 5)), axis=1)

    def __len__(self) -> int:
        return N_ROWS

    def __getitem__(self, row: int) -> Tensor:
        return torch.from_numpy(self.items_US[row])


class ToyTrainingRows(ToyRows):
    def __getitems__(self, wanted: EpochRows) -> Tensor:
        items_BS = self.items_US[wanted.rows_B]
        negative_BL = uniform_negatives(5, wanted.epoch, wanted.rows_B, items_BS, N_ITEMS)
        return torch.from_numpy(np.concatenate([items_BS, negative_BL], axis=1))


def as_is(batch: Tensor) -> Tensor:
    return batch


class ToyData(LightningDataModule):
    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def train_dataloader(self) -> ResumableLoader:
        return ResumableLoader(
            ToyTrainingRows(),
            TrainBatchSampler(N_ROWS, 4, seed=5),
            collate_fn=as_is,
            num_workers=self.plan.workers,
            persistent_workers=self.plan.persistent,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(ToyRows(), batch_size=10, sampler=EvalSampler(N_ROWS))


class ToyModel(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.item = nn.Embedding(N_ITEMS, 8)
        self.body = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.3), nn.Linear(8, 8))
        self.right, self.seen = 0.0, 0

    def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> None:
        reseed(5, self.current_epoch, batch_idx, self.global_rank)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        items_BS, negative_BL = batch[:, :5], batch[:, 5:]
        user_BLD = self.body(self.item(items_BS[:, :-1]))
        gap_BL = (user_BLD * (self.item(items_BS[:, 1:]) - self.item(negative_BL))).sum(-1)
        return nn.functional.softplus(-gap_BL).mean()

    def on_validation_epoch_start(self) -> None:
        self.right, self.seen = 0.0, 0

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        score_BI = self.body(self.item(batch[:, -2])) @ self.item.weight.T
        self.right += float(score_BI.softmax(1).gather(1, batch[:, -1:]).sum())
        self.seen += len(batch)

    def on_validation_epoch_end(self) -> None:
        # Falls after a while, so that early stopping has something to do.
        self.log("val/ndcg@10", self.right / self.seen - 0.004 * max(0, self.current_epoch - 2))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step / 20))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Chronicle(Callback):
    """Writes down what happened, and kills the process where the plan says."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.counts: dict[str, int] = {}

    def _moment(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
        if self.plan.die == name and self.counts[name] == self.plan.die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def _write(self, record: dict[str, object]) -> None:
        with open(Path(self.plan.folder) / "chronicle.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Tensor, batch_idx: int
    ) -> None:
        assert isinstance(outputs, dict)
        key = f"train {trainer.current_epoch} {batch_idx}"
        self._write({"key": key, "loss": float(outputs["loss"]), "rows": batch.tolist()})
        self._moment("step")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._moment("epoch_start")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Tensor,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.sanity_checking:
            self._moment("validation")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            value = float(trainer.callback_metrics["val/ndcg@10"])
            self._write({"key": f"val {trainer.current_epoch} {trainer.global_step}", "value": value})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._moment("epoch_end")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]
    ) -> None:
        self._moment("save")


def run(plan: Plan) -> None:
    """Trains from ``last.ckpt`` if there is one, and writes the outcome to ``outcome.pt``."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ToyModel()
    chronicle = Chronicle(plan)
    best = BestCheckpoint(plan.folder)
    stop = StayingEarlyStopping(patience=plan.patience)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=plan.folder,
        logger=False,
        callbacks=[chronicle, stop, best, StepCheckpoint(plan.every_n_steps, plan.folder)],
        max_epochs=plan.max_epochs,
        accumulate_grad_batches=plan.accumulate,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **dict(plan.trainer),
    )
    last = Path(plan.folder) / "last.ckpt"
    path = str(last) if last.exists() else None
    trainer.fit(model, datamodule=ToyData(plan), ckpt_path=path, weights_only=True)
    outcome = {
        "weights": model.state_dict(),
        "optimizer": trainer.optimizers[0].state_dict(),
        "rates": trainer.optimizers[0].param_groups[0]["lr"],
        "wait_count": stop.wait_count,
        "stop_score": stop.best_score,
        "best_score": best.best_model_score,
        "best_path": Path(best.best_model_path).name,
        "epoch": trainer.current_epoch,
        "global_step": trainer.global_step,
        "val": float(trainer.callback_metrics.get("val/ndcg@10", float("nan"))),
    }
    torch.save(outcome, Path(plan.folder) / "outcome.pt")


def run_quietly(plan: Plan) -> None:
    """As ``run``, with what it prints in ``log.txt``: for processes that are killed."""
    set_start_method("fork", force=True)  # loader workers: the fork server's children would start anew
    log = os.open(Path(plan.folder) / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    run(plan)

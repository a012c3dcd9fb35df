"""Checkpoints from which a run goes on as if it had never stopped.

Two callbacks write them. ``BestCheckpoint`` saves at the end of each epoch: the best epoch under its own
name, and ``last.ckpt``. ``StepCheckpoint`` refreshes the same ``last.ckpt`` every so many optimiser steps, at
those moments only from which Lightning resumes exactly. ``--ckpt_path last`` finds it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor

LAST = "last.ckpt"
MONITOR = "val/ndcg@10"
"""The validation metric that decides for models that name none by their ``monitor``."""


def monitor_of(asked: str | None, model: LightningModule) -> str:
    """The validation metric that decides: the one asked for, or else the model's own."""
    return asked or str(getattr(model, "monitor", MONITOR))


class WholeFileCheckpoint(ModelCheckpoint):
    """Writes beside the target and renames, so that a name always belongs to a complete file.

    Lightning writes into the system's temporary folder and moves: across file systems that is a copy, and a
    process killed during it leaves half a file under the final name.
    """

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        part = f"{filepath}.part"
        super()._save_checkpoint(trainer, part)  # every rank takes part; ends with a barrier
        if trainer.is_global_zero:
            with open(part, "rb") as file:
                os.fsync(file.fileno())  # after a power cut too, the name must not be older than the content
            os.replace(part, filepath)
        self._last_checkpoint_saved = filepath

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores scores and paths, also where the run's folder was moved or is named another way.

        Lightning forgets the scores then, and the next epoch, however bad, would be the best.
        """
        folder = str(self.dirpath)

        def here(path: str) -> str:
            moved = os.path.join(folder, os.path.basename(path))
            return moved if path and os.path.exists(moved) else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        super().load_state_dict(
            {
                **state_dict,
                **{name: here(state_dict[name]) for name in paths},
                "best_k_models": {here(path): score for path, score in state_dict["best_k_models"].items()},
                "dirpath": self.dirpath,
            }
        )


class BestCheckpoint(WholeFileCheckpoint):
    """At the end of an epoch: the best epoch by a validation metric, and ``last.ckpt``.

    Place it before ``StepCheckpoint``: ``--ckpt_path best`` asks the first checkpoint callback.

    Args:
        dirpath: Folder of the checkpoints; by default below the logger's run folder.
        monitor: Validation metric that decides; by default the model's ``monitor``.
        mode: Whether a larger (``max``) or a smaller value is better.
        save_top_k: How many of the best epochs are kept.
    """

    def __init__(
        self,
        dirpath: str | None = None,
        monitor: str | None = None,
        mode: str = "max",
        save_top_k: int = 1,
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="best-epoch{epoch:03d}-step{step:06d}",
            monitor=monitor or MONITOR,
            mode=mode,
            save_top_k=save_top_k,
            save_last=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )
        self._asked = monitor
        self._may_go_on = True
        self._last_step = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settles what decides."""
        self.monitor = monitor_of(self._asked, pl_module)
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses to write over the checkpoints of an earlier run; only now the trainer says if it resumed.

        Raises:
            FileExistsError: There is a ``last.ckpt`` and this run did not begin from a checkpoint.
        """
        super().on_train_start(trainer, pl_module)
        last = Path(str(self.dirpath)) / LAST
        if trainer.ckpt_path is None and last.exists() and not getattr(trainer, "fast_dev_run", False):
            raise FileExistsError(
                f"A new run would overwrite the checkpoints of an earlier one: {last} exists. "
                "Go on with it by --ckpt_path last, or give this run another folder."
            )

    def _save_topk_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        super()._save_topk_checkpoint(trainer, monitor_candidates)
        # Lightning asks this before it writes last.ckpt: an epoch that is not among the best would have none.
        self._last_global_step_saved = trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the best epoch, and ``last.ckpt`` unless the run counts steps.

        With ``max_steps`` Lightning takes a finished epoch for an unfinished one when it resumes, and counts
        it twice; ``StepCheckpoint`` saves after the first step of the next epoch instead.
        """
        self._may_go_on = trainer.max_steps == -1
        super().on_train_epoch_end(trainer, pl_module)
        self._may_go_on = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the last weights of a run that counts steps and ends with an epoch; nothing else would."""
        at_end = trainer.is_last_batch and trainer.max_steps != -1
        if at_end and self._last_step != trainer.global_step:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def _save_last_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        # A validation inside an accumulation may still give the best epoch, but nothing to go on from.
        if self._may_go_on and not inside_accumulation(trainer):
            super()._save_last_checkpoint(trainer, monitor_candidates)
            self._last_step = trainer.global_step


class StepCheckpoint(WholeFileCheckpoint):
    """Refreshes ``last.ckpt`` within an epoch.

    Nothing is saved at three moments from which Lightning would not resume exactly: after an epoch's last
    batch, after any other batch that a validation follows (the resumed run would skip that validation, with
    its best score and its early-stopping count), and inside a gradient accumulation. The next suitable step
    is saved instead.

    Args:
        every_n_steps: Optimiser steps between two checkpoints, at least.
        dirpath: Folder of the checkpoints; the same as that of ``BestCheckpoint``.
    """

    def __init__(self, every_n_steps: int = 1000, dirpath: str | None = None) -> None:
        super().__init__(
            dirpath=dirpath,
            every_n_train_steps=every_n_steps,
            save_top_k=0,
            save_last=True,
            enable_version_counter=False,
        )
        self.every_n_steps = every_n_steps
        self._saved_at: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts from the step the run begins or resumes at."""
        super().on_train_start(trainer, pl_module)
        self._saved_at = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Saves if it is time and the moment is one to resume from."""
        assert self._saved_at is not None
        # The last step of a run cut by --trainer.max_steps may be any: without this its weights were lost.
        due = trainer.global_step - self._saved_at >= self.every_n_steps or (
            trainer.global_step == trainer.max_steps != self._saved_at
        )
        if not due or self._should_skip_saving_checkpoint(trainer) or not resumable_after(trainer, batch_idx):
            return
        self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
        self._saved_at = trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing is saved: the end of an epoch is ``BestCheckpoint``'s, unless the run counts steps."""
        self._saved_at = trainer.global_step if trainer.max_steps == -1 else -self.every_n_steps

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing, for the same reason."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing, for the same reason."""


def inside_accumulation(trainer: Trainer) -> bool:
    """Whether gradients of past batches wait for the optimiser; they are not part of a checkpoint."""
    return (
        not trainer.is_last_batch and (trainer.fit_loop.batch_idx + 1) % trainer.accumulate_grad_batches != 0
    )


def resumable_after(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a run resumed from a checkpoint written after this batch equals an uninterrupted one."""
    done = batch_idx + 1
    if trainer.is_last_batch or done == trainer.num_training_batches or trainer.should_stop:
        return False
    if inside_accumulation(trainer):
        return False
    interval = trainer.val_check_batch
    if interval is None or interval == float("inf"):
        return True
    every = trainer.check_val_every_n_epoch
    if every is not None and (trainer.current_epoch + 1) % every:
        return True
    batches = trainer.fit_loop.total_batch_idx + 1 if every is None else done
    return batches % int(interval) != 0


class StayingEarlyStopping(EarlyStopping):
    """Early stopping that also ends a resumed run which had stopped early already.

    Args:
        monitor: Validation metric that decides; by default the model's ``monitor``.
        mode: Whether a larger (``max``) or a smaller value is better.
        patience: Validations without improvement before the run stops.
        min_delta: Smallest change that counts as an improvement.
    """

    def __init__(
        self, monitor: str | None = None, mode: str = "max", patience: int = 5, min_delta: float = 0.0
    ) -> None:
        super().__init__(monitor=monitor or MONITOR, mode=mode, patience=patience, min_delta=min_delta)
        self._asked = monitor
        self._new_value = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settles what decides."""
        self.monitor = monitor_of(self._asked, pl_module)
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the counts; the patience is the one now configured, not the one of the checkpoint."""
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops before the first batch if the restored count says so; a larger patience lets it go on."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes that there is a value to judge."""
        self._new_value = not trainer.sanity_checking
        super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judges a validation once: an epoch that ends without one, cut short, says nothing new."""
        if self._new_value:
            super().on_train_epoch_end(trainer, pl_module)
        self._new_value = False

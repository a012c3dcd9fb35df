"""Stops a training whose loss or weights are no longer numbers, before a checkpoint of them is written."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


class FiniteGuard(Callback):
    """Ends the run with an error if the loss becomes NaN or infinite.

    The loss of every batch is looked at on the device; the host asks for the verdict only every
    ``trainer.log_every_n_steps`` batches, at an epoch's end and before a checkpoint is written, so that no
    step waits. Before a checkpoint the weights are looked at as well: a finite loss can have gradients that
    are not. So no checkpoint with broken weights ever replaces a good one.

    Raises:
        FloatingPointError: From the hooks, on all processes alike.
    """

    def __init__(self) -> None:
        self._first_bad: Tensor | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Batches are counted within the epoch."""
        self._first_bad = None

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Notes on the device whether this batch is the first bad one; asks now and then."""
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        if loss is None:
            return
        here = torch.where(torch.isfinite(loss.detach()).all(), -1, batch_idx)
        if self._first_bad is None:
            self._first_bad = here
        else:
            self._first_bad = torch.where(self._first_bad < 0, here, self._first_bad)
        every = getattr(trainer, "log_every_n_steps", 0) or 50  # 0: nothing is logged
        if (batch_idx + 1) % every == 0:
            self._check_loss(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Metrics of a broken model are not worth their time."""
        self._check_loss(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last batches of the epoch."""
        self._check_loss(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Lets nothing broken be written."""
        self._check_loss(trainer)
        if trainer.strategy.reduce_boolean_decision(not all_finite(pl_module.parameters()), all=False):
            raise FloatingPointError(
                _message(trainer, "Weights are NaN or infinite", trainer.fit_loop.batch_idx)
            )

    def _check_loss(self, trainer: Trainer) -> None:
        if self._first_bad is None or not trainer.state.fn == "fit":
            return
        batch = int(self._first_bad)  # the host waits for the device here
        if trainer.strategy.reduce_boolean_decision(batch >= 0, all=False):
            raise FloatingPointError(_message(trainer, "The training loss is NaN or infinite", batch))


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every entry of every floating-point tensor is a number; one wait for the device.

    >>> all_finite([torch.zeros(2), torch.tensor([1])]), all_finite([torch.tensor([1.0, float("nan")])])
    (True, False)
    """
    flags = [torch.isfinite(tensor).all() for tensor in tensors if tensor.is_floating_point()]
    return not flags or bool(torch.stack([flag.to(flags[0].device) for flag in flags]).all())


def _message(trainer: Trainer, what: str, batch: int) -> str:
    where = f"in epoch {trainer.current_epoch}"
    if batch >= 0:
        where += f", batch {batch}"
    # Older than the step in question: what is broken is never saved.
    saved = [str(getattr(callback, "last_model_path", "")) for callback in trainer.checkpoint_callbacks]
    saved = [path for path in saved if path]
    return (
        f"{what} {where} (optimiser step {trainer.global_step}). "
        f"Last good checkpoint: {saved[-1] if saved else 'none yet'}. Likely cures: a lower learning rate "
        "(--model.lr, --model.encoder_lr) or a warm-up (--model.warmup_steps) in a new run; "
        "--trainer.gradient_clip_val 1.0, or --trainer.precision 32-true where it was 16-mixed, also when "
        "going on by --ckpt_path last."
    )

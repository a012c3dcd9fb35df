"""The progress bar, with what a second brings."""

import time
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor

from zoo.types import InteractionBatch, PairBatch, SequenceBatch

WINDOW = 1.0
"""Seconds a rate is averaged over, at least."""


def count(batch: object) -> tuple[int, int]:
    """Distinct items that a batch encodes, and labels it trains on; from shapes, so nothing waits.

    Args:
        batch: A training batch; what is none of ours counts for nothing.
    """
    if isinstance(batch, SequenceBatch):
        return len(batch.unique_N) - 1, len(batch.positions_P)
    if isinstance(batch, PairBatch):
        return len(batch.unique_N) - 1, len(batch.user_B)
    if isinstance(batch, InteractionBatch):
        return 0, len(batch.user_B)
    return 0, 0


class RateProgressBar(TQDMProgressBar):
    """Adds items encoded per second and labels per second, over all processes, to the training bar.

    Args:
        refresh_rate: Batches between two refreshes; 0 for no bar.
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._rates: dict[str, str] = {}
        self._restart()

    def _restart(self) -> None:
        self._since, self._items, self._labels = time.monotonic(), 0, 0

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:  # noqa: ANN401
        """The time between epochs belongs to none."""
        super().on_train_epoch_start(trainer, *args)
        self._restart()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A validation within an epoch is no training time."""
        super().on_validation_end(trainer, pl_module)
        self._restart()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Counts, before the bar is drawn."""
        items, labels = count(batch)
        self._items += items
        self._labels += labels
        passed = time.monotonic() - self._since
        if self._labels and passed >= WINDOW:
            scale = trainer.world_size / passed
            counts = {"items/s": self._items, "labels/s": self._labels}
            self._rates = {name: f"{count * scale:,.0f}" for name, count in counts.items() if count}
            self._restart()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Logged values and rates; the logger's version number is left out."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return {**metrics, **self._rates}

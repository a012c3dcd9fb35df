"""A callback that kills its own process at a chosen moment, and the command run where it can be killed."""

import os
import signal
from multiprocessing import set_start_method
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tests.data_makers.killing import kill_before


class Killer(Callback):
    """Sends SIGKILL to its process.

    Args:
        moment: "step", "validation" (a batch of it), "epoch_end" or "save".
        count: At which of them.
        rank: In which process.
    """

    def __init__(self, moment: str, count: int, rank: int = 0) -> None:
        self.moment, self.count, self.rank = moment, count, rank
        self._seen = 0

    def _now(self, trainer: Trainer, moment: str) -> None:
        if moment == self.moment and trainer.global_rank == self.rank:
            self._seen += 1
            if self._seen == self.count:
                os.kill(os.getpid(), signal.SIGKILL)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: object) -> None:
        self._now(trainer, "step")

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: object) -> None:
        self._now(trainer, "validation")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._now(trainer, "epoch_end")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._now(trainer, "save")


def command(folder: Path, arguments: list[str], moment: int | None = None) -> None:
    """Runs ``mmzoo`` with the arguments in a folder; what it prints goes to ``log.txt`` there.

    Args:
        folder: Where it runs.
        arguments: Of the command.
        moment: Touches of the disk after which the next one kills the process.
    """
    set_start_method("fork", force=True)  # loader workers: the fork server's children would start anew
    os.chdir(folder)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    import cli
    import datamodules.demo  # noqa: F401  # all is loaded before touches are counted
    import zoo.command  # noqa: F401

    if moment is not None:
        kill_before(moment)
    cli.main(arguments)

"""The rank of every user's target as a file: what paired tests and later slices are counted from."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import polars as pl
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from zoo.types import EvalBatch

FILE = "ranks.parquet"


class _Named(Protocol):
    item_names: Sequence[str]
    user_names: Sequence[str]


class RankWriter(Callback):
    """After a test: writes ``ranks.parquet`` with one line a user, in the order of the catalogue's users.

    Columns: ``user`` and ``target`` by name, ``rank`` (1 is best; a target that the user had already seen is
    beyond every cut-off) and ``rank_repeat`` (such a target enabled again). Users of all processes are in one
    file, which therefore does not depend on their number. The file stands beside ``results.json``.
    """

    def __init__(self) -> None:
        self._found_4B: list[Tensor] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins with nothing, also the second time."""
        self._found_4B = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: EvalBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps 16 bytes a user on the device, so that nothing waits."""
        if isinstance(outputs, Mapping) and {"rank_B", "rank_repeat_B"} <= outputs.keys():
            found = (batch.user_B, batch.target_B, outputs["rank_B"], outputs["rank_repeat_B"])
            self._found_4B.append(torch.stack(found).int())

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gathers the users of all processes and writes the file, all or nothing."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # asked by all ranks: it is broadcast
        found_4B, self._found_4B = self._found_4B, []
        empty_4B = torch.empty(4, 0, dtype=torch.int32, device=pl_module.device)
        found_4U = torch.cat([empty_4B, *found_4B], dim=1)
        if trainer.world_size > 1:
            found_4U = torch.cat(gather_all_tensors(found_4U), dim=1)
        if not trainer.is_global_zero:
            return
        if not found_4U.shape[1]:
            rank_zero_warn(
                f"No {FILE} is written: test_step of {type(pl_module).__name__} returns no ranks. Return "
                "what Recommender.test_step returns, to have paired tests over users."
            )
            return
        table = rank_table(found_4U, cast(_Named, getattr(trainer, "datamodule", None)))
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{FILE}.part"
        table.write_parquet(part)
        os.replace(part, folder / FILE)


def rank_table(found_4U: Tensor, names: _Named) -> pl.DataFrame:
    """The lines of the file.

    Args:
        found_4U: Catalogue rows of users and targets, and the two ranks.
        names: What users and items are called.
    """
    user_U, target_U, rank_U, repeat_U = found_4U[:, found_4U[0].argsort()].cpu().numpy()
    return pl.DataFrame(
        {
            "user": pl.Series(names.user_names, dtype=pl.String).gather(user_U),
            "target": pl.Series(names.item_names, dtype=pl.String).gather(target_U),
            "rank": rank_U,
            "rank_repeat": repeat_U,
        }
    )

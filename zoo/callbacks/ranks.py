"""What a test found for every user as a file: what paired tests and later slices are counted from."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import polars as pl
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from zoo.metrics.topk import NAMES
from zoo.provenance import file_digest
from zoo.types import EvalBatch, LabelBatch

FILE = "ranks.parquet"
VALUES_FILE = "users.parquet"


class _Named(Protocol):
    @property
    def item_names(self) -> Sequence[str]: ...
    @property
    def user_names(self) -> Sequence[str]: ...


class RankWriter(Callback):
    """After a test: writes a file with one line a user, in the order of the catalogue's users.

    Where users have one target, it is ``ranks.parquet``: ``user`` and ``target`` by name, ``rank`` (1 is
    best; a target that the user had already seen is beyond every cut-off) and ``rank_repeat`` (such a target
    enabled again). Where they have several, it is ``users.parquet``: ``user`` and the user's metrics. Users
    of all processes are in one file, which therefore does not depend on their number. It stands beside
    ``results.json``, which has its name and digest if this callback stands in front of ``ResultTable``.
    """

    def __init__(self) -> None:
        self._found: list[Tensor] = []
        """A column a user: 32-bit integers, or 32-bit floats as such."""
        self._written: Path | None = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins with nothing, also the second time."""
        self._found, self._written = [], None

    def results_part(self) -> dict[str, Any]:
        """Name and digest of the file, for ``results.json``."""
        if self._written is None:
            return {}
        return {"users": {"file": self._written.name, "sha256": file_digest(self._written)}}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: EvalBatch | LabelBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps some bytes a user on the device, so that nothing waits."""
        outputs = outputs if isinstance(outputs, Mapping) else {}
        if {"rank_B", "rank_repeat_B"} <= outputs.keys():
            target_B = cast(EvalBatch, batch).target_B
            found = (batch.user_B, target_B, outputs["rank_B"], outputs["rank_repeat_B"])
            self._found.append(torch.stack(found).int())
        elif "values_BM" in outputs:
            values_MB = outputs["values_BM"].float().T.contiguous()
            self._found.append(torch.cat([batch.user_B.int()[None], values_MB.view(torch.int32)]))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gathers the users of all processes and writes the file, all or nothing."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # asked by all ranks: it is broadcast
        parts, self._found = self._found, []
        found_CU = gathered(parts, 4, trainer, pl_module)
        if not trainer.is_global_zero:
            return
        if not found_CU.shape[1]:
            rank_zero_warn(
                f"No {FILE} is written: test_step of {type(pl_module).__name__} returns no ranks. Return "
                "what Recommender.test_step returns, to have paired tests over users."
            )
            return
        names = cast(_Named, getattr(trainer, "datamodule", None))
        ranked = len(found_CU) == 4
        file = FILE if ranked else VALUES_FILE
        table = rank_table(found_CU, names) if ranked else value_table(found_CU, names)
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{file}.part"
        table.write_parquet(part, compression="zstd")
        os.replace(part, folder / file)
        self._written = folder / file


def gathered(parts: Sequence[Tensor], rows: int, trainer: Trainer, pl_module: LightningModule) -> Tensor:
    """What was kept batch by batch, of all processes; every one of them has to ask.

    Args:
        parts: 32-bit integers with a column a user, or a case; none where no batch came.
        rows: Rows of an empty result.
        trainer: Of the run.
        pl_module: On whose device it is.
    """
    empty_C0 = torch.empty(rows, 0, dtype=torch.int32, device=pl_module.device)
    found_CU = torch.cat([*parts] or [empty_C0], dim=1)
    if trainer.world_size > 1:
        found_CU = torch.cat(gather_all_tensors(found_CU), dim=1)
    return found_CU


def rank_table(found: Tensor, names: _Named) -> pl.DataFrame:
    """The lines of the file.

    Args:
        found: Catalogue rows of users and targets, and the two ranks, (4, U).
        names: What users and items are called.
    """
    found_4U = found.cpu().numpy()
    # A user may have several lines under a protocol that asks so: their order is no process's either.
    user_U, target_U, rank_U, repeat_U = found_4U[:, np.lexsort(found_4U[::-1])]
    return pl.DataFrame(
        {
            "user": pl.Series(names.user_names, dtype=pl.String).gather(user_U),
            "target": pl.Series(names.item_names, dtype=pl.String).gather(target_U),
            "rank": rank_U.astype(np.uint32),
            "rank_repeat": repeat_U.astype(np.uint32),
        }
    )


def value_table(found_CU: Tensor, names: _Named) -> pl.DataFrame:
    """The lines of the file where users have several targets.

    Args:
        found_CU: Rows of the users, then their metrics, floats as integers.
        names: What users are called.
    """
    user_U, *values_MU = found_CU[:, found_CU[0].argsort()].cpu().numpy()
    users = pl.Series(names.user_names, dtype=pl.String).gather(user_U)
    values = {name: value_U.view(np.float32) for name, value_U in zip(NAMES, values_MU, strict=True)}
    return pl.DataFrame({"user": users, **values})

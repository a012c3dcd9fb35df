"""Recommendations as a file: one line for every user and place."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import polars as pl
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor


class _Recommended(Protocol):
    @property
    def user_B(self) -> Tensor: ...
    @property
    def item_BK(self) -> Tensor: ...
    @property
    def score_BK(self) -> Tensor: ...


class _Named(Protocol):
    item_names: Sequence[str]
    user_names: Sequence[str]


class PredictionWriter(BasePredictionWriter):
    """Writes ``predictions.parquet`` with the columns user, rank, item and score, names as the data has them.

    With several processes each writes the users it was dealt, to ``predictions.rank<r>.parquet``; together
    they hold every user once. Places for which a user had no candidate left are no lines.

    Args:
        folder: Where the file goes; by default the run's log folder, or the trainer's root folder.
    """

    def __init__(self, folder: str | None = None) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder
        self._users: list[np.ndarray] = []
        self._items: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins with nothing, also the second time."""
        self._users, self._items, self._scores = [], [], []

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: object,
        batch_indices: Sequence[int] | None,
        batch: object,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Keeps ids and scores on the host: 16 bytes for every line to come."""
        found = cast(_Recommended, prediction)
        self._users.append(found.user_B.cpu().numpy().astype(np.int32))
        self._items.append(found.item_BK.cpu().numpy().astype(np.int32))
        self._scores.append(found.score_BK.float().cpu().numpy())

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the file, all or nothing."""
        folder = Path(self.folder or trainer.log_dir or trainer.default_root_dir)
        name = "predictions.parquet"
        if trainer.world_size > 1:
            name = f"predictions.rank{trainer.global_rank}.parquet"
        table = self._table(cast(_Named, getattr(trainer, "datamodule", None)))
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{name}.part"
        table.write_parquet(part)
        os.replace(part, folder / name)
        rank_zero_info(f"{table.height:,} recommendations are in {folder / name}.")

    def _table(self, names: _Named) -> pl.DataFrame:
        user_U = np.concatenate(self._users)
        item_UK = np.concatenate(self._items)
        score_UK = np.concatenate(self._scores)
        places = item_UK.shape[1]
        lines = pl.DataFrame(
            {
                "user": np.repeat(user_U, places),
                "rank": np.tile(np.arange(1, places + 1, dtype=np.int32), len(user_U)),
                "item": item_UK.ravel(),
                "score": score_UK.ravel(),
            }
        ).filter(pl.col("item") > 0)
        users = pl.Series(names.user_names, dtype=pl.String)
        items = pl.Series(names.item_names, dtype=pl.String)
        return lines.with_columns(
            user=users.gather(lines["user"]).alias("user"), item=items.gather(lines["item"]).alias("item")
        )

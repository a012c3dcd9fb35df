"""What a test found for groups of users and targets: a part of ``results.json``, and a file of its own."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from zoo.callbacks.ranks import gathered
from zoo.experiments.folder import write_atomic
from zoo.metrics.ranking import CUTOFFS
from zoo.metrics.slices import (
    Catalogue,
    Slices,
    Targets,
    UserValues,
    item_slices,
    target_activity,
    user_activity,
)
from zoo.metrics.topk import NAMES
from zoo.types import EvalBatch, ItemSource, KnowsMissing, LabelBatch

FILE = "slices.csv"
SHOWN = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
"""Metrics of users who have several targets."""
PAIR_CUTOFFS = (10, 20)
"""Cut-offs of their targets, each taken alone."""


class SliceReport(Callback):
    """After a test: metrics by popularity, activity, cold items, missing content and repeated targets.

    ``zoo/metrics/slices.py`` says what the groups are. They are ``slices`` in ``results.json`` (slice ->
    group -> ``n``, and metric -> mean and ends of the 95 % interval) and the lines of ``slices.csv`` beside
    it. Where users have one target, ``n`` counts users. Where they have several, it counts users in the
    slice ``activity`` and their targets elsewhere. Every user counts once, however many processes there are.

    Args:
        show: Print the groups below the table.
    """

    def __init__(self, show: bool = False) -> None:
        self.show = show
        self.slices: Slices = {}
        """What the last test found; on the first process only."""
        self._targets: list[Tensor] = []
        """A column a target: user, item, both ranks, whether it was seen, what is known of the user."""
        self._users: list[Tensor] = []
        """A column a user with several targets: row, what is known of him, and floats as integers."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins with nothing, also the second time."""
        self.slices, self._targets, self._users = {}, [], []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps some bytes a target on the device, so that nothing waits."""
        outputs = outputs if isinstance(outputs, Mapping) else {}
        if isinstance(batch, EvalBatch) and {"rank_B", "rank_repeat_B"} <= outputs.keys():
            seen_B = (batch.hidden_BH == batch.target_B[:, None]).any(1)
            known_B = (batch.hidden_BH > 0).sum(1)
            ranks = outputs["rank_B"], outputs["rank_repeat_B"]
            self._targets.append(torch.stack([batch.user_B, batch.target_B, *ranks, seen_B, known_B]).int())
        elif isinstance(batch, LabelBatch) and {"values_BM", "place_BP"} <= outputs.keys():
            known_B = (batch.hidden_BH > 0).sum(1)
            shown = [NAMES.index(name) for name in SHOWN]
            value_MB = outputs["values_BM"][:, shown].float().T.contiguous()
            self._users.append(
                torch.cat([torch.stack([batch.user_B, known_B]).int(), value_MB.view(torch.int32)])
            )
            self._targets.append(_pairs(batch, outputs["place_BP"], known_B))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gathers all processes' targets and cuts them, before the results are written."""
        found_CR = gathered(self._targets, 6, trainer, pl_module)
        users_CU = gathered(self._users, 2 + len(SHOWN), trainer, pl_module)
        self._targets, self._users = [], []
        items = getattr(pl_module, "items", None)
        if trainer.is_global_zero and found_CR.shape[1] and items is not None:
            self.slices = cut(_sorted(found_CR), _sorted(users_CU), cast(ItemSource, items))

    def results_part(self) -> dict[str, Any]:
        """The slices, for ``results.json``."""
        return {"slices": self.slices} if self.slices else {}

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the file, all or nothing."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # asked by all ranks: it is broadcast
        if not self.slices:
            return
        write_atomic(folder / FILE, csv_text(self.slices))
        if self.show:
            print(f"\n{csv_text(self.slices)}")


def cut(found_CR: np.ndarray[Any, Any], users_CU: np.ndarray[Any, Any], items: ItemSource) -> Slices:
    """All slices of a test.

    Args:
        found_CR: Targets, see ``SliceReport``.
        users_CU: Users with several targets; no column where each has one.
        items: The catalogue.
    """
    user_R, item_R, rank_R, repeat_R, seen_R, known_R = found_CR.astype(np.int64)
    targets = Targets(user_R, item_R, _within(rank_R), _within(repeat_R), seen_R.astype(np.bool_))
    present = items.present() if isinstance(items, KnowsMissing) else {}
    catalogue = Catalogue(items.counts_I, present)
    if not users_CU.shape[1]:
        return {**item_slices(targets, catalogue), **target_activity(targets, known_R)}
    values = {
        name: np.ascontiguousarray(value_U).view(np.float32).astype(np.float64)
        for name, value_U in zip(SHOWN, users_CU[2:], strict=True)
    }
    by_item = item_slices(targets, catalogue, PAIR_CUTOFFS)
    return {**by_item, **user_activity(UserValues(users_CU[1].astype(np.int64), values))}


def _within(rank_R: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.where(rank_R > max(CUTOFFS), 0, rank_R)


def _sorted(found_CR: Tensor) -> np.ndarray[Any, Any]:
    """On the host and in the order of users, then items: the same however many processes there were."""
    found = found_CR.cpu().numpy()
    return np.ascontiguousarray(found[:, np.lexsort((found[1], found[0]))])


def _pairs(batch: LabelBatch, place_BP: Tensor, known_B: Tensor) -> Tensor:
    """A column for every target of a batch."""
    user_BP, known_BP = (row_B[:, None].expand_as(batch.target_BP) for row_B in (batch.user_B, known_B))
    seen_BP = _among(batch.target_BP, batch.hidden_BH)
    columns = (user_BP, batch.target_BP, place_BP, place_BP, seen_BP, known_BP)
    return torch.stack([column.flatten().int() for column in columns])[:, batch.target_BP.flatten() > 0]


def _among(target_BP: Tensor, hidden_BH: Tensor) -> Tensor:
    """Which targets are hidden from their user (B, P), in the memory of a sort."""
    sorted_BH = F.pad(hidden_BH, (1, 0)).sort(dim=1).values
    at_BP = torch.searchsorted(sorted_BH, target_BP).clamp(max=sorted_BH.shape[1] - 1)
    return sorted_BH.gather(1, at_BP) == target_BP


def csv_text(slices: Slices) -> str:
    """One line for a metric of a group.

    >>> print(csv_text({"cold": {"1-9": {"n": 3, "hr@10": [0.5, 0.25, 0.75]}}}), end="")
    slice,group,n,metric,mean,lower,upper
    cold,1-9,3,hr@10,0.500000,0.250000,0.750000
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["slice", "group", "n", "metric", "mean", "lower", "upper"])
    for name, groups in slices.items():
        for group, found in groups.items():
            for metric, interval in found.items():
                if isinstance(interval, list):
                    writer.writerow([name, group, found["n"], metric, *(f"{v:.6f}" for v in interval)])
    return text.getvalue()

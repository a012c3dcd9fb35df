"""Stage 2 of FMMRec as a training: the two maps of a modality against their discriminators."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from zoo.callbacks.checkpoint import LAST, WholeFileCheckpoint
from zoo.callbacks.finite import FiniteGuard
from zoo.fair.disentangle import Branches, Disentangler, probe_loss, split_loss
from zoo.fair.host import few_words, inner_trainer
from zoo.fair.labels import Labels
from zoo.fair.probes import Probes
from zoo.fair.store import CHECKPOINTS
from zoo.seeding import reseed

EVERY = 10
"""Epochs between two checkpoints."""


class SplitOptions(NamedTuple):
    """How a modality is split."""

    epochs: int
    parity: bool
    seed: int
    batch_size: int = 2048
    lr: float = 1e-3


class SplitTraining(LightningModule):
    """The two maps and the discriminators of both branches, in turns.

    Rows are training pairs, so that active users weigh more, as in the released code; its negatives, which
    it draws and does not use, are left out.

    Args:
        profile_UD: Mean features of what each user has consumed.
        labels: Attributes of the same users.
        options: How to train.
    """

    def __init__(self, profile_UD: Tensor, labels: Labels, options: SplitOptions) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.options = options
        self.n_classes = labels.n_classes
        width = profile_UD.shape[1]
        self.disentangler = Disentangler(width)
        self.probes = Probes(2, width, labels.n_classes, max(1, width // 2))
        self.register_buffer("profile_UD", profile_UD, persistent=False)
        self.register_buffer("class_KU", labels.class_KU, persistent=False)
        self.profile_UD: Tensor
        self.class_KU: Tensor

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Makes what a step draws a function of its place."""
        reseed(self.options.seed, self.current_epoch, batch_idx, 0)

    def training_step(self, user_B: Tensor, batch_idx: int) -> Tensor:
        """A step of the maps, then one of the discriminators on the same branches."""
        maps, probes = cast(list[Any], self.optimizers())
        label_KB, parity = self.class_KU[:, user_B], self.options.parity
        parts, both_GBD = split_loss(
            self.disentangler, self.probes, self.profile_UD[user_B], label_KB, self.n_classes, parity
        )
        loss = torch.stack(list(parts.values())).sum()
        for optimizer, value in ((maps, loss), (probes, None)):
            if value is None:
                value = probe_loss(self.probes, both_GBD, label_KB, self.n_classes, parity)
            optimizer.zero_grad()
            self.manual_backward(value)
            optimizer.step()
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(user_B))
        return loss.detach()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the maps, and for the discriminators."""
        modules = (self.disentangler, self.probes)
        return [torch.optim.Adam(module.parameters(), lr=self.options.lr) for module in modules]


class _Rows(Dataset[Tensor]):
    """Users of the training pairs, answered by whole batches."""

    def __init__(self, user_E: Tensor) -> None:
        self.user_E = user_E

    def __getitem__(self, rows_B: Tensor) -> Tensor:
        return self.user_E[rows_B]

    def __len__(self) -> int:
        return len(self.user_E)


class _Order(Sampler[Tensor]):
    """Shuffled batches of rows, a function of seed and epoch."""

    def __init__(self, n_rows: int, batch_size: int, seed: int) -> None:
        self.n_rows, self.batch_size, self.seed, self.epoch = n_rows, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        yield from torch.split(torch.randperm(self.n_rows, generator=generator), self.batch_size)

    def __len__(self) -> int:
        return -(-self.n_rows // self.batch_size)


def train_split(
    feature_ID: Tensor,
    profile_UD: Tensor,
    user_E: Tensor,
    labels: Labels,
    options: SplitOptions,
    folder: Path,
    outer: Trainer,
) -> Branches:
    """Splits the features of a modality, or goes on with it.

    Args:
        feature_ID: Features of the items, without a padding row.
        profile_UD: Their mean over each user's items.
        user_E: Users of the training pairs, from 0.
        labels: Attributes of the users.
        options: How to train.
        folder: Of the checkpoints.
        outer: The trainer of the run at hand.

    Returns:
        Both branches of every item.
    """
    model = SplitTraining(profile_UD, labels, options)
    loader = DataLoader(
        _Rows(user_E.cpu()), sampler=_Order(len(user_E), options.batch_size, options.seed), batch_size=None
    )
    keeper = WholeFileCheckpoint(
        dirpath=str(folder / CHECKPOINTS),
        filename="last",
        save_top_k=1,
        every_n_epochs=EVERY,
        enable_version_counter=False,
    )
    trainer = inner_trainer(outer, folder, options.epochs, [keeper, FiniteGuard()])
    last = folder / CHECKPOINTS / LAST
    with few_words():
        trainer.fit(model, loader, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    with torch.no_grad():
        branches: Branches = model.disentangler.to(feature_ID.device).eval()(feature_ID)
    return branches

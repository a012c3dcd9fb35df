"""Stage 1 of FMMRec: a host out of its checkpoint, or trained here."""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback

from zoo.base import Recommender
from zoo.callbacks.checkpoint import LAST, BestCheckpoint, StayingEarlyStopping
from zoo.callbacks.finite import FiniteGuard
from zoo.checkpoints import read_checkpoint
from zoo.factory import load_recommender
from zoo.fair.store import CHECKPOINTS
from zoo.types import CatalogSpec, ItemSource

OPTION = "--model.host_from"


def load_host(host_from: str, spec: CatalogSpec, items: ItemSource) -> Recommender:
    """A trained host with the catalogue it was trained on.

    Args:
        host_from: Its checkpoint, or the folder of its run, whose best one it is then.
        spec: Sizes of the catalogue.
        items: The catalogue.

    Raises:
        FileNotFoundError: There is neither.
        CheckpointMismatchError: The file is no checkpoint, or one of another catalogue.
    """
    host = load_recommender(host_from, OPTION)
    host.attach(spec, items)
    return host.eval()


def train_host(
    host: Recommender,
    data: LightningDataModule,
    folder: Path,
    budget: tuple[int, int],
    outer: Trainer,
) -> Recommender:
    """Trains a host, or goes on with it, and takes its best epoch.

    Args:
        host: Not built yet.
        data: The data module of the run at hand; it stays as it is.
        folder: Of the host's checkpoints.
        budget: Epochs, and epochs without improvement after which to stop.
        outer: The trainer of the run at hand: device, precision and progress bar are its own.
    """
    epochs, patience = budget
    keeper = BestCheckpoint(dirpath=str(folder / CHECKPOINTS))
    guards: list[Callback] = [StayingEarlyStopping(patience=patience), FiniteGuard()]
    trainer = inner_trainer(outer, folder, epochs, [keeper, *guards])
    last = folder / CHECKPOINTS / LAST
    # A copy, so that the data module's trainer, and what it knows of the model's needs, remain the run's.
    resume = str(last) if last.is_file() else None
    with few_words():
        trainer.fit(host, datamodule=copy.copy(data), ckpt_path=resume, weights_only=True)
    if not keeper.best_model_path:
        raise RuntimeError(f"The host had no validation in {epochs} epochs: its best epoch is not known.")
    best = read_checkpoint(keeper.best_model_path)
    host.load_state_dict(best["state_dict"])
    return host.eval()


def inner_trainer(outer: Trainer, folder: Path, epochs: int, callbacks: list[Callback]) -> Trainer:
    """A quiet trainer on the device of another one, for a stage that comes before it."""
    device = outer.strategy.root_device
    limit = outer.limit_train_batches
    with few_words():
        return Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=1 if device.index is None else [device.index],
            precision=outer.precision,
            max_epochs=epochs,
            default_root_dir=str(folder),
            logger=False,
            callbacks=callbacks,
            enable_progress_bar=outer.progress_bar_callback is not None,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            check_val_every_n_epoch=outer.check_val_every_n_epoch,
            deterministic=torch.are_deterministic_algorithms_enabled(),
            limit_train_batches=None if limit == 1.0 else limit,
        )


@contextmanager
def few_words() -> Iterator[None]:
    """Leaves out what Lightning says of every trainer: the run's own has said it."""
    log = logging.getLogger("lightning.pytorch")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)

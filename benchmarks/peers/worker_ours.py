"""Ours, by ``mmzoo fit`` itself; variant ``plain`` is the papers' loop on the same batches of users.

Runs in the benchmark's own environment, in a process of its own like the other libraries' workers.
"""

import json
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.measure import quiet
from benchmarks.peers.histories import Histories, save_rows
from benchmarks.peers.protocol import (
    Channel,
    Evaluated,
    Pacer,
    Setting,
    Stage,
    keep_output,
    serve_evaluation,
)
from benchmarks.plain_loop import PlainLoop
from benchmarks.shapes import number_tables
from cli import expand_names
from datamodules.base import RecDataModule
from datamodules.histories import TrainWindows
from datamodules.raw_content import RawContent
from datamodules.tables import Tables
from zoo.command import ZooCLI
from zoo.sequential import SequentialRecommender
from zoo.types import EvalBatch, SequenceBatch

EVAL_BATCH = 512


class HistoryData(RecDataModule):
    """The histories all contenders learn from.

    Args:
        root: Folder with ``histories.npz``.
        cache_dir: Folder for what is prepared.
        max_len: History length L.
        min_len: Users with fewer interactions are left out.
        batch_size: Users in a training batch.
        eval_batch_size: Users in an evaluation batch.
        num_workers: Processes that make training batches.
        seed: Of order and negatives.
    """

    def __init__(
        self,
        root: str,
        cache_dir: str | None = None,
        max_len: int = 50,
        min_len: int = 4,
        batch_size: int = 128,
        eval_batch_size: int = EVAL_BATCH,
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__(root, cache_dir, max_len, min_len, batch_size, eval_batch_size, num_workers, seed)

    @property
    def cache_name(self) -> str:
        """One name: every run has a cache of its own."""
        return "histories"

    def table_files(self) -> list[Path]:
        """The one file."""
        return [self.root]

    def read_tables(self) -> Tables:
        """Numbers as names."""
        histories = Histories.load(self.root)
        return number_tables(histories.offsets, histories.items.astype(np.int32), histories.n_items)

    def raw_content(self, modality: str, items: object) -> RawContent:
        """There is none.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"These histories have no content, but the model wants {modality!r}.")


class Paced(Callback):
    """Runs our training, or the plain loop in its place, as the pacer allows.

    Args:
        variant: ``plain``, or ours.
        data: File of the histories.
        max_len: History length L.
        answers: What ``keep_output`` gave.
    """

    pacer: Pacer

    def __init__(self, variant: str, data: str, max_len: int, answers: int) -> None:
        self.variant, self.max_len, self.answers = variant, max_len, answers
        self.histories = Histories.load(Path(data))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Waits for the first request; the plain loop never comes back from here."""
        assert isinstance(pl_module, SequentialRecommender)
        model, plain = pl_module, None
        loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        if self.variant == "plain":
            assert isinstance(loader.dataset, TrainWindows)
            plain = PlainLoop(pl_module, loader.dataset.windows, "full")
            model = plain.model
            model.items = pl_module.items  # the scores ask for the catalogue
        names = np.array(trainer.datamodule.item_names[1:], dtype=np.int64)  # type: ignore[attr-defined]

        def save(stage: Stage, users: int, path: Path) -> None:
            save_scores(model, self.histories, names, self.max_len, stage, users, path)

        self.pacer = Pacer(Channel.of_process(self.answers), save)
        self.pacer.begin(parameters=sum(p.numel() for p in model.parameters()))
        while plain is not None:
            for batch in loader:
                plain.step(batch.user_B.tolist())
                self.pacer.step(len(batch.positions_P))
            self.pacer.epoch()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: SequenceBatch,
        batch_idx: int,
    ) -> None:
        """Labels are positions with a next item."""
        self.pacer.step(len(batch.positions_P))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An epoch is over."""
        self.pacer.epoch()


def save_scores(
    model: SequentialRecommender,
    histories: Histories,
    names: np.ndarray,
    max_len: int,
    stage: Stage,
    users: int,
    path: Path,
) -> None:
    """Writes scores of the first users; -inf where the catalogue has no such item.

    Args:
        model: Attached to its catalogue.
        histories: Of all users.
        names: Catalogue row less one -> number of the item.
        max_len: History length L.
        stage: Whose histories are read.
        users: How many of them.
        path: File to write.
    """
    row_I = np.zeros(histories.n_items + 1, dtype=np.int64)  # padding is the number after the last item
    row_I[names] = np.arange(1, len(names) + 1)
    item_BL = row_I[histories.padded(stage, max_len, histories.n_items, users)]
    scores = np.full((len(item_BL), histories.n_items), -np.inf, dtype=np.float32)
    training = model.training
    model.eval()
    with torch.no_grad():
        table_ID = model.item_table()
        for start in range(0, len(item_BL), EVAL_BATCH):
            history_BL = torch.from_numpy(item_BL[start : start + EVAL_BATCH])
            nobody_B = torch.zeros(len(history_BL), dtype=torch.int64)
            batch = EvalBatch(nobody_B, history_BL, nobody_B, history_BL)
            found = model.user_vectors(batch, table_ID) @ table_ID[1:].T
            scores[start : start + EVAL_BATCH, names] = found.numpy()
    model.train(training)
    save_rows(path, scores)


def command(setting: Setting) -> list[str]:
    """``mmzoo fit`` of SASRec on item ids."""
    return [
        *("fit", "--model", "idrec", "--data=benchmarks.peers.worker_ours.HistoryData"),
        *(f"--data.root={setting.data}", f"--data.cache_dir={setting.folder / 'cache'}"),
        *(f"--data.max_len={setting.max_len}", f"--data.batch_size={setting.batch}"),
        # The form that the other libraries have: the ICDM paper's.
        "--model.backbone_args={form: paper}",
        *("--model.loss=full", "--model.weight_decay=0", f"--model.lr={setting.lr}"),
        *(f"--model.width={setting.width}", f"--model.n_blocks={setting.blocks}"),
        *(f"--model.n_heads={setting.heads}", f"--model.dropout={setting.dropout}"),
        *(f"--seed_everything={setting.seed}", f"--run_dir={setting.folder / 'run'}", "--threads=1"),
        *("--trainer.limit_val_batches=0", "--test_after_fit=false", "--trainer.max_epochs=-1"),
        "--trainer.enable_progress_bar=false",
    ]


def paced(setting: Setting, answers: int) -> str:
    """The option that gives the trainer a ``Paced``."""
    given = {
        "variant": setting.variant,
        "data": str(setting.data),
        "max_len": setting.max_len,
        "answers": answers,
    }
    callback = {"class_path": "benchmarks.peers.worker_ours.Paced", "init_args": given}
    return f"--trainer.callbacks+={json.dumps(callback)}"


def main() -> None:
    """Trains or evaluates as told."""
    setting = Setting.parse()
    quiet()
    answers = keep_output()
    if setting.mode == "train":
        argv = [*command(setting), paced(setting, answers)]
        ZooCLI(RecDataModule, expand_names(argv).argv, "benchmark/peers")
        return
    argv = [*command(setting), "--trainer.max_steps=0"]
    channel = Channel.of_process(answers)
    cli = ZooCLI(RecDataModule, expand_names(argv).argv, "benchmark/peers")
    histories = Histories.load(setting.data)
    names = np.array(cli.datamodule.item_names[1:], dtype=np.int64)

    def evaluate() -> Evaluated:
        found = cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)[0]
        metrics = {"recall@10": found["test/hr@10"], "ndcg@10": found["test/ndcg@10"]}
        return Evaluated(histories.n_users, metrics)

    def save(stage: Stage, users: int, path: Path) -> None:
        save_scores(cli.model, histories, names, setting.max_len, stage, users, path)

    serve_evaluation(channel, evaluate, save, parameters=sum(p.numel() for p in cli.model.parameters()))


if __name__ == "__main__":
    main()

"""Labels per second of training, and encodes per batch: ours by the real command against the plain loop."""

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from benchmarks.frozen import FilePerItem, planted_command
from benchmarks.measure import Row, Spread, in_fresh_process, now, require, second_of
from benchmarks.plain_loop import PlainLoop, PlainLoss
from benchmarks.shapes import ShapeData
from cli import expand_names
from datamodules.base import RecDataModule
from datamodules.demo import Demo
from datamodules.histories import TrainWindows
from zoo.command import ZooCLI
from zoo.factory import create
from zoo.models.morec import MoRec
from zoo.sequential import SequentialRecommender
from zoo.types import SequenceBatch

Contender = Literal["both", "ours", "plain"]
TOLERANCE = 1e-6
"""Of the loss, relative; gradients may differ a hundred times more, for their sums run in another order."""
SASREC = ("--model.width=64", "--model.n_heads=1", "--model.n_blocks=2", "--model.lr=1e-3")


class Job(NamedTuple):
    """One training to measure."""

    case: str
    command: tuple[str, ...]
    """Of ``mmzoo fit``, without the run's folder and length."""
    loss: PlainLoss = "in_batch"
    files: str = ""
    """Folder where the plain loop reads frozen states from, a file a slot; empty where it encodes."""


class Alternate(Callback):
    """After every step of the trainer, one of the plain loop on the same users; times both.

    Our time runs from the end of one plain step to the end of our next step: loader, collate, hooks, logging
    and optimiser are in it. The first batch is compared before anything runs.

    Args:
        warm_ups: Steps of each that are not timed.
        loss: What the plain loop minimises.
        contender: ``plain`` runs that loop alone, before a training of no steps.
        files: Folder where it reads frozen states from, a file a slot; empty where it encodes.
    """

    def __init__(
        self,
        warm_ups: int = 5,
        loss: PlainLoss = "in_batch",
        contender: Contender = "both",
        files: str = "",
    ) -> None:
        self.files = files
        self.warm_ups = warm_ups
        self.loss = loss
        self.contender = contender
        self.rates: dict[str, list[float]] = {"ours": [], "plain": []}
        self.labels: list[int] = []
        self.difference = self.gradient_difference = 0.0
        self.plain: PlainLoop | None = None
        self.since = 0.0

    def _plain(self, trainer: Trainer, model: LightningModule) -> PlainLoop:
        assert isinstance(model, SequentialRecommender)
        loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        assert isinstance(loader.dataset, TrainWindows)
        if self.files:
            return FilePerItem(model, loader.dataset.windows, self.loss, Path(self.files))
        return PlainLoop(model, loader.dataset.windows, self.loss)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where the plain loop is alone, this is all of it."""
        if self.contender == "plain":
            plain = self._plain(trainer, pl_module)
            loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
            for batch, _ in zip(loader, range(3), strict=False):
                plain.step(batch.user_B.tolist())

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copies the model as it is before the first step."""
        if self.contender == "both":
            self.plain = self._plain(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: SequenceBatch, batch_idx: int
    ) -> None:
        """Compares the loss and every gradient, without dropout, before the first step."""
        if self.plain is not None and trainer.global_step == 0:
            assert isinstance(pl_module, SequentialRecommender)
            self._compare(pl_module, self.plain, batch)

    def _compare(self, ours: SequentialRecommender, plain: PlainLoop, batch: SequenceBatch) -> None:
        ours.eval()
        plain.model.eval()
        loss = torch.stack(list(ours.training_loss(batch).values())).sum()
        other = plain.loss(plain.batch(batch.user_B.tolist()))
        self.difference = abs(loss.item() - other.item()) / abs(other.item())
        require(self.difference < TOLERANCE, f"losses {loss.item():.8f} and {other.item():.8f}")
        loss.backward()  # type: ignore[no-untyped-call]
        other.backward()  # type: ignore[no-untyped-call]
        gradients = {name: p.grad for name, p in plain.model.named_parameters() if p.grad is not None}
        scale = max(float(gradient.abs().max()) for gradient in gradients.values())
        for name, parameter in ours.named_parameters():
            if name not in gradients or parameter.grad is None:
                require(name not in gradients and parameter.grad is None, f"only one gradient of {name}")
                continue
            gap = float((parameter.grad - gradients[name]).abs().max()) / scale
            require(gap < 100 * TOLERANCE, f"gradients of {name}, by {gap:.1e} of the largest")
            self.gradient_difference = max(self.gradient_difference, gap)
        ours.zero_grad()
        ours.train()
        plain.model.train()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: SequenceBatch,
        batch_idx: int,
    ) -> None:
        """Our step is over; the plain one's turn."""
        if self.plain is None:
            return
        device, labels = pl_module.device, len(batch.positions_P)
        taken = {"ours": now(device) - self.since}
        start = now(device)
        self.plain.step(batch.user_B.tolist())
        taken["plain"] = now(device) - start
        if trainer.global_step > self.warm_ups:  # counted over the epochs, this step included
            self.labels.append(labels)
            for name, seconds in taken.items():
                self.rates[name].append(labels / seconds)
        self.since = now(device)


def fit(job: Job, folder: Path, steps: int, warm_ups: int, contender: Contender) -> tuple[Alternate, ZooCLI]:
    """Runs ``mmzoo fit`` for some steps, with the plain loop in between."""
    callback = {
        "class_path": "benchmarks.training.Alternate",
        "init_args": {
            "warm_ups": warm_ups,
            "loss": job.loss,
            "contender": contender,
            "files": job.files,
        },
    }
    total = 0 if contender == "plain" else steps + warm_ups
    argv = [
        *("fit", *job.command, f"--run_dir={folder}", f"--threads={torch.get_num_threads()}"),
        *(f"--trainer.max_steps={total}", "--trainer.limit_val_batches=0", "--test_after_fit=false"),
        f"--trainer.callbacks+={json.dumps(callback)}",
    ]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cli = ZooCLI(RecDataModule, expand_names(argv).argv, "benchmark/speed")
    callbacks: list[Callback] = cli.trainer.callbacks  # type: ignore[attr-defined]
    return next(c for c in callbacks if isinstance(c, Alternate)), cli


def fit_alone(job: Job, folder: Path, contender: Contender) -> None:
    """Three steps of one contender; to be called in a fresh process for its memory."""
    fit(job, folder, steps=3, warm_ups=0, contender=contender)


def labels_row(job: Job, folder: Path, steps: int, warm_ups: int, memory: bool) -> Row:
    """Labels per second of one job, and the memory of each contender."""
    timed, cli = fit(job, folder / "timed", steps, warm_ups, "both")
    data = cli.datamodule
    peaks = {}
    for contender in ("ours", "plain") if memory else ():
        _, peaks[contender] = in_fresh_process(fit_alone, job, folder / contender, contender)
    labels = sum(timed.labels) / len(timed.labels)
    return Row(
        kind="labels",
        case=job.case,
        unit=f"labels per {second_of(cli.model.device)}",
        shape={
            "users": data.spec.n_users - 1,
            "items": data.spec.n_items - 1,
            "length": data.max_len,
            "batch": data.batch_size,
            "width": cli.model.width,
            "filled": round(labels / data.batch_size / data.max_len, 3),
        },
        rates={name: Spread.of(values) for name, values in timed.rates.items()},
        check=f"loss equal to {timed.difference:.0e}, every gradient to "
        f"{timed.gradient_difference:.0e} of the largest",
        peak_mb=peaks,
        notes={"labels_per_step": round(labels, 1), "timed_steps": len(timed.labels)},
    )


def shape_job(shape: str, root: Path, full: bool, max_len: int = 50) -> Job:
    """SASRec of width 64 on item ids, at one of the synthetic shapes."""
    loss: PlainLoss = "full" if full else "in_batch"
    data = ("--data=benchmarks.shapes.ShapeData", f"--data.root={root}", f"--data.shape={shape}")
    command = ("--model", "idrec", *data, *SASREC, f"--model.loss={loss}", f"--data.max_len={max_len}")
    return Job(f"{shape} {'full softmax' if full else 'in-batch'}", command, loss)


def demo_job(root: Path, size: str) -> Job:
    """MoRec with its title and cover towers on the demo catalogue, as the README's command runs it."""
    command = ("--model", "morec", "--data", "demo", f"--data.root={root}", f"--data.size={size}")
    return Job(f"demo {size} text + image", command)


def frozen_row(root: Path, shape: str, steps: int, warm_ups: int) -> Row:
    """IISAN on kept states, loader included: by the command, and with a file for every slot."""
    files = root / "files"
    job = Job(f"cached IISAN, {shape}", planted_command(root / "data", shape), files=str(files))
    row = labels_row(job, root / "run", steps, warm_ups, memory=False)
    shutil.rmtree(root)
    rates = {"ours": row.rates["ours"], "a file a slot": row.rates["plain"]}
    labels = float(row.notes["labels_per_step"])
    times = {f"{name}: ms a step": round(1000 * labels / rate.median, 1) for name, rate in rates.items()}
    return replace(row, kind="frozen", rates=rates, notes={**row.notes, **times})


@contextlib.contextmanager
def counted(model: SequentialRecommender) -> Iterator[dict[str, int]]:
    """Counts the rows that go through every tower."""
    rows: dict[str, int] = dict.fromkeys(model.encoders, 0)

    def count(name: str) -> Any:  # noqa: ANN401  # a forward hook
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
            given = inputs[0]
            rows[name] += len(given["present"] if isinstance(given, dict) else given)

        return hook

    handles = [tower.register_forward_hook(count(name)) for name, tower in model.encoders.items()]
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()


def encodes_row(case: str, data: RecDataModule, model: SequentialRecommender, batches: int) -> Row:
    """Rows through the busiest tower a batch, ours and the plain loop's, on the same users."""
    data.bind(model.needs())
    with contextlib.redirect_stderr(io.StringIO()):
        data.prepare_data()
    data.setup()
    model.attach(data.spec, data.items)
    loader = data.train_dataloader()
    assert isinstance(loader.dataset, TrainWindows)
    plain = PlainLoop(model, loader.dataset.windows, "in_batch")
    ours: list[float] = []
    theirs: list[float] = []
    for batch, _ in zip(loader, range(batches), strict=False):
        with torch.no_grad(), counted(model) as seen, counted(plain.model) as padded:
            model.training_loss(batch)
            plain.loss(plain.batch(batch.user_B.tolist()))
        slots = len(batch.user_B) * (data.max_len + 1)
        require(set(padded.values()) == {slots}, f"the plain loop encodes {padded}, not {slots} slots")
        distinct = len(torch.unique(batch.items_BS[batch.items_BS > 0]))
        require(set(seen.values()) == {distinct}, f"we encode {seen}, not {distinct} distinct items")
        ours.append(max(seen.values()))
        theirs.append(max(padded.values()))
    return Row(
        kind="encodes",
        case=case,
        unit="encodes per batch",
        shape={"length": data.max_len, "batch": data.batch_size, "items": data.spec.n_items - 1},
        rates={"ours": Spread.of(ours), "plain": Spread.of(theirs)},
        check="one row a distinct real item in every tower of ours, one a padded slot in the plain loop's",
        notes={"ratio": round(sum(theirs) / sum(ours), 2), "batches": len(ours)},
        less_is_better=True,
    )


def encodes_rows(shapes: tuple[str, ...], root: Path, batches: int) -> Iterator[Row]:
    """Ids at history lengths 10, 20 and 50, batch 64."""
    for shape in shapes:
        for length in (10, 20, 50):
            data = ShapeData(str(root), shape, max_len=length, batch_size=64, seed=0)
            yield encodes_row(f"{shape}, length {length}", data, MoRec(width=8, item_id=True), batches)


def demo_encodes_row(root: Path, size: Literal["tiny", "small"], batches: int) -> Row:
    """The title and cover towers on the demo catalogue."""
    model = create("morec")
    assert isinstance(model, SequentialRecommender)
    data = Demo(str(root), size=size, batch_size=64, seed=0)
    return encodes_row(f"demo {size}, length {data.max_len}", data, model, batches)

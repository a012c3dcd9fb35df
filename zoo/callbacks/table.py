"""What a test found, for people: a table on the screen, in TensorBoard and as JSON."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from zoo.callbacks.cost import peak, resident
from zoo.callbacks.origin import origin, write_weights
from zoo.provenance import seal

FILE = "results.json"


class ResultRow(NamedTuple):
    """Metrics of one group of users."""

    slice_name: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    """Metric -> lower and upper end of the 95 % confidence interval."""
    users: int


@runtime_checkable
class HasResults(Protocol):
    """A model that can say what its last evaluation found."""

    def result_rows(self) -> list[ResultRow]:
        """One row a slice; the counts behind it are already those of all processes."""
        ...


@runtime_checkable
class AddsToResults(Protocol):
    """A callback that has found something of its own, which belongs into ``results.json``."""

    def results_part(self) -> Mapping[str, Any]:
        """Keys and plain values; nothing if it found nothing since the test began."""
        ...


def format_table(rows: Sequence[ResultRow]) -> str:
    """Metrics downwards, slices across, ``value [lower, upper]`` in each cell.

    Args:
        rows: Slices with at least one user; others have no metrics and are left out.

    >>> print(format_table([ResultRow("all", {"hr@10": 0.125}, {"hr@10": (0.1, 0.15)}, 1200)]))
    95 % CI  all (1,200 users)
    hr@10    0.1250 [0.1000, 0.1500]
    """
    rows = [row for row in rows if row.users]
    if not rows:
        return "No user was evaluated."
    cells = [["95 % CI", *(f"{row.slice_name} ({row.users:,} users)" for row in rows)]]
    for name in rows[0].metrics:
        line = [name]
        for row in rows:
            low, high = row.intervals[name]
            line.append(f"{row.metrics[name]:.4f} [{low:.4f}, {high:.4f}]")
        cells.append(line)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def headed(table: str, protocol: str | None) -> str:
    """A table below the protocol that its numbers hold under.

    Args:
        table: What ``format_table`` made.
        protocol: What was evaluated how, in one line; None if the data does not say.

    >>> print(headed("hr@10  0.1", "leave two out"))
    Protocol: leave two out
    hr@10  0.1
    """
    return table if protocol is None else f"Protocol: {protocol}\n{table}"


class ResultTable(Callback):
    """After a test: prints the table, and leaves it as ``results.json`` and in TensorBoard.

    TensorBoard also gets the hyper-parameters beside the metrics of the first slice, all users.

    The file stands in the run's log folder, or in the trainer's root folder where nothing is logged. It names
    the checkpoint and the epoch that was tested, where everything comes from (see ``origin``), and what it
    cost: parameters, the seconds of training with its validations, over all interruptions, up to the last
    checkpoint of each, those of the test, and the peak of memory: allocated on a GPU, resident on a CPU,
    where what was resident before the model was made is told apart. What callbacks in front of this one have
    found is in it too. Whoever edits it by hand breaks its checksum.

    Args:
        weights: Write the tested weights beside it, as ``weights.safetensors``.
    """

    def __init__(self, weights: bool = False) -> None:
        self.weights = weights
        self._seconds = 0.0
        self._since: float | None = None
        self._test_since = 0.0
        self._memory = 0
        self._before = resident("VmRSS")

    def _passed(self) -> float:
        return self._seconds + (0.0 if self._since is None else time.monotonic() - self._since)

    def _look(self, pl_module: LightningModule) -> None:
        self._memory = max(self._memory, peak(pl_module.device))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Before a training the model's parameters do not exist yet."""
        if stage == "fit":
            self._before = resident("VmRSS")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._since = time.monotonic()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the memory, before somebody else may look for a new peak."""
        self._look(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the memory."""
        self._look(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self._seconds, self._since = self._passed(), None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock of the test."""
        self._test_since = time.monotonic()

    def state_dict(self) -> dict[str, float]:
        """Seconds and memory so far, for a run that goes on."""
        return {"seconds": self._passed(), "memory": self._memory}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what the interrupted run measured."""
        self._seconds = float(state_dict["seconds"])
        self._memory = max(self._memory, int(state_dict.get("memory", 0)))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Everything is counted by now.

        Raises:
            TypeError: The model has no ``result_rows``.
        """
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # asked by all ranks: it is broadcast
        if not trainer.is_global_zero:
            return
        if not isinstance(pl_module, HasResults):
            raise TypeError(
                f"ResultTable expects a model with result_rows(), found {type(pl_module).__name__}."
            )
        rows = pl_module.result_rows()
        more = dict(origin(trainer, pl_module))
        text = headed(format_table(rows), more["protocol"])
        print(f"\n{text}\n")
        tested = trainer.ckpt_path
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, AddsToResults):
                more |= callback.results_part()
        if self.weights:
            more["weights"] = write_weights(pl_module, folder)
        path = None if tested is None else Path(tested)
        write_results(folder / FILE, rows, path, self._cost(pl_module), more)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                block = "\n".join(f"    {line}" for line in text.splitlines())  # Markdown: keep the columns
                logger.experiment.add_text("test/table", block, trainer.global_step)
                found = {f"hp/{name}": value for name, value in rows[0].metrics.items()} if rows else {}
                logger.log_hyperparams(dict(pl_module.hparams), found)

    def _cost(self, pl_module: LightningModule) -> dict[str, float | None]:
        self._look(pl_module)
        parameters = list(pl_module.parameters())
        return {
            "parameters": sum(p.numel() for p in parameters),
            "trainable": sum(p.numel() for p in parameters if p.requires_grad),
            "train_seconds": round(self._seconds, 3) or None,
            "test_seconds": round(time.monotonic() - self._test_since, 3),
            "memory_bytes": self._memory,
            "memory_before_bytes": 0 if pl_module.device.type == "cuda" else self._before,
        }


def write_results(
    path: Path,
    rows: Sequence[ResultRow],
    checkpoint: Path | None,
    cost: Mapping[str, float | None] | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Writes slices, metrics and intervals as JSON, sealed by a checksum, all or nothing.

    Args:
        path: The file.
        rows: What was found.
        checkpoint: What was tested; none if the weights came from memory.
        cost: Parameters and seconds; seconds are none where this process did not train.
        more: What else is known, in plain values.
    """
    epoch = None
    if checkpoint is not None and checkpoint.is_file():
        epoch = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True).get("epoch")
    content = {
        "checkpoint": None if checkpoint is None else checkpoint.name,
        "epoch": epoch,
        "cost": dict(cost or {}),
        "rows": [row._asdict() for row in rows],
        **(more or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(seal(content), indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)

"""What a test found, for people: a table on the screen, in TensorBoard and as JSON."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger


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


class ResultTable(Callback):
    """After a test: prints the table, and leaves it as ``results.json`` and in TensorBoard.

    TensorBoard also gets the hyper-parameters beside the metrics of the first slice, all users.

    The file stands in the run's log folder, or in the trainer's root folder where nothing is logged. It
    names the checkpoint and the epoch that was tested, and what they cost: parameters, and the seconds of
    training with its validations, over all interruptions, up to the last checkpoint of each.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._since: float | None = None

    def _passed(self) -> float:
        return self._seconds + (0.0 if self._since is None else time.monotonic() - self._since)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._since = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self._seconds, self._since = self._passed(), None

    def state_dict(self) -> dict[str, float]:
        """Seconds so far, for a run that goes on."""
        return {"seconds": self._passed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the seconds of the interrupted run."""
        self._seconds = float(state_dict["seconds"])

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
        text = format_table(rows)
        print(f"\n{text}\n")
        tested = trainer.ckpt_path
        parameters = list(pl_module.parameters())
        cost = {
            "parameters": sum(p.numel() for p in parameters),
            "trainable": sum(p.numel() for p in parameters if p.requires_grad),
            "train_seconds": round(self._seconds, 3) or None,
        }
        write_results(folder / "results.json", rows, None if tested is None else Path(tested), cost)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                block = "\n".join(f"    {line}" for line in text.splitlines())  # Markdown: keep the columns
                logger.experiment.add_text("test/table", block, trainer.global_step)
                found = {f"hp/{name}": value for name, value in rows[0].metrics.items()} if rows else {}
                logger.log_hyperparams(dict(pl_module.hparams), found)


def write_results(
    path: Path,
    rows: Sequence[ResultRow],
    checkpoint: Path | None,
    cost: dict[str, float | None] | None = None,
) -> None:
    """Writes slices, metrics and intervals as JSON, all or nothing.

    Args:
        path: The file.
        rows: What was found.
        checkpoint: What was tested; none if the weights came from memory.
        cost: Parameters and seconds; seconds are none where this process did not train.
    """
    epoch = None
    if checkpoint is not None and checkpoint.is_file():
        epoch = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True).get("epoch")
    content = {
        "checkpoint": None if checkpoint is None else checkpoint.name,
        "epoch": epoch,
        "cost": cost or {},
        "rows": [row._asdict() for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)

"""What each technique of training SASRec with full softmax gains: the plain loop with one more at a time.

    python -m benchmarks.ladder --shape beauty

Every rung is found to have the plain loop's loss before anything is timed. ``TECHNIQUES.md`` has the results.
"""

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.measure import in_turns, require
from benchmarks.plain_loop import REJECTED, PlainLoop
from benchmarks.shapes import SHAPES, ShapeData
from datamodules.histories import TrainRows, TrainWindows
from datamodules.sampler import EpochRows, TrainBatchSampler
from datamodules.splits import Windows
from zoo.losses.full import full_ce
from zoo.models.morec import MoRec
from zoo.types import SequenceBatch

TECHNIQUES = (
    "one gather a batch",
    "trimmed to the longest history",
    "scores at real positions only",
    "softmax fused with its gradient",
    "fused optimiser",
)
"""The rungs above the plain loop, in order."""
GATHER, TRIM, REAL, FUSE, OPTIMISER = TECHNIQUES
OWN = "our model's step: no padding in the backbone"
CLOSE = 1e-5


class Rung(PlainLoop):
    """The plain loop with some techniques.

    Args:
        model: Attached to its catalogue; its weights are copied.
        windows: Histories of all users.
        techniques: Out of ``TECHNIQUES``.
    """

    def __init__(self, model: MoRec, windows: Windows, techniques: Sequence[str]) -> None:
        super().__init__(model, windows, "full")
        self.windows, self.techniques = windows, frozenset(techniques)
        self.width = self.rows.width
        if OPTIMISER in techniques:
            self.optimizer = torch.optim.AdamW(self.model.parameter_groups(), lr=model.lr, fused=True)

    def batch(self, users: Sequence[int]) -> Tensor:
        """Slots (B, S), down to the longest history where that is a technique."""
        if GATHER in self.techniques:
            ids_BS = torch.from_numpy(self.windows.last(np.asarray(users), self.width, 2))
        else:
            ids_BS = super().batch(users)
        if TRIM in self.techniques:
            ids_BS = ids_BS[:, int((ids_BS != 0).any(0).int().argmax()) :]
        return ids_BS

    def loss(self, ids_BS: Tensor) -> Tensor:
        """Mean cross-entropy over the real positions."""
        table_ID = self.model.get_parameter("encoders.item_id.table.weight")
        user_BLD = self.states(ids_BS, table_ID)
        real_BL = ids_BS[:, :-1] != 0
        if REAL not in self.techniques:
            return self._full(user_BLD, user_BLD, ids_BS)
        user_PD, target_P = user_BLD[real_BL], ids_BS[:, 1:][real_BL]
        if FUSE in self.techniques:
            return full_ce(user_PD, table_ID, target_P)
        logits_PI = user_PD @ table_ID.T
        logits_PI[:, 0] = REJECTED
        return F.cross_entropy(logits_PI, target_P)

    def states(self, ids_BS: Tensor, table_ID: Tensor) -> Tensor:
        """What the backbone makes of all slots, padding included."""
        item_BLD = F.embedding(ids_BS[:, :-1], table_ID, padding_idx=0)
        states_BLD: Tensor = self.model.sequence(item_BLD, ids_BS[:, :-1] != 0)
        return states_BLD


class OwnRung:
    """Our model's own step on our own batches, without the trainer.

    Args:
        model: Attached to its catalogue.
        dataset: Training rows; one a user.
        collate: Makes a batch of them.
    """

    def __init__(
        self, model: MoRec, dataset: TrainWindows, collate: Callable[[TrainRows], SequenceBatch]
    ) -> None:
        self.model, self.dataset, self.collate = model, dataset, collate
        self.optimizer = torch.optim.AdamW(model.parameter_groups(), lr=model.lr, fused=True)

    def batch(self, users: Sequence[int]) -> SequenceBatch:
        """As the loader makes it."""
        return self.collate(self.dataset.__getitems__(EpochRows(0, np.asarray(users) - 1)))

    def loss(self, batch: SequenceBatch) -> Tensor:
        """As training has it."""
        return torch.stack(list(self.model.training_loss(batch).values())).sum()

    def step(self, users: Sequence[int]) -> None:
        """As the plain loop's."""
        self.optimizer.zero_grad()
        self.loss(self.batch(users)).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


def ladder(shape: str, root: Path) -> tuple[dict[str, Rung | OwnRung], TrainBatchSampler, Windows]:
    """All rungs from the plain loop up, with equal weights.

    Args:
        shape: Name of a shape.
        root: For generated data.
    """
    model = MoRec(width=64, n_heads=1, n_blocks=2, item_id=True, loss="full", lr=1e-3)
    data = ShapeData(str(root), shape, max_len=50, batch_size=128, seed=0)
    data.bind(model.needs())
    with contextlib.redirect_stderr(io.StringIO()):
        data.prepare_data()
    data.setup()
    model.attach(data.spec, data.items)
    loader = data.train_dataloader()
    dataset, sampler = loader.dataset, loader.batch_sampler
    assert isinstance(dataset, TrainWindows)
    assert isinstance(sampler, TrainBatchSampler)
    rungs: dict[str, Rung | OwnRung] = {
        name: Rung(model, dataset.windows, TECHNIQUES[:count])
        for count, name in enumerate(("plain", *TECHNIQUES))
    }
    rungs[OWN] = OwnRung(model, dataset, loader.collate_fn)
    return rungs, sampler, dataset.windows


def check_losses(rungs: dict[str, Rung | OwnRung], users: Sequence[int]) -> None:
    """Compares every rung's loss with the plain loop's, without dropout.

    Raises:
        Unequal: One differs.
    """
    losses = {}
    for name, rung in rungs.items():
        rung.model.eval()
        with torch.no_grad():
            losses[name] = rung.loss(rung.batch(users)).item()  # type: ignore[arg-type]
        rung.model.train()
    for name, loss in losses.items():
        require(abs(loss / losses["plain"] - 1) < CLOSE, f"loss {loss} of {name}, {losses['plain']} of plain")


def measured(shape: str, root: Path, steps: int, warm_ups: int = 3) -> Iterator[str]:
    """A Markdown table: labels per CPU second of every rung, and what it gains over the one before.

    Args:
        shape: Name of a shape.
        root: For generated data.
        steps: Timed steps of each.
        warm_ups: Steps of each before.
    """
    rungs, sampler, windows = ladder(shape, root)
    batches = [
        (batch.rows_B + 1).tolist() for batch, _ in zip(sampler, range(steps + warm_ups), strict=False)
    ]
    check_losses(rungs, batches[0])

    def step(rung: Rung | OwnRung, users: Iterator[list[int]]) -> int:
        given = next(users)
        rung.step(given)
        lengths = windows.offsets[np.array(given) + 1] - windows.offsets[np.array(given)]
        return int(np.minimum(lengths - 3, 50).sum())

    rates = in_turns(
        {name: partial(step, rung, iter(batches)) for name, rung in rungs.items()},
        len(batches) - warm_ups,
        warm_ups,
    )
    yield f"| {shape} | min | median | max | times the one before |"
    yield "|---|---|---|---|---|"
    before = 0.0
    for name, rate in rates.items():
        gain = f"{rate.median / before:.2f}" if before else ""
        yield f"| {name} | {rate.minimum:,.0f} | {rate.median:,.0f} | {rate.maximum:,.0f} | {gain} |"
        before = rate.median


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.ladder", description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=sorted(SHAPES), default="beauty", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=14, help="timed steps; default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's CPU threads; default: %(default)s")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        print("\n".join(measured(options.shape, Path(folder), options.steps)))


if __name__ == "__main__":
    main()

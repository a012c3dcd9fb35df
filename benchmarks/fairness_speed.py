"""A training step of FMMRec's last stage against a straightforward form of the released algorithm.

The straightforward form does what WeixinChen98/FMMRec (b3af061) does: two dense users x users products in
every pass, users' and items' filtered vectors made again for the discriminators, means of consumed items by a
dense matrix, one network and one optimiser for each discriminator. Both start from the same weights; what the
two losses say is compared before anything is timed. Sizes are MovieLens-1M's by default, vectors are random.

    python -m benchmarks.fairness_speed --users 6040 --items 3706 --pairs 800000
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from zoo.fair.structure import UserGraph, correction
from zoo.models.fmmrec import FMMRec
from zoo.types import CatalogSpec, InteractionBatch

CLASSES = {"gender": 2, "age": 7, "occupation": 21}
LIKE = 1e-4
"""How far losses may differ."""
EDGES = 60
"""Neighbours of a user in all graphs: 3 modalities, 2 parts, 10 each."""


class Source:
    """A random catalogue, in the place of a data module's."""

    noise_E = None

    def __init__(self, users: int, items: int, pairs: int) -> None:
        rng = np.random.default_rng(0)
        self.n_users, self.n_items = users + 1, items + 1
        found = np.sort(rng.choice(users * items, pairs, replace=False))
        self.user_E, self.item_E = found // items + 1, found % items + 1
        self.counts_I = np.bincount(self.item_E, minlength=items + 1)
        self.attributes = {
            name: np.concatenate([[-1], rng.integers(0, classes, users)]) for name, classes in CLASSES.items()
        }

    def features(self, modality: str) -> Any:  # noqa: ANN401
        """None are read."""
        raise KeyError(modality)

    def content(self, ids_N: object, modalities: object) -> dict[str, Any]:
        """None."""
        return {}

    def feature_folder(self, modality: str, key: str) -> None:
        """None."""

    def spec(self) -> CatalogSpec:
        """The sizes."""
        return CatalogSpec(
            self.n_items, self.n_users, {}, dict(CLASSES), fingerprint="bench", n_edges=len(self.user_E)
        )


def batches(source: Source, size: int, count: int) -> list[InteractionBatch]:
    """Random training batches."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(count):
        rows = rng.integers(0, len(source.user_E), size)
        negative_B = rng.integers(1, source.n_items, size)
        user_B, item_B = torch.from_numpy(source.user_E[rows]), torch.from_numpy(source.item_E[rows])
        found.append(InteractionBatch(user_B, item_B, torch.from_numpy(negative_B)))
    return found


class Plain(nn.Module):
    """The released algorithm, written down as it stands there."""

    def __init__(self, model: FMMRec, vector_UD: Tensor, graph: UserGraph, weight: float) -> None:
        super().__init__()
        self.model = model
        users, items = model.n_users, model.n_items
        self.vector_UD, self.weight = vector_UD, weight
        positive_UK, negative_UK = graph.weight_UK.clamp(min=0), -graph.weight_UK.clamp(max=0)
        self.filtered_UU = torch.zeros(users, users).scatter_add_(1, graph.index_UK, positive_UK)
        self.biased_UU = torch.zeros(users, users).scatter_add_(1, graph.index_UK, negative_UK)
        self.mean_UI = torch.zeros(users, items)
        self.mean_UI[model.edge_2E[0], model.edge_2E[1]] = 1.0
        self.mean_UI /= self.mean_UI.sum(1, keepdim=True).clamp(min=1)
        n_classes = list(CLASSES.values())
        self.nets = [[self._net(group, row, c) for row, c in enumerate(n_classes)] for group in range(2)]
        self.filters = torch.optim.Adam(model.filters.parameters(), lr=1e-3)
        self.optimizers = [
            [torch.optim.Adam(net.parameters(), lr=1e-3) for net in side] for side in self.nets
        ]

    def _net(self, group: int, row: int, classes: int) -> nn.Sequential:
        probes = self.model.probes
        width, hidden = probes.weight_GDKH.shape[1], probes.hidden
        outputs = slice(1, 2) if classes == 2 else slice(0, classes)
        first, last = nn.Linear(width, hidden), nn.Linear(hidden, 1 if classes == 2 else classes)
        with torch.no_grad():
            first.weight.copy_(probes.weight_GDKH[group, :, row].T)
            first.bias.copy_(probes.bias_GKH[group, row])
            last.weight.copy_(probes.weight_GKHC[group, row, :, outputs].T)
            last.bias.copy_(probes.bias_GKC[group, row, outputs])
        return nn.Sequential(first, nn.LeakyReLU(0.2), nn.Dropout(0.2), last)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Filtered users and items, everything made anew."""
        moved_UD = self.filtered_UU @ self.vector_UD - self.biased_UU @ self.vector_UD
        users_UD = self.model.filters.users(self.vector_UD + self.weight * moved_UD)
        return users_UD, self.model.filters.items(self.model.host_items_ID)

    def found(self, group: int, row: int, vector_BD: Tensor, label_B: Tensor) -> Tensor:
        """Loss of one discriminator."""
        out = self.nets[group][row](vector_BD)
        if out.shape[1] == 1:
            return F.binary_cross_entropy(torch.sigmoid(out[:, 0]), label_B.float())
        return F.nll_loss(F.log_softmax(out, dim=-1), label_B)

    def filter_loss(self, batch: InteractionBatch) -> Tensor:
        """Recommendation, and the discriminators against it."""
        user_B, label_KB = batch.user_B - 1, self.model.class_KU[:, batch.user_B - 1]
        users_UD, items_ID = self.vectors()
        user_BD = users_UD[user_B]
        margin_B = (user_BD * (items_ID[batch.item_B - 1] - items_ID[batch.negative_B - 1])).sum(1)
        loss = -F.logsigmoid(margin_B).mean()
        for group, (vector_BD, weight) in enumerate(
            zip((user_BD, self.mean_UI[user_B] @ items_ID), (0.1, 0.05), strict=True)
        ):
            for row in range(len(CLASSES)):
                loss = loss - weight * self.found(group, row, vector_BD, label_KB[row])
        return loss

    def step(self, batch: InteractionBatch) -> Tensor:
        """One step of the filters, ten of each discriminator."""
        user_B, label_KB = batch.user_B - 1, self.model.class_KU[:, batch.user_B - 1]
        with torch.no_grad():
            users_UD, items_ID = self.vectors()  # the second time, of the same weights
            sides = users_UD[user_B], self.mean_UI[user_B] @ items_ID
        loss = self.filter_loss(batch)
        self.filters.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.filters.step()
        for group, vector_BD in enumerate(sides):
            for row in range(len(CLASSES)):
                for _ in range(10):
                    optimizer = self.optimizers[group][row]
                    optimizer.zero_grad()
                    self.found(group, row, vector_BD, label_KB[row]).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        return loss.detach()


class Clock(Callback):
    """Seconds of every training batch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.since = 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Starts."""
        self.since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Stops."""
        self.seconds.append(time.perf_counter() - self.since)


class Ready(LightningDataModule):
    """Batches that are there already."""

    def __init__(self, source: Source, dealt: list[InteractionBatch]) -> None:
        super().__init__()
        self.items, self.spec, self.dealt = source, source.spec(), dealt

    def train_dataloader(self) -> DataLoader[Any]:
        """The batches."""
        return DataLoader(self.dealt, batch_size=None)  # type: ignore[arg-type]  # a list will do


def ours(model: FMMRec, source: Source, dealt: list[InteractionBatch]) -> list[float]:
    """Seconds of each step under the trainer."""
    clock = Clock()
    model.prepared = True
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        callbacks=[clock],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
    )
    trainer.fit(model, datamodule=Ready(source, dealt))
    return clock.seconds


def timed(step: Callable[[InteractionBatch], Tensor], dealt: list[InteractionBatch]) -> list[float]:
    """Seconds of each call."""
    found = []
    for batch in dealt:
        since = time.perf_counter()
        step(batch)
        found.append(time.perf_counter() - since)
    return found


def make(users: int, items: int, pairs: int, width: int) -> tuple[Source, FMMRec, Plain, float]:
    """Both forms on one random catalogue, with the same weights; and the seconds the structure took once."""
    source = Source(users, items, pairs)
    model = FMMRec(
        host="bpr",
        host_args={"width": width},
        attributes=tuple(CLASSES),
        modality_weights={},
        attack_epochs=1,
    )
    model.attach(source.spec(), source)
    vector_UD = torch.randn(users, width)
    index_UK = torch.randint(0, users, (users, EDGES))
    sign_K = torch.tensor([-1.0, 1.0]).repeat(EDGES // 2)
    graph = UserGraph(index_UK, torch.rand(index_UK.shape) * sign_K / EDGES)
    started = time.perf_counter()
    model.host_users_UD.copy_(vector_UD + 0.1 * correction(graph, vector_UD))
    return source, model, Plain(model, vector_UD, graph, 0.1), time.perf_counter() - started


def require_equal(plain: Plain, model: FMMRec, batch: InteractionBatch) -> tuple[float, float]:
    """The two losses, without dropout.

    Raises:
        SystemExit: They differ.
    """
    nets = [net for side in plain.nets for net in side]
    for module in (model, *nets):
        module.eval()
    with torch.no_grad():
        written = float(plain.filter_loss(batch))
        found = float(torch.stack(list(model.training_loss(batch).values())).sum())
    if abs(written - found) > LIKE:
        raise SystemExit(f"The two do not agree: {written:.6f} and {found:.6f}.")
    for module in (model, *nets):
        module.train()
    return written, found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=6040)
    parser.add_argument("--items", type=int, default=3706)
    parser.add_argument("--pairs", type=int, default=800_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=6, help="timed, after one to warm up")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON of what was found")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    sizes = {name: getattr(arguments, name) for name in ("users", "items", "pairs", "width")}
    source, model, plain, once = make(**sizes)
    dealt = batches(source, arguments.batch_size, arguments.steps + 1)
    losses = require_equal(plain, model, dealt[0])
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    slow = statistics.median(timed(plain.step, dealt)[1:])
    model.load_state_dict(state)
    fast = statistics.median(ours(model, source, dealt)[1:])
    steps = -(-arguments.pairs // arguments.batch_size)
    found = {
        "losses of the same weights": losses,
        "released form": {"s/step": slow, "s/epoch": steps * slow},
        "zoo": {"s/step": fast, "s/epoch": steps * fast, "structure once, s": once},
        "times faster": slow / fast,
        "threads": arguments.threads,
        "sizes": {**sizes, "batch_size": arguments.batch_size},
    }
    print(json.dumps(found, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

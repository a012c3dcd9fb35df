"""What attackers find of sensitive attributes in the vectors of a tested model: a table and a file."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from zoo.collaborative import CollaborativeRecommender
from zoo.experiments.tables import Table
from zoo.fair.attack import PUBLISHED_EPOCHS, Leak, leakage
from zoo.fair.labels import labels_of
from zoo.fair.profiles import profile_graph
from zoo.graph.propagate import propagate
from zoo.metrics.fairness import ACCURACY, AUC, BALANCED
from zoo.types import EvalBatch

FILE = "fairness.json"
SIDES = ("user", "item")


class FairnessReport(Callback):
    """After a test: attacks the users' vectors, prints a table and leaves ``fairness.json``.

    Works on any model: of pairs, whose tables are attacked, or of histories, whose users are attacked as the
    test reads them. The file stands beside ``results.json``.

    Args:
        attributes: Sensitive attributes; by default all the data has.
        epochs: Of the published attacker.
        seed: Of the split of the users and of the attackers.
    """

    def __init__(
        self, attributes: Sequence[str] | None = None, epochs: int = PUBLISHED_EPOCHS, seed: int = 0
    ) -> None:
        self.attributes = None if attributes is None else tuple(attributes)
        self.epochs = epochs
        self.seed = seed
        self._found: list[tuple[Tensor, Tensor]] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins with nothing, also the second time."""
        self._found = []

    @torch.no_grad()
    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the vectors of users that are read from their histories."""
        if not isinstance(batch, EvalBatch):
            return
        table_ID: Tensor = pl_module.table_ID  # type: ignore[assignment]  # every recommender's, in an evaluation
        user_BD = pl_module.user_vectors(batch, table_ID)  # type: ignore[operator]
        real_BL = batch.history_BL != 0
        mean_BD = table_ID[batch.history_BL].sum(1) / real_BL.sum(1, keepdim=True).clamp(min=1)
        self._found.append((batch.user_B, torch.stack([user_BD.float(), mean_BD.float()], dim=1)))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attacks, in one process."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # asked by all ranks: it is broadcast
        data: Any = getattr(trainer, "datamodule", None)
        read, self._found = self._read(trainer), []
        if not trainer.is_global_zero:
            return
        names = tuple(data.spec.n_classes) if self.attributes is None else self.attributes
        labels = labels_of(data.items, names, data.spec)
        if isinstance(pl_module, CollaborativeRecommender):
            vectors = table_vectors(pl_module)
        elif read is None:
            raise ValueError(
                f"FairnessReport attacks tables of users and items, or users read from histories; "
                f"{type(pl_module).__name__} has neither."
            )
        else:
            user_R, vector_R2D = read
            labels = labels._replace(class_KU=labels.class_KU[:, user_R.cpu() - 1])
            vectors = dict(zip(SIDES, vector_R2D.unbind(1), strict=True))
        leaks = leakage(vectors, labels, self.seed, self.epochs)
        print(f"\n{table_of(leaks).markdown()}\n\n{NOTE}\n")
        write(folder / FILE, leaks, self.seed, self.epochs)

    def _read(self, trainer: Trainer) -> tuple[Tensor, Tensor] | None:
        """Users of all processes in the order of the catalogue, and their vectors."""
        if not self._found:
            return None
        users_B, vectors_B2D = zip(*self._found, strict=True)
        found = [torch.cat(users_B), torch.cat(vectors_B2D)]
        if trainer.world_size > 1:
            found = [torch.cat(gather_all_tensors(part)) for part in found]
        order_R = found[0].argsort()
        return found[0][order_R], found[1][order_R]


def table_vectors(model: CollaborativeRecommender) -> dict[str, Tensor]:
    """Both sides of a model of pairs: its users, and the mean of the items each has consumed."""
    user_UD, item_ID = (table[1:] for table in model.tables())
    graph = profile_graph(model.edge_2E, model.n_users, model.n_items)
    return {"user": user_UD, "item": propagate(graph, item_ID)}


NOTE = (
    "What attackers tell of users they never saw; in brackets what naming the majority reaches. AUC: of "
    "probabilities, one class against the rest; with balanced accuracy and accuracy of the strong attacker "
    "(standardised inputs, Adam, epoch by validation users). Published: FMMRec's attacker and measure (SGD, "
    "hard predictions, best epoch on the test users)."
)


def table_of(leaks: Sequence[Leak]) -> Table:
    """One line an attribute and side."""
    header = ["attribute", "vectors", AUC.upper(), BALANCED, ACCURACY, "published"]
    rows = []
    for leak in leaks:
        cells = [f"{leak.strong[name]:.4f} ({leak.majority[name]:.4f})" for name in (AUC, BALANCED, ACCURACY)]
        cells.append(f"{leak.published:.4f} ({leak.published_majority:.4f})")
        rows.append([leak.attribute, leak.side, *cells])
    return Table(header, rows, left=2)


def write(path: Path, leaks: Sequence[Leak], seed: int, epochs: int) -> None:
    """Writes what was found as JSON, all or nothing."""
    content = {"seed": seed, "published_epochs": epochs, "rows": [leak._asdict() for leak in leaks]}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)

"""The interactions of a data module as other libraries get them, if these are the same data and protocol."""

from typing import Any

import numpy as np

from benchmarks.peers.histories import Histories
from benchmarks.peers.protocol import Stage
from datamodules.base import RecDataModule
from datamodules.histories import EvalRows


def read_rows(loader: Any) -> EvalRows:  # noqa: ANN401
    """All rows of an evaluation."""
    rows: EvalRows = loader.dataset.__getitems__(list(range(len(loader.dataset))))
    return rows


def histories_of(data: RecDataModule) -> Histories:
    """What the data module trains and evaluates on, as other libraries get it.

    Args:
        data: After ``setup``.

    Raises:
        ValueError: It trains or evaluates on anything else than whole histories but their last two items.
    """
    windows = data.windows
    items = np.asarray(windows.items, dtype=np.int64) - 1
    found = Histories(np.asarray(windows.offsets[1:]), items, data.spec.n_items - 1)
    stages: tuple[tuple[Stage, Any], ...] = (("val", data.val_dataloader()), ("test", data.test_dataloader()))
    for stage, loader in stages:
        require_same_rows(stage, read_rows(loader), found)
    trained_I = np.bincount(np.concatenate(found.read("train")), minlength=found.n_items)
    require(
        np.array_equal(trained_I, data.items.counts_I[1:]), "all but the last two of everybody's items train"
    )
    return found


def require_same_rows(stage: Stage, rows: EvalRows, histories: Histories) -> None:
    """Refuses rows of an evaluation that are not those that the judge ranks.

    Raises:
        ValueError: The users, their order, their targets or what is hidden from them differ.
    """
    everybody = np.arange(1, histories.n_users + 1)
    require(np.array_equal(rows.user_B, everybody), f"{stage} has every user once, in order")
    require(np.array_equal(rows.target_B - 1, histories.target(stage)), f"{stage} asks for a held-out item")
    hidden = histories.read(stage)
    real_BH = rows.hidden_BH > 0
    same = np.array_equal(real_BH.sum(1), list(map(len, hidden)))
    same = same and np.array_equal(rows.hidden_BH[real_BH] - 1, np.concatenate(hidden))
    require(same, f"{stage} hides all that came before its target")


def require(holds: bool, what: str) -> None:
    """Refuses data that RecBole cannot be given as they are.

    Raises:
        ValueError: It does not hold.
    """
    if not holds:
        raise ValueError(
            f"Expected data of which {what}, found others: RecBole's row would not be of the same data and "
            "protocol. Leave out --data.protocol and --data.train_fraction."
        )

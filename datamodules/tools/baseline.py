"""``mmzoo data baseline``: the test targets ranked by counts alone, what every trained model has to beat."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from datamodules.base import RecDataModule
from datamodules.baselines import markov_ranks, popularity_ranks
from datamodules.histories import EvalRows, TrainRows
from datamodules.module import DataModule
from datamodules.sampler import EpochRows
from zoo.types import ModelNeeds

Ints = npt.NDArray[np.int64]


class Ranked(NamedTuple):
    """The test targets of all users, ranked; plain arrays and names, for whoever writes results."""

    ranker: str
    user_U: Ints
    target_U: Ints
    rank_U: Ints
    """A target that the user had already seen has the last place."""
    seen_U: npt.NDArray[np.bool_]
    """Whether the user had already seen it."""
    known_U: Ints
    """Items that the user had seen."""
    seconds: float


Record = Callable[[Path, Any, Any], Path]
"""Given a folder, the data module and what ``Ranked`` holds."""


def baseline(
    data: DataModule, out: Path, record: Record, ranker: Literal["popularity", "markov"] = "popularity"
) -> int:
    """Ranks the test targets of histories by what trains, and writes results as a test does.

    Args:
        data: The data set; its tables and windows are prepared if they are not.
        out: Folder of the results.
        record: Writes them.
        ranker: ``popularity`` ranks by how often an item trains, ``markov`` by how often it directly followed
            the user's last one.

    Returns:
        0.

    Raises:
        ValueError: The data set deals pairs, which have no order.
    """
    if not isinstance(data, RecDataModule):
        raise ValueError(
            f"baseline: expected a data set of histories, found {type(data).__name__}, which deals pairs."
        )
    data.bind(ModelNeeds({}))
    data.prepare_data()
    data.setup("test")
    since = time.perf_counter()
    training: Any = data.train_dataloader().dataset
    train: TrainRows = training.__getitems__(EpochRows(0, np.arange(len(training))))
    testing: Any = data.test_dataloader().dataset
    test: EvalRows = testing.__getitems__(np.arange(len(testing)).tolist())
    n_items = data.spec.n_items
    if ranker == "popularity":
        rank_U = popularity_ranks(train.items_BS, test.target_B, test.hidden_BH, n_items)
    else:
        last_U = test.history_BL[:, -1]
        rank_U = markov_ranks(train.items_BS, last_U, test.target_B, test.hidden_BH, n_items)
    seconds = time.perf_counter() - since
    seen_U = (test.hidden_BH == test.target_B[:, None]).any(1)
    known_U = (test.hidden_BH > 0).sum(1)
    path = record(out, data, Ranked(ranker, test.user_B, test.target_B, rank_U, seen_U, known_U, seconds))
    print(f"{path}: {ranker}, {len(rank_U):,} users")
    return 0

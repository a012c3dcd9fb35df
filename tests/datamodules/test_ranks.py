"""Several processes and machines: each maps what was prepared and reads its own rows of it, once."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.array_files import file_of
from datamodules.pixelrec import PixelRec
from datamodules.sampler import TrainBatchSampler
from tests.data_makers.pixelrec import make_pixelrec
from zoo.types import ModelNeeds

pytestmark = pytest.mark.filterwarnings("ignore:Not the published size")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    make_pixelrec(folder, n_users=41, longest=60, covers="none")
    return folder


class OneRank(PixelRec):
    """The data module of one of several processes, as a trainer makes it."""

    def __init__(self, root: Path, rank: int, world_size: int, **options: Any) -> None:  # noqa: ANN401
        super().__init__(str(root), subset="200K", seed=3, batch_size=4, **options)
        self.place = rank, world_size
        self.bind(ModelNeeds({}))
        self.prepare_data()
        self.setup()

    def _ranks(self) -> tuple[int, int]:
        return self.place


def chunks(batches: Any) -> list[tuple[int, ...]]:  # noqa: ANN401
    """User and items of each row."""
    rows = chain.from_iterable(
        zip(batch.user_B.tolist(), batch.items_BS.tolist(), strict=True) for batch in batches
    )
    return [(user, *(item for item in items if item)) for user, items in rows]


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_read_all_rows_once_between_them(root: Path, workers: int) -> None:
    whole = sorted(chunks(OneRank(root, 0, 1).train_dataloader()))
    assert len(set(whole)) > 60
    for world_size in (2, 3):
        dealt = [
            chunks(OneRank(root, rank, world_size, num_workers=workers).train_dataloader())
            for rank in range(world_size)
        ]
        repeated = -len(whole) % world_size  # no rank may wait for another: the first of the order come twice
        together = list(chain.from_iterable(dealt))
        assert len(together) == len(whole) + repeated
        assert set(together) == set(whole)
        assert len({len(rows) for rows in dealt}) == 1


def test_ranks_evaluate_every_user_once(root: Path) -> None:
    users = [batch.user_B for rank in range(3) for batch in OneRank(root, rank, 3).test_dataloader()]
    assert sorted(torch.cat(users).tolist()) == list(range(1, 42))


def test_what_is_prepared_is_mapped_and_never_copied_whole(root: Path) -> None:
    data = OneRank(root, 1, 2)
    dataset: Any = data.train_dataloader().dataset
    for array in (dataset.windows.items, dataset.windows.offsets, data.windows.items):
        assert isinstance(array, np.memmap)
        assert file_of(array) is not None
    evaluated: Any = data.test_dataloader().dataset
    assert file_of(evaluated.windows.items) == file_of(dataset.windows.items)


def test_a_rank_asks_for_its_rows_only() -> None:
    shuffled = np.concatenate([batch.rows_B for batch in TrainBatchSampler(1000, 7, seed=5)])
    for rank in range(4):
        own = np.concatenate([batch.rows_B for batch in TrainBatchSampler(1000, 7, 5, rank, 4)])
        np.testing.assert_array_equal(own, shuffled[rank::4])
        assert own.base is None or own.base.size <= own.size  # holds no more than its part of the order

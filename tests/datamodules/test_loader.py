from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.types import _Stateful
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.loader import ResumableLoader
from datamodules.sampler import EpochRows, TrainBatchSampler


class Echo(Dataset[Tensor]):
    """Answers with what it was asked."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, row: int) -> Tensor:
        raise NotImplementedError

    def __getitems__(self, wanted: EpochRows) -> Tensor:
        return torch.tensor([wanted.epoch, *wanted.rows_B.tolist()])


def as_is(batch: Tensor) -> Tensor:
    return batch


def loader(
    workers: int = 0, persistent: bool = False, batch_size: int = 4, alike: bool = False
) -> ResumableLoader:
    length_R = np.arange(23) % 5 if alike else None
    return ResumableLoader(
        Echo(),
        TrainBatchSampler(23, batch_size, seed=3, length_R=length_R),
        collate_fn=as_is,
        num_workers=workers,
        persistent_workers=persistent,
    )


def epoch(batches: Iterator[Any]) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


MODES = [(0, False), (2, False), (2, True)]


@pytest.mark.parametrize(("workers", "persistent"), MODES)
def test_goes_on_with_the_next_batch(workers: int, persistent: bool) -> None:
    whole = loader()
    wanted = []
    for number in range(3):
        whole._order.set_epoch(number)
        wanted.append(epoch(iter(whole)))
    assert [batch[0] for batch in wanted[1]] == [1] * 6

    cut = loader(workers, persistent)
    cut._order.set_epoch(1)
    batches = iter(cut)
    begun = [next(batches).tolist() for _ in range(2)]
    state = cut.state_dict()
    assert begun == wanted[1][:2]
    assert state == {"epoch": 1, "done": 2, "batches": 6}

    again = loader(workers, persistent)
    again.load_state_dict(state)
    assert again.state_dict() == state
    batches = iter(again)  # Lightning makes the iterator, and sets the epoch afterwards
    again._order.set_epoch(1)
    assert epoch(batches) == wanted[1][2:]
    assert again.state_dict() == {"epoch": 2, "done": 0, "batches": 6}
    again._order.set_epoch(2)
    assert epoch(iter(again)) == wanted[2]


@pytest.mark.parametrize(("workers", "persistent"), MODES)
def test_state_of_a_whole_epoch_begins_the_next(workers: int, persistent: bool) -> None:
    first = loader(workers, persistent)
    epoch(iter(first))
    again = loader(workers, persistent)
    again.load_state_dict(first.state_dict())
    batches = iter(again)
    again._order.set_epoch(1)
    assert [batch[0] for batch in epoch(batches)] == [1] * 6


def test_epoch_set_after_the_iterator_was_made_is_honoured() -> None:
    late = loader(2)
    batches = iter(late)
    late._order.set_epoch(5)
    assert {batch[0] for batch in epoch(batches)} == {5}


def test_only_one_pass_starts_late() -> None:
    resumed = loader()
    resumed.load_state_dict({"epoch": 0, "done": 4, "batches": 6})
    assert len(epoch(iter(resumed))) == 2
    assert len(epoch(iter(resumed))) == 6


def test_lightning_takes_it_for_stateful() -> None:
    assert isinstance(loader(), _Stateful)


def test_refuses_a_begun_epoch_of_another_size() -> None:
    state = {"epoch": 1, "done": 2, "batches": 12}
    with pytest.raises(ValueError, match="after 2 of 12 batches of epoch 1, but an epoch now has 6"):
        loader().load_state_dict(state)
    loader().load_state_dict({**state, "done": 0})


def test_batches_of_one_length_resume_as_such() -> None:
    first = loader(alike=True)
    batches = iter(first)
    for _ in range(2):
        next(batches)
    state = first.state_dict()
    resumed = loader(alike=True)
    resumed.load_state_dict(state)
    assert epoch(iter(resumed)) == epoch(batches)
    with pytest.raises(ValueError, match="with bucket: true, but now it is false"):
        loader().load_state_dict(state)
    loader().load_state_dict({**state, "done": 0})

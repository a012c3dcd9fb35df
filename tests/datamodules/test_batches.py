"""Rows, pairs and collation: every batch is what ``zoo.types`` promises."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch

from datamodules.collate import (
    PairCollate,
    SequenceCollate,
    distinct,
    eval_collate,
    log_popularity,
    trimmed,
)
from datamodules.histories import EvalWindows, TrainWindows, trim_left
from datamodules.pairs import TrainPairs
from datamodules.sampler import EpochRows
from datamodules.splits import Windows, leave_two_out
from tests.datamodules.reference import plain_windows, random_lines, tables_of
from zoo.types import Content

MAX_LEN = 6


class CountingSource:
    """A catalogue whose content is the row number."""

    def __init__(self, counts_I: npt.NDArray[np.int64]) -> None:
        self.counts_I = counts_I
        self.n_items = len(counts_I)

    def feature_folder(self, modality: str, key: str) -> None:
        """No disk."""

    def content(self, ids_N: npt.NDArray[np.int64], modalities: Sequence[str]) -> dict[str, Content]:
        return {modality: {"row": torch.from_numpy(ids_N)} for modality in modalities}


@pytest.fixture(scope="module")
def windows() -> Windows:
    lines, items = random_lines(3, 200, 50)
    return leave_two_out(tables_of(lines, items), MAX_LEN, 4).windows


@pytest.fixture(scope="module")
def source(windows: Windows) -> CountingSource:
    return CountingSource(windows.train_counts(51))


def test_sequence_batches(windows: Windows, source: CountingSource) -> None:
    dataset = TrainWindows(windows, MAX_LEN, 51, negatives="positions", seed=1)
    collate = SequenceCollate(source, ["text"])
    log_pop_I = log_popularity(source.counts_I)
    for rows in np.array_split(np.random.default_rng(0).permutation(len(dataset)), 9):
        batch = collate(dataset.__getitems__(EpochRows(0, rows)))
        assert batch.negatives_BL is not None
        assert batch.negative_slots_BL is not None
        assert batch.items_BS[:, 0].any(), "a column of padding only is left"
        assert batch.unique_N[0] == 0
        assert (batch.unique_N.diff() > 0).all()
        assert (batch.unique_N[batch.slots_BS] == batch.items_BS).all()
        assert (batch.unique_N[batch.negative_slots_BL] == batch.negatives_BL).all()
        assert (batch.content["text"]["row"] == batch.unique_N).all()
        assert (batch.log_pop_BS.numpy() == log_pop_I[batch.items_BS.numpy()]).all()
        assert batch.log_pop_BS.dtype == torch.float32
        has_next_BL = (batch.items_BS[:, :-1] > 0) & (batch.items_BS[:, 1:] > 0)
        assert (batch.positions_P == has_next_BL.flatten().nonzero()[:, 0]).all()
        own = [set(row) - {0} for row in batch.items_BS.tolist()]
        for items, negatives in zip(own, batch.negatives_BL.tolist(), strict=True):
            assert not items & set(negatives)


def test_no_batch_is_without_a_real_position(windows: Windows, source: CountingSource) -> None:
    """Not even of one user: the shortest history allowed has an input and a target to train on."""
    dataset = TrainWindows(windows, MAX_LEN, 51)
    collate = SequenceCollate(source, [])
    shortest = int(np.diff(windows.offsets[1:]).min())
    assert shortest == 4
    for row in range(len(dataset)):
        assert len(collate(dataset.__getitems__(EpochRows(0, np.array([row])))).positions_P) >= 1


def test_batches_with_a_negative_a_slot(windows: Windows, source: CountingSource) -> None:
    rows, collate = EpochRows(2, np.arange(30)), SequenceCollate(source, [])
    batch = collate(TrainWindows(windows, MAX_LEN, 51, negatives="slots").__getitems__(rows))
    assert batch.negatives_BL is not None
    assert batch.negative_slots_BL is not None
    assert ((batch.negatives_BL > 0) == (batch.items_BS > 0)).all()
    assert (batch.unique_N[batch.negative_slots_BL] == batch.negatives_BL).all()
    bare = collate(TrainWindows(windows, MAX_LEN, 51).__getitems__(rows))
    assert bare.negatives_BL is None
    assert bare.negative_slots_BL is None


def test_trimming_changes_no_negative(windows: Windows) -> None:
    dataset = TrainWindows(windows, MAX_LEN, 51, negatives="positions")
    together = dataset.__getitems__(EpochRows(4, np.arange(len(dataset)))).negatives_BL
    assert together is not None
    for row in range(20):
        alone = dataset.__getitems__(EpochRows(4, np.array([row]))).negatives_BL
        assert alone is not None
        assert (together[row, -alone.shape[1] :] == alone[0]).all()


def test_negatives_change_with_epoch_and_seed(windows: Windows) -> None:
    rows = np.arange(50)

    def drawn(seed: int, epoch: int) -> list[list[int]]:
        dataset = TrainWindows(windows, MAX_LEN, 51, negatives="positions", seed=seed)
        negatives_BL = dataset.__getitems__(EpochRows(epoch, rows)).negatives_BL
        assert negatives_BL is not None
        return [list(row) for row in negatives_BL]

    assert drawn(0, 0) == drawn(0, 0)
    assert drawn(0, 0) != drawn(0, 1)
    assert drawn(0, 0) != drawn(1, 0)


def test_pairs_are_the_training_windows() -> None:
    lines, items = random_lines(5, 60, 40)
    tables = tables_of(lines, items)
    split = leave_two_out(tables, MAX_LEN, 4)
    kept, users = plain_windows(lines, items, MAX_LEN, 4)
    names = tables.users.gather(split.kept_lines).to_list()
    expected = [(row + 1, item) for row, name in enumerate(names) for item in users[name].train]
    dataset = TrainPairs(split.windows, len(kept) + 1)
    rows = dataset.__getitems__(EpochRows(0, np.arange(len(dataset))))
    assert list(zip(rows.user_B.tolist(), rows.item_B.tolist(), strict=True)) == expected
    for user, negative in zip(rows.user_B, rows.negative_B, strict=True):
        assert negative not in users[names[user - 1]].train
        assert 0 < negative <= len(kept)
    batch = PairCollate(CountingSource(split.windows.train_counts(len(kept) + 1)), ["image"])(rows)
    assert (batch.unique_N[batch.item_slots_B] == batch.item_B).all()
    assert (batch.unique_N[batch.negative_slots_B] == batch.negative_B).all()
    assert (batch.content["image"]["row"] == batch.unique_N).all()
    assert batch.unique_N[0] == 0


def test_evaluation_batches_are_trimmed(windows: Windows) -> None:
    rows = EvalWindows(windows, MAX_LEN, "test").__getitems__(range(20))
    batch = eval_collate(rows)
    assert batch.history_BL.shape[1] <= MAX_LEN
    assert batch.history_BL[:, 0].any()
    assert batch.hidden_BH[:, 0].any()
    assert batch.hidden_BH.is_contiguous()
    assert all(part.dtype == torch.int64 for part in batch)


def test_popularity() -> None:
    log_pop_I = log_popularity(np.array([0, 3, 0, 1]))
    assert log_pop_I.tolist() == pytest.approx([0, np.log(0.75), 0, np.log(0.25)])


def test_distinct_of_nothing_but_padding() -> None:
    unique_N, (slots,) = distinct(np.zeros((2, 3), dtype=np.int64))
    assert unique_N.tolist() == [0]
    assert slots.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_trim_left() -> None:
    assert trim_left(np.array([[0, 0, 1], [0, 2, 0]])).tolist() == [[0, 1], [2, 0]]
    assert trim_left(np.zeros((2, 3), dtype=np.int64)).tolist() == [[0], [0]]


def test_groups_hold_every_user_in_slots_of_its_own(windows: Windows, source: CountingSource) -> None:
    dataset = TrainWindows(windows, MAX_LEN, 51)
    collate = SequenceCollate(source, [])
    for rows in np.array_split(np.random.default_rng(0).permutation(len(dataset)), 9):
        batch = collate(dataset.__getitems__(EpochRows(0, rows)))
        assert batch.groups is not None
        length_B = (batch.items_BS[:, :-1] > 0).sum(1)
        n_slots = sum(users * slots for users, slots in batch.groups.sizes)
        newest, order = batch.groups.newest_B.sort()
        own = torch.tensor([slots for users, slots in batch.groups.sizes for _ in range(users)])
        assert (newest.diff(prepend=torch.tensor([-1])) == own).all()
        assert newest[-1] == n_slots - 1
        assert (length_B[order] <= own).all()
        assert (length_B[order] >= own * 2 / 3).all()


@pytest.mark.parametrize(("longest", "width"), [(1, 4), (4, 4), (5, 8), (10, 10), (0, 4)])
def test_tokens_are_cut_to_the_longest_title_of_the_batch(longest: int, width: int) -> None:
    tokens_NT = torch.full((3, 10), -1, dtype=torch.int32)
    tokens_NT[2, :longest] = 7
    pixels = torch.zeros(3, 2)
    content = {"text": {"tokens": tokens_NT, "present": torch.ones(3)}, "image": {"pixels": pixels}}
    cut = trimmed(content)
    assert torch.equal(cut["text"]["tokens"], tokens_NT[:, :width])
    assert cut["text"]["present"] is content["text"]["present"]
    assert cut["image"] is content["image"]
    assert content["text"]["tokens"] is tokens_NT

"""Corrupted histories are what their definition says, whatever the draw."""

from collections import Counter

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from zoo.losses.corruption import REPLACED, SHUFFLED, UNCHANGED, corrupt, draw_strangers, occurrences

RATIOS = [(0.15, 0.05), (0.4, 0.3), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)]


def histories(seed: int, n_users: int = 12, length: int = 20, n_items: int = 300) -> Tensor:
    """Left-padded rows of every length from 1 to L + 1; few items, so that they repeat."""
    generator = torch.Generator().manual_seed(seed)
    slots_BS = torch.randint(1, n_items, (n_users, length + 1), generator=generator)
    for user in range(n_users):
        slots_BS[user, : length * user // (n_users - 1)] = 0
    return slots_BS


@pytest.mark.parametrize(("shuffle_ratio", "replace_ratio"), RATIOS)
@pytest.mark.parametrize("n_items", [8, 300])
@pytest.mark.parametrize("seed", range(5))
def test_definition(seed: int, n_items: int, shuffle_ratio: float, replace_ratio: float) -> None:
    torch.manual_seed(seed)
    slots_BS = histories(seed, n_items=n_items)
    noised_BS, label_BL = corrupt(slots_BS, n_items, shuffle_ratio, replace_ratio)
    noised_BL = noised_BS[:, :-1]
    assert noised_BL.shape == label_BL.shape == slots_BS[:, :-1].shape
    assert torch.equal(noised_BS[:, -1], slots_BS[:, -1])
    for sequence, noised, label in zip(slots_BS, noised_BL, label_BL, strict=True):
        inputs = sequence[:-1]
        count = int((inputs != 0).sum())
        assert torch.equal(noised[inputs == 0], inputs[inputs == 0])
        assert not label[inputs == 0].any()
        assert torch.equal(noised[label == UNCHANGED], inputs[label == UNCHANGED])
        moved = label == SHUFFLED
        # Slots that received an equal item are unchanged; the others still are a permutation.
        assert sorted(noised[moved].tolist()) == sorted(inputs[moved].tolist())
        assert (noised[moved] != inputs[moved]).all()
        shuffled = round(shuffle_ratio * count)
        assert int(moved.sum()) <= (shuffled if shuffled >= 2 else 0)
        others = set(slots_BS.flatten().tolist()) - set(sequence.tolist()) - {0}
        strangers = noised[label == REPLACED].tolist()
        assert set(strangers) <= others
        assert len(set(strangers)) == len(strangers)
        assert len(strangers) == min(round(replace_ratio * count), len(others), count)
        if len(set(inputs.tolist()) - {0}) == count:  # no repeated item
            assert int(moved.sum()) == (shuffled if shuffled >= 2 else 0)


def test_counts_of_the_reference_design() -> None:
    slots_BS = torch.arange(1, 64 * 21 + 1).reshape(64, 21)
    _, label_BL = corrupt(slots_BS, 64 * 21 + 1)
    assert ((label_BL == SHUFFLED).sum(1) == 3).all()
    assert ((label_BL == REPLACED).sum(1) == 1).all()


def test_every_input_is_chosen_equally_often() -> None:
    slots_BS = torch.arange(1, 1000 * 6 + 1).reshape(1000, 6)
    torch.manual_seed(0)
    _, label_BL = corrupt(slots_BS, 1000 * 6 + 1, 0.4, 0.2)
    for label, share in ((SHUFFLED, 0.4), (REPLACED, 0.2)):
        share_L = (label_BL == label).float().mean(0)
        torch.testing.assert_close(share_L, torch.full_like(share_L, share), atol=0.06, rtol=0)


def test_strangers_are_drawn_by_how_often_they_stand_in_the_batch() -> None:
    slots_BS = torch.tensor([[0, 5, 5]] * 5000 + [[1, 1, 1]] * 3 + [[2, 3, 3]] * 3)
    torch.manual_seed(0)
    drawn = Counter(draw_strangers(slots_BS, 6, 1)[:5000, 0].tolist())
    assert set(drawn) == {1, 2, 3}
    assert drawn[1] / 5000 == pytest.approx(9 / 18, abs=0.03)
    assert drawn[2] / 5000 == pytest.approx(3 / 18, abs=0.03)


def test_a_batch_of_one_user_has_no_strangers() -> None:
    slots_BS = torch.tensor([[0, 0, 1, 2, 3, 4, 5]])
    assert not draw_strangers(slots_BS, 6, 2).any()
    noised_BS, label_BL = corrupt(slots_BS, 6, 0.0, 1.0)
    assert torch.equal(noised_BS, slots_BS)
    assert not label_BL.any()


def test_occurrences_do_not_count_padding() -> None:
    assert occurrences(torch.tensor([[0, 0, 3], [3, 1, 3]]), 4).tolist() == [[0, 0, 0, 1], [0, 1, 0, 2]]


def test_never_asks_the_device_for_a_value() -> None:
    with FakeTensorMode() as mode:  # its tensors have shapes only: reading a value is an error
        corrupt(mode.from_tensor(histories(0)), 300)

import torch

from zoo.losses.rows import mean_of, real_slots


def test_real_slots_are_all_and_each_once() -> None:
    generator = torch.Generator().manual_seed(0)
    items_BS = torch.randint(1, 9, (50, 7), generator=generator)
    items_BS[torch.arange(7) < torch.randint(0, 7, (50, 1), generator=generator)] = 0
    positions_P = items_BS[:, :-1].flatten().nonzero()[:, 0]
    slots_R = real_slots(positions_P, 50, 7)
    assert slots_R.sort().values.tolist() == items_BS.flatten().nonzero()[:, 0].tolist()


def test_means_count_only_what_has_weight() -> None:
    value_P = torch.tensor([1.0, 5.0, 9.0])
    assert mean_of(value_P, None).item() == 5
    assert mean_of(value_P, torch.ones(3)).item() == 5
    assert mean_of(value_P, torch.tensor([0.0, 1.0, 1.0])).item() == 7
    assert mean_of(value_P, torch.zeros(3)).item() == 0

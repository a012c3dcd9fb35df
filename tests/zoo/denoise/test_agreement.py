"""Agreement of modalities and what interactions count."""

import numpy as np
import pytest
import torch

from zoo.denoise.agreement import margin_contrast, modal_distance, relative_distance, row_weights
from zoo.denoise.recovery import recovery
from zoo.denoise.teachers import Verdict


def test_fixed_rule_weighs_what_the_released_rule_leaves() -> None:
    distance_P, agreement_P = torch.tensor([0.0, 0.69, 0.71, 1.0]), torch.full((4,), 0.4)
    released = row_weights(distance_P, agreement_P)
    fixed = row_weights(distance_P, agreement_P, fixed=True)
    assert released.clean_P.tolist() == [True, True, False, False]
    assert released.weight_P.tolist() == pytest.approx([0.4, 0.4, 1, 1])
    assert fixed.weight_P.tolist() == pytest.approx([1, 1, 0.4, 0.4])
    assert row_weights(distance_P, agreement_P, True, noisy_from=0.0).weight_P.tolist() == pytest.approx(
        [0.4] * 4
    )


def test_equal_distances_are_all_clean() -> None:
    assert relative_distance(torch.full((3,), 2.0)).tolist() == [0, 0, 0]


def test_distance_of_three_modalities_is_the_mean_of_their_pairs() -> None:
    parts = [torch.tensor([[float(x)]]) for x in (0, 1, 3)]
    assert modal_distance(parts).item() == pytest.approx(2 - 1e-4)


def test_contrast_is_nothing_once_the_margin_is_kept() -> None:
    user_PD = torch.tensor([[1.0, 0.0]])
    away_PD = -user_PD
    assert margin_contrast(user_PD, user_PD, away_PD).item() == 0
    assert margin_contrast(user_PD, away_PD, user_PD).item() > 100


def test_recovery_of_planted_noise() -> None:
    noise_E = np.array([True, False, False, True, False])
    found = recovery(
        Verdict(1.0 - torch.from_numpy(noise_E).float(), torch.zeros(5), -torch.ones(5)), noise_E
    )
    assert found == {"suspicion": 0.5, "weight": 1.0}
    large = torch.tensor([1003.0, 1001.0, 1000.0, 1004.0, 1002.0])  # all one after a sigmoid
    assert recovery(Verdict(torch.ones(5), torch.zeros(5), large), noise_E)["suspicion"] == 1.0
    assert np.isnan(recovery(Verdict(torch.ones(5), torch.zeros(5), large), noise_E & False)["weight"])

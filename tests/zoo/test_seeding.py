import random

import numpy as np
import torch

from zoo.seeding import reseed


def draw() -> list[float]:
    return [float(torch.rand(())), float(np.random.rand()), random.random()]


def test_a_place_has_one_randomness_and_another_place_another() -> None:
    drawn = {}
    for place in [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]:
        reseed(*place)
        drawn[place] = draw()
    assert len({value for values in drawn.values() for value in values}) == 15
    draw()
    reseed(0, 0, 1, 0)
    assert draw() == drawn[0, 0, 1, 0]

"""Randomness as a function of its place in the training."""

import random
from functools import cache

import numpy as np
import torch


@cache
def _has_accelerator() -> bool:
    """Asked once: to find out may mean to look for a driver's library on the disk."""
    return torch.accelerator.is_available()


def reseed(seed: int, epoch: int, batch: int, rank: int) -> None:
    """Sets the generators of torch (CPU and accelerators), numpy and Python to the start of a batch.

    Checkpoints hold no generator's state. Called before every training batch, this makes dropout and any
    other draw of the step the same whether the run was interrupted before it or not, and different on every
    rank.

    Args:
        seed: Seed of the run.
        epoch: Epoch, from 0.
        batch: Batch within the epoch, from 0.
        rank: Process, from 0.

    >>> reseed(1, 2, 3, 0)
    >>> first = torch.rand(2)
    >>> reseed(1, 2, 3, 0)
    >>> torch.equal(first, torch.rand(2))
    True
    """
    words = np.random.SeedSequence([seed, epoch, batch, rank]).generate_state(3, np.uint64)
    if _has_accelerator():
        torch.manual_seed(int(words[0]))
    else:  # torch.manual_seed takes stack traces for accelerators that may yet come: slower than all else
        torch.default_generator.manual_seed(int(words[0]))
    np.random.seed(int(words[1]) & 0xFFFFFFFF)
    random.seed(int(words[2]))

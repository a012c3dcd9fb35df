"""How much two losses count in one step: the point of least norm between their gradients.

Two-vector case of "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018,
https://arxiv.org/abs/1810.04650, as GUIDER's code mixes a recommender's own loss with its distillation
(https://github.com/Neon-Jing/Guider, ``common/trainer.py``). Everything stays on the device.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Gradients = Sequence[Tensor | None]
"""One gradient a parameter, in the order of the parameters; None where the loss does not reach it."""

OWN_FLOOR = 0.5
"""Least weight of the recommender's own loss."""
GUIDE_FLOOR = 1e-4
"""Least weight of the distillation."""
EDGE = 0.001
"""Distance from 0 and 1 at which the share stops where one gradient alone has the least norm."""


class Mix(NamedTuple):
    """Weights of the two losses, scalars; they need not add up to 1."""

    own: Tensor
    guide: Tensor


def inner_product(one: Gradients, other: Gradients) -> Tensor:
    """Inner product over all parameters; a missing gradient is zero.

    Args:
        one: Gradients of a loss.
        other: Gradients of another, of the same parameters.

    Raises:
        ValueError: No parameter has both.

    >>> float(inner_product([torch.ones(2), None], [torch.ones(2), torch.ones(3)]))
    2.0
    """
    parts = [(a * b).sum() for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    if not parts:
        raise ValueError(
            "The two losses share no parameter, so their gradients have nothing to agree about. Expected a "
            "distillation of scores that the recommender's own loss trains too."
        )
    return torch.stack(parts).sum()


def min_norm_share(one_one: Tensor, one_two: Tensor, two_two: Tensor) -> Tensor:
    """Share of the first vector in the shortest convex combination of two.

    Args:
        one_one: Squared norm of the first vector.
        one_two: Inner product of both.
        two_two: Squared norm of the second.

    Returns:
        A scalar between ``EDGE`` and 1 - ``EDGE``.
    """
    distance = one_one + two_two - 2 * one_two
    inside = (two_two - one_two) / torch.where(distance > 0, distance, 1.0)
    share = torch.where(one_two >= two_two, EDGE, inside)
    return torch.where(one_two >= one_one, 1 - EDGE, share)


def min_norm_mix(own: Gradients, guide: Gradients, accumulated: bool = True) -> Mix:
    """Weights of a recommender's own loss and of the distillation.

    The authors' second gradient is that of both losses together, because nothing is cleared between the two
    backward passes. Whenever the two gradients agree, the distillation then weighs 0.001.

    Args:
        own: Gradients of the recommender's own loss.
        guide: Gradients of the distillation alone.
        accumulated: Compare the own gradient with the sum of both, as released; else with the distillation's.

    >>> mix = min_norm_mix([torch.tensor([1.0, 0.0])], [torch.tensor([-0.1, 0.5])])
    >>> round(float(mix.own), 6), round(float(mix.guide), 6)
    (0.615385, 0.384615)
    """
    own_own, own_guide = inner_product(own, own), inner_product(own, guide)
    guide_guide = inner_product(guide, guide)
    if accumulated:
        # Of vectors g and g + h the share is 1 + <g, h> / <h, h>: not a difference of large numbers.
        inside = 1 + own_guide / torch.where(guide_guide > 0, guide_guide, 1.0)
        share = torch.where(own_guide >= 0, 1 - EDGE, torch.where(own_guide <= -guide_guide, EDGE, inside))
    else:
        share = min_norm_share(own_own, own_guide, guide_guide)
    return Mix(share.clamp(min=OWN_FLOOR), (1 - share).clamp(min=GUIDE_FLOOR))


def mixed(own: Gradients, guide: Gradients, mix: Mix) -> list[Tensor | None]:
    """Weighted sum of two losses' gradients; None where neither reaches the parameter.

    Args:
        own: Gradients of the recommender's own loss.
        guide: Gradients of the distillation.
        mix: Their weights.
    """
    return [
        mix.guide * b
        if a is None and b is not None
        else mix.own * a
        if a is not None and b is None
        else None
        if a is None or b is None
        else mix.own * a + mix.guide * b
        for a, b in zip(own, guide, strict=True)
    ]

"""Debiased optimal transport between two clouds of weighted points, annealed and symmetrised.

The divergence of "Interpolating between Optimal Transport and MMD using Sinkhorn Divergences", AISTATS 2019,
https://arxiv.org/abs/1810.08278, computed as the library geomloss does on dense clouds: the regularisation
falls from the clouds' diameter to the blur by halves, both potentials move at once and halfway, and only one
last update has a gradient.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from zoo.losses.fused import block_rows

Power = Literal[1, 2]
SCALING = 0.5
"""Factor between two blurs of the annealing."""
LEAST_SQUARE = 1e-8
"""Squared distances are taken to be at least this before their root."""


class Divergence(NamedTuple):
    """The value with its gradient, and how many updates it took before the last."""

    value: Tensor
    iterations: int


class Cloud(NamedTuple):
    """Points, or scores as points: users whose coordinates are their inner products with all items."""

    point_PD: Tensor
    axis_ID: Tensor | None = None
    """If given, the points are the P rows of ``point_PD @ axis_ID.T``, which are never all made at once."""

    def detach(self) -> "Cloud":
        """The same points without a gradient."""
        return Cloud(self.point_PD.detach(), None if self.axis_ID is None else self.axis_ID.detach())

    def precise(self) -> "Cloud":
        """The same points in float32 at least."""
        dtype = torch.promote_types(self.point_PD.dtype, torch.float32)
        return Cloud(self.point_PD.to(dtype), None if self.axis_ID is None else self.axis_ID.to(dtype))

    def inner(self, other: "Cloud") -> Tensor:
        """Inner products (P, Q) with the points of another cloud, of the same coordinates."""
        if self.axis_ID is None or other.axis_ID is None:
            return self.point_PD @ other.point_PD.T
        return self.point_PD @ (self.axis_ID.T @ other.axis_ID) @ other.point_PD.T

    def squares(self) -> Tensor:
        """Squared norms (P,) of the points."""
        if self.axis_ID is None:
            return (self.point_PD * self.point_PD).sum(1)
        return (self.point_PD @ (self.axis_ID.T @ self.axis_ID) * self.point_PD).sum(1)

    def coordinates(self) -> Iterator[Tensor]:
        """The points' coordinates in blocks (P, coordinates of the block)."""
        if self.axis_ID is None:
            yield self.point_PD
        else:
            block = block_rows(len(self.point_PD), self.point_PD.device.type)
            for start in range(0, len(self.axis_ID), block):
                yield self.point_PD @ self.axis_ID[start : start + block].T


def sinkhorn_divergence(
    one: Cloud,
    other: Cloud,
    one_weight_P: Tensor | None = None,
    other_weight_Q: Tensor | None = None,
    power: Power = 1,
    blur: float = 0.1,
) -> Divergence:
    """Divergence of two clouds, in float32 at least whatever the autocast state.

    The host must know the diameter of the clouds to count its updates: the one wait for the device.

    Args:
        one: The first cloud.
        other: The second.
        one_weight_P: Weights that add up to 1; by default equal ones.
        other_weight_Q: Of the second cloud.
        power: Cost of a transport: 1 for the distance, 2 for half its square.
        blur: Distance below which points are not told apart.

    Raises:
        ValueError: The blur is not positive, or a cloud is empty.

    >>> one, other = Cloud(torch.tensor([[1.0, 2, 2]])), Cloud(torch.zeros(1, 3))
    >>> round(float(sinkhorn_divergence(one, other).value), 4)
    2.9999
    """
    if blur <= 0 or not len(one.point_PD) or not len(other.point_PD):
        raise ValueError(
            f"A Sinkhorn divergence needs a positive blur and points on both sides; found blur {blur} and "
            f"{len(one.point_PD)} and {len(other.point_PD)} points."
        )
    with torch.autocast(one.point_PD.device.type, enabled=False):
        one, other = one.precise(), other.precise()
        a_P, b_Q = _logarithms(one, one_weight_P), _logarithms(other, other_weight_Q)
        steps = epsilons(float(diameter(one.detach(), other.detach())), power, blur)
        # A cost moves its first cloud only: the other's potential brings the other's gradient.
        there = _Side(_cost(one, other.detach(), power), b_Q)
        back = _Side(_cost(other, one.detach(), power), a_P)
        f_P, g_Q = _potentials(there, back, steps)
        own_P = _own_potential(_Side(_cost(one, one.detach(), power), a_P), steps)
        own_Q = _own_potential(_Side(_cost(other, other.detach(), power), b_Q), steps)
        value = (a_P.exp() * (f_P - own_P)).sum() + (b_Q.exp() * (g_Q - own_Q)).sum()
    return Divergence(value, len(steps))


class _Side(NamedTuple):
    """One direction of a transport: costs, and the logarithms of the columns' weights."""

    cost_PQ: Tensor
    column_Q: Tensor

    def update(self, epsilon: float, potential_Q: Tensor | None = None) -> Tensor:
        """Soft minimum over the columns, for every row."""
        height_Q = self.column_Q if potential_Q is None else self.column_Q + potential_Q / epsilon
        return -epsilon * torch.logsumexp(height_Q - self.cost_PQ / epsilon, dim=1)


def _potentials(there: _Side, back: _Side, steps: list[float]) -> tuple[Tensor, Tensor]:
    """Both potentials of a transport, halfway to the other's update in every step, at last with gradient."""
    with torch.no_grad():
        f_P, g_Q = there.update(steps[0]), back.update(steps[0])
        for epsilon in steps:
            next_P, next_Q = there.update(epsilon, g_Q), back.update(epsilon, f_P)
            f_P, g_Q = (f_P + next_P) / 2, (g_Q + next_Q) / 2
    return there.update(steps[-1], g_Q), back.update(steps[-1], f_P)


def _own_potential(side: _Side, steps: list[float]) -> Tensor:
    """The potential of a cloud's transport to itself: both are one."""
    with torch.no_grad():
        f_P = side.update(steps[0])
        for epsilon in steps:
            f_P = (f_P + side.update(epsilon, f_P)) / 2
    return side.update(steps[-1], f_P)


def epsilons(extent: float, power: Power, blur: float) -> list[float]:
    """Regularisations from the clouds' diameter down to the blur.

    Args:
        extent: Diameter of the clouds.
        power: Of the cost.
        blur: Where they end.

    >>> [round(epsilon, 3) for epsilon in epsilons(1.0, 1, 0.3)]
    [1.0, 1.0, 0.5, 0.3]
    """
    halvings = math.ceil(round((math.log(extent) - math.log(blur)) / -math.log(SCALING), 9)) if extent else 0
    between = [extent**power * SCALING ** (power * k) for k in range(halvings)]
    return [*([extent**power] if extent else []), *between, blur**power]


@torch.no_grad()
def diameter(one: Cloud, other: Cloud) -> Tensor:
    """Diagonal of the box around two clouds, a scalar."""
    squares = [
        (torch.maximum(p.amax(0), q.amax(0)) - torch.minimum(p.amin(0), q.amin(0))).square().sum()
        for p, q in zip(one.coordinates(), other.coordinates(), strict=True)
    ]
    return torch.stack(squares).sum().sqrt()


def _cost(one: Cloud, other: Cloud, power: Power) -> Tensor:
    squared_PQ = one.squares()[:, None] + other.squares() - 2 * one.inner(other)
    return squared_PQ / 2 if power == 2 else squared_PQ.clamp(min=LEAST_SQUARE).sqrt()


def _logarithms(cloud: Cloud, weight_P: Tensor | None) -> Tensor:
    if weight_P is not None:
        return weight_P.to(cloud.point_PD.dtype).log()
    count = len(cloud.point_PD)
    return cloud.point_PD.new_full((count,), -math.log(count))

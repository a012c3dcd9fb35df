"""Training cost as one number: TPME."""

import math
from collections.abc import Sequence

WEIGHTS = (0.45, 0.10, 0.45)
"""IISAN's weights of time, parameters and memory."""


def tpme(
    seconds: Sequence[float],
    parameters: Sequence[float],
    memory: Sequence[float],
    weights: Sequence[float] = WEIGHTS,
) -> list[float]:
    """Training-time, Parameter and GPU Memory Efficiency of IISAN (https://arxiv.org/abs/2404.02059).

    Each of the three is brought to 0..1 over the methods that are compared, from the cheapest to the
    costliest, and the three are averaged. Lower is better; the values belong to the set that is compared.
    Where all methods cost the same, it counts as 0.

    Args:
        seconds: Of an epoch, one a method.
        parameters: Trained ones.
        memory: Peak of training.
        weights: Of time, parameters and memory, summing to 1.

    Raises:
        ValueError: The lists are of different length, or the weights are no shares.

    >>> tpme([1.0, 3.0, 2.0], [10, 10, 20], [5.0, 5.0, 5.0])
    [0.0, 0.45, 0.325]
    """
    check_weights(weights)
    if not len(seconds) == len(parameters) == len(memory):
        raise ValueError(
            f"Expected three values a method; found {len(seconds)} times, {len(parameters)} numbers of "
            f"parameters and {len(memory)} of memory."
        )
    columns = [_between(values) for values in (seconds, parameters, memory)]
    return [math.fsum(w * x for w, x in zip(weights, row, strict=True)) for row in zip(*columns, strict=True)]


def check_weights(weights: Sequence[float]) -> None:
    """Refuses weights that are no three shares of a whole.

    Raises:
        ValueError: They are not.
    """
    if len(weights) != 3 or min(weights) < 0 or not math.isclose(math.fsum(weights), 1.0, abs_tol=1e-6):
        raise ValueError(
            "TPME: expected three weights, of time, parameters and memory, not negative and summing to 1; "
            f"found {', '.join(map(str, weights))}."
        )


def _between(values: Sequence[float]) -> list[float]:
    """Values as shares of the way from the least to the greatest."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [0.0 if high == low else (value - low) / (high - low) for value in values]

"""Learning-rate schedules over the optimiser steps of a run."""

import math
from collections.abc import Callable
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]


def rate_factor(schedule: Schedule, warmup_steps: int, total_steps: int) -> Callable[[int], float]:
    """The factor of the learning rate by step: a linear warm-up, then the schedule down to 0.

    Args:
        schedule: ``constant`` stays at 1 after the warm-up.
        warmup_steps: Optimiser steps of the warm-up.
        total_steps: Optimiser steps of the run.

    >>> factor = rate_factor("linear", warmup_steps=1, total_steps=5)
    >>> [factor(step) for step in range(6)]
    [0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        match schedule:
            case "constant":
                return 1.0
            case "linear":
                return 1.0 - done
            case "cosine":
                return 0.5 * (1.0 + math.cos(math.pi * done))

    return factor

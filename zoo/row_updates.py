"""AdamW that leaves alone the rows of a table that a batch did not read.

A dense step reads and writes the whole table and both its moments, whatever the batch was: at a million items
most of a step's time. Here a row's moments, its decay and its count of steps stand still until it is read.
This is not the same optimiser: under AdamW a row goes on moving by old moments, and decays, in every step.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class RowAdamW(torch.optim.AdamW):
    """AdamW for dense gradients; for sparse ones, AdamW of the rows that have a gradient.

    A row is corrected for the bias of its own steps, so that its first update is as long as any other row's,
    however late it comes. Moments are tables of the parameter's shape; they are part of the state like all.
    """

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Updates what has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        sparse = [
            (group, parameter, parameter.grad)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None and parameter.grad.is_sparse
        ]
        for _, parameter, _ in sparse:
            parameter.grad = None
        super().step()
        for group, parameter, gradient in sparse:
            self._update_rows(group, parameter, gradient.coalesce())
            parameter.grad = gradient
        return loss

    @torch.no_grad()
    def _update_rows(self, group: dict[str, Any], table_ID: Tensor, gradient: Tensor) -> None:
        state = self.state[table_ID]
        if not state:
            state["step"] = torch.zeros(len(table_ID), dtype=torch.float32, device=table_ID.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table_ID), torch.zeros_like(table_ID)
        row_N, grad_ND = gradient.indices()[0], gradient.values()
        beta1, beta2 = group["betas"]
        step_N1 = (state["step"][row_N] + 1)[:, None]
        mean_ND = state["exp_avg"][row_N].lerp_(grad_ND, 1 - beta1)
        square_ND = state["exp_avg_sq"][row_N].mul_(beta2).addcmul_(grad_ND, grad_ND, value=1 - beta2)
        spread_ND = (square_ND / (1 - beta2**step_N1)).sqrt_().add_(group["eps"])
        value_ND = table_ID[row_N].mul_(1 - group["lr"] * group["weight_decay"])
        value_ND.addcdiv_(mean_ND / (1 - beta1**step_N1), spread_ND, value=-float(group["lr"]))
        for kept, new in (
            (state["step"], step_N1[:, 0]),
            (state["exp_avg"], mean_ND),
            (state["exp_avg_sq"], square_ND),
            (table_ID, value_ND),
        ):
            kept.index_copy_(0, row_N, new)


def has_row_tables(model: nn.Module) -> bool:
    """Whether a table of the model is updated row by row."""
    return any(module.sparse for module in model.modules() if isinstance(module, nn.Embedding))


def require_row_updates(clip: float | None, automatic: bool) -> None:
    """Refuses what needs whole gradients.

    Args:
        clip: The trainer's ``gradient_clip_val``.
        automatic: Whether the trainer takes the steps, and the model does not mix gradients itself.

    Raises:
        ValueError: It does.
    """
    if clip:
        raise ValueError(
            f"row_updates: true goes without clipping, whose norm is over whole gradients; found "
            f"gradient_clip_val {clip}. Leave one of the two out."
        )
    if not automatic:
        raise ValueError(
            "row_updates: true goes with plain training; this model mixes gradients itself. Leave it out."
        )

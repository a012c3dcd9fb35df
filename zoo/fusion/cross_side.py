"""CROSSAN's side network: one tower a modality, exchanging what they know at every step.

CROSSAN, the Cross-modal Side Adapter Network, 2025, https://arxiv.org/abs/2504.10307. The paper had no public
code when this was written, and its equations were not at hand. **What stands here is this project's reference
design**: it agrees with all that the abstracts say (frozen encoders apart from the adapters, exchange between
the adapters, fewer parameters than a tower for every pair), and will give way to the authors'.

All towers of a step are one batched product.
"""

from collections.abc import Mapping
from typing import Literal, cast

import torch
from torch import Tensor, nn

from zoo.encoders.base import Encoded
from zoo.fusion.sanb import SANB, Activation, Linears, gate

Cross = Literal["previous", "states", "bottleneck", "none"]
CLOSED = -0.3
"""Start of the exchange's gates: 5 percent pass, so that towers begin nearly alone."""


class Exchange(nn.Module):
    """What each modality takes from the others: their mean by learned weights, through a gate.

    The weights are scalars, a softmax over the others that the item has; the gate is a scalar as well.

    Args:
        n_towers: Modalities M, at least two.
    """

    others_MO: Tensor

    def __init__(self, n_towers: int) -> None:
        super().__init__()
        self.gate_M = nn.Parameter(torch.full((n_towers,), CLOSED))
        others = [[o for o in range(n_towers) if o != m] for m in range(n_towers)]
        self.register_buffer("others_MO", torch.tensor(others), persistent=False)
        # With two there is nothing to choose.
        self.logit_MO = nn.Parameter(torch.zeros(n_towers, n_towers - 1)) if n_towers > 2 else None

    def forward(self, x_MND: Tensor, present_MN: Tensor) -> Tensor:
        """What is added to each modality's tower (M, N, D), given what each modality offers."""
        n_towers = len(x_MND)
        logit_MO = x_MND.new_zeros(n_towers, n_towers - 1) if self.logit_MO is None else self.logit_MO
        weight_MO = logit_MO.softmax(dim=-1)
        weight_MM = weight_MO.new_zeros(n_towers, n_towers).scatter(1, self.others_MO, weight_MO)
        offered_MND = x_MND.masked_fill(~present_MN[..., None], 0.0)
        mixed_MND = torch.mm(weight_MM, offered_MND.flatten(1)).view_as(x_MND)
        # Shares of absent modalities go to those that are there; without any, nothing comes.
        total_MN = torch.mm(weight_MM, present_MN.to(weight_MM.dtype))
        scale_MN = gate(self.gate_M)[:, None] / torch.where(total_MN > 0, total_MN, 1.0)
        return scale_MN[..., None] * mixed_MND


class CrossSideNetwork(nn.Module):
    """One tower a modality; at step j modality m takes in g h_j + (1 - g) s_m + c times the others' mean.

    Args:
        widths: Modality -> width of its states. Wider ones are brought to the narrowest by a linear layer a
            step.
        n_states: Modality -> kept states K, the same for all.
        bottleneck: Width k of the blocks.
        cross: What is exchanged: the others' running states after the ``previous`` step; their encoders'
            ``states`` of this step; what passes the ``bottleneck`` of their blocks in this step; or ``none``.
        activation: Of the blocks.

    Raises:
        ValueError: The modalities have different numbers of kept states.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        n_states: Mapping[str, int],
        bottleneck: int = 64,
        cross: Cross = "previous",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        if len(set(n_states.values())) > 1:
            raise ValueError(
                f"CROSSAN's towers take their steps together, but the modalities keep {dict(n_states)} layer "
                "states. Lower `groups` to the blocks of the smallest tower, or list equally many `states`."
            )
        self.names = list(widths)
        self.width = min(widths.values())
        self.cross = cross
        steps, towers = next(iter(n_states.values())), len(widths)
        self.transforms = nn.ModuleDict(
            {m: Linears(steps, width, self.width) for m, width in widths.items() if width != self.width}
        )
        self.gate_KM = nn.Parameter(torch.zeros(steps, towers))
        self.blocks = nn.ModuleList(SANB(towers, self.width, bottleneck, activation) for _ in range(steps))
        # In the first step there is no previous one.
        first = {"previous": 1, "none": steps}.get(cross, 0) if towers > 1 else steps
        self.exchanges = nn.ModuleDict({str(j): Exchange(towers) for j in range(first, steps)})

    @property
    def out_widths(self) -> dict[str, int]:
        """Modality -> width of what its tower gives."""
        return dict.fromkeys(self.names, self.width)

    def forward(self, states: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Encoded]:
        """Walks all towers.

        Args:
            states: Modality -> kept states (N, K, D); what stands where it is absent is not read.
            present: Modality -> whether the items have it, (N,) bool.

        Returns:
            Modality -> its tower's last running state, and for which items it means anything.
        """
        kept = [self._kept(m, states[m], present[m]) for m in self.names]
        present_MN = torch.stack([present[m] for m in self.names])
        running_MND: Tensor | None = None
        for j, (block, share_M, state_M) in enumerate(
            zip(self.blocks, gate(self.gate_KM), zip(*kept, strict=True), strict=True)
        ):
            state_MND, share_M11 = torch.stack(state_M), share_M[:, None, None]
            x_MND = share_M11 * state_MND
            if running_MND is not None:
                x_MND = x_MND + (1.0 - share_M11) * running_MND
            running_MND = self._step(j, cast(SANB, block), x_MND, state_MND, running_MND, present_MN)
        assert running_MND is not None
        ends = zip(self.names, running_MND.unbind(), strict=True)
        return {m: Encoded(end_ND, present_N=present[m]) for m, end_ND in ends}

    def _kept(self, modality: str, states_NKD: Tensor, present_N: Tensor) -> tuple[Tensor, ...]:
        """States at the common width, zero where the modality is absent."""
        absent_N11 = ~present_N[:, None, None]
        # Chosen, not multiplied: what is stored for an absent modality may be no number.
        states_NKD = states_NKD.masked_fill(absent_N11, 0.0)
        if modality in self.transforms:
            states_NKD = self.transforms[modality](states_NKD).masked_fill(absent_N11, 0.0)
        return states_NKD.unbind(dim=1)

    def _step(
        self,
        j: int,
        block: SANB,
        x_MND: Tensor,
        state_MND: Tensor,
        running_MND: Tensor | None,
        present_MN: Tensor,
    ) -> Tensor:
        """One step of all towers from their own inputs."""
        if str(j) not in self.exchanges:
            return cast(Tensor, block(x_MND))
        exchange = self.exchanges[str(j)]
        if self.cross == "bottleneck":
            narrow_MNk = block.narrow(x_MND)
            return block.widen(x_MND, narrow_MNk + exchange(narrow_MNk, present_MN))
        offered_MND = state_MND if self.cross == "states" else running_MND
        return cast(Tensor, block(x_MND + exchange(offered_MND, present_MN)))

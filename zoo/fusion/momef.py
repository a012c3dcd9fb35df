"""Fusions of what side networks give: concatenation, and the Mixture of Modality Expert Fusion (MOMEF).

MOMEF is named in CROSSAN, 2025, https://arxiv.org/abs/2504.10307, a paper without public code when this was
written, and whose equations were not at hand: **the one here is this project's reference design**, made to
agree with what the abstracts say.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.encoders.base import Encoded
from zoo.fusion.base import Fusion
from zoo.fusion.parts import require_parts
from zoo.fusion.sanb import Linears


def masked(part: Encoded) -> Tensor:
    """The vectors (N, D) of a part, zero where it is absent."""
    if part.present_N is None:
        return part.pooled_ND
    return part.pooled_ND.masked_fill(~part.present_N[:, None], 0.0)


class ConcatLinear(Fusion):
    """The parts side by side, then one linear layer, as in IISAN; of an absent part nothing enters.

    An item without any part gets the bias: a learned vector.

    Args:
        n_parts: Number of parts M.
        width: Width D of each part and of the result.
        dropout: Has no effect; the argument is that of every fusion.
    """

    def __init__(self, n_parts: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_parts = n_parts
        self.linear = nn.Linear(n_parts * width, width)

    def forward(self, parts: list[Encoded]) -> Tensor:
        """Fuses M parts (N, D), each with its ``present_N``, to (N, D)."""
        require_parts("concat", self.n_parts, parts)
        return cast(Tensor, self.linear(torch.cat([masked(part) for part in parts], dim=-1)))


class Momef(Fusion):
    """One expert a part, and a router that reads all parts and weighs the experts (our reference design).

    The router gives no weight to an absent part. An item without any part gets a learned vector.

    Args:
        n_parts: Number of parts M; a single one needs no router.
        width: Width D of each part and of the result.
        top_k: Experts an item keeps, their weights again adding up to 1; by default all.
        temperature: Of the router's softmax; below 1 its choice is sharper.
        noisy: Add learned normal noise to the router's logits in training.

    Raises:
        ValueError: ``top_k`` or the temperature is out of range.
    """

    def __init__(
        self,
        n_parts: int,
        width: int,
        top_k: int | None = None,
        temperature: float = 1.0,
        noisy: bool = False,
    ) -> None:
        super().__init__()
        self.check(n_parts, top_k, temperature)
        self.n_parts = n_parts
        self.top_k = top_k or n_parts
        self.temperature = temperature
        self.experts = nn.Sequential(
            Linears(n_parts, width, width, xavier=True),
            nn.GELU(),
            Linears(n_parts, width, width, xavier=True),
        )
        if n_parts > 1:
            self.router = nn.Linear(n_parts * width, n_parts)
            # All experts begin alike: what parts have in common over the items would choose one at random.
            nn.init.zeros_(self.router.weight)
            nn.init.zeros_(self.router.bias)
        self.noise = nn.Linear(n_parts * width, n_parts) if noisy and n_parts > 1 else None
        self.nothing_D = nn.Parameter(torch.zeros(width))

    @staticmethod
    def check(n_parts: int, top_k: int | None, temperature: float) -> None:
        """Refuses options that no router can have.

        Raises:
            ValueError: ``top_k`` or the temperature is out of range.
        """
        if top_k is not None and not 1 <= top_k <= n_parts:
            raise ValueError(f"An item can keep 1 to {n_parts} experts, one a modality; found {top_k}.")
        if temperature <= 0:
            raise ValueError(f"The router's temperature must be positive; found {temperature}.")

    def forward(self, parts: list[Encoded]) -> Tensor:
        """Fuses M parts (N, D), each with its ``present_N``, to (N, D)."""
        return self.mix(parts, self.shares(parts))

    def shares(self, parts: list[Encoded]) -> Tensor:
        """Weight of every expert for every item, (N, M): 0 where absent, otherwise adding up to 1."""
        require_parts("momef", self.n_parts, parts)
        present_NM = present(parts)
        if self.n_parts == 1:
            return present_NM.to(parts[0].pooled_ND.dtype)
        part_NF = torch.cat([masked(part) for part in parts], dim=-1)
        logit_NM = self.router(part_NF)
        if self.noise is not None and self.training:
            logit_NM = logit_NM + torch.randn_like(logit_NM) * F.softplus(self.noise(part_NF))
        lowest = torch.finfo(logit_NM.dtype).min  # not -inf: an item without any part stays a number
        logit_NM = logit_NM.masked_fill(~present_NM, lowest)
        if self.top_k < self.n_parts:
            best_NK = logit_NM.topk(self.top_k, dim=-1).indices
            kept_NM = torch.zeros_like(present_NM).scatter(1, best_NK, True)
            logit_NM, present_NM = logit_NM.masked_fill(~kept_NM, lowest), present_NM & kept_NM
        share_NM: Tensor = (logit_NM.float() / self.temperature).softmax(dim=-1)
        return share_NM * present_NM

    def mix(self, parts: list[Encoded], share_NM: Tensor) -> Tensor:
        """What the experts give (N, D), weighed."""
        expert_NMD = self.experts(torch.stack([masked(part) for part in parts], dim=1))
        item_ND = (share_NM[..., None] * expert_NMD).sum(dim=1)
        return torch.where(present(parts).any(dim=1, keepdim=True), item_ND, self.nothing_D)


def present(parts: list[Encoded]) -> Tensor:
    """Which parts the items have, (N, M) bool; a part that does not say is there."""
    whole_N = torch.ones(len(parts[0].pooled_ND), dtype=torch.bool, device=parts[0].pooled_ND.device)
    return torch.stack([whole_N if p.present_N is None else p.present_N for p in parts], dim=1)


def imbalance(share_NM: Tensor) -> Tensor:
    """How unevenly the experts are used over a batch: their mean shares' squared coefficient of variation.

    0 where all are used alike, M - 1 where one does everything.

    >>> imbalance(torch.tensor([[1.0, 0.0], [0.0, 1.0]])), imbalance(torch.tensor([[1.0, 0.0]]))
    (tensor(0.), tensor(1.))
    """
    share_M = share_NM.sum(dim=0) / share_NM.sum().clamp(min=1.0)
    return share_NM.shape[1] * share_M.square().sum() - 1.0

"""CROSSAN: side adapters of two to four frozen foundation models that exchange what they know.

CROSSAN, the Cross-modal Side Adapter Network with Mixture of Modality Expert Fusion, Fu et al., 2025,
https://arxiv.org/abs/2504.10307. The authors have not released code, and the paper's equations were not at
hand. **The side network and the fusion are this project's reference design**, made to agree with what the
abstracts say; numbers got with it are no reproduction of the paper's. Window, backbone, loss and evaluation
are taken from the same authors' IISAN.
"""

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from zoo.encoders.base import Encoded
from zoo.fusion.cross_side import Cross, CrossSideNetwork
from zoo.fusion.momef import ConcatLinear, Momef, imbalance
from zoo.fusion.sanb import Activation
from zoo.optim import Rates
from zoo.states import StateRecommender
from zoo.types import SequenceBatch


class CROSSAN(StateRecommender):
    """CROSSAN as a reference design, for any number of modalities.

    Every validation logs the router's mean share of each modality over the catalogue, and the share of items
    whose first choice it is, as ``router/share_<modality>`` and ``router/first_<modality>``.

    Args:
        bottleneck: Width k of the blocks.
        cross: What the towers exchange: the others' running states after the ``previous`` step; their
            encoders' ``states`` of the same step; what passes the ``bottleneck`` of their blocks; ``none``.
        momef: Fuse by a mixture of one expert a modality; otherwise concatenate, as IISAN does.
        top_experts: Experts an item keeps; by default all.
        temperature: Of the router's softmax.
        noisy: Add learned noise to the router in training.
        balance: Weight of a loss part that grows as the router prefers some experts over a batch.
        activation: Of the blocks.
        rates: ``paper``: the side network learns at half of ``lr``; ``one``: all learn at ``lr``.
        width: Width D of item and user vectors.
        lr: Learning rate.
        weight_decay: Weight decay.
        **kwargs: Arguments of the base, see ``zoo.states.StateRecommender``.

    Raises:
        ValueError: Options of the router for a model that has none.
    """

    def __init__(
        self,
        bottleneck: int = 64,
        cross: Cross = "previous",
        momef: bool = True,
        top_experts: int | None = None,
        temperature: float = 1.0,
        noisy: bool = False,
        balance: float = 0.0,
        activation: Activation = "relu",
        rates: Literal["paper", "one"] = "paper",
        width: int = 64,
        lr: float = 2e-4,
        weight_decay: float = 0.0,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(width=width, lr=lr, weight_decay=weight_decay, **kwargs)
        self.bottleneck = bottleneck
        self.cross: Cross = cross
        self.momef = momef
        self.top_experts = top_experts
        self.temperature = temperature
        self.noisy = noisy
        self.balance = balance
        self.activation: Activation = activation
        self.rates = rates
        self.share_NM: Tensor | None = None
        self.tally: RouterTally | None = None
        if not momef and (top_experts is not None or temperature != 1.0 or noisy or balance):
            raise ValueError(
                "top_experts, temperature, noisy and balance are the router's, which momef: false leaves "
                "out: set momef: true, or leave them at their defaults."
            )
        if momef:
            Momef.check(len(self.specs), top_experts, temperature)

    def make_side(self, n_states: Mapping[str, int], widths: Mapping[str, int]) -> CrossSideNetwork:
        """One tower a modality."""
        return CrossSideNetwork(widths, n_states, self.bottleneck, self.cross, self.activation)

    def make_head(self, name: str, width: int) -> nn.Module:
        """IISAN's head, begun by Xavier's rule.

        Four linear layers in a row, experts included, would shrink what items differ in by PyTorch's rule.
        """
        head = super().make_head(name, width)
        for layer in head.children():
            assert isinstance(layer, nn.Linear)
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        return head

    def make_fusion(self, n_towers: int) -> nn.Module:
        """MOMEF, or IISAN's concatenation."""
        if not self.momef:
            return ConcatLinear(n_towers, self.width)
        return Momef(n_towers, self.width, self.top_experts, self.temperature, self.noisy)

    def special_rates(self) -> dict[str, Rates]:
        """Adapters learn at half the rate of what follows them, as IISAN's do."""
        own = {"side": Rates(0.5 * self.lr, self.weight_decay)} if self.rates == "paper" else {}
        return {**super().special_rates(), **own}

    @property
    def routed(self) -> bool:
        """Whether there is a router: one modality needs none."""
        return self.momef and len(self.specs) > 1

    def fuse(self, parts: dict[str, Encoded]) -> Tensor:
        """Item vectors (N, D); notes the router's shares, for the balance and the tally."""
        if not self.routed:
            return super().fuse(parts)
        towers = self.tower_parts(parts)
        fusion = cast(Momef, self.fusion)
        share_NM = fusion.shares(towers)
        if self.training:
            self.share_NM = share_NM
        if self.tally is not None:
            self.tally.add(share_NM)
        return fusion.mix(towers, share_NM)

    def training_loss(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """The loss of the next items and, if it has a weight, the router's balance."""
        parts = super().training_loss(batch)
        share_NM, self.share_NM = self.share_NM, None
        if self.balance and share_NM is not None:
            parts["balance"] = self.balance * imbalance(share_NM)
        return parts

    def on_validation_epoch_start(self) -> None:
        """Counts, while the catalogue is encoded, which experts the router chooses."""
        self.tally = RouterTally(len(self.specs), self.device) if self.routed else None
        super().on_validation_epoch_start()

    def on_validation_epoch_end(self) -> None:
        """Logs the choice beside the metrics."""
        super().on_validation_epoch_end()
        if self.tally is not None:
            share_M, first_M = self.tally.result()
            values = zip(self.specs, share_M, first_M, strict=True)
            for modality, share, first in values:
                self.log_dict({f"router/share_{modality}": share, f"router/first_{modality}": first})
        self.tally = None


class RouterTally:
    """Sums of a router's shares over items, on the device.

    Args:
        n_experts: Experts M.
        device: Where the shares are.
    """

    def __init__(self, n_experts: int, device: torch.device) -> None:
        self.share_M = torch.zeros(n_experts, device=device)
        self.first_M = torch.zeros(n_experts, device=device)

    def add(self, share_NM: Tensor) -> None:
        """Takes the shares of N items in; an item without any part chooses nothing."""
        share_NM = share_NM.detach().float()
        best_N1 = share_NM.argmax(dim=1, keepdim=True)
        chosen_NM = torch.zeros_like(share_NM).scatter(1, best_N1, 1.0) * share_NM.any(dim=1, keepdim=True)
        self.share_M += share_NM.sum(dim=0)
        self.first_M += chosen_NM.sum(dim=0)

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean share of each expert, and how often it is the first; each adds up to 1."""
        n_items = self.first_M.sum().clamp(min=1.0)
        return self.share_M / n_items, self.first_M / n_items

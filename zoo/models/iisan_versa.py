"""IISAN and IISAN-Versa: side networks on the layer states of frozen foundation models.

"IISAN: Efficiently Adapting Multimodal Representation for Sequential Recommendation with Decoupled PEFT", Fu
et al., SIGIR 2024, https://arxiv.org/abs/2404.02059, and "Efficient and Effective Adaptation of Multimodal
Foundation Models in Sequential Recommendation", Fu et al., TKDE 2025, https://arxiv.org/abs/2411.02992;
official code of both GAIR-Lab/IISAN (of 2025-09-18, without a licence).

One tower walks up the kept states of the text encoder, one those of the image encoder, one both together.
Versa lets the encoders differ in depth and width; its released draft also narrows the first heads.

What differs from the released code:

* States come from towers in evaluation mode; uncached training there keeps BERT's dropout on.
* Dimension transformations and blocks exist where they are used; there, some do not get a gradient.
* ``remove_first`` leaves each tower its own list of layers; there, text and image swap them. Where the inter
  tower then starts is our choice: the mean of both first states.
* An item without text or image has no part in that tower: the other gets the gates' whole share. There, every
  item has both.
* More than two modalities have an inter tower for every pair.

Kept: state 0, which is the same for every item where a class token is pooled; blocks without the dropout that
is declared but not applied; ReLU; heads without activation.
"""

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from zoo.fusion.momef import ConcatLinear
from zoo.fusion.sanb import Activation
from zoo.fusion.side import Mode, SideNetwork, pairs
from zoo.optim import Rates, covers
from zoo.states import StateRecommender

PAPER_RATES = {"side.blocks": 0.5, "side.towers.image": 0.5, "heads.image.0": 0.5, "heads.text.0": 0.25}
"""Prefix -> share of ``lr``: with 2e-4 the authors' 1e-4 and 5e-5.

They sort parameters by parts of names, which gives the image's gates the rate of the blocks, and the other
gates and the dimension transformations the full one.
"""


class IISANVersa(StateRecommender):
    """IISAN-Versa; with ``heads: iisan`` and towers of one depth and width it is IISAN.

    Args:
        bottleneck: Width k of the blocks, or one for each modality; an inter tower has that of the narrower
            modality (of two equally wide, the first in the order text, image, audio, video).
        mode: Towers: ``intra_inter`` (the paper), ``intra`` or ``inter`` alone.
        heads: First layer of the intra towers' heads: ``iisan`` keeps the encoder's width, ``versa`` goes to
            the model's width at once.
        gated: Mix states by learned gates; otherwise add them.
        remove_first: State 0 is where the towers start from, in the place of zeros, and gets no block.
        activation: Of the blocks.
        rates: ``paper``: blocks, gates and first heads learn at the authors' shares of ``lr``; ``one``: all
            learn at ``lr``.
        width: Width D of item and user vectors.
        lr: Learning rate.
        weight_decay: Weight decay; the authors' Adam has none.
        **kwargs: Arguments of the base, see ``zoo.states.StateRecommender``.

    Raises:
        ValueError: Options that do not go together.
    """

    def __init__(
        self,
        bottleneck: int | dict[str, int] = 64,
        mode: Mode = "intra_inter",
        heads: Literal["iisan", "versa"] = "versa",
        gated: bool = True,
        remove_first: bool = False,
        activation: Activation = "relu",
        rates: Literal["paper", "one"] = "paper",
        width: int = 64,
        lr: float = 2e-4,
        weight_decay: float = 0.0,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(width=width, lr=lr, weight_decay=weight_decay, **kwargs)
        self.bottleneck = bottleneck
        self.mode: Mode = mode
        self.head_layout = heads
        self.gated = gated
        self.remove_first = remove_first
        self.activation: Activation = activation
        self.rates = rates
        if mode != "intra" and len(self.specs) < 2:
            raise ValueError(
                f"mode: {mode} has a tower that reads two modalities, but only {', '.join(self.specs)} is "
                "given: add an encoder, or set mode: intra."
            )
        if isinstance(bottleneck, dict) and set(bottleneck) != set(self.specs):
            raise ValueError(
                f"bottleneck names {', '.join(bottleneck)}, the modalities are {', '.join(self.specs)}: name "
                "each once, or give one number."
            )

    def components(self) -> dict[str, tuple[str, ...]]:
        """The heads of the inter towers belong to the side network."""
        return {**super().components(), "side": ("side", *(f"heads.{pair}" for pair in pairs(self.specs)))}

    def make_side(self, n_states: Mapping[str, int], widths: Mapping[str, int]) -> SideNetwork:
        """The towers."""
        return SideNetwork(
            widths,
            n_states,
            self.bottleneck,
            mode=self.mode,
            gated=self.gated,
            remove_first=self.remove_first,
            activation=self.activation,
        )

    def make_head(self, name: str, width: int) -> nn.Module:
        """Two linear layers; the inter towers' first one keeps their width in both layouts."""
        inner = self.width if self.head_layout == "versa" and name in self.specs else width
        second = nn.Linear(inner, self.width)
        if self.head_layout == "iisan" and name == "image":
            # It stands where ViT's classifier was.
            nn.init.xavier_normal_(second.weight)
            nn.init.zeros_(second.bias)
        return nn.Sequential(nn.Linear(width, inner), second)

    def make_fusion(self, n_towers: int) -> ConcatLinear:
        """All towers' vectors side by side, through one layer."""
        return ConcatLinear(n_towers, self.width)

    def special_rates(self) -> dict[str, Rates]:
        """The authors' groups, which they form by parts of names."""
        if self.rates == "one":
            return super().special_rates()
        names = [name for name, _ in self.named_parameters()]
        found = {
            prefix: Rates(share * self.lr, self.weight_decay)
            for prefix, share in PAPER_RATES.items()
            if any(covers(prefix, name) for name in names)
        }
        return {**super().special_rates(), **found}

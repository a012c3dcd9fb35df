"""PMMRec: "Multi-Modality is All You Need for Transferable Recommender Systems".

Li et al., ICDE 2024, https://arxiv.org/abs/2312.09602; official code ICDE24/PMMRec (8b8727a, and 488352f for
the prototype of NICL).

An item is its title and its cover, never an id: two towers, merge attention over their tokens, and a SASRec
read them; trained on several platforms together, each part moves to another one alone or with the others.

Four objectives train it. They are not equally well known, because the public code only fine-tunes:

* DAP, the debiased in-batch softmax (``zoo.losses.in_batch``): as in the public code.
* NICL (``zoo.losses.nicl``): the published form from a second-hand summary, completed by our reference
  design; or the prototype of an early public commit.
* NID, noised item detection (``zoo.losses.corruption``): in no public code. Corruption on item vectors,
  three labels, a linear head: our reference design; the shares of 15 % and 5 % are second-hand.
* RCL, robustness-aware contrastive learning: in no public code. The users' mean states of clean and corrupted
  histories, told apart by symmetric InfoNCE: our reference design.

The loss is (1 - a) DAP + a NICL + b NID + c RCL. a = 0.4 is the prototype's; b = c = 1 is our reference
design. No result of the paper's tables was available to check it against.

What differs from the released code:

* Each distinct item is encoded once; copies of an item share their dropout.
* The fusion is chosen by name; the code builds merge attention whatever is asked for.
* NICL's prototype runs on rows that belong together; there, rows drift by one a user.
* A batch without a label has a loss of zero, not NaN.
* Towers are frozen by block name, to the same effect as its first 165 tensors.
* Learning rates stay constant, as with the code's default; its warm-up-free schedules step once an epoch.
* Padding never enters. GRU4Rec and NextItNet skip it, where the code feeds them grey or black pictures.
* An item without a title or a cover gets a learned stand-in, and NICL leaves it out.

Kept: merge attention without its token types (``fusion_args: {token_types: true}`` adds them), random weights
of the fusion, pictures normalised by one half whatever the tower was trained with, lower-cased titles.

Parts that move: ``encoders.text`` and ``heads.text``, ``encoders.image`` and ``heads.image``, ``fusion``,
``sequence``. ``noise_head`` and ``pair_head`` serve pre-training only.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.content import with_padding
from zoo.encoders.base import Encoded
from zoo.encoders.tower import mean_tokens
from zoo.fused import FusedRecommender
from zoo.losses.contrastive import symmetric_nce
from zoo.losses.corruption import Corrupted, corrupt
from zoo.losses.nicl import PrototypeHead, next_item_nce, prototype_nce
from zoo.sequence.create import backbone_class
from zoo.types import CatalogSpec, SequenceBatch

NICL_SHARE = 0.4
"""The prototype's weight of NICL, ``UI_alpha``."""
NICL_TEMPERATURE = {"published": 1.0, "prototype": 0.1}
"""The published form has no temperature; the prototype's is ``UI_temp``."""


class PMMRec(FusedRecommender):
    """Title and cover, one of them, or ids as a baseline; four objectives to pre-train, one to fine-tune.

    A single modality is pooled by the mean of all tokens, so give encoders ``pool: mean_all``.

    Args:
        fusion: How the parts of an item become one vector: ``merge_attn``, or another name of
            ``zoo.fusion.create.FUSIONS``. A model with a single part makes none.
        fusion_args: Further arguments of the fusion.
        objective: ``pretrain`` trains by all objectives whose weight is not zero, ``finetune`` by DAP only,
            whatever the weights; an objective that is off has no parameters.
        nicl: NICL as ``published`` (second-hand) or as in the ``prototype``.
        nicl_weight: Weight a of NICL; DAP gets 1 - a. By default 0.4 with title and cover, and 0 with less.
        nicl_temperature: Divides NICL's cosines; by default 1 for ``published``, 0.1 for ``prototype``.
        nid_weight: Weight of noised item detection.
        rcl_weight: Weight of robustness-aware contrastive learning.
        rcl_temperature: Divides the cosines of robustness-aware contrastive learning.
        shuffle_ratio: Share of a user's items shuffled for the two.
        replace_ratio: Share of a user's items replaced for the two.
        width: Width D of item and user vectors.
        lr: Learning rate of everything but the encoders.
        weight_decay: Weight decay of everything but the encoders.
        encoder_weight_decay: Weight decay of the encoders.
        **kwargs: Arguments of the sequential base, see ``zoo.sequential.SequentialRecommender``.

    Raises:
        ValueError: Options that do not go together.
    """

    def __init__(
        self,
        fusion: str = "merge_attn",
        fusion_args: dict[str, Any] | None = None,
        objective: Literal["pretrain", "finetune"] = "pretrain",
        nicl: Literal["published", "prototype"] = "published",
        nicl_weight: float | None = None,
        nicl_temperature: float | None = None,
        nid_weight: float = 1.0,
        rcl_weight: float = 1.0,
        rcl_temperature: float = 0.1,
        shuffle_ratio: float = 0.15,
        replace_ratio: float = 0.05,
        width: int = 768,
        lr: float = 1e-4,
        weight_decay: float = 0.1,
        encoder_weight_decay: float | None = 0.0,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(
            fusion=fusion,
            fusion_args=fusion_args,
            width=width,
            lr=lr,
            weight_decay=weight_decay,
            encoder_weight_decay=encoder_weight_decay,
            **kwargs,
        )
        pretrain = objective == "pretrain"
        self.nicl = nicl
        self.nicl_weight = self._nicl_share(nicl_weight) if pretrain else 0.0
        self.nicl_temperature = NICL_TEMPERATURE[nicl] if nicl_temperature is None else nicl_temperature
        self.nid_weight = nid_weight if pretrain else 0.0
        self.rcl_weight = rcl_weight if pretrain else 0.0
        self.rcl_temperature = rcl_temperature
        self.shuffle_ratio = shuffle_ratio
        self.replace_ratio = replace_ratio
        self._check()

    def _nicl_share(self, asked: float | None) -> float:
        """The weight of NICL.

        Raises:
            ValueError: NICL is asked for, but there are not both modalities.
        """
        both = {"text", "image"} <= self.specs.keys()
        if asked and not both:
            found = " and ".join(self.specs) or "item_id"
            raise ValueError(
                f"nicl_weight={asked}: NICL compares titles with covers, but the model has {found} only. "
                "Leave nicl_weight out, or give both text and image."
            )
        return (NICL_SHARE if both else 0.0) if asked is None else asked

    def _check(self) -> None:
        if not 0 <= self.nicl_weight < 1:
            raise ValueError(f"nicl_weight is at least 0 and below 1; found {self.nicl_weight}.")
        for option in ("nid_weight", "rcl_weight", "shuffle_ratio", "replace_ratio"):
            if getattr(self, option) < 0:
                raise ValueError(f"{option} must not be negative; found {getattr(self, option)}.")
        for option in ("nicl_temperature", "rcl_temperature"):
            if getattr(self, option) <= 0:
                raise ValueError(f"{option} must be positive; found {getattr(self, option)}.")
        if self.shuffle_ratio + self.replace_ratio > 1:
            raise ValueError(
                "shuffle_ratio and replace_ratio are shares of one history, at most 1 together; found "
                f"{self.shuffle_ratio} and {self.replace_ratio}."
            )
        if self.loss == "full" or backbone_class(self.backbone).masked:
            raise ValueError(
                "PMMRec's objectives compare next items within a batch: loss: full and backbones that hide "
                f"items do not fit. Found loss: {self.loss}, backbone: {self.backbone}."
            )

    # Parts -----------------------------------------------------------------------------------------------

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the projections, the fusion, and the heads of the objectives that are on."""
        super().build_parts(spec)
        if self.nicl_weight and self.nicl == "prototype":
            self.pair_head = PrototypeHead(self.width)
        if self.nid_weight:
            self.noise_head = nn.Linear(self.width, 3)

    # Objectives ------------------------------------------------------------------------------------------

    def training_loss(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """The objectives that are on, each with its weight: ``dap``, ``nicl``, ``nid`` and ``rcl``."""
        if not batch.positions_P.shape[0]:
            # Every parameter takes part, so that processes that train together stay in step.
            trained = [p.sum() for p in self.parameters() if p.requires_grad]
            return {"dap": 0.0 * torch.stack(trained).sum()}
        parts = self.project(self.encode_parts(batch.unique_N, batch.content))
        item_ND = with_padding(self.mix(parts))
        if not (self.nid_weight or self.rcl_weight):
            clean_BLD, noisy = self.user_states(item_ND, batch), {}
        else:
            noised = corrupt(batch.slots_BS, item_ND.shape[0], self.shuffle_ratio, self.replace_ratio)
            # One pass over clean and corrupted histories: the same item vectors, gathered from other rows.
            twice = batch._replace(
                slots_BS=torch.cat([batch.slots_BS, noised.slots_BS]),
                items_BS=batch.items_BS.repeat(2, 1),
            )
            clean_BLD, noised_BLD = self.user_states(item_ND, twice).chunk(2)
            noisy = self.noise_losses(clean_BLD, noised_BLD, noised, batch)
        dap = (1 - self.nicl_weight) * self.next_item_loss(clean_BLD, item_ND, batch)
        nicl = {"nicl": self.nicl_weight * self.nicl_loss(parts, batch)} if self.nicl_weight else {}
        return {"dap": dap, **nicl, **noisy}

    def noise_losses(
        self, clean_BLD: Tensor, noised_BLD: Tensor, noised: Corrupted, batch: SequenceBatch
    ) -> dict[str, Tensor]:
        """NID and RCL, where they are on."""
        losses = {}
        if self.nid_weight:
            logit_P3 = self.noise_head(noised_BLD.flatten(0, 1)[batch.positions_P])
            label_P = noised.label_BL.flatten()[batch.positions_P]
            losses["nid"] = self.nid_weight * F.cross_entropy(logit_P3.float(), label_P)
        if self.rcl_weight:
            real_BL = batch.items_BS[:, :-1] != 0
            clean_BD, noised_BD = (mean_tokens(states, real_BL) for states in (clean_BLD, noised_BLD))
            losses["rcl"] = self.rcl_weight * symmetric_nce(
                clean_BD, noised_BD, self.rcl_temperature, real_BL.any(1)
            )
        return losses

    def nicl_loss(self, parts: dict[str, Encoded], batch: SequenceBatch) -> Tensor:
        """NICL of titles and covers; an item that lacks either takes no part."""
        text_ND, image_ND = (with_padding(self.view(m, parts[m])) for m in ("text", "image"))
        text_N, image_N = parts["text"].present_N, parts["image"].present_N
        assert text_N is not None
        assert image_N is not None
        known_BS = with_padding(text_N & image_N)[batch.slots_BS]
        slots_BS = torch.where(known_BS, batch.slots_BS, 0)
        positions_P = batch.positions_P
        if self.nicl == "published":
            return next_item_nce(text_ND, image_ND, slots_BS, positions_P, self.nicl_temperature)
        length = slots_BS.shape[1] - 1
        row_P = positions_P + positions_P // length  # from (B, L) to (B, S)
        own_P = batch.slots_BS.flatten()[row_P]
        return prototype_nce(
            self.pair_head(text_ND[own_P]),
            self.pair_head(image_ND[own_P]),
            slots_BS.flatten()[row_P],
            positions_P // length,
            self.nicl_temperature,
        )

    def view(self, modality: str, part: Encoded) -> Tensor:
        """The vector (N, D) NICL compares: the class token where there is one and it is the published form.

        The prototype reads means, and so does a fusion of pooled vectors.
        """
        if self.nicl == "published" and part.tokens_NTD is not None and self.encoder(modality).class_token:
            return part.tokens_NTD[:, 0]
        return part.pooled_ND

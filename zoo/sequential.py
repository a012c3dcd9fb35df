"""Models that read a user's history in order: items from content and ids, a sequence backbone, a loss.

A paper on top of this is mostly its ``fuse`` method and its YAML.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.content import ContentRecommender
from zoo.losses.full import FullKernel
from zoo.losses.masked import MASKED_LOSSES, masked_loss
from zoo.losses.next_item import SAMPLED, Loss, next_item_loss
from zoo.losses.sampled import calibrated_power
from zoo.sequence.base import MaskedBackbone, PackingBackbone, is_masked, is_packing
from zoo.sequence.create import backbone_class, create_backbone
from zoo.sequence.layout import Layout
from zoo.types import CatalogSpec, EvalBatch, LengthGroups, ModelNeeds, SequenceBatch


class SequentialRecommender(ContentRecommender):
    """Base of the sequential models.

    Args:
        n_blocks: Blocks of the sequence backbone.
        n_heads: Attention heads of the sequence backbone.
        dropout: Dropout rate of the sequence backbone and of the heads.
        loss: Training loss: ``in_batch`` (debiased in-batch softmax), ``bce``, ``bpr``, ``gbce`` (one sampled
            negative a position), ``last_bce`` (BCE at the last position only), ``full`` (softmax over the
            catalogue; for item ids and cached modalities, whose vectors cost little).
        full_kernel: What computes ``full`` on a GPU: ``own``, or ``liger`` with the extra ``fused``.
        gbce_t: How far ``gbce`` calibrates: from 0, which is ``bce``, to 1.
        backbone: Sequence backbone, a name of ``zoo.sequence.create.BACKBONES``.
        backbone_args: Further arguments of the backbone.
        **kwargs: Arguments of the bases, see ``zoo.content.ContentRecommender``, ``zoo.base.Recommender``.

    Raises:
        ValueError: Options that do not go together.
    """

    def __init__(
        self,
        n_blocks: int = 2,
        n_heads: int = 2,
        dropout: float = 0.1,
        loss: Loss = "in_batch",
        gbce_t: float = 0.75,
        full_kernel: FullKernel = "own",
        backbone: str = "sasrec",
        backbone_args: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        self.n_blocks = n_blocks
        self.n_heads = n_heads
        self.dropout = dropout
        self.loss = loss
        self.gbce_t = gbce_t
        self.full_kernel: FullKernel = full_kernel
        self.backbone = backbone
        self.backbone_args = dict(backbone_args or {})
        if self.width % n_heads:
            raise ValueError(
                f"width must be a multiple of n_heads; found width {self.width}, n_heads {n_heads}."
            )
        if backbone_class(backbone, self.backbone_args).masked and loss not in MASKED_LOSSES:
            raise ValueError(
                f"The backbone {backbone!r} guesses hidden items, not next ones: loss: {loss} does not fit "
                f"it. Take one of {', '.join(sorted(MASKED_LOSSES))}, or another backbone."
            )
        if not 0 <= gbce_t <= 1:
            raise ValueError(f"gbce_t is between 0 and 1; found {gbce_t}.")
        if loss == "full" and self.row_updates:
            raise ValueError(
                "loss: full moves the vectors of all items in every step: row_updates: true has nothing to "
                "leave out. Leave it out, or take loss: in_batch."
            )
        running = [m for m, spec in self.specs.items() if not spec.cached]
        if loss == "full" and running:
            raise ValueError(
                f"loss: full scores the whole catalogue in every step, but {' and '.join(running)} would be "
                "encoded anew for it each time. Set cached: true for it, or take loss: in_batch."
            )

    def needs(self) -> ModelNeeds:
        """Content of the given modalities, and negatives for the sampled losses."""
        if self.loss not in SAMPLED:
            return super().needs()
        masked = backbone_class(self.backbone).masked
        return super().needs()._replace(negatives="slots" if masked else "positions")

    def components(self) -> dict[str, tuple[str, ...]]:
        """The backbone is the user encoder."""
        return {**super().components(), "user": ("sequence",)}

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the backbone; papers extend it."""
        self.sequence: nn.Module = self.make_backbone(spec)

    def make_backbone(self, spec: CatalogSpec) -> nn.Module:
        """A sequence backbone of the model's width (``zoo.sequence.base.SequenceBackbone``)."""
        return create_backbone(
            self.backbone,
            self.width,
            spec.max_len,
            n_blocks=self.n_blocks,
            n_heads=self.n_heads,
            dropout=self.dropout,
            **self.backbone_args,
        )

    # Users and loss --------------------------------------------------------------------------------------

    def training_loss(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Encodes each distinct item once, runs the backbone and compares with the next or hidden items."""
        if self.loss == "full":
            assert self.spec is not None
            # Every id stands for itself: the catalogue is the batch's set of distinct items.
            ids_I = torch.arange(self.spec.n_items, device=batch.items_BS.device)
            batch = batch._replace(unique_N=ids_I, slots_BS=batch.items_BS, content={})
        item_ND = self.encode_items(batch.unique_N, batch.content)
        if is_masked(self.sequence):
            return {self.loss: self.hidden_item_loss(self.sequence, item_ND, batch)}
        return {self.loss: self.next_item_loss(self.position_states(item_ND, batch), item_ND, batch)}

    def position_states(self, item_ND: Tensor, batch: SequenceBatch) -> Tensor:
        """States (P, D) of the backbone at the real positions of a training batch.

        Where the backbone can, padding is not computed. A compiled one is given it, as the number of real
        positions would be a new shape in every batch.
        """
        if not is_packing(self.sequence) or self.compile_parts:
            return self.user_states(item_ND, batch).flatten(0, 1)[batch.positions_P]
        n_users, n_slots = batch.slots_BS.shape
        groups = batch.groups or ()
        layout = Layout.of(batch.positions_P, n_users, n_slots - 1, *groups)
        slot_P = batch.slots_BS[:, :-1].flatten()[batch.positions_P]
        return self.sequence.at_positions(F.embedding(slot_P, item_ND), layout)

    def user_states(self, item_ND: Tensor, batch: SequenceBatch) -> Tensor:
        """States (B, L, D) of the backbone over the inputs of a training batch.

        Raises:
            ValueError: The backbone reads in both directions.
        """
        if is_masked(self.sequence):
            raise ValueError(
                f"{type(self).__name__} compares states with next items, but the backbone {self.backbone!r} "
                "reads in both directions and has seen them. Take a causal one."
            )
        input_BLD = item_ND[batch.slots_BS[:, :-1]]
        return cast(Tensor, self.sequence(input_BLD, batch.items_BS[:, :-1] != 0))

    def next_item_loss(self, user: Tensor, item_ND: Tensor, batch: SequenceBatch) -> Tensor:
        """The chosen loss over the real positions.

        Args:
            user: States at the real positions (P, D), or at all (B, L, D).
            item_ND: Vectors of the batch's distinct items.
            batch: Where the labels are.
        """
        return next_item_loss(self.loss, user, item_ND, batch, self._beta(), self.full_kernel)

    def hidden_item_loss(self, sequence: MaskedBackbone, item_ND: Tensor, batch: SequenceBatch) -> Tensor:
        """Hides items at random and compares what the backbone makes of their slots with them."""
        real_BS = batch.items_BS != 0
        hidden_BS = sequence.draw(real_BS)
        user_BSD = sequence(sequence.hide(item_ND[batch.slots_BS], hidden_BS), real_BS)
        return masked_loss(self.loss, user_BSD, item_ND, batch, hidden_BS, self._beta(), self.full_kernel)

    def _beta(self) -> float:
        """Power of ``gbce``, with one negative for each positive out of all other items."""
        assert self.spec is not None
        return calibrated_power(self.gbce_t, 1 / max(1, self.spec.n_items - 2))

    def user_vectors(self, batch: EvalBatch, table_ID: Tensor) -> Tensor:
        """State of the backbone after the last item of the history."""
        on_host = table_ID.device.type == "cpu" and not (self.training or self.compile_parts)
        if on_host and is_packing(self.sequence):
            return self._packed_vectors(self.sequence, batch.history_BL, table_ID)
        item_BLD, real_BL = table_ID[batch.history_BL], batch.history_BL != 0
        if is_masked(self.sequence):
            return self.sequence.next_state(item_BLD, real_BL).float()
        return cast(Tensor, self.sequence(item_BLD, real_BL))[:, -1].float()

    @staticmethod
    def _packed_vectors(sequence: PackingBackbone, history_BL: Tensor, table_ID: Tensor) -> Tensor:
        """The same without padding; to find it costs nothing where the host has the histories."""
        real_BL = history_BL != 0
        real_BL[:, -1] = True  # an empty history is one padding item, as it is for ``forward``
        positions_P = real_BL.flatten().nonzero()[:, 0]
        groups = LengthGroups.of(real_BL.sum(1).numpy())
        layout = Layout.of(positions_P, history_BL.shape[0], history_BL.shape[1], *groups)
        return sequence.newest(table_ID[history_BL.flatten()[positions_P]], layout).float()

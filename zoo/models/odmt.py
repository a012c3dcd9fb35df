"""ODMT: "Online Distillation-enhanced Multi-modal Transformer for Sequential Recommendation".

Ji et al., ACM MM 2023, https://arxiv.org/abs/2308.04067; official code xyliugo/ODMT (of 2024-01-10).

An item has one view through its id and one through each modality. The views read each other in one
transformer, each has a sequence encoder of its own, their predictions teach each other in training, and their
mean scores rank.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from zoo.encoders.base import Encoded
from zoo.encoders.item_id import ItemId
from zoo.fusion.id_aware import IdAwareTransformer, Version
from zoo.fusion.project import Project
from zoo.losses.distill import distillation_ce, distillation_ramp, log_shares, slot_ce, slot_scores
from zoo.losses.in_batch import in_batch_ce
from zoo.losses.rows import target_slots
from zoo.sequence.base import PackingBackbone, is_packing
from zoo.sequence.create import backbone_class
from zoo.sequence.layout import Layout
from zoo.sequential import SequentialRecommender
from zoo.types import CatalogSpec, EvalBatch, SequenceBatch

View = Literal["fused", "id", "text", "image", "audio", "video"]
Init = Literal[0, 1, 2, 3]
ID_TABLE = "encoders.item_id"


class ODMT(SequentialRecommender):
    """Views of an item side by side: ``[id | text | image]`` of width 3 D, in items, states and users alike.

    The encoders are meant to be frozen and cached; trained ones work as well. Differences from the official
    code: the id table starts as a copy of the features (there, ``init`` 2 and 3 train the features too), and
    its padding row is zero.

    Args:
        fusion_layers: Blocks of the ID-aware transformer (``merged_att_layers``).
        fusion_heads: Its attention heads; the official code ties them to ``fusion_layers``.
        version: ``v1``: modalities do not read the id; ``v3``: all read all.
        init: Start of the id table: 0 Xavier's rule, 1 the mean of the modalities' class tokens, 2 those of
            the images, 3 those of the texts.
        tau: Temperature of the distillation.
        alpha: Epochs over which the weight of the distillation rises to 1; below 1, the weight; 0 for none.
        detach_teachers: Let the distillation move the students only; the official code moves both.
        view: What ranks: ``fused``, the mean of all views' scores, or one of them. Training does not depend
            on it.
        item_id: Must stay true: the id is one of the views.
        **kwargs: Arguments of the sequential base, see ``zoo.sequential.SequentialRecommender``.

    Raises:
        ValueError: Options that do not go together.
    """

    def __init__(
        self,
        fusion_layers: int = 2,
        fusion_heads: int = 2,
        version: Version = "v1",
        init: Init = 1,
        tau: float = 0.3,
        alpha: float = 20.0,
        detach_teachers: bool = False,
        view: View = "fused",
        item_id: bool = True,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(item_id=item_id, **kwargs)
        self.fusion_layers = fusion_layers
        self.fusion_heads = fusion_heads
        self.version = version
        self.init = init
        self.tau = tau
        self.alpha = alpha
        self.detach_teachers = detach_teachers
        self.view = view
        self.id_started = False
        self._check()

    def _check(self) -> None:
        """Refuses options that do not go together."""
        if not self.item_id or not self.specs:
            raise ValueError(
                "ODMT fuses item ids with modalities: leave item_id true and give an encoder for text, image "
                "or both."
            )
        if backbone_class(self.backbone).masked:
            raise ValueError(
                f"ODMT predicts next items, but the backbone {self.backbone!r} reads in both directions. "
                "Take a causal one."
            )
        if self.loss != "in_batch":
            raise ValueError(
                f"ODMT distils between in-batch softmaxes: loss must be in_batch; found {self.loss}."
            )
        if self.tau <= 0 or self.alpha < 0:
            raise ValueError(
                f"tau must be positive and alpha not negative; found {self.tau} and {self.alpha}."
            )
        if self.view not in ("fused", *self.view_names):
            raise ValueError(
                f"view: {self.view} is none of the model's: fused, {', '.join(self.view_names)}."
            )
        wanted = {2: "image", 3: "text"}.get(self.init)
        if wanted is not None and wanted not in self.specs:
            raise ValueError(
                f"init: {self.init} starts the ids from {wanted} features, but the model has none."
            )

    # Parts -----------------------------------------------------------------------------------------------

    @property
    def uses_tokens(self) -> bool:
        """The transformer reads tokens."""
        return True

    @property
    def view_names(self) -> list[str]:
        """The views of an item, in their order."""
        return ["id", *self.specs]

    @property
    def item_width(self) -> int:
        """All views side by side."""
        return self.width * self.n_parts

    @property
    def id_width(self) -> int:
        """That of the features the table starts from."""
        widths = {m: self.encoder(m).token_width for m in self.id_sources()}
        if len(set(widths.values())) > 1:
            raise ValueError(
                f"init: {self.init} starts the ids from the mean of the modalities' features, but their "
                f"widths differ: {widths}. Choose init 0, 2 or 3, or towers of one width."
            )
        return next(iter(widths.values()))

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the projections, and the transformer with the heads of the views; backbones by the base."""
        super().build_parts(spec)
        # PyTorch's own initial weights, as in the official code.
        self.heads = nn.ModuleDict({"item_id": Project(self.id_width, self.width, xavier=False)})
        for m in self.specs:
            self.heads[m] = Project(self.encoder(m).token_width, self.width, xavier=False, tokens=True)
        transformer = IdAwareTransformer(
            self.width, self.fusion_layers, self.fusion_heads, self.dropout, self.version
        )
        self.fusion = Views(self.view_names, transformer, self.width)

    def make_backbone(self, spec: CatalogSpec) -> nn.Module:
        """A backbone a view."""
        return SideBySide(
            {name: super(ODMT, self).make_backbone(spec) for name in self.view_names}, spec.max_len
        )

    # Ids -------------------------------------------------------------------------------------------------

    def id_sources(self) -> list[str]:
        """Modalities that give the id table its width and, unless ``init`` is 0, its start."""
        return {2: ["image"], 3: ["text"], 1: list(self.specs)}.get(self.init, list(self.specs)[:1])

    def on_fit_start(self) -> None:
        """Fills the cache, and starts the id table of a new run."""
        super().on_fit_start()
        transferred = self.transferred is not None and f"{ID_TABLE}.table.weight" in self.transferred.loaded
        if self.init and not self.id_started and not transferred:
            self.start_ids()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """The id table comes with the checkpoint."""
        super().on_load_checkpoint(checkpoint)
        self.id_started = True

    @torch.no_grad()
    def start_ids(self) -> None:
        """Copies the class tokens of the whole catalogue into the id table; its padding row stays zero."""
        was_training = self.training
        self.eval()
        running = [m for m in self.specs if m not in self.features]
        table = cast(ItemId, self.get_submodule(ID_TABLE)).table.weight
        for ids_N, content in self.catalogue_chunks("Starting item ids", running):
            parts = self.encode_parts(ids_N, content)
            first = [cast(Tensor, parts[m].tokens_NTD)[:, 0].to(table.dtype) for m in self.id_sources()]
            table[ids_N[1:]] = torch.stack(first).mean(dim=0)
        self.id_started = True
        self.train(was_training)

    # Items and users -------------------------------------------------------------------------------------

    def fuse(self, parts: dict[str, Encoded]) -> Tensor:
        """The views of N items side by side, (N, M D)."""
        projected = [self.heads[m](parts[m]) for m in ("item_id", *self.specs)]
        return cast(Tensor, self.fusion(projected))

    def user_vectors(self, batch: EvalBatch, table_ID: Tensor) -> Tensor:
        """User vectors whose inner product with an item's is the mean of the views' scores, or one view's."""
        user_BD = super().user_vectors(batch, table_ID)
        share = {name: float(name == self.view) for name in self.view_names}
        if self.view == "fused":
            share = dict.fromkeys(self.view_names, 1.0 / self.n_parts)
        views = user_BD.chunk(self.n_parts, dim=-1)
        return torch.cat([w * view_BD for w, view_BD in zip(share.values(), views, strict=True)], dim=-1)

    # Loss ------------------------------------------------------------------------------------------------

    def training_loss(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """An in-batch softmax for each view, and what they teach each other."""
        item_ND = self.encode_items(batch.unique_N, batch.content)
        user_PD = self.position_states(item_ND, batch)
        user_MPD, item_MND = (torch.stack(x.chunk(self.n_parts, dim=-1)) for x in (user_PD, item_ND))
        slots = batch.slots_BS, batch.positions_P, batch.log_pop_BS
        if self.alpha == 0:  # then no score matrix has to be kept
            pairs = zip(self.view_names, user_MPD, item_MND, strict=True)
            return {f"ce_{name}": in_batch_ce(user, item, *slots) for name, user, item in pairs}
        score_MPN, log_count_PN = slot_scores(user_MPD, item_MND, *slots)
        target_P = target_slots(batch.slots_BS, batch.positions_P)
        ce_M = slot_ce(score_MPN, log_count_PN, target_P)
        parts = {f"ce_{name}": ce for name, ce in zip(self.view_names, ce_M, strict=True)}
        return {**parts, "kd": self.distillation(score_MPN, log_count_PN)}

    def distillation(self, score_MPN: Tensor, log_count_PN: Tensor) -> Tensor:
        """The id teaches the modalities, the mean of all scores teaches the id.

        Args:
            score_MPN: Scores of the views, the id's first.
            log_count_PN: Logarithm of the slots an item has among the candidates.
        """
        student_MPN = log_shares(score_MPN, log_count_PN, self.tau)
        id_PN = student_MPN[0]
        ensemble_PN = log_shares(score_MPN.mean(dim=0), log_count_PN, self.tau)
        if self.detach_teachers:
            id_PN, ensemble_PN = id_PN.detach(), ensemble_PN.detach()
        pairs = [(student_PN, id_PN) for student_PN in student_MPN[1:]] + [(student_MPN[0], ensemble_PN)]
        losses = [distillation_ce(student, teacher, log_count_PN, self.tau) for student, teacher in pairs]
        return distillation_ramp(self.current_epoch + 1, self.alpha) * torch.stack(losses).sum()


class Views(nn.Module):
    """The ID-aware transformer and, on each view it gives, two layers of their own.

    Args:
        names: The views, in the order of the parts.
        transformer: Gives them.
        width: Width D of each.
    """

    def __init__(self, names: list[str], transformer: IdAwareTransformer, width: int) -> None:
        super().__init__()
        self.transformer = transformer
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, width))
                for name in names
            }
        )

    def forward(self, parts: list[Encoded]) -> Tensor:
        """Parts of N items, already of width D, to (N, M D)."""
        views = self.transformer(parts).unbind(dim=1)
        return torch.cat([head(view) for head, view in zip(self.heads.values(), views, strict=True)], dim=-1)


class SideBySide(nn.Module):
    """One backbone a view, each on its part of the width (``zoo.sequence.base.SequenceBackbone``).

    Args:
        backbones: View -> its backbone, in the order of the views in item vectors.
        max_len: The longest history accepted.
    """

    def __init__(self, backbones: dict[str, nn.Module], max_len: int) -> None:
        super().__init__()
        self.backbones = nn.ModuleDict(backbones)
        self.max_len = max_len

    @property
    def packs(self) -> bool:
        """Whether every backbone can read real positions alone."""
        return all(is_packing(backbone) for backbone in self.backbones.values())

    def at_positions(self, item_PD: Tensor, layout: Layout) -> Tensor:
        """(P, M D) item vectors at the real positions to (P, M D) states."""
        return torch.cat([b.at_positions(view, layout) for b, view in self._views(item_PD)], dim=-1)

    def newest(self, item_PD: Tensor, layout: Layout) -> Tensor:
        """(P, M D) item vectors at the real positions to (B, M D) states of the newest."""
        return torch.cat([b.newest(view, layout) for b, view in self._views(item_PD)], dim=-1)

    def _views(self, item_PD: Tensor) -> Iterable[tuple[PackingBackbone, Tensor]]:
        backbones = cast(Iterable[PackingBackbone], self.backbones.values())
        return zip(backbones, item_PD.chunk(len(self.backbones), dim=-1), strict=True)

    def forward(self, item_BLD: Tensor, real_BL: Tensor) -> Tensor:
        """(B, L, M D) item vectors to (B, L, M D) states."""
        views = item_BLD.chunk(len(self.backbones), dim=-1)
        states = [b(view_BLD, real_BL) for b, view_BLD in zip(self.backbones.values(), views, strict=True)]
        return torch.cat(states, dim=-1)

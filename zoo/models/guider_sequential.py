"""GUIDER on a model of histories: **our extension**; the paper's own hosts are models of pairs.

``zoo/models/guider.py`` names the paper. The student is any sequential model of the zoo, the teacher a SASRec
on ids whose positions are weighed by how well the modalities of their items agree: content vectors are those
of the student's own towers, as they are in the step at hand. Both move in every step; the student learns from
what the teacher, as the step found it, makes of the batch's items after each history. Only the student is
evaluated.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from zoo.base import Recommender
from zoo.content import with_padding
from zoo.denoise.agreement import NOISY_FROM
from zoo.denoise.gradients import give, gradients_of, require_unscaled, trained
from zoo.denoise.histories import Encodings, encodings, last_histories
from zoo.denoise.sequence_teacher import SequenceTeacher
from zoo.factory import create_host
from zoo.losses.full_kl import Scorer, full_kl
from zoo.losses.min_norm import min_norm_mix, mixed
from zoo.losses.rows import target_slots
from zoo.optim import Rates
from zoo.sequential import SequentialRecommender
from zoo.types import CatalogSpec, EvalBatch, ItemSource, ModelNeeds, SequenceBatch


class GUIDERSequential(Recommender):
    """A student of histories, and a teacher that weighs their positions.

    Rates and schedule are this model's for both; those of the student's own configuration are not used.

    Args:
        host: The student: short name or class path of a sequential model.
        host_args: Arguments of the student.
        width: Width D of the teacher.
        n_blocks: Blocks of the teacher's backbone.
        n_heads: Its attention heads.
        dropout: Its dropout rate.
        mix: How the student's own loss and the distillation are weighed: ``min_norm`` of their gradients, as
            GUIDER does, or ``fixed`` by ``kd_weight``.
        kd_weight: Weight of the distillation in a ``fixed`` mix.
        positions: Positions of a history, from its last one on, at which the student is taught.
        dbpr_fix: Weigh noisy positions instead of clean ones, by cosines with trained projections.
        mgda_fix: Compare the student's gradient with the distillation's instead of with the sum of both.
        noisy_from: Relative distance of an item's modalities from which its interactions are called noisy.
        bits: Bits of the hashes.
        contrast_weight: Weight of what trains the projections, with ``dbpr_fix``.
        teacher_lr: Learning rate of the teacher; by default ``lr``.
        **kwargs: Arguments of the base, see ``zoo.base.Recommender``.

    Raises:
        ValueError: The student reads no histories, or options do not go together.
    """

    catalogue_bound: ClassVar[bool] = True

    def __init__(
        self,
        host: str = "morec",
        host_args: dict[str, Any] | None = None,
        width: int = 64,
        n_blocks: int = 2,
        n_heads: int = 2,
        dropout: float = 0.1,
        mix: Literal["min_norm", "fixed"] = "min_norm",
        kd_weight: float = 1.0,
        positions: int = 1,
        dbpr_fix: bool = False,
        mgda_fix: bool = False,
        noisy_from: float = NOISY_FROM,
        bits: int = 64,
        contrast_weight: float = 0.01,
        teacher_lr: float | None = None,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        if positions < 1:
            raise ValueError(f"The student is taught at one position or more; found positions {positions}.")
        if mgda_fix and mix != "min_norm":
            raise ValueError(f"mgda_fix changes the mix min_norm; found mix: {mix}. Leave one out.")
        self.width, self.n_blocks, self.n_heads, self.dropout = width, n_blocks, n_heads, dropout
        self.mix = mix
        self.kd_weight = kd_weight
        self.positions = positions
        self.dbpr_fix = dbpr_fix
        self.mgda_fix = mgda_fix
        self.noisy_from = noisy_from
        self.bits = bits
        self.contrast_weight = contrast_weight
        self.teacher_lr = self.lr if teacher_lr is None else teacher_lr
        self.automatic_optimization = mix == "fixed"
        arguments = {**(host_args or {}), "seed": self.seed}
        made = create_host(host, arguments, type(self).__name__)
        if not isinstance(made, SequentialRecommender):
            raise self._refused(host, made)
        self.host = made
        self.host_name = host

    @staticmethod
    def _refused(host: str, made: Recommender) -> ValueError:
        return ValueError(
            f"--model.host {host} is a {type(made).__name__}, which does not read histories. Give a "
            "sequential model such as morec or sasrec_id; for models of pairs take --model guider."
        )

    # Two models ------------------------------------------------------------------------------------------

    def needs(self) -> ModelNeeds:
        """What the student needs, and a negative a position for the teacher.

        Raises:
            ValueError: The student learns from pairs.
        """
        needs = self.host.needs()
        if needs.batch != "sequence":
            raise self._refused(self.host_name, self.host)
        return needs._replace(negatives="positions") if needs.negatives == "none" else needs

    def build(self, spec: CatalogSpec) -> None:
        """Builds the student as it would be alone, then the teacher."""
        self.host.build(spec)
        self.host.spec = spec
        towers = {m: self.host.encoder(m) for m in self.host.specs}
        tokens = self.host.uses_tokens
        widths = {m: tower.token_width if tokens else tower.width for m, tower in towers.items()}
        self.teacher = SequenceTeacher(
            spec.n_items,
            spec.max_len,
            widths,
            self.width,
            self.n_blocks,
            self.n_heads,
            self.dropout,
            self.dbpr_fix,
            self.bits,
            self.noisy_from,
        )

    def components(self) -> dict[str, tuple[str, ...]]:
        """The student's; the teacher is a part of its user side."""
        parts = {
            name: tuple(f"host.{prefix}" for prefix in prefixes)
            for name, prefixes in self.host.components().items()
        }
        return {**parts, "user": (*parts["user"], "teacher")}

    def catalogue_rows(self) -> tuple[str, ...]:
        """The teacher's ids, and the student's own rows."""
        return ("teacher.items", *(f"host.{row}" for row in self.host.catalogue_rows()))

    def tower_configs(self) -> dict[str, dict[str, Any]]:
        """The student's."""
        return self.host.tower_configs()

    def use_towers(self, configs: dict[str, dict[str, Any]]) -> None:
        """Hands them to the student."""
        self.host.use_towers(configs)

    def compile_modules(self, options: Mapping[str, Any]) -> None:
        """Compiles the student's parts and the teacher."""
        self.host.compile_modules(options)
        self.teacher.sequence.compile(**options)

    def special_rates(self) -> dict[str, Rates]:
        """Those of the student's towers, and the teacher's."""
        towers = {
            f"host.encoders.{modality}": Rates(
                self.encoder_lr if spec.lr is None else spec.lr,
                self.encoder_weight_decay if spec.weight_decay is None else spec.weight_decay,
            )
            for modality, spec in self.host.specs.items()
        }
        return {**towers, "teacher": Rates(self.teacher_lr, self.weight_decay)}

    # Hooks the student has to see ------------------------------------------------------------------------

    def attach(self, spec: CatalogSpec, items: ItemSource) -> None:
        """Binds a catalogue to the student too."""
        super().attach(spec, items)
        self.host.attach(spec, items)

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Tells the student that its weights are not the ones it began with."""
        super().on_load_checkpoint(checkpoint)
        own: dict[str, Any] = {}
        self.host.on_save_checkpoint(own)
        self.host.on_load_checkpoint(own)

    def on_fit_start(self) -> None:
        """Begins, and lets the student begin."""
        super().on_fit_start()
        self.host.on_fit_start()

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ANN401
        """What the student adds to a batch on the host."""
        return self.host.on_before_batch_transfer(batch, dataloader_idx)

    def cache_features(self) -> None:
        """Fills the student's cache of two-stage modalities."""
        self.host.cache_features()

    def _start_evaluation(self, slices: tuple[str, ...]) -> None:
        self.cache_features()
        super()._start_evaluation(slices)

    def item_table(self) -> Tensor:
        """The student's item vectors (I, D)."""
        self.host.item_chunk, self.host.together = self.item_chunk, self.together
        table_ID = self.host.item_table()
        self.host.together = False
        return table_ID

    def user_vectors(self, batch: EvalBatch, table_ID: Tensor) -> Tensor:
        """The student's user vectors."""
        return self.host.user_vectors(batch, table_ID)

    # Losses ----------------------------------------------------------------------------------------------

    def training_loss(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """The teacher's loss, the student's own and the distillation."""
        with encodings(self.host) as seen:
            own = self.host.training_loss(batch)
        found = seen[-1]
        item_ND = with_padding(self.host.fuse(found.parts))
        kd = self.distillation(item_ND, found.ids_N, batch)
        if self.mix == "fixed":
            kd = self.kd_weight * kd
        return {**self.teacher_losses(found, batch), **own, "kd": kd}

    def teacher_losses(self, found: Encodings, batch: SequenceBatch) -> dict[str, Tensor]:
        """Ranking at all positions, each with its weight; with ``dbpr_fix`` the contrast as well.

        Args:
            found: What the student's step encoded.
            batch: Training histories.
        """
        assert batch.negatives_BL is not None
        negative_BL = batch.negatives_BL[:, -(batch.items_BS.shape[1] - 1) :]
        item_P = target_slots(batch.items_BS, batch.positions_P)
        negative_P = negative_BL.flatten()[batch.positions_P]
        state_PD = self.teacher.states(batch.items_BS[:, :-1]).flatten(0, 1)[batch.positions_P]
        loss_P = self.teacher.ranking(state_PD, item_P, negative_P)
        if not self.teacher.modalities:
            return {"teacher": loss_P.mean()}
        vectors = {m: found.parts[m].pooled_ND for m in self.teacher.modalities}
        parts = self.teacher.projected(vectors)
        row_P = torch.searchsorted(found.ids_N, item_P) - 1
        present = [cast(Tensor, found.parts[m].present_N) for m in self.teacher.modalities]
        known_N = torch.stack(present).all(0)
        weight_P = self.teacher.row_weights(state_PD, parts, row_P, known_N).weight_P
        losses = {"teacher": (weight_P * loss_P).mean()}
        if self.dbpr_fix:
            contrast = self.teacher.contrast(state_PD, parts, row_P, weight_P * known_N[row_P])
            losses["teacher_contrast"] = self.contrast_weight * contrast
        return losses

    def distillation(self, item_ND: Tensor, ids_N: Tensor, batch: SequenceBatch) -> Tensor:
        """What the student's scores of the items it encoded lack of the teacher's, after histories.

        Args:
            item_ND: The student's vectors of the items, the padding item's first.
            ids_N: The items.
            batch: Training histories; their last items are not read.
        """
        items_RL, share_R = last_histories(batch.items_BS, self.positions)
        rows_RL = torch.searchsorted(ids_N, items_RL)
        user_R = batch.user_B.repeat(len(items_RL) // len(batch.user_B))
        query = EvalBatch(user_R, rows_RL, torch.zeros_like(user_R), rows_RL[:, :0])
        state_RD = self.host.user_vectors(query, item_ND)
        with torch.no_grad():
            self.teacher.eval()
            guide = Scorer(self.teacher.states(items_RL)[:, -1], self.teacher.items(ids_N[1:]))
            self.teacher.train(self.training)
        return full_kl(Scorer(state_RD, item_ND[1:]), guide, share_R)

    # Training --------------------------------------------------------------------------------------------

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        """A step of both; with ``min_norm`` the student's gradient is mixed of two.

        Returns:
            The sum of the parts.
        """
        if self.automatic_optimization:
            return super().training_step(batch, batch_idx)
        parts = self.training_loss(batch)
        teacher = [value for name, value in parts.items() if name.startswith("teacher")]
        own = [v for name, v in parts.items() if name != "kd" and not name.startswith("teacher")]
        student = trained(self.host)
        own_grads = gradients_of(self, torch.stack(own).sum(), student, keep_graph=True)
        kd_grads = gradients_of(self, parts["kd"], student)
        mix = min_norm_mix(own_grads, kd_grads, accumulated=not self.mgda_fix)
        give(student, mixed(own_grads, kd_grads, mix))
        guides = trained(self.teacher)
        give(guides, gradients_of(self, torch.stack(teacher).sum(), guides))
        cast(LightningOptimizer, self.optimizers()).step()
        self.zero_grad()
        scheduler = cast(Any, self.lr_schedulers())
        if scheduler is not None and self.schedule != "exponential":
            scheduler.step()
        loss = torch.stack([part.detach() for part in parts.values()]).sum()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.user_B))
        self.log_dict({f"train/{k}": v.detach() for k, v in parts.items()}, batch_size=len(batch.user_B))
        self.log_dict({"train/weight_own": mix.own, "train/weight_kd": mix.guide})
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimiser of both."""
        found = cast(Any, super().configure_optimizers())
        if self.automatic_optimization:
            return cast(OptimizerLRScheduler, found)
        require_unscaled(self)
        if isinstance(found, dict):  # its interval is the training step's business then
            found["lr_scheduler"] = found["lr_scheduler"]["scheduler"]
        return cast(OptimizerLRScheduler, found)

    def on_train_epoch_end(self) -> None:
        """A schedule that goes by epochs."""
        super().on_train_epoch_end()
        if self.schedule == "exponential" and not self.automatic_optimization:
            cast(Any, self.lr_schedulers()).step()

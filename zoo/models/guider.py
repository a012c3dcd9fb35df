"""GUIDER: "Teach Me How to Denoise: A Universal Framework for Denoising Multi-modal Recommender Systems ...".

Li, Du, Li, Fu, Li, Zhuang, Li and Ni, "... via Guided Calibration", WSDM 2025, pp. 782-791,
https://doi.org/10.1145/3701551.3703507; official code Neon-Jing/Guider (5aaf514). The formulas of the paper
were not available to us: this follows the released code, whose source and whose logs come from two different
teachers (``zoo.denoise``).

In every epoch a teacher is trained first, with interactions weighed by how well an item's text and picture
agree; then the student, any collaborative recommender, by its own loss and by the teacher's scores of all
items. Only the student is evaluated.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from zoo.collaborative import CollaborativeRecommender, Tables, rows_of
from zoo.denoise.gradients import give, gradients_of, require_unscaled, trained
from zoo.denoise.modal_teachers import ContrastiveTeacher, HashTeacher
from zoo.denoise.profile_teacher import ProfileTeacher
from zoo.denoise.recovery import Named, recovery, write_verdict
from zoo.denoise.teachers import LayerGCNTeacher, Teacher, Verdict
from zoo.factory import create_host, refuse_training_options
from zoo.losses.full_kl import Scorer, full_kl
from zoo.losses.min_norm import Gradients, min_norm_mix, mixed
from zoo.losses.sinkhorn import Cloud, Power, sinkhorn_divergence
from zoo.optim import Rates, parameter_groups, restore_optimizer
from zoo.types import CatalogSpec, InteractionBatch, InteractionSource, ItemSource, ModelNeeds

TEACHERS: dict[str, type[Teacher]] = {
    "hash": HashTeacher,
    "contrast": ContrastiveTeacher,
    "layergcn": LayerGCNTeacher,
    "profile": ProfileTeacher,
}
TEACHER, STUDENT = 0, 1
"""The passes of an epoch, and the optimisers."""


class GuidedBatch(NamedTuple):
    """Training pairs and their distinct users, found on the host."""

    pairs: InteractionBatch
    user_V: Tensor
    """Distinct users, counted from 0."""
    share_V: Tensor
    """Share of the batch's pairs that is theirs; adds up to 1."""

    @property
    def user_B(self) -> Tensor:
        """User rows of the pairs."""
        return self.pairs.user_B

    @property
    def pass_(self) -> int:
        """Pass of the epoch."""
        return self.pairs.pass_


class GUIDER(CollaborativeRecommender):
    """A student recommender, and a teacher that weighs interactions.

    Rates and schedule are this model's for both; those of the student's own configuration are not used.

    Args:
        host: The student: short name or class path of a collaborative recommender.
        host_args: Arguments of the student.
        teacher: ``hash``: that of the released source; ``contrast``: that of the released logs; ``layergcn``:
            on ids, with loss truncation; ``profile``: ours, which trusts a pair as far as the item is like
            the user's other items. Results with it are GUIDER-fixed.
        teacher_args: Arguments of the teacher, see ``zoo.denoise``.
        modalities: Modalities that student and teacher read, where they read any.
        kd: Distillation: ``kl`` over all items, mixed with the student's loss by the gradients' least norm;
            or ``sinkhorn`` between the users of the batch, added to it.
        kd_power: Cost of the transport: 1 for the distance, 2 for half its square.
        kd_blur: Blur of the transport.
        dbpr_fix: Weigh noisy pairs instead of clean ones, see ``HashTeacher``. Ours: call it GUIDER-fixed.
        mgda_fix: Compare the student's gradient with the distillation's instead of with the sum of both.
            Ours: call it GUIDER-fixed.
        teacher_lr: Learning rate of the teacher; by default ``lr``.
        **kwargs: Arguments of the base, see ``zoo.collaborative.CollaborativeRecommender``; ``width`` is the
            teacher's.

    Raises:
        ValueError: The student is no collaborative recommender, or options do not go together.
    """

    def __init__(
        self,
        host: str = "freedom",
        host_args: dict[str, Any] | None = None,
        teacher: Literal["hash", "contrast", "layergcn", "profile"] = "hash",
        teacher_args: dict[str, Any] | None = None,
        modalities: Sequence[str] | None = None,
        kd: Literal["kl", "sinkhorn"] = "kl",
        kd_power: Power = 2,
        kd_blur: float = 0.05,
        dbpr_fix: bool = False,
        mgda_fix: bool = False,
        teacher_lr: float | None = None,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        self.automatic_optimization = False
        if dbpr_fix and teacher != "hash":
            raise ValueError(f"dbpr_fix changes the teacher 'hash'; found teacher: {teacher}. Leave one out.")
        if mgda_fix and kd != "kl":
            raise ValueError(f"mgda_fix changes the mix of kd: kl; found kd: {kd}. Leave one out.")
        self.kd = kd
        self.kd_power = kd_power
        self.kd_blur = kd_blur
        self.mgda_fix = mgda_fix
        self.teacher_lr = self.lr if teacher_lr is None else teacher_lr
        self.host = self._make_host(host, dict(host_args or {}), modalities)
        refuse_training_options("teacher_args", teacher_args or {}, type(self).__name__)
        shared: dict[str, Any] = {"width": self.width, "seed": self.seed}
        if modalities is not None and TEACHERS[teacher].modalities:
            shared["modalities"] = [m for m in modalities if m in TEACHERS[teacher].modalities]
        if dbpr_fix:
            shared["fix"] = True
        self.teacher = TEACHERS[teacher](**{**shared, **(teacher_args or {})})
        self._guide: Tables | None = None

    def _make_host(
        self, name: str, arguments: dict[str, Any], modalities: Sequence[str] | None
    ) -> CollaborativeRecommender:
        arguments["seed"] = self.seed
        host = create_host(name, arguments, type(self).__name__)
        if not isinstance(host, CollaborativeRecommender) or isinstance(host, GUIDER):
            raise ValueError(
                f"--model.host {name} is a {type(host).__name__}: {type(self).__name__} guides recommenders "
                "of pairs, such as freedom, bm3, vbpr or lightgcn. For models of histories take "
                "guider_sequential."
            )
        if modalities is None or "modalities" in arguments or not type(host).modalities:
            return host
        read = [m for m in modalities if m in type(host).modalities]
        again = create_host(name, {**arguments, "modalities": read}, type(self).__name__)
        return cast(CollaborativeRecommender, again)

    # Two models ------------------------------------------------------------------------------------------

    @property
    def both(self) -> tuple[CollaborativeRecommender, CollaborativeRecommender]:
        """Teacher and student, in the order of the passes."""
        return self.teacher, self.host

    @property
    def table_width(self) -> int:
        """The student's."""
        return self.host.table_width

    def needs(self) -> ModelNeeds:
        """Two passes an epoch over the pairs, and the features that one of both reads."""
        features = [model.needs().features for model in self.both]
        return super().needs()._replace(features=frozenset().union(*features), passes=2)

    def catalogue_rows(self) -> tuple[str, ...]:
        """The rows of both."""
        named = {"teacher": self.teacher, "host": self.host}
        rows = (f"{name}.{row}" for name, model in named.items() for row in model.catalogue_rows())
        return ("edge_2E", *rows)

    def build_parts(self, spec: CatalogSpec) -> None:
        """Builds both; the student first, so that it begins as it would alone."""
        for model in (self.host, self.teacher):
            model.build(spec)
            model.spec = spec

    def fill(self, items: InteractionSource) -> None:
        """Gives both the pairs and their features."""
        super().fill(items)
        for model in self.both:
            model.fill(items)

    def attach(self, spec: CatalogSpec, items: ItemSource) -> None:
        """Binds a catalogue to both."""
        super().attach(spec, items)
        for model in self.both:
            model.items = items

    def compile_modules(self, options: Mapping[str, Any]) -> None:
        """Compiles what both are made of."""
        for model in self.both:
            model.compile_modules(options)

    def begin_epoch(self) -> None:
        """Draws for the student, then for the teacher, as the released code does."""
        self.host.begin_epoch()
        self.teacher.begin_epoch()
        self._guide = None

    # The student -----------------------------------------------------------------------------------------

    def propagate(self) -> Tables:
        """The student's users and items."""
        return self.host.propagate()

    def losses(self, user_B: Tensor, positive_B: Tensor, negative_B: Tensor) -> dict[str, Tensor]:
        """The student's own losses."""
        return self.host.losses(user_B, positive_B, negative_B)

    @torch.no_grad()
    def guide(self) -> Tables:
        """The teacher's users and items by its whole graph: made once, when the student's pass begins."""
        if self._guide is None:
            self.teacher.eval()
            self._guide = self.teacher.propagate()
            self.teacher.train(self.training)
        return self._guide

    def distillation(self, user_V: Tensor, share_V: Tensor) -> Tensor:
        """What the student's scores of all items lack of the teacher's.

        Args:
            user_V: Distinct users of the batch, from 0.
            share_V: What each counts.
        """
        user_UD, item_ID = self.host.propagate()
        guide_UD, guide_ID = self.guide()
        student = Scorer(rows_of(user_UD, user_V), item_ID)
        teacher = Scorer(rows_of(guide_UD, user_V), guide_ID)
        if self.kd == "kl":
            return full_kl(student, teacher, share_V)
        clouds = Cloud(*student), Cloud(*teacher)
        return sinkhorn_divergence(*clouds, share_V, share_V, self.kd_power, self.kd_blur).value

    # Training --------------------------------------------------------------------------------------------

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ANN401
        """Finds the distinct users while the batch is on the host."""
        return guided(batch) if isinstance(batch, InteractionBatch) else batch

    def training_loss(self, batch: InteractionBatch | GuidedBatch) -> dict[str, Tensor]:
        """Parts of the loss of the batch's pass, before student's and distillation's are mixed."""
        (pairs, user_V, share_V) = batch if isinstance(batch, GuidedBatch) else guided(batch)
        rows = pairs.user_B - 1, pairs.item_B - 1, pairs.negative_B - 1
        if pairs.pass_ == TEACHER:
            return {f"teacher_{name}": part for name, part in self.teacher.losses(*rows).items()}
        return {**self.losses(*rows), "kd": self.distillation(user_V, share_V)}

    def training_step(self, batch: InteractionBatch | GuidedBatch, batch_idx: int) -> Tensor:
        """A step of the teacher, or of the student.

        Returns:
            The sum of the parts, for callbacks; what moved the student is their mixture.
        """
        batch = batch if isinstance(batch, GuidedBatch) else guided(batch)
        which = batch.pass_
        parts = self.training_loss(batch)
        if which == TEACHER:
            self._guide = None
            gradients = self._gradients(parts, self.teacher)
        else:
            gradients = self._student_gradients(parts)
        self._move(which, gradients)
        loss = torch.stack([part.detach() for part in parts.values()]).sum()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.user_B))
        self.log_dict({f"train/{k}": v.detach() for k, v in parts.items()}, batch_size=len(batch.user_B))
        return loss

    def _student_gradients(self, parts: dict[str, Tensor]) -> Gradients:
        """Two backward passes; the authors' third is the weighted sum of what these gave."""
        if self.kd != "kl":
            return self._gradients(parts, self.host)
        own = self._gradients({k: v for k, v in parts.items() if k != "kd"}, self.host)
        guide = self._gradients({"kd": parts["kd"]}, self.host)
        mix = min_norm_mix(own, guide, accumulated=not self.mgda_fix)
        self.log_dict({"train/weight_own": mix.own, "train/weight_kd": mix.guide})
        return mixed(own, guide, mix)

    def _gradients(self, parts: dict[str, Tensor], model: nn.Module) -> Gradients:
        return gradients_of(self, torch.stack(list(parts.values())).sum(), trained(model))

    def _move(self, which: int, gradients: Gradients) -> None:
        """A step of one of both optimisers and of its schedule."""
        optimizer = cast(list[LightningOptimizer], self.optimizers())[which]
        parameters = trained(self.both[which])
        give(parameters, gradients)
        optimizer.step()
        give(parameters, [None] * len(parameters))
        schedulers = cast(list[Any] | None, self.lr_schedulers())
        if schedulers and self.schedule != "exponential":
            schedulers[which].step()

    def on_train_epoch_end(self) -> None:
        """Schedules that go by epochs."""
        super().on_train_epoch_end()
        if self.schedule == "exponential":
            for scheduler in cast(list[Any], self.lr_schedulers()):
                scheduler.step()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """An optimiser for the teacher and one for the student, each with half of the run's steps.

        Raises:
            ValueError: Gradients would need scaling.
        """
        require_unscaled(self)
        source = self.source_of_optimizer()
        found: list[Any] = []
        for which, model in enumerate(self.both):
            rates = Rates(self.teacher_lr if which == TEACHER else self.lr, self.weight_decay)
            groups = parameter_groups(model, rates, model.special_rates(), self.decay_norms_and_biases)
            optimizer = torch.optim.AdamW(groups, lr=rates.lr, fused=self.device.type in ("cpu", "cuda"))
            if source is not None:
                restore_optimizer(optimizer, source.optimizers[which:], str(source))
            scheduler = self.scheduler(optimizer, optimizers=2)
            found.append(
                optimizer if scheduler is None else {"optimizer": optimizer, "lr_scheduler": scheduler}
            )
        return tuple(found)

    # What was found --------------------------------------------------------------------------------------

    def noise_scores(self) -> Verdict:
        """What the teacher makes of every training pair, in the data's order."""
        return self.teacher.verdict()

    def on_test_end(self) -> None:
        """Leaves ``noise.parquet`` beside the results, and says how planted noise was found."""
        super().on_test_end()
        folder = Path(self.trainer.log_dir or self.trainer.default_root_dir)  # asked by all ranks
        if not self.trainer.is_global_zero:
            return
        verdict, items = self.noise_scores(), cast(InteractionSource, self.items)
        write_verdict(folder, verdict, items, cast(Named, getattr(self.trainer, "datamodule", None)))
        if items.noise_E is not None:
            found = recovery(verdict, items.noise_E)
            print(
                f"Planted noise, {int(items.noise_E.sum()):,} of {len(items.noise_E):,} training pairs: AUC "
                f"{found['suspicion']:.3f} by what the teacher judges by, {found['weight']:.3f} by its "
                "weights (chance 0.500)."
            )


def guided(batch: InteractionBatch) -> GuidedBatch:
    """A batch with its distinct users; a batch on a device is waited for."""
    user_V, count_V = np.unique(batch.user_B.cpu().numpy() - 1, return_counts=True)
    share_V = (count_V / len(batch.user_B)).astype(np.float32)
    device = batch.user_B.device
    return GuidedBatch(batch, torch.from_numpy(user_V).to(device), torch.from_numpy(share_V).to(device))

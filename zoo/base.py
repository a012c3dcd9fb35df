"""The base of every model: steps, optimiser, exact evaluation; ``zoo/lifecycle.py`` has how it comes to be.

A paper overrides few methods (see ``zoo/models/README.md``); what Lightning does, Lightning does.
"""

import copy
import os
from abc import abstractmethod
from dataclasses import asdict, is_dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from zoo.callbacks.table import ResultRow
from zoo.lifecycle import Compile
from zoo.metrics.ranking import RankHistogram, bootstrap_interval, metrics_from_histogram, target_rank, top_k
from zoo.metrics.slices import COLD_BELOW
from zoo.optim import Rates, Schedule, parameter_groups, rate_factor, restore_optimizer
from zoo.recommend import Recommending
from zoo.row_updates import RowAdamW, has_row_tables, require_row_updates
from zoo.seeding import reseed
from zoo.transfer import FULL, Plan
from zoo.types import EvalBatch, LabelBatch, ModelNeeds


class Predictions(NamedTuple):
    """What ``predict_step`` returns: the best k items of every user, best first."""

    user_B: Tensor
    item_BK: Tensor
    score_BK: Tensor


class Recommender(Recommending):
    """Base of all recommenders.

    Args:
        lr: Learning rate of everything but the encoders.
        encoder_lr: Learning rate of the encoders; by default ``lr``.
        weight_decay: AdamW weight decay.
        encoder_weight_decay: Weight decay of the encoders; by default ``weight_decay``.
        decay_norms_and_biases: Decay one-dimensional tensors too, as the authors' codes do.
        schedule: Learning-rate schedule over the optimiser steps of the run; ``exponential`` is over epochs.
        epoch_decay: Factor of the learning rates an epoch under ``exponential``; by default MMRec's, 0.96 in
            50 epochs.
        warmup_steps: Optimiser steps of linear warm-up before the schedule.
        compile: Compile towers, fusion and backbone with ``torch.compile``. A mode is passed on:
            ``reduce-overhead`` records CUDA graphs, for shapes that repeat, as those of ids and cached
            features do. ``eager`` traces and runs as without, to see what would break.
        top_k: Items recommended per user by ``predict``.
        item_chunk: Items encoded at a time when the whole catalogue is encoded.
        seed: Seed of every random draw in training; by default the one given to ``--seed_everything``.
        init_from: Checkpoint of a trained model, or the folder of a run, whose best one it is then: parts of
            it are where training starts. Resuming and testing never read it.
        transfer: Components to take from there: ``full``, ``item``, ``user``, ``text``, ``image``, ``fusion``
            and others the model has; one or a list.
        freeze: Components that are not trained; one or a list.
        transfer_optimizer: Go on with the source's optimiser too, its learning rates included.
    """

    monitor: ClassVar[str] = "val/ndcg@10"
    """The validation metric that says which epoch is best and when to stop."""
    together: bool = False
    """Whether all ranks make the catalogue's vectors at this moment and may divide them."""

    def __init__(
        self,
        lr: float = 1e-4,
        encoder_lr: float | None = None,
        weight_decay: float = 0.01,
        encoder_weight_decay: float | None = None,
        decay_norms_and_biases: bool = True,
        schedule: Schedule = "constant",
        epoch_decay: float = 0.96 ** (1 / 50),
        warmup_steps: int = 0,
        compile: Compile = False,
        top_k: int = 10,
        item_chunk: int = 512,
        seed: int | None = None,
        init_from: str | None = None,
        transfer: list[str] | str = FULL,
        freeze: list[str] | str | None = None,
        transfer_optimizer: bool = False,
    ) -> None:
        super().__init__(Plan.of(init_from, transfer, freeze, transfer_optimizer), compile)
        self.save_hyperparameters()
        self._make_hparams_plain()
        self.lr = lr
        self.encoder_lr = lr if encoder_lr is None else encoder_lr
        self.weight_decay = weight_decay
        self.encoder_weight_decay = weight_decay if encoder_weight_decay is None else encoder_weight_decay
        self.decay_norms_and_biases = decay_norms_and_biases
        if schedule == "exponential" and warmup_steps:
            raise ValueError(
                f"The schedule 'exponential' has no warm-up, found warmup_steps {warmup_steps}. Leave that "
                "out, or take constant, linear or cosine."
            )
        self.schedule = schedule
        self.epoch_decay = epoch_decay
        self.warmup_steps = warmup_steps
        self.top_k = top_k
        self.item_chunk = item_chunk
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed
        self.table_ID: Tensor | None = None
        self.ranks: dict[str, RankHistogram] = {}
        self.slices: dict[str, Tensor] = {}

    def _make_hparams_plain(self) -> None:
        """Turns dataclasses among the hyper-parameters into dicts, so that checkpoints hold plain values."""
        for name, value in self.hparams.items():
            if is_dataclass(value) and not isinstance(value, type):
                self.hparams[name] = asdict(value)
        self._hparams_initial = copy.deepcopy(self._hparams)

    # What a model is -------------------------------------------------------------------------------------

    @abstractmethod
    def needs(self) -> ModelNeeds:
        """What the model asks of the data; cheap, called before any parameter exists."""

    @abstractmethod
    def training_loss(self, batch: Any) -> dict[str, Tensor]:  # noqa: ANN401  # each family narrows it
        """Named parts of the loss of one batch; their sum is optimised."""

    @abstractmethod
    def item_table(self) -> Tensor:
        """Vectors of the whole catalogue (I, D); row 0, the padding item, is zero."""

    @abstractmethod
    def user_vectors(self, batch: EvalBatch, table_ID: Tensor) -> Tensor:
        """Vectors (B, D) whose inner products with the item table are the scores."""

    # Training --------------------------------------------------------------------------------------------

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Makes the randomness of a step a function of its place, so that a resumed run repeats it."""
        reseed(self.seed, self.current_epoch, batch_idx, self.global_rank)
        if self.compile_parts == "reduce-overhead":  # what graphs gave for the last batch may be overwritten
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ANN401
        """Sums and logs the parts of the loss."""
        parts = self.training_loss(batch)
        loss = torch.stack(list(parts.values())).sum()
        users = len(batch.user_B)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=users)
        if len(parts) > 1:
            self.log_dict({f"train/{k}": v.detach() for k, v in parts.items()}, batch_size=users)
        return loss

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Trainable parameters in groups, each with its learning rate and weight decay."""
        rates = Rates(self.lr, self.weight_decay)
        return parameter_groups(self, rates, self.special_rates(), self.decay_norms_and_biases)

    def special_rates(self) -> dict[str, Rates]:
        """Prefix of parameter names -> rates other than ``lr`` and ``weight_decay``."""
        return {}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with its groups, and the schedule by optimiser steps."""
        # The fused step unscales fp16 gradients itself, which Lightning does not let be clipped before.
        fused = self.device.type in ("cpu", "cuda") and not str(self.trainer.precision).startswith("16")
        adam = torch.optim.AdamW
        if has_row_tables(self):
            require_row_updates(self.trainer.gradient_clip_val, self.automatic_optimization)
            adam = RowAdamW
        optimizer = adam(self.parameter_groups(), lr=self.lr, weight_decay=self.weight_decay, fused=fused)
        source = self.source_of_optimizer()
        if source is not None:
            restore_optimizer(optimizer, source.optimizers, str(source))
        scheduler = self.scheduler(optimizer)
        if scheduler is None:
            return optimizer
        interval = "epoch" if self.schedule == "exponential" else "step"
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    def scheduler(self, optimizer: torch.optim.Optimizer, optimizers: int = 1) -> LRScheduler | None:
        """The schedule of an optimiser's rates; None where they are constant.

        Args:
            optimizer: Whose rates.
            optimizers: How many share the steps of the run evenly.
        """
        if self.schedule == "constant" and not self.warmup_steps:
            return None
        if self.schedule == "exponential":
            return torch.optim.lr_scheduler.ExponentialLR(optimizer, self.epoch_decay)
        factor = rate_factor(
            self.schedule, self.warmup_steps, lambda: self.trainer.estimated_stepping_batches / optimizers
        )
        return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

    # Evaluation ------------------------------------------------------------------------------------------

    def _start_evaluation(self, slices: tuple[str, ...]) -> None:
        self.together = self._divides()
        try:
            self.table_ID = self.item_table()
        finally:
            self.together = False
        for name in slices:
            metric = RankHistogram().to(self.device)
            metric.update(torch.empty(0, dtype=torch.int64, device=self.device))  # a slice may stay empty
            self.ranks[name] = metric

    def _divides(self) -> bool:
        """Whether this is an evaluation that several ranks begin, each of which has all parameters."""
        if self._trainer is None or self.trainer.world_size == 1:
            return False
        # Other strategies talk in every forward pass, which each rank would have to run equally often.
        whole = type(self.trainer.strategy) is DDPStrategy
        return whole and (self.trainer.evaluating or self.trainer.predicting or self.trainer.sanity_checking)

    def on_validation_epoch_start(self) -> None:
        """Encodes the catalogue once."""
        self._start_evaluation(("all", "repeat"))

    def on_test_epoch_start(self) -> None:
        """Encodes the catalogue once."""
        held_out = () if self._held_out() is None else ("held_out",)
        self._start_evaluation(("all", "repeat", "cold", "new", *held_out))

    def on_predict_epoch_start(self) -> None:
        """Encodes the catalogue once."""
        self._start_evaluation(())

    def _table(self) -> Tensor:
        """The catalogue's vectors: those of the evaluation under way, or made for this call."""
        return self.item_table() if self.table_ID is None else self.table_ID

    def _users(self, batch: EvalBatch | LabelBatch, table_ID: Tensor) -> Tensor:
        """User vectors in full precision, as MoRec evaluates whatever it trained in."""
        with torch.autocast(self.device.type, enabled=False):
            return self.user_vectors(batch, table_ID)  # type: ignore[arg-type]  # a family gets its kind

    def _held_out(self) -> Tensor | None:
        """Items that the protocol held out on purpose (I,); None where it held out none."""
        held_out_I = getattr(self.items, "held_out_I", None)
        return None if held_out_I is None else torch.from_numpy(held_out_I).to(self.device)

    def validation_step(self, batch: EvalBatch, batch_idx: int) -> None:
        """Ranks each user's target among the whole catalogue."""
        table_ID = self._table()
        user_BD = self._users(batch, table_ID)
        rank_B, repeat_B = target_rank(user_BD, table_ID, batch.target_B, batch.hidden_BH)
        self.ranks["all"].update(rank_B)
        self.ranks["repeat"].update(repeat_B)

    def test_step(self, batch: EvalBatch, batch_idx: int) -> dict[str, Tensor]:
        """Ranks as in validation, and apart the users whose target is cold or new (MoRec, appendix A.1).

        Where a protocol holds out items, targets are ranked among these alone too.
        """
        if self.items is None:
            raise RuntimeError("No catalogue is bound: call attach(spec, items) or use a trainer.")
        table_ID = self._table()
        user_BD = self._users(batch, table_ID)
        rank_B, repeat_B = target_rank(user_BD, table_ID, batch.target_B, batch.hidden_BH)
        self.ranks["all"].update(rank_B)
        self.ranks["repeat"].update(repeat_B)
        count_I = torch.from_numpy(self.items.counts_I).to(batch.target_B.device)
        count_B = count_I[batch.target_B]
        self.ranks["cold"].update(rank_B[(count_B > 0) & (count_B < COLD_BELOW)])
        new_B = count_B == 0
        if bool(new_B.any()):
            among_trained_B, _ = target_rank(
                user_BD[new_B], table_ID, batch.target_B[new_B], batch.hidden_BH[new_B], count_I > 0
            )
            self.ranks["new"].update(among_trained_B)
        if (held_out_I := self._held_out()) is not None:
            among_B, _ = target_rank(user_BD, table_ID, batch.target_B, batch.hidden_BH, held_out_I)
            self.ranks["held_out"].update(among_B)
        return {"rank_B": rank_B, "rank_repeat_B": repeat_B}

    def on_validation_epoch_end(self) -> None:
        """Logs the metrics and lets the catalogue's vectors go."""
        self._finish_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Logs the metrics and lets the catalogue's vectors go."""
        self._finish_evaluation("test")

    def on_predict_epoch_end(self) -> None:
        """Lets the catalogue's vectors go."""
        self.table_ID = None

    def _finish_evaluation(self, stage: str) -> None:
        self.table_ID = None
        self.slices = {}
        for name, metric in self.ranks.items():
            prefix = stage if name == "all" else f"{stage}_{name}"
            values = metric.compute()  # one reduction over the processes
            self.slices[name] = metric.histogram()
            if int(self.slices[name].sum()):
                self.log_dict({f"{prefix}/{k}": v for k, v in values.items()}, prog_bar=False)
        self.ranks = {}

    def predict_step(self, batch: EvalBatch | LabelBatch, batch_idx: int) -> Predictions:
        """The best items of every user, hidden ones left out."""
        table_ID = self._table()
        item_BK, score_BK = top_k(self._users(batch, table_ID), table_ID, batch.hidden_BH, self.top_k)
        return Predictions(batch.user_B, item_BK, score_BK)

    # Results ---------------------------------------------------------------------------------------------

    def result_rows(self) -> list[ResultRow]:
        """The slices of the last evaluation that have users, with 95 % bootstrap intervals over users."""
        return [
            ResultRow(
                name,
                metrics_from_histogram(histogram),
                bootstrap_interval(histogram, seed=self.seed),
                int(histogram.sum()),
            )
            for name, histogram in self.slices.items()
            if int(histogram.sum())
        ]

    @torch.no_grad()
    def recommend_rows(self, batch: EvalBatch, k: int) -> Tensor:
        """Catalogue rows (B, k) to recommend, best first, hidden ones left out.

        Within an evaluation the catalogue's vectors are at hand; otherwise it is encoded first.
        """
        was_training = self.training
        self.eval()
        table_ID = self._table()
        item_BK, _ = top_k(self._users(batch, table_ID), table_ID, batch.hidden_BH, k)
        self.train(was_training)
        return item_BK

"""What FMMRec is on any host: filters against discriminators, after the stages before have been made."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from zoo.base import Recommender
from zoo.callbacks.fairness import FairnessReport
from zoo.checkpoints import class_path
from zoo.factory import create_host
from zoo.fair.attack import own_randomness, split_users
from zoo.fair.filters import AttributeFilters, Mode, Prompt
from zoo.fair.host import load_host, train_host
from zoo.fair.labels import Labels
from zoo.fair.probes import Probes, confusions, cross_entropies
from zoo.fair.split_training import SplitOptions
from zoo.fair.stages import Consumed, Structure, structure_of
from zoo.fair.store import array_digest, finish_stage, read_result, stage_folder
from zoo.fair.structure import UserGraph, sources

Goal = Literal["mislead", "confuse"]
"""What filters want of discriminators: the authors' greatest error, or predictions that say nothing."""
WEIGHTS = {"text": 0.2, "image": 0.6, "audio": 0.2}
"""The authors' shares of the modalities on MovieLens-1M."""


class Adversary(NamedTuple):
    """What the discriminators of one step see, without gradient."""

    vector_GBD: Tensor
    """Filtered users, and where items are filtered the mean of what each has consumed."""
    label_KB: Tensor


class FairTuning(Recommender):
    """Base of FMMRec on hosts of any kind.

    Args:
        host: Name of the host's configuration, or path of its class.
        host_args: Arguments of the host, over those of its configuration.
        host_from: Checkpoint of the host, or folder of its run, whose best one it is then. Without it the
            host is trained here first.
        host_epochs: Epochs of a host that is trained here.
        host_patience: Epochs without improvement after which it stops.
        attributes: Sensitive attributes of users that are to be filtered out.
        modality_weights: Modality -> share of its user-user graphs; empty for no structure.
        neighbours: Users that each user is linked to in a graph, itself included.
        structure_weight: How far user vectors move by the graphs.
        mode: Filters ``shared`` by users and items, ``independent`` ones, or ``user-only``.
        prompt: How filters are told whose vector it is: ``concat``, ``add`` or ``none``.
        adversary_weight: Weight of the discriminators in the filters' loss.
        item_weight: Weight of the discriminators of the items' side relative to the users'.
        adversary_steps: Steps of the discriminators after each of the filters.
        adversary_lr: Their learning rate.
        adversary_hidden: Width of their hidden layer; by default half of the vectors'.
        adversary_norm: Let them see every dimension of the batch at mean 0 and deviation 1. Ours: without it
            filters learn to tell attributes in dimensions of little deviation, which discriminators overlook
            and an attacker who standardises does not.
        split_epochs: Epochs of the split of a modality (stage 2); a mapping of modalities, or one for all.
        parity: As released: audio graphs made from text, and random labels of attributes of more than two
            classes in stage 2. By default both are as described in the paper.
        stages: Folder of finished stages, to be shared by runs; by default ``stages`` in the run's own.
        attack_epochs: Epochs of the published attacker after a test.
        **kwargs: Arguments of the base.

    Raises:
        ValueError: Options out of their range.
    """

    def __init__(
        self,
        host: str = "vbpr",
        host_args: dict[str, Any] | None = None,
        host_from: str | None = None,
        host_epochs: int = 200,
        host_patience: int = 20,
        attributes: Sequence[str] = ("gender",),
        modality_weights: dict[str, float] | None = None,
        neighbours: int = 10,
        structure_weight: float = 0.1,
        mode: Mode = "shared",
        prompt: Prompt = "concat",
        adversary_weight: float = 0.1,
        item_weight: float = 0.5,
        adversary_steps: int = 10,
        adversary_lr: float = 1e-3,
        adversary_hidden: int | None = None,
        adversary_norm: bool = False,
        adversary_goal: Goal = "mislead",
        split_epochs: dict[str, int] | int = 80,
        parity: bool = False,
        stages: str | None = None,
        attack_epochs: int = 1000,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        self.automatic_optimization = False
        self.host_name = host
        self.host_args = dict(host_args or {})
        self.host_from = host_from
        self.host_budget = (host_epochs, host_patience)
        self.attributes = tuple(attributes)
        self.modality_weights = dict(WEIGHTS if modality_weights is None else modality_weights)
        self.neighbours = neighbours
        self.structure_weight = structure_weight
        self.mode: Mode = mode
        self.prompt: Prompt = prompt
        self.adversary_weight = adversary_weight
        self.item_weight = item_weight
        self.adversary_steps = adversary_steps
        self.adversary_lr = adversary_lr
        self.adversary_hidden = adversary_hidden
        self.adversary_norm = adversary_norm
        self.adversary_goal: Goal = adversary_goal
        self.split_epochs = split_epochs
        self.parity = parity
        self.stages = stages
        self.attack_epochs = attack_epochs
        self.prepared = False
        """Whether the stages before have been made, here or before the checkpoint was written."""
        if not self.attributes or len(set(self.attributes)) < len(self.attributes):
            raise ValueError(
                f"--model.attributes: expected different attributes of users, found {list(self.attributes)}."
            )

    # Parts -----------------------------------------------------------------------------------------------

    @property
    def groups(self) -> int:
        """Groups of vectors that have discriminators: users, and items where they are filtered."""
        return 1 if self.mode == "user-only" else 2

    def build_filters(self, width: int, n_classes: Sequence[int]) -> None:
        """Makes filters and discriminators.

        Args:
            width: Of the host's vectors.
            n_classes: Of each attribute.
        """
        self.filters = AttributeFilters(width, self.attributes, self.mode, self.prompt)
        hidden = max(1, width // 2) if self.adversary_hidden is None else self.adversary_hidden
        self.probes = Probes(self.groups, width, n_classes, hidden)

    def epochs_of(self, modality: str) -> int:
        """Epochs of the split of a modality.

        Raises:
            ValueError: ``split_epochs`` does not say.
        """
        if isinstance(self.split_epochs, int):
            return self.split_epochs
        if modality not in self.split_epochs:
            raise ValueError(
                f"--model.split_epochs names {', '.join(self.split_epochs) or 'nothing'}, but {modality} is "
                "split too."
            )
        return self.split_epochs[modality]

    # Stages ----------------------------------------------------------------------------------------------

    @abstractmethod
    def prepare_stages(self) -> None:
        """Makes what tuning starts from, or finds it: the host's vectors and the structure."""

    @abstractmethod
    def labels(self) -> Labels:
        """Attributes of the users, counted from 0."""

    def begin(self) -> None:
        """Makes the stages before a training that does not go on with one.

        Raises:
            ValueError: There is nothing trained to be evaluated, or several processes would make stages.
        """
        super().begin()
        if self.prepared or not self.fresh or self._trainer is None:
            return
        if self.trainer.state.fn != "fit":
            raise ValueError(
                f"This {type(self).__name__} has no host and no filters yet: fit it first, or give "
                "--ckpt_path."
            )
        if self.trainer.world_size > 1:
            raise ValueError(
                f"{type(self).__name__} makes its stages in one process. Start with --trainer.devices 1; "
                "more can go on with --ckpt_path last."
            )
        split_users(self.labels())  # what the test will ask for is looked at before hours are spent
        with own_randomness(self.seed, self.device):
            self.prepare_stages()
        self.prepared = True

    @property
    def data(self) -> LightningDataModule:
        """The data module of the run."""
        found = getattr(self.trainer, "datamodule", None)
        assert isinstance(found, LightningDataModule)  # setup would have refused
        return found

    @property
    def stage_root(self) -> str | None:
        """Where stages are kept; None where the run has no folder of its own."""
        if self.stages is not None:
            return self.stages
        folder = Path(str(self.trainer.log_dir or self.trainer.default_root_dir)).resolve()
        return None if folder == Path.cwd() else str(folder / "stages")

    def host_ready(self, settings: Mapping[str, Any], features: Mapping[str, Tensor]) -> Recommender:
        """The trained host on this catalogue: given, found or trained now.

        Args:
            settings: Of the data, in plain values.
            features: What a host to be trained reads beside the pairs.
        """
        assert self.spec is not None
        assert self.items is not None
        if self.host_from is not None:
            return load_host(self.host_from, self.spec, self.items)
        host = create_host(self.host_name, {**self.host_args, "seed": self.seed})
        key = {
            "class": class_path(type(host)),
            "arguments": dict(host.hparams),
            "epochs, patience": self.host_budget,
            "features": {m: array_digest(part_ID.cpu().numpy()) for m, part_ID in features.items()},
            **settings,
        }
        with stage_folder(self.stage_root, "host", key) as folder:
            state = read_result(folder)
            if state is None:
                torch.manual_seed(self.seed)
                train_host(host, self.data, folder, self.host_budget, self.trainer)
                finish_stage(folder, host.state_dict())
            else:
                host.attach(self.spec, self.items)
                host.load_state_dict(state)
        return host.eval()

    def user_structure(self, consumed: Consumed) -> UserGraph:
        """How users are linked: found, or made now."""
        options = {
            modality: SplitOptions(self.epochs_of(modality), self.parity, self.seed)
            for modality in sources(self.modality_weights, self.parity).values()
        }
        structure = Structure(self.modality_weights, self.neighbours, self.parity)
        return structure_of(consumed, structure, options, self.stage_root, self.trainer)

    # Training --------------------------------------------------------------------------------------------

    @abstractmethod
    def fair_losses(self, batch: Any) -> tuple[dict[str, Tensor], Adversary]:  # noqa: ANN401
        """Named parts of the recommendation loss, and what the discriminators see of the batch."""

    def training_loss(self, batch: Any) -> dict[str, Tensor]:  # noqa: ANN401  # each kind of host narrows it
        """The loss of the filters: recommend well, and keep the discriminators in the dark."""
        return self._filter_losses(batch)[0]

    def _filter_losses(self, batch: Any) -> tuple[dict[str, Tensor], Adversary]:  # noqa: ANN401
        parts, seen = self.fair_losses(batch)
        if self.adversary_norm:
            seen = seen._replace(vector_GBD=standardised(seen.vector_GBD))
        logit_GKBC = self.probes(seen.vector_GBD)
        if self.adversary_goal == "confuse":
            found_GK = confusions(logit_GKBC, seen.label_KB)
        else:
            found_GK = -cross_entropies(logit_GKBC, seen.label_KB)
        for side, weight, found_K in zip(("user", "item"), (1.0, self.item_weight), found_GK, strict=False):
            parts[f"{side}_adversary"] = self.adversary_weight * weight * found_K.sum()
        return parts, Adversary(seen.vector_GBD.detach(), seen.label_KB)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ANN401
        """A step of the filters, then several of the discriminators on the very vectors it began with.

        The released code makes those vectors a second time for the discriminators, with the same values.
        """
        filters, probes = cast(list[Any], self.optimizers())
        with frozen(self.probes):
            parts, seen = self._filter_losses(batch)
            loss = torch.stack(list(parts.values())).sum()
            filters.zero_grad()
            self.manual_backward(loss)
            filters.step()
        self._lower_rate(epoch_ended=False)
        for _ in range(self.adversary_steps):
            found = cross_entropies(self.probes(seen.vector_GBD), seen.label_KB).sum()
            probes.zero_grad()
            self.manual_backward(found)
            probes.step()
        users = len(batch.user_B)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=users)
        self.log_dict({f"train/{k}": v.detach() for k, v in parts.items()}, batch_size=users)
        return loss.detach()

    def tuned_parameters(self) -> list[nn.Parameter]:
        """What the filters' optimiser trains."""
        return list(self.filters.parameters())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam for the filters, whose rate may fall by epochs, and for all discriminators at once."""
        fused = self.device.type in ("cpu", "cuda")
        filters = torch.optim.Adam(
            self.tuned_parameters(), self.lr, weight_decay=self.weight_decay, fused=fused
        )
        probes = torch.optim.Adam(self.probes.parameters(), self.adversary_lr, fused=fused)
        scheduler = self.scheduler(filters)
        return [filters, probes], [] if scheduler is None else [scheduler]

    def _lower_rate(self, epoch_ended: bool) -> None:
        """Moves the filters' schedule on, which counts epochs or batches."""
        scheduler = self.lr_schedulers()
        if scheduler is not None and epoch_ended == (self.schedule == "exponential"):
            assert isinstance(scheduler, LRScheduler)
            scheduler.step()

    def on_train_epoch_end(self) -> None:
        """Lowers the filters' learning rate where it falls by epochs."""
        self._lower_rate(epoch_ended=True)

    # Evaluation ------------------------------------------------------------------------------------------

    def configure_callbacks(self) -> list[Callback]:
        """Attackers after every test, unless there are some already."""
        if any(isinstance(c, FairnessReport) for c in self.trainer.callbacks):  # type: ignore[attr-defined]
            return []
        return [FairnessReport(list(self.attributes), self.attack_epochs)]


def standardised(vector_GBD: Tensor) -> Tensor:
    """Every dimension of a batch at mean 0 and deviation 1."""
    # Inside the root, and over n: a batch of one user has no deviation and must give neither NaN nor a slope.
    variance_G1D, mean_G1D = torch.var_mean(vector_GBD, dim=1, correction=0, keepdim=True)
    return (vector_GBD - mean_G1D) * (variance_G1D + 1e-12).rsqrt()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No gradient for a module's own weights; one still goes through it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)

"""What all data modules are: bound to what a model needs, dealt out over processes, seeded."""

import os
from abc import ABC, abstractmethod
from typing import ClassVar, Protocol, cast

from lightning.pytorch import LightningDataModule

from zoo.types import CatalogSpec, ModelNeeds


class _Needy(Protocol):
    def needs(self) -> ModelNeeds: ...


class DataModule(LightningDataModule, ABC):
    """A data module that asks the trainer's model what it needs.

    Without a trainer, call ``bind`` with what the model needs, then ``prepare_data`` and ``setup``. After
    that ``items`` is the catalogue, an ``ItemSource`` or more of ``zoo.types``, and ``item_names`` and
    ``user_names`` say what its rows are called.

    Args:
        batch_size: Rows in a training batch of one process.
        eval_batch_size: Users in an evaluation batch of one process.
        num_workers: Processes that make training batches; with 0 the trainer's own does.
        seed: Of order and negatives; by default that of ``seed_everything``, or else 0.

    Raises:
        ValueError: If a number is out of its range.
    """

    spec: CatalogSpec
    """Sizes of the catalogue; there after ``setup``."""

    default_needs: ClassVar[ModelNeeds] = ModelNeeds(transforms={})
    """What is assumed where neither a trainer nor ``bind`` says."""

    def __init__(
        self, batch_size: int, eval_batch_size: int, num_workers: int = 0, seed: int | None = None
    ) -> None:
        super().__init__()
        for name, value in {"batch_size": batch_size, "eval_batch_size": eval_batch_size}.items():
            if value < 1:
                raise ValueError(f"Expected {name} >= 1, found {value}.")
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self._bound: ModelNeeds | None = None

    def bind(self, needs: ModelNeeds) -> None:
        """Says what the model needs, where no trainer does."""
        self._bound = needs

    @property
    @abstractmethod
    def protocol_text(self) -> str:
        """What is evaluated how, in one line that stands beside every result; there before ``setup``."""

    @property
    @abstractmethod
    def data_fingerprint(self) -> str:
        """Digest of what a test reads: item names, histories, targets; there after ``setup``.

        Results of equal fingerprints may be compared, whatever options led to them.
        """

    @property
    def needs(self) -> ModelNeeds:
        """What the trainer's model needs, or what was bound; ids only where neither is there."""
        if self.trainer is not None and self.trainer.lightning_module is not None:
            return cast(_Needy, self.trainer.lightning_module).needs()
        return self._bound or self.default_needs

    def _ranks(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _pin(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _seed(self) -> int:
        return self.seed if self.seed is not None else int(os.environ.get("PL_GLOBAL_SEED") or 0)

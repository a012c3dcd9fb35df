"""A model on a small catalogue, and the instruments the checks look at it with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
import yaml
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.base import Recommender
from zoo.collaborative import CollaborativeRecommender
from zoo.factory import create, instantiate, merge
from zoo.sequential import SequentialRecommender
from zoo.types import CatalogSpec, Content, ItemSource, ModelNeeds


class CheckData(Protocol):
    """What the checks use of a data module."""

    spec: CatalogSpec
    items: ItemSource

    def bind(self, needs: ModelNeeds) -> None:
        """Takes the needs of a model without a trainer."""
        ...

    def prepare_data(self) -> None:
        """Prepares what the model needs."""
        ...

    def setup(self, stage: str) -> None:
        """Opens what was prepared."""
        ...

    def train_dataloader(self) -> Any:  # noqa: ANN401
        """Training batches."""
        ...

    def val_dataloader(self) -> Any:  # noqa: ANN401
        """Validation batches."""
        ...


class Case:
    """One model on one catalogue.

    Args:
        make: Gives a fresh, unbuilt model each time.
        data: A small data module.
    """

    def __init__(self, make: Callable[[], Recommender], data: LightningDataModule) -> None:
        self.make = make
        self.module = data
        self.data = cast("CheckData", data)
        self.data.bind(make().needs())
        self.data.prepare_data()
        self.data.setup("fit")

    def built(self, device: str = "cpu") -> Recommender:
        """A fresh model with parameters drawn from a fixed seed."""
        torch.manual_seed(0)
        model = self.make()
        model.attach(self.data.spec, self.data.items)
        model.to(device)
        if isinstance(model, SequentialRecommender):
            model.cache_features()
        if isinstance(model, CollaborativeRecommender):
            model.begin_epoch()
        return model

    def train_batch(self) -> Any:  # noqa: ANN401
        """The first training batch."""
        return next(iter(self.data.train_dataloader()))

    def train_batches(self) -> list[Any]:
        """The first batch of every pass of an epoch; one where there is one pass."""
        loader = self.data.train_dataloader()
        every = max(1, len(loader) // self.make().needs().passes)
        return [batch for n, batch in enumerate(loader) if n % every == 0]

    def eval_batch(self) -> Any:  # noqa: ANN401
        """The first validation batch."""
        return next(iter(self.data.val_dataloader()))

    def trainer(self, folder: str, epochs: int, **options: Any) -> Trainer:  # noqa: ANN401
        """A quiet trainer."""
        keeper = ModelCheckpoint(dirpath=folder, filename="end", save_weights_only=True)
        defaults: dict[str, Any] = {
            "max_epochs": epochs,
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "callbacks": [keeper],
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,
        }
        return Trainer(**{**defaults, **options})


def model_factory(model: str | type[Recommender], overrides: dict[str, Any]) -> Callable[[], Recommender]:
    """What makes fresh models of a short name, a YAML file or a class."""
    if isinstance(model, type):
        cls = model
        return lambda: cls(**overrides)
    if model.endswith((".yaml", ".yml")):
        config = yaml.safe_load(Path(model).read_text(encoding="utf-8"))
        config["init_args"] = merge(config.get("init_args") or {}, overrides)
        return lambda: instantiate(config)
    name = model
    return lambda: create(name, **overrides)


def total_loss(model: Recommender, batch: Any) -> Tensor:  # noqa: ANN401
    """Sum of the parts of the loss; what it draws at random is the same every time."""
    torch.manual_seed(0)
    return torch.stack(list(model.training_loss(batch).values())).sum()


def spoiled(tensor: Tensor) -> Tensor:
    """A copy with another first row."""
    copy = tensor.clone()
    copy[0] = ~copy[0] if copy.dtype == torch.bool else copy[1]
    return copy


@contextmanager
def recorded(model: Recommender, losses: list[float]) -> Iterator[None]:
    """Collects the loss of every training step; of several passes an epoch, those of the last."""
    step, last = model.training_step, model.needs().passes - 1

    def remember(batch: Any, batch_idx: int) -> Tensor:  # noqa: ANN401
        loss = step(batch, batch_idx)
        if getattr(batch, "pass_", 0) == last:
            losses.append(float(loss.detach()))
        return loss

    model.training_step = remember  # type: ignore[method-assign]
    yield
    model.training_step = step  # type: ignore[method-assign]


class Relabelled:
    """A catalogue under other ids."""

    def __init__(self, items: ItemSource) -> None:
        self.items = items
        self.n_items = items.n_items
        order = np.random.default_rng(0).permutation(np.arange(1, items.n_items))
        self.old_I = np.concatenate([[0], order])
        self.counts_I = items.counts_I[self.old_I]

    def content(self, ids_N: npt.NDArray[np.int64], modalities: Sequence[str]) -> dict[str, Content]:
        """Content of the items that had other ids before."""
        return self.items.content(self.old_I[ids_N], modalities)

    def feature_folder(self, modality: str, key: str) -> None:
        """Features of other ids are not kept."""


class OpRecorder(TorchDispatchMode):
    """Names of the operations that ran, and of those that gave float64."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()
        self.doubles: set[str] = set()

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Runs the operation and remembers it."""
        name = func.overloadpacket.__name__
        if name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1]):
            name = "boolean index"
        result = func(*args, **(kwargs or {}))
        self.names.add(name)
        found = result if isinstance(result, tuple | list) else [result]
        if any(isinstance(t, Tensor) and t.dtype == torch.float64 for t in found):
            self.doubles.add(name)
        return result

    def waiting(self) -> list[str]:
        """Operations that ran and made the host wait for the device."""
        return sorted(self.names & SYNC_OPS)


SYNC_OPS = frozenset(
    {
        "_local_scalar_dense",
        "boolean index",
        "equal",
        "is_nonzero",
        "masked_select",
        "nonzero",
        "unique",
        "_unique2",
    }
)
"""Operations whose result the host must see before it goes on."""

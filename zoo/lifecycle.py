"""How a model comes to be: built when a catalogue or a checkpoint gives the sizes, or from another model.

Parameters whose size depends on the data are made once, by ``build``: from the data module in ``setup``, or
from what a checkpoint says of itself. What is built afresh may begin with parts of a trained model
(``zoo/transfer.py``); what comes back from a checkpoint of its own never reads that model again.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from lightning.pytorch import LightningModule
from torch import nn

from zoo.checkpoints import (
    KEY,
    Stamp,
    class_path,
    name_class,
    plain_stamp,
    read_stamp,
    require_same_catalogue,
    require_same_length,
    warn_of_other_protocol,
)
from zoo.transfer import (
    Plan,
    Prefixes,
    Source,
    Target,
    adoptable_towers,
    freeze_parts,
    read_source,
    resolve,
    transfer,
)
from zoo.transfer_report import Side, TransferReport
from zoo.types import CatalogSpec, ItemSource

Compile = bool | Literal["reduce-overhead", "max-autotune", "eager"]
"""Whether and how ``torch.compile`` is used: one of its modes, or its backend that only traces."""


class Lifecycle(LightningModule, ABC):
    """From constructor to checkpoint, for every model.

    Args:
        plan: Where training starts and what it leaves alone.
        compile: Whether and how the parts are compiled.
    """

    catalogue_bound: ClassVar[bool] = False
    """Whether a parameter belongs to one catalogue row (an id table); instances may override it."""

    def __init__(self, plan: Plan, compile: Compile) -> None:
        super().__init__()
        self.plan = plan
        self.compile_parts = compile
        self.spec: CatalogSpec | None = None
        self.items: ItemSource | None = None
        self.fresh = False
        """Whether the parameters were made here and not restored."""
        self.transferred: TransferReport | None = None
        """What was taken from another model, if this one was started from one."""

    @abstractmethod
    def build(self, spec: CatalogSpec) -> None:
        """Makes the parameters; called once, when the sizes of the data are known."""

    def components(self) -> dict[str, Prefixes]:
        """Component -> prefixes of its parameters' names; what can be transferred and frozen apart.

        By default one a child. ``user`` is the user encoder, everything else makes items.
        """
        return {name: (name,) for name, _ in self.named_children()}

    def catalogue_rows(self) -> Prefixes:
        """Prefixes of parameters with a row for each item or user of one catalogue."""
        return ()

    # From the data ---------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Builds the model once from the data module's sizes and binds the catalogue."""
        data = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise RuntimeError(
                f"{type(self).__name__} takes its catalogue from a data module, but the trainer got none: "
                "call trainer.fit(model, datamodule=...) with a subclass of datamodules.base.RecDataModule."
            )
        self.attach(data.spec, data.items)

    def attach(self, spec: CatalogSpec, items: ItemSource) -> None:
        """Binds a catalogue, building the parameters on the first call.

        Raises:
            CheckpointMismatchError: The model has per-item parameters of another catalogue.
        """
        if self.spec is None:
            # A checkpoint to be restored may still come, and then the source need not exist any more.
            if self.plan.init_from is not None and Path(self.plan.init_from).expanduser().exists():
                chosen = resolve(self.plan.components, self.components(), "--model.transfer")
                self.use_towers(adoptable_towers(read_source(self.plan.init_from), self.hparams, chosen))
            self._make(spec)
            self.fresh = True
            if self.compile_parts:
                self.compile_modules(self.compile_options())
        else:
            if self.catalogue_bound:
                require_same_catalogue(self.spec, spec)
            warn_of_other_protocol(self.spec, spec)
        self.spec, self.items = spec, items

    def _make(self, spec: CatalogSpec) -> None:
        """Builds, and freezes what is not to be trained."""
        self.build(spec)
        if self.plan.frozen:
            freeze_parts(self, self._frozen(), self.plan.frozen)
            self.train(self.training)

    def compile_options(self) -> dict[str, Any]:
        """Arguments of ``torch.compile``; sizes that vary by batch make one more graph, not many."""
        if isinstance(self.compile_parts, bool):
            return {}
        return {"backend" if self.compile_parts == "eager" else "mode": self.compile_parts}

    def compile_modules(self, options: Mapping[str, Any]) -> None:
        """Compiles the children in place, so that parameter names stay as they are."""
        for child in self.children():
            # A container is never called itself; what it holds is.
            for module in child.children() if isinstance(child, nn.ModuleDict | nn.ModuleList) else [child]:
                module.compile(**options)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; frozen components stay in evaluation, as frozen towers do."""
        super().train(mode)
        for module in self._frozen_modules():
            module.train(False)
        return self

    def _frozen(self) -> Prefixes:
        components = self.components()
        names = resolve(self.plan.frozen, components, "--model.freeze")
        return tuple(prefix for name in names for prefix in components[name])

    def _frozen_modules(self) -> Iterator[nn.Module]:
        for prefix in self._frozen() if self.plan.frozen else ():
            part: Any = self
            for name in prefix.split("."):
                part = getattr(part, name, None)
            if isinstance(part, nn.Module):
                yield part

    # From another model ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Takes over the parts of another model that were asked for; once, and never after a restoration.

        Whether a checkpoint is restored is known only after ``setup``: hence the hooks below.

        Raises:
            CheckpointMismatchError: They do not fit.
        """
        source = self._source()
        if source is None:
            return
        assert self.spec is not None
        here = Side(self._stamp(self.spec), self.hparams)
        target = Target(self, self.components(), self.catalogue_rows(), here)
        self.transferred = transfer(target, source, self.plan.components)
        if self._trainer is None:
            return
        folder = self.trainer.log_dir or self.trainer.default_root_dir  # asked by all ranks: it is broadcast
        if self.trainer.is_global_zero:
            print(f"\n{self.transferred.table()}\n")
            self.transferred.write(Path(folder) / "transfer.json")

    def _source(self) -> Source | None:
        """The model to start from, while there is a start to make."""
        wanted = self.plan.init_from is not None and self.fresh and self.transferred is None
        return read_source(str(self.plan.init_from)) if wanted else None

    def on_fit_start(self) -> None:
        """Begins; who overrides it calls it first."""
        self.begin()

    def on_validation_start(self) -> None:
        """Begins, where nothing was restored or trained."""
        self.begin()

    def on_test_start(self) -> None:
        """Begins, where nothing was restored or trained."""
        self.begin()

    def on_predict_start(self) -> None:
        """Begins, where nothing was restored or trained."""
        self.begin()

    def check_transfer(self) -> None:
        """Looks, before any data is prepared, whether the options of the transfer can be followed.

        Raises:
            ValueError: A component is unknown.
            CheckpointMismatchError: The file to start from is no checkpoint.
        """
        if self.components():
            resolve(self.plan.components, self.components(), "--model.transfer")
            resolve(self.plan.frozen, self.components(), "--model.freeze")
        if self.plan.init_from is not None:
            read_source(self.plan.init_from)

    def source_of_optimizer(self) -> Source | None:
        """The model whose optimiser to go on with, if that was asked for and this run starts from it."""
        return self._source() if self.plan.optimizer else None

    def expect_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Prepares for a checkpoint of this model: towers are built as it says, no other model is read."""
        self.plan = self.plan._replace(init_from=None)
        self.use_towers(read_stamp(checkpoint, type(self)).towers)

    # Checkpoints -----------------------------------------------------------------------------------------

    def _stamp(self, spec: CatalogSpec) -> Stamp:
        return Stamp(class_path(type(self)), spec, self.tower_configs(), self.components())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what rebuilding without the data needs, in plain values."""
        if self.spec is not None:
            checkpoint[KEY] = plain_stamp(self._stamp(self.spec))
            name_class(checkpoint, type(self))

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Builds the model from the checkpoint when no data was bound, and refuses a foreign checkpoint.

        Raises:
            CheckpointMismatchError: The checkpoint is of another model or another catalogue.
        """
        stored = read_stamp(checkpoint, type(self))
        self.fresh = False
        if self.spec is None:
            self.use_towers(stored.towers)
            self._make(stored.spec)
            self.spec = stored.spec
            return
        require_same_length(stored.spec, self.spec)
        warn_of_other_protocol(stored.spec, self.spec)
        resuming = self._trainer is not None and self.trainer.state.fn == "fit"
        if resuming or self.catalogue_bound:
            require_same_catalogue(stored.spec, self.spec)

    def tower_configs(self) -> dict[str, dict[str, Any]]:
        """Architecture of every encoder in plain values; models with encoders override it."""
        return {}

    def use_towers(self, configs: dict[str, dict[str, Any]]) -> None:
        """Makes ``build`` follow stored architectures, of some encoders or all, and load no weights there."""

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # the keyword arguments are the superclass's
        cls,
        checkpoint_path: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Self:
        """Loads a model without its data; only tensors and plain values are read, nothing is executed."""
        kwargs.setdefault("weights_only", True)
        model = super().load_from_checkpoint(checkpoint_path, **kwargs)
        assert isinstance(model, cls)
        return model

"""LightningCLI as ``mmzoo`` uses it: run folders that resume, short errors, a test after every fit."""

import logging
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from zoo.base import Recommender
from zoo.callbacks.predictions import PredictionWriter
from zoo.callbacks.table import ResultTable
from zoo.checkpoints import CheckpointMismatchError, find_checkpoint, read_checkpoint
from zoo.extract import make_features
from zoo.feature_store import FeatureStoreError
from zoo.parser import ZooParser

RUN_DIR = "MMZOO_RUN_DIR"
"""Environment variable through which the ranks a run starts learn its folder."""
RUNTIME_OPTIONS = frozenset({"top_k", "item_chunk", "view", "compile"})
"""Model options that may be typed anew for a checkpoint: they are not part of what was trained."""
SWITCHES: dict[str, type[Callback]] = {"enable_progress_bar": ProgressBar, "enable_checkpointing": Checkpoint}
"""Trainer options that, when off, take callbacks of the default configuration with them."""


class ZooCLI(LightningCLI):
    """LightningCLI over the zoo's base classes.

    Args:
        data_class: Base class of the data modules.
        argv: Command line with short names already replaced.
        label: ``<data>/<model>``, where the run's folder goes below ``runs/``.
        typed: The model's options that the user gave, without ``--model.``.
    """

    def __init__(
        self,
        data_class: type[LightningDataModule],
        argv: Sequence[str],
        label: str,
        typed: Sequence[str] = (),
    ) -> None:
        self.label = label
        self.typed = typed
        self.wanted = argv[0] if argv else ""
        self.checkpoint: dict[str, Any] | None = None
        super().__init__(
            Recommender,
            data_class,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"allow_abbrev": False},
            parser_class=ZooParser,
            auto_configure_optimizers=False,
            args=list(argv),
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Only the one that was asked for: to make a parser takes a tenth of a second."""
        return {name: skip for name, skip in super().subcommands().items() if name == self.wanted}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:  # noqa: ANN401
        """Parses the given line; ``sys.argv`` stays as it is, because child ranks re-run it."""
        self.config = parser.parse_args(args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the options that are neither the trainer's, the model's nor the data's."""
        parser.add_argument(
            "--run_dir",
            type=str | None,
            default=None,
            help="Folder of logs, checkpoints and results. Default: runs/<data>/<model>, numbered if taken.",
        )
        parser.add_argument(
            "--threads",
            type=int | None,
            default=None,
            help="CPU threads of a process. Default: PyTorch's choice, one a core.",
        )
        parser.add_argument(
            "--test_after_fit",
            type=bool,
            default=True,
            help="Test the best checkpoint when training ends and print the result table.",
        )
        written = "Write the tested weights beside results.json, as weights.safetensors."
        parser.add_argument("--weights", type=bool, default=False, help=written)

    def _prepare_subcommand_parser(
        self,
        klass: type,
        subcommand: str,
        **kwargs: Any,  # noqa: ANN401
    ) -> LightningArgumentParser:
        """Other defaults than the trainer's methods have."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.set_defaults({"weights_only": True})  # for an address, Lightning's own default is False
        if subcommand == "test":
            parser.set_defaults({"verbose": False})  # the result table says more
        if subcommand == "predict":
            parser.set_defaults({"return_predictions": False})  # they go to a file and may not fit in memory
        return parser

    def before_instantiate_classes(self) -> None:
        """Settles the run's folder and what follows from it."""
        config = self.config[str(self.subcommand)]
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        if not is_child_rank():
            os.environ[RUN_DIR] = str(self.run_dir)
        config.run_dir = str(self.run_dir)
        self.save_config_kwargs["config_filename"] = (
            "config.yaml" if self.subcommand == "fit" else f"config_{self.subcommand}.yaml"
        )

    def _parse_ckpt_path(self) -> None:
        """Finds the run's folder and the checkpoint, and takes the model's class and arguments from it.

        A run that goes on is the same run: what was typed may repeat what the checkpoint says, not change it.
        """
        command = str(self.config.subcommand)
        config = self.config[command]
        self.run_dir = self._choose_run_dir(command, config)
        if config.ckpt_path in ("best", "last"):
            config.ckpt_path = str(find_checkpoint(self.run_dir, config.ckpt_path))
        if config.ckpt_path is None:
            return
        self.checkpoint = read_checkpoint(config.ckpt_path)
        typed = config.model
        super()._parse_ckpt_path()
        stored = self.config[command].model
        if stored.class_path != typed.class_path:
            raise CheckpointMismatchError(
                f"--ckpt_path {config.ckpt_path} holds a {stored.class_path}, but the command line names a "
                f"{typed.class_path}. Leave --model out, or give a checkpoint of that model."
            )
        for name in sorted({option.partition(".")[0] for option in self.typed}):
            if name in RUNTIME_OPTIONS:
                stored.init_args[name] = typed.init_args[name]
            elif typed.init_args.get(name) != stored.init_args.get(name):
                raise CheckpointMismatchError(
                    f"--model.{name} differs from the checkpoint's: {stored.init_args.get(name)}. Leave it "
                    "out, or start a new run without --ckpt_path."
                )
        saved = self.run_dir / "config.yaml"
        if command == "fit" and saved.is_file():
            seed = yaml.safe_load(saved.read_text(encoding="utf-8")).get("seed_everything")
            if seed != config.seed_everything:
                raise CheckpointMismatchError(
                    f"The run in {self.run_dir} was started with --seed_everything {seed}, this command says "
                    f"{config.seed_everything}. Add --seed_everything {seed}."
                )

    def _choose_run_dir(self, command: str, config: Namespace) -> Path:
        ckpt_path = config.get("ckpt_path")
        fresh = command == "fit" and ckpt_path is None
        if config.run_dir is not None:
            base = Path(config.run_dir)
            if fresh and has_checkpoints(base) and not is_child_rank():
                raise FileExistsError(
                    f"{base} already holds a run. Go on with it by --ckpt_path last, name another --run_dir, "
                    "or remove the folder."
                )
            return base
        if is_child_rank() and RUN_DIR in os.environ:
            return Path(os.environ[RUN_DIR])
        base = Path("runs") / self._label(config)
        versions = [base, *sorted(base.parent.glob(f"{base.name}-[0-9]*"), key=version)]
        if ckpt_path not in (None, "last", "best", "hpc", "registry") and Path(str(ckpt_path)).is_file():
            folder = Path(str(ckpt_path)).resolve().parent
            return folder.parent if folder.name == "checkpoints" else folder
        used = [v for v in versions if has_checkpoints(v)]
        if ckpt_path in ("last", "best"):
            if not used:
                raise FileNotFoundError(
                    f"--ckpt_path {ckpt_path}: no run with a checkpoint in {base}. Start one without "
                    "--ckpt_path, or name its folder by --run_dir."
                )
            return used[-1]
        if fresh and used:
            return base.with_name(f"{base.name}-{version(used[-1]) + 1}")
        return base

    def _label(self, config: Namespace) -> str:
        """``<data>-<subset>/<model>``."""
        data, _, model = self.label.partition("/")
        return f"{data_label(data, config.data)}/{model or 'model'}"

    def after_instantiate_classes(self) -> None:
        """Takes the towers' architecture from a checkpoint to come: nothing is loaded to be overwritten.

        Without one, what the model is to start from is looked at before any data is prepared.
        """
        if self.checkpoint is None:
            self.model.check_transfer()
        else:
            self.model.expect_checkpoint(self.checkpoint)
            self.checkpoint = None  # the trainer reads it again, into the model

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:  # noqa: ANN401
        """Logs to TensorBoard in the run's folder unless the user configured a logger."""
        config = self._get(self.config_init, "trainer")
        if config.get("logger") in (None, True):
            kwargs["logger"] = TensorBoardLogger(
                str(self.run_dir), name="", version="", default_hp_metric=False
            )
        if config.get("default_root_dir") is None:
            kwargs["default_root_dir"] = str(self.run_dir)
        off = tuple(cls for option, cls in SWITCHES.items() if config.get(option) is False)
        if self._untrained():  # nothing is predicted, no run begins, items are counted by a bar of their own
            off, kwargs["enable_progress_bar"] = (*off, PredictionWriter, ProgressBar), False
            kwargs["logger"], self.save_config_callback = False, None
        kwargs["callbacks"] = [c for c in config.get("callbacks") or [] if not isinstance(c, off)]
        for callback in kwargs["callbacks"]:
            if isinstance(callback, ResultTable):
                callback.weights |= bool(self._get(self.config_init, "weights"))
        return super().instantiate_trainer(**kwargs)

    def _untrained(self) -> bool:
        """Whether this is a ``predict`` of a model that comes from nowhere."""
        config = self.config_init[str(self.subcommand)]
        return self.subcommand == "predict" and config.ckpt_path is None and self.model.plan.init_from is None

    def predict(self, model: Recommender, datamodule: LightningDataModule, **options: Any) -> None:  # noqa: ANN401
        """Predicts; a model that is not trained makes the features of its frozen towers ahead instead."""
        if self._untrained():
            make_features(self.trainer, model, datamodule, **options)
        else:
            self.trainer.predict(model, datamodule=datamodule, **options)

    def after_fit(self) -> None:
        """Tests the best checkpoint, chosen on the validation targets."""
        if not self._get(self.config_init, "test_after_fit"):
            return
        best = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        if not best:
            return
        self.trainer.test(
            self.model, datamodule=self.datamodule, ckpt_path=best, weights_only=True, verbose=False
        )


def data_label(name: str, data: Namespace) -> str:
    """``<data>-<subset>``.

    Args:
        name: Of the data set; may be empty.
        data: Its class and arguments.
    """
    arguments = data.get("init_args")
    for key in ("subset", "size", "name"):
        if arguments is not None and isinstance(arguments.get(key), str):
            name += f"-{arguments[key]}"
    return name or "data"


def is_child_rank() -> bool:
    """Whether this process was started by another rank of the same run."""
    return int(os.environ.get("LOCAL_RANK", "0")) > 0


def has_checkpoints(folder: Path) -> bool:
    """Whether a run left checkpoints in a folder."""
    return any((folder / "checkpoints").glob("*.ckpt"))


def version(folder: Path) -> int:
    """The number at the end of a run's folder; 1 for the first, which has none.

    >>> version(Path("runs/demo/morec-3"))
    3
    """
    match = re.search(r"-(\d+)$", folder.name)
    return int(match.group(1)) if match else 1


def run(
    data_class: type[LightningDataModule], argv: Sequence[str], label: str, typed: Sequence[str] = ()
) -> None:
    """Parses and runs one command; a failure the user can act on ends in its message, not in a traceback."""
    quiet_the_libraries()
    try:
        with readable_errors():
            ZooCLI(data_class, argv, label, typed)
    finally:
        os.environ.pop(RUN_DIR, None)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Ends the program with the message of a failure that the user can act on."""
    try:
        yield
    except (CheckpointMismatchError, FeatureStoreError, FloatingPointError, OSError, ValueError) as error:
        sys.exit(f"mmzoo: {heart(error)}\n(The traceback is in {keep_traceback(error)}.)")


def quiet_the_libraries() -> None:
    """Leaves out what the libraries say about themselves and no user can act on."""
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")  # lightning 2.6
    warnings.filterwarnings("ignore", message=".*overridden `on_before_batch_transfer`.*")  # on purpose
    warnings.filterwarnings("ignore", message=".*module.s. in eval mode at the start.*")  # frozen towers are
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # batches are gathers
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(is_not_advertising)


def is_not_advertising(record: logging.LogRecord) -> bool:
    """Whether a log record is about the run."""
    return "litlogger" not in record.getMessage().lower()


def heart(error: BaseException) -> str:
    """The message of what went wrong, out of the chain of types that jsonargparse wraps it in.

    What lies deeper is a library's own word, which the error that was raised for it says better.
    """
    while error.__cause__ is not None and raised_in(error).startswith("jsonargparse"):
        error = error.__cause__
    return str(error)


def raised_in(error: BaseException) -> str:
    """Name of the module that raised an error."""
    name, place = "", error.__traceback__
    while place is not None:
        name, place = str(place.tb_frame.f_globals.get("__name__", "")), place.tb_next
    return name


def keep_traceback(error: BaseException) -> Path:
    """Writes the whole chain of an error to a file, for a report."""
    folder = Path(tempfile.mkdtemp(prefix="mmzoo-"))
    path = folder / "traceback.txt"
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return path

"""LightningCLI as ``mmzoo`` uses it: run folders that resume, short errors, a test after every fit."""

import inspect
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from zoo.base import Recommender
from zoo.checkpoints import CheckpointMismatchError
from zoo.names import near

RUN_DIR = "MMZOO_RUN_DIR"
"""Environment variable through which the ranks a run starts learn its folder."""


class ZooParser(LightningArgumentParser):
    """A parser whose errors say, in the user's words, what is wrong and what is near."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Ends the program with the innermost line of an error instead of the whole chain."""
        lines = [line.strip(" -") for line in message.splitlines() if line.strip()]
        unknown = re.search(r"Key '([\w.]+)' is not expected|nrecognized arguments: --([\w.]+)", message)
        text = lines[-1] if lines else message
        if unknown:
            name = unknown.group(1) or unknown.group(2)
            text = f"Unknown option '{name}'."
            close = near(name.rpartition(".")[2], self._known_options(message))
            if close:
                text += f" Did you mean {' or '.join(close)}?"
            text += " --print_config shows every option."
        self.exit(2, f"mmzoo: {text}\n")

    def _known_options(self, message: str) -> list[str]:
        """Option names that could have been meant: the parser's own and those of the classes it names."""
        known = {str(action.dest).rpartition(".")[2] for action in self._actions}
        for module, name in re.findall(r"\b((?:\w+\.)+)([A-Z]\w+)", message):
            cls = getattr(sys.modules.get(module.rstrip(".")), name, None)
            for base in inspect.getmro(cls) if isinstance(cls, type) else ():
                known |= set(inspect.signature(base).parameters) - {"args", "kwargs", "self"}
        return sorted(known)


class ZooCLI(LightningCLI):
    """LightningCLI over the zoo's base classes.

    Args:
        data_class: Base class of the data modules.
        argv: Command line with short names already replaced.
        label: ``<data>/<model>``, where the run's folder goes below ``runs/``.
    """

    def __init__(self, data_class: type[LightningDataModule], argv: Sequence[str], label: str) -> None:
        self.label = label
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

    def before_instantiate_classes(self) -> None:
        """Settles the run's folder and what follows from it."""
        config = self.config[str(self.subcommand)]
        if config.threads is not None:
            import torch

            torch.set_num_threads(config.threads)
        self.run_dir = self._choose_run_dir(config)
        if self.subcommand != "fit" and config.get("ckpt_path") in ("best", "last"):
            config.ckpt_path = str(find_checkpoint(self.run_dir, config.ckpt_path))
        if not is_child_rank():
            os.environ[RUN_DIR] = str(self.run_dir)
        config.run_dir = str(self.run_dir)
        self.save_config_kwargs["config_filename"] = (
            "config.yaml" if self.subcommand == "fit" else f"config_{self.subcommand}.yaml"
        )

    def _parse_ckpt_path(self) -> None:
        """Takes class and arguments from a checkpoint file; it must be of the model the user named."""
        section = self.config[str(self.config.subcommand)]
        named = section.model.class_path
        super()._parse_ckpt_path()
        stored = self.config[str(self.config.subcommand)].model.class_path
        if stored != named:
            raise CheckpointMismatchError(
                f"--ckpt_path {section.ckpt_path} holds a {stored}, but the command line names a {named}. "
                "Leave --model out to take the checkpoint's, or give a checkpoint of that model."
            )

    def _choose_run_dir(self, config: Namespace) -> Path:
        ckpt_path = config.get("ckpt_path")
        if config.run_dir is not None:
            base = Path(config.run_dir)
            if (
                self.subcommand == "fit"
                and ckpt_path is None
                and has_checkpoints(base)
                and not is_child_rank()
            ):
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
        if self.subcommand == "fit" and used:
            return base.with_name(f"{base.name}-{version(used[-1]) + 1}")
        return base

    def _label(self, config: Namespace) -> str:
        """``<data>-<subset>/<model>``."""
        data, _, model = self.label.partition("/")
        arguments = config.data.get("init_args")
        for key in ("subset", "size"):
            if arguments is not None and isinstance(arguments.get(key), str):
                data += f"-{arguments[key]}"
        return f"{data or 'data'}/{model or 'model'}"

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:  # noqa: ANN401
        """Logs to TensorBoard in the run's folder unless the user configured a logger."""
        config = self._get(self.config_init, "trainer")
        if config.get("logger") in (None, True):
            kwargs["logger"] = TensorBoardLogger(str(self.run_dir), name="", version="")
        if config.get("default_root_dir") is None:
            kwargs["default_root_dir"] = str(self.run_dir)
        return super().instantiate_trainer(**kwargs)

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


def find_checkpoint(folder: Path, name: str) -> Path:
    """The file of ``best`` or ``last`` in a run's folder.

    Raises:
        FileNotFoundError: The run has no such checkpoint.
    """
    found = sorted((folder / "checkpoints").glob(f"{name}*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"--ckpt_path {name}: there is no {name}*.ckpt in {folder / 'checkpoints'}.")
    return found[-1]


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


def run(data_class: type[LightningDataModule], argv: Sequence[str], label: str) -> None:
    """Parses and runs one command; expected failures end in one readable line."""
    try:
        ZooCLI(data_class, argv, label)
    except (CheckpointMismatchError, FileExistsError, FileNotFoundError) as error:
        sys.exit(f"mmzoo: {error}")
    finally:
        os.environ.pop(RUN_DIR, None)

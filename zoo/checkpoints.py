"""What a checkpoint says of itself, so that it loads without its data and never into the wrong place."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_warn

from zoo.types import CatalogSpec

KEY = "mmzoo"
"""Where the stamp stands in a checkpoint."""


class CheckpointMismatchError(RuntimeError):
    """A checkpoint of another model or another catalogue."""


class Stamp(NamedTuple):
    """The model class, the sizes it was built for, the architecture of its towers, and its components."""

    class_path: str
    spec: CatalogSpec
    towers: dict[str, dict[str, Any]]
    components: dict[str, tuple[str, ...]]
    """Component -> prefixes of its tensors' names."""


def class_path(cls: type) -> str:
    """Where a class is imported from."""
    return f"{cls.__module__}.{cls.__qualname__}"


def plain_stamp(stamp: Stamp) -> dict[str, Any]:
    """The stamp in plain values, which ``torch.load(weights_only=True)`` reads."""
    components = {name: list(prefixes) for name, prefixes in stamp.components.items()}
    return {**stamp._asdict(), "spec": stamp.spec._asdict(), "components": components}


def name_class(checkpoint: dict[str, Any], cls: type) -> None:
    """Notes the class as LightningCLI does, so that the command takes models trained from Python too."""
    if "<locals>" not in class_path(cls):
        hparams = checkpoint.setdefault("hyper_parameters", {})
        hparams.setdefault("_class_path", class_path(cls))
        hparams.setdefault("_instantiator", "lightning.pytorch.cli.instantiate_module")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint's content, its tensors still on disk; nothing in it is executed.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointMismatchError: The file is no checkpoint, or holds more than tensors and plain values.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}.")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, UnpicklingError, ValueError) as error:
        raise CheckpointMismatchError(
            f"{path} cannot be read as a checkpoint: it is damaged, or holds more than tensors and plain "
            f"values, which are not executed here. ({str(error).splitlines()[0] if str(error) else error!r})"
        ) from None
    if not isinstance(stored, dict):
        raise CheckpointMismatchError(f"{path} holds a {type(stored).__name__}, not a checkpoint.")
    return stored


def stamp_of(checkpoint: Mapping[str, Any], wanted: str) -> Stamp:
    """The stamp of a checkpoint, of whatever class.

    Args:
        checkpoint: Its content.
        wanted: What it is read for, for the error.

    Raises:
        CheckpointMismatchError: The checkpoint has none.
    """
    stored = checkpoint.get(KEY)
    if stored is None:
        raise CheckpointMismatchError(
            f"{wanted}: expected a checkpoint written by mmzoo; this one has no '{KEY}' entry."
        )
    components = {name: tuple(prefixes) for name, prefixes in stored.get("components", {}).items()}
    return Stamp(stored["class_path"], CatalogSpec(**stored["spec"]), stored["towers"], components)


def read_stamp(checkpoint: Mapping[str, Any], cls: type) -> Stamp:
    """The stamp of a checkpoint that is to go into a model.

    Raises:
        CheckpointMismatchError: The checkpoint has none, or is of another class.
    """
    stored = stamp_of(checkpoint, class_path(cls))
    if stored.class_path != class_path(cls):
        raise CheckpointMismatchError(
            f"The checkpoint holds a {stored.class_path}, the model is a {class_path(cls)}. Name "
            "the model it was trained as, or leave the model out: the checkpoint knows it."
        )
    return stored


def find_checkpoint(folder: Path, name: str, option: str = "--ckpt_path") -> Path:
    """The file of ``best`` or ``last`` in a run's folder.

    Args:
        folder: Of the run.
        name: ``best`` or ``last``.
        option: What asks for it, for the error.

    Raises:
        FileNotFoundError: The run has no such checkpoint.
    """
    found = sorted((folder / "checkpoints").glob(f"{name}*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"{option} {name}: there is no {name}*.ckpt in {folder / 'checkpoints'}.")
    return found[-1]


def require_same_catalogue(trained: CatalogSpec, found: CatalogSpec) -> None:
    """Refuses data whose rows mean other items than those a model was trained on.

    Raises:
        CheckpointMismatchError: The fingerprints differ.
    """
    if trained.fingerprint != found.fingerprint:
        raise CheckpointMismatchError(
            f"The model was trained on a catalogue of {trained.n_items - 1} items (fingerprint "
            f"{trained.fingerprint}); the data given now has {found.n_items - 1} (fingerprint "
            f"{found.fingerprint}). Give the same data set, subset, protocol and filters, or start a new run "
            "without --ckpt_path. Only a model without item ids can be tested on another catalogue."
        )


def warn_of_other_protocol(trained: CatalogSpec, found: CatalogSpec) -> None:
    """Says that a model goes on, or is tested, under another protocol than it was trained under.

    What was held out of its training is then not what is evaluated now: a test may ask for what it has seen.
    """
    if trained.protocol and trained.protocol != found.protocol:
        rank_zero_warn(
            f"The model was trained under the protocol '{trained.protocol}', but the data given now is "
            f"evaluated under '{found.protocol or 'unknown'}'. If both are of the same interactions, what is "
            "predicted may have been trained on; give the same --data.protocol and filters for comparable "
            "numbers."
        )


def require_same_length(trained: CatalogSpec, found: CatalogSpec) -> None:
    """Refuses data cut to another history length than the positions a model has.

    Raises:
        CheckpointMismatchError: The lengths differ.
    """
    if trained.max_len != found.max_len:
        raise CheckpointMismatchError(
            f"The model was trained with histories of {trained.max_len} items; the data now gives "
            f"{found.max_len}. Add --data.max_len {trained.max_len}."
        )

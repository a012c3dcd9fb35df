"""Weights from a local file: safetensors or a plain state dict; nothing is ever unpickled."""

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.names import config_root, near

log = logging.getLogger(__name__)

_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model")
SHIPPED = "mmzoo/"
"""What the names of the weights that come with the package begin with."""
_HEAD_TENSORS = 4  # a classifier and a bottleneck before it: tensors a file may have beyond the tower's


def read_weights(path: str) -> dict[str, Tensor]:
    """Reads a state dict.

    Args:
        path: A ``.safetensors`` file, or one that ``torch.save`` wrote from tensors in plain containers; or
            ``mmzoo/<name>``, weights that come with the package.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file holds pickled objects or no tensors.
    """
    file = _file_of(path)
    if not file.is_file():
        raise FileNotFoundError(f"weights={path!r}: there is no such file. Give a local file of weights.")
    if file.suffix == ".safetensors":
        return load_file(file)
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ValueError(
            f"weights={path!r} cannot be read as plain tensors ({reason}). Pickled objects are not executed: "
            "save the state dict as safetensors and give that file."
        ) from error
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    tensors = (
        {k: v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, Mapping) else {}
    )
    if not tensors:
        raise ValueError(f"weights={path!r} holds no state dict: expected a mapping of names to tensors.")
    return tensors


def shipped_weights() -> list[str]:
    """Names of the weights that come with the package, sorted."""
    return [SHIPPED + file.stem for file in sorted((config_root() / "tower").glob("*.safetensors"))]


def _file_of(path: str) -> Path:
    """The file of a path or of a shipped name.

    Raises:
        FileNotFoundError: No such weights are shipped.
    """
    if not path.startswith(SHIPPED) or Path(path).exists():
        return Path(path).expanduser()
    known = shipped_weights()
    if path not in known:
        close = near(path, known) or known
        raise FileNotFoundError(
            f"weights={path!r}: no such weights come with the package. There are {', '.join(close)}."
        )
    return config_root() / "tower" / f"{path.removeprefix(SHIPPED)}.safetensors"


def load_weights(network: nn.Module, path: str) -> None:
    """Fills every parameter and buffer of a network from a file.

    Names are matched first, below a common prefix if the file has one. If they differ but shapes and last
    name parts agree one by one in order, tensors are matched by order: the same network under other names.

    Raises:
        ValueError: Some tensor of the network is not in the file, or has another shape.
    """
    found = read_weights(path)
    expected = network.state_dict()
    matched = _by_name(expected, found)
    if matched is None:
        matched = _by_order(expected, found)
        if matched is None:
            raise ValueError(_mismatch(path, expected, found))
        log.warning(
            "weights %s: names differ from the tower's, so %d tensors were matched by order (all shapes "
            "agree); first pair: %s = %s",
            path,
            len(matched),
            next(iter(matched)),
            next(iter(found)),
        )
    network.load_state_dict(matched, strict=False)


def _is_counter(name: str) -> bool:
    """Batches counted by a batch norm: unused when evaluating, absent from old files."""
    return name.endswith("num_batches_tracked")


def _by_name(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The file's tensors under the network's names, or None where names or shapes do not fit."""
    needed = [name for name in expected if not _is_counter(name)]
    first = needed[0]
    prefixes = ["", *(name.removesuffix(first) for name in found if name.endswith(f".{first}"))]
    for prefix in prefixes:
        if all(prefix + n in found and found[prefix + n].shape == expected[n].shape for n in needed):
            return {name: found[prefix + name] for name in expected if prefix + name in found}
    return None


def _by_order(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The file's tensors in the network's order, or None where shapes or last name parts do not fit."""
    ours = [(name, tensor) for name, tensor in expected.items() if not _is_counter(name)]
    theirs = [(name, tensor) for name, tensor in found.items() if not _is_counter(name)]
    if not len(ours) <= len(theirs) <= len(ours) + _HEAD_TENSORS:
        return None
    pairs = list(zip(ours, theirs, strict=False))
    for (name, tensor), (other, value) in pairs:
        if tensor.shape != value.shape or name.rsplit(".", 1)[-1] != other.rsplit(".", 1)[-1]:
            return None
    return {name: value for (name, _), (_, value) in pairs}


def _mismatch(path: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    missing = [name for name in expected if name not in found and not _is_counter(name)]
    shapes = [
        f"{name} {tuple(found[name].shape)} where the tower has {tuple(expected[name].shape)}"
        for name in expected
        if name in found and found[name].shape != expected[name].shape
    ]
    return (
        f"weights={path!r} do not fit the tower: {len(missing)} of its {len(expected)} tensors are missing "
        f"(first: {missing[:3]}), {len(shapes)} have another shape (first: {shapes[:2]}). The file starts "
        f"with {list(found)[:3]}. Check that name and config describe the network the file was saved from."
    )

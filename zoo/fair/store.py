"""Where stages are kept: a folder for everything they were made from, so that nothing stale is ever read."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

RESULT, SETTINGS, LOCK = "vectors.safetensors", "stage.json", ".lock"
CHECKPOINTS = "checkpoints"


def array_digest(*arrays: npt.NDArray[Any]) -> str:
    """What arrays hold, as a short text.

    >>> array_digest(np.zeros(2)) == array_digest(np.zeros(2))
    True
    >>> array_digest(np.zeros(2)) == array_digest(np.ones(2))
    False
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


@contextmanager
def stage_folder(root: str | None, name: str, settings: Mapping[str, Any]) -> Iterator[Path]:
    """The folder of a stage, held by one process at a time.

    Args:
        root: Where stages are kept; without one the folder is gone afterwards.
        name: Of the stage, in front of the folder's key.
        settings: All that decides what the stage makes, in plain values; the key is made of them.
    """
    if root is None:
        with tempfile.TemporaryDirectory() as passing:
            yield Path(passing)
        return
    text = json.dumps(settings, sort_keys=True, indent=2, default=str)
    folder = Path(root).expanduser() / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        (folder / SETTINGS).write_text(text + "\n", encoding="utf-8")
        yield folder


def read_result(folder: Path) -> dict[str, Tensor] | None:
    """What a stage made; None where it is not finished."""
    path = folder / RESULT
    return load_file(path) if path.is_file() else None


def finish_stage(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Keeps what a stage made, all or nothing, and lets go of the checkpoints that led there."""
    part = folder / f"{RESULT}.part"
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, part)
    os.replace(part, folder / RESULT)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)

"""Arrays of tensors as files: written row by row, whole or not at all, and sizes in words."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]
BFLOAT16 = "bfloat16"
"""A format that NumPy has not: kept as the whole numbers of the same bits."""


def plain_array(tensor: Tensor) -> tuple[Array, str]:
    """A tensor as NumPy has it, and the name of its format."""
    host = tensor.detach().cpu()
    if host.dtype == torch.bfloat16:
        return host.contiguous().view(torch.uint16).numpy(), BFLOAT16
    array: Array = host.numpy()
    return array, str(array.dtype)


def tensor_of(array: Array, kind: str) -> Tensor:
    """The reverse of ``plain_array``."""
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if kind == BFLOAT16 else tensor


def write_rows(path: Path, start: int, rows: Array) -> None:
    """Writes rows of an array through its file, not a memory map: a full disk is then an error only."""
    offset = int(np.load(path, mmap_mode="r", allow_pickle=False).offset)
    with open(path, "r+b") as file:
        file.seek(offset + start * (rows.nbytes // max(len(rows), 1)))
        file.write(rows.data)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: object) -> None:
    """Writes a file that is there whole or not at all."""
    temporary = path.with_name(f"{path.name}.new")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def folder_size(folder: Path) -> int:
    """Bytes of the files of a folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def bytes_text(count: float) -> str:
    """A number of bytes for people.

    >>> bytes_text(1500), bytes_text(3_300_000), bytes_text(5e10)
    ('1.5 KiB', '3.1 MiB', '46.6 GiB')
    """
    for unit in ("KiB", "MiB"):
        count /= 1024
        if count < 1000:
            return f"{count:,.1f} {unit}"
    return f"{count / 1024:,.1f} GiB"

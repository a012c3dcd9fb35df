"""The folder of an experiment: held by one process at a time, and by one experiment for good."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

FILE, LOCK = "experiment.json", ".lock"


def write_atomic(path: Path, text: str) -> None:
    """Writes a text file, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


@contextmanager
def experiment_folder(folder: Path, settings: Mapping[str, Any]) -> Iterator[Path]:
    """Takes a folder for an experiment, or goes on with the same experiment in it.

    Args:
        folder: Made if it is not there.
        settings: What all runs have in common, in plain values. Seeds and values of an axis are no part of
            it: more of them may be asked for later, and what is there is kept.

    Raises:
        ValueError: The folder holds another experiment, or something else, or another process works in it.
    """
    require_same_experiment(folder, settings)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            require_same_experiment(folder, settings)
            write_atomic(folder / FILE, json.dumps(settings, indent=2) + "\n")
            yield folder
    except Timeout:
        raise ValueError(f"Another process works in {folder}. Wait for it, or name another --out.") from None


def require_same_experiment(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuses a folder that holds another experiment.

    Raises:
        ValueError: It does; the message says what differs.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file. Name a folder by --out.")
    path = folder / FILE
    if not path.is_file():
        if any(child.name != LOCK for child in folder.iterdir()):
            raise ValueError(f"{folder} holds something else ({FILE} is missing). Name another --out.")
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(settings))
    differing = [
        f"{key}: there {json.dumps(found.get(key))}, here {json.dumps(wanted.get(key))}"
        for key in sorted(found.keys() | wanted.keys())
        if found.get(key) != wanted.get(key)
    ]
    if differing:
        raise ValueError(
            f"{folder} holds another experiment. {'; '.join(differing)}. Name another --out, or remove it."
        )

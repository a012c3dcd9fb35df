"""Studies: the settings of an experiment in a file, by a short name or a path."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from zoo.names import config_file, near


def load_study(name: str, command: str, known: Sequence[str]) -> dict[str, Any]:
    """Reads a study.

    Args:
        name: The stem of a file in ``configs/study``, or the path of a YAML file.
        command: The command it must be written for.
        known: Keys it may have beside ``command``.

    Raises:
        ValueError: No study has that name, it is another command's, or it has a key that is none.
        OSError: The file cannot be read.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else config_file("study", name)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, Mapping):
        raise ValueError(f"{path}: expected keys and values ({', '.join(known)}), found {values!r}.")
    found = dict(values)
    kind = found.pop("command", command)
    if kind != command:
        raise ValueError(f"{path} is a study of mmzoo {kind}: run mmzoo {kind} --study {name}.")
    for key in found:
        if key not in known:
            close = near(str(key), list(known))
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"{path}: a study has no '{key}'.{hint} Known: {', '.join(known)}.")
    return found

"""Short names of models and data sets: the files under ``configs/``, and what is near a mistyped one."""

import difflib
from pathlib import Path
from typing import Literal

Kind = Literal["model", "data", "study"]
OTHERWISE: dict[Kind, tuple[str, str]] = {
    "model": ("model", "A class path (mine.GatedRec) or a YAML file"),
    "data": ("data set", "A class path (mine.MyData) or a YAML file"),
    "study": ("study", "A YAML file"),
}
"""What a kind is called, and what may stand in the place of a short name."""


def config_root() -> Path:
    """The folder of the shipped configurations: inside the wheel, or beside ``zoo`` in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"


def plain(name: str) -> str:
    """A name without case, hyphens and underscores.

    >>> plain("IISAN-Versa") == plain("iisan_versa")
    True
    """
    return name.lower().replace("-", "").replace("_", "")


def short_names(kind: Kind) -> list[str]:
    """The short names of a kind, sorted: a folder listing."""
    return sorted(path.stem for path in (config_root() / kind).glob("*.yaml"))


def near(name: str, known: list[str], n: int = 3) -> list[str]:
    """Known names similar to a mistyped one, best first."""
    by_plain = {plain(k): k for k in known}
    hits = difflib.get_close_matches(plain(name), by_plain, n=n, cutoff=0.5)
    hits += [k for k in by_plain if plain(name) and k.startswith(plain(name)) and k not in hits]
    return [by_plain[h] for h in hits[:n]]


def config_file(kind: Kind, name: str) -> Path:
    """The file of a short name.

    Raises:
        ValueError: There is no such name; the message says what is near.
    """
    for known in short_names(kind):
        if plain(known) == plain(name):
            return config_root() / kind / f"{known}.yaml"
    known_names = short_names(kind)
    close = near(name, known_names)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    what, else_ = OTHERWISE[kind]
    raise ValueError(
        f"There is no {what} named '{name}'. {hint}Known: {', '.join(known_names)}. {else_} works too."
    )


def recipe_file(data: str, model: str) -> Path | None:
    """The values that belong to a pair: ``recipe/<data>/<model>.yaml``, else its ``default.yaml``."""
    folder = config_root() / "recipe" / data
    for stem in (model, "default"):
        if (folder / f"{stem}.yaml").is_file():
            return folder / f"{stem}.yaml"
    return None

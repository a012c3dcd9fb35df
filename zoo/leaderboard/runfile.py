"""Run files: one pair of model and data a file, with a paper's values, and the figures it stands beside.

``<folder>/<data>/<model>.yaml``; the folder's and the file's name are what the command line calls it.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import yaml

from zoo.names import near, plain
from zoo.options import flatten

Role = Literal["paper", "control", "baseline"]
"""A paper's model; what it is compared with to see what a part of it brings; what everybody has to beat."""
Ranker = Literal["popularity", "markov"]
"""What ranks without being trained, by counts alone."""
KINDS = ("model", "ranker", "command")
"""What makes the row; a run file names one of them."""
KEYS = ("title", "paper", "role", *KINDS, "data", "options", "seeds", "published", "notes")
DEFAULT_FOLDER = Path("benchmarks/runs")
SEEDS = 5


class RunFile(NamedTuple):
    """What is run, and what it is called."""

    board: str
    """The data set as the leaderboard calls it: the folder."""
    name: str
    title: str
    data: str
    model: str = ""
    ranker: Ranker | None = None
    options: tuple[str, ...] = ()
    """Words of the command line."""
    seeds: int = SEEDS
    role: Role = "paper"
    paper: str = ""
    published: tuple[str, ...] = ()
    """Figures of ``published.yaml``."""
    notes: str = ""
    command: str = ""
    """What makes the row, where neither a model nor a ranker of ours does."""

    @property
    def key(self) -> str:
        """How it is asked for."""
        return f"{self.board}/{self.name}"

    def line(self) -> list[str]:
        """Options without a seed."""
        model = [f"--model={self.model}"] if self.model else []
        return [*model, f"--data={self.data}", *self.options]

    def plain(self) -> dict[str, Any]:
        """In plain values, to be kept beside the results."""
        return {**self._asdict(), "options": list(self.options), "published": list(self.published)}

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> "RunFile | None":
        """What ``plain`` gave, of this version or another; None if something that is needed is not there."""
        found = {name: values[name] for name in cls._fields if name in values}
        tuples = {name: tuple(map(str, found.get(name) or ())) for name in ("options", "published")}
        return cls(**{**found, **tuples}) if {"board", "name", "title", "data"} <= found.keys() else None


def read_run_file(path: Path) -> RunFile:
    """Reads and checks a run file.

    Raises:
        ValueError: It is not YAML, has an unknown key, or lacks one; the message says which.
        OSError: It cannot be read.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, Mapping):
        raise ValueError(f"{path}: expected keys and values ({', '.join(KEYS)}), found {values!r}.")
    for key in values:
        if key not in KEYS:
            close = near(str(key), list(KEYS))
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"{path}: a run has no '{key}'.{hint} Known: {', '.join(KEYS)}.")
    _require(path, values)
    return RunFile(
        board=path.parent.name,
        name=path.stem,
        title=str(values["title"]),
        data=str(values["data"]),
        model=str(values.get("model", "")),
        ranker=values.get("ranker"),
        options=tuple(flatten(values.get("options") or {})),
        seeds=int(values.get("seeds", 1 if "ranker" in values else SEEDS)),
        role=values.get("role", "baseline" if "ranker" in values else "paper"),
        paper=str(values.get("paper", "")),
        published=tuple(map(str, values.get("published") or ())),
        notes=str(values.get("notes", "")).strip(),
        command=str(values.get("command", "")).strip(),
    )


def _require(path: Path, values: Mapping[str, Any]) -> None:
    """Refuses values of a wrong kind.

    Raises:
        ValueError: There is one.
    """
    for key in ("title", "data"):
        if not values.get(key):
            raise ValueError(f"{path}: '{key}' is missing.")
    named = [kind for kind in KINDS if values.get(kind)]
    if len(named) != 1:
        raise ValueError(
            f"{path}: expected one of {', '.join(KINDS)}, found {' and '.join(named) or 'none of them'}."
        )
    for key, known in (("role", get_args(Role)), ("ranker", get_args(Ranker))):
        if key in values and values[key] not in known:
            raise ValueError(f"{path}: {key}: expected one of {', '.join(known)}, found {values[key]!r}.")
    seeds = values.get("seeds", 1)
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise ValueError(f"{path}: seeds: expected a number of at least 1, found {seeds!r}.")
    if not isinstance(values.get("options") or {}, Mapping):
        raise ValueError(f"{path}: options: expected options and values, found {values['options']!r}.")
    if not isinstance(values.get("published") or [], list):
        raise ValueError(f"{path}: published: expected a list of figures, found {values['published']!r}.")


def run_files(folder: Path) -> dict[str, list[Path]]:
    """Board -> its run files, both sorted.

    Raises:
        ValueError: There is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise ValueError(
            f"There is no folder of run files {folder}. They come with the repository, not with the wheel: "
            "go to a clone of it, or name the folder by --runs."
        )
    found = {board.name: sorted(board.glob("*.yaml")) for board in sorted(folder.iterdir()) if board.is_dir()}
    found = {board: files for board, files in found.items() if files}
    if not found:
        raise ValueError(f"{folder} holds no run file: expected <data>/<model>.yaml. Name another --runs.")
    return found


def find_runs(folder: Path, asked: Sequence[str]) -> list[RunFile]:
    """The run files asked for, each once, in the order of the asking.

    Args:
        folder: Of the run files.
        asked: ``<data>`` for all of a board, or ``<data>/<model>``; case, hyphens and underscores do not
            matter.

    Raises:
        ValueError: Nothing has that name; the message says what is near.
    """
    known = run_files(folder)
    chosen: dict[Path, None] = {}
    for text in asked:
        board_name, _, name = text.strip("/").partition("/")
        board = _known(board_name, known, "board", f"{folder} has")
        files = known[board]
        if name:
            stem = _known(name, [file.stem for file in files], "run", f"{folder / board} has")
            files = [file for file in files if file.stem == stem]
        chosen |= dict.fromkeys(files)
    return [read_run_file(path) for path in chosen]


def _known(name: str, known: Iterable[str], what: str, where: str) -> str:
    names = list(known)
    for each in names:
        if plain(each) == plain(name):
            return each
    close = near(name, names)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise ValueError(f"There is no {what} '{name}'.{hint} {where} {', '.join(names)}.")

"""The runs of a transfer matrix: sources x targets x arms x shares of the target's data x seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from zoo.experiments.grid import folder_name
from zoo.experiments.jobs import Job

Arm = Literal["scratch", "frozen", "finetuned", "id"]
ARMS: dict[Arm, str] = {
    "scratch": "from scratch",
    "frozen": "frozen",
    "finetuned": "fine-tuned",
    "id": "ID only",
}
"""Arm -> what it is called in the table."""
TRANSFERRED: tuple[Arm, ...] = ("frozen", "finetuned")
"""Arms that begin from a source."""


class Place(NamedTuple):
    """A data set, under the name it has in the table."""

    name: str
    options: list[str]


class Share(NamedTuple):
    """A share of the target's training users, with the options that belong to so much data."""

    fraction: float
    options: list[str]

    @property
    def name(self) -> str:
        """As in the table.

        >>> Share(0.01, []).name
        '1 %'
        """
        return f"{100 * self.fraction:g} %"


class Cell(NamedTuple):
    """Runs of one arm, one a seed; arms that begin from nothing have no source."""

    source: str | None
    target: str
    fraction: float
    arm: Arm


class Matrix(NamedTuple):
    """What is to be run."""

    model: str
    id_model: str
    sources: list[Place]
    targets: list[Place]
    shares: list[Share]
    arms: dict[Arm, list[str]]
    """Arm -> its own options."""
    seeds: int
    parts: str
    freeze: str
    source_ckpt: dict[str, str]
    """Source -> a checkpoint that is there already."""
    source_options: list[str]
    """Words that only the runs on the sources get."""
    options: list[str]
    """Words that every run gets; those of the model's are not the ID arm's."""
    typed: list[str]
    """The same from the command line: they win over all others."""

    def settings(self) -> dict[str, Any]:
        """What all its runs have in common."""
        return {
            "command": "transfer",
            "model": self.model,
            "id_model": self.id_model,
            "parts": self.parts,
            "freeze": self.freeze,
            "source_ckpt": self.source_ckpt,
            "options": [*self.options, *self.typed],
        }

    def pairs(self) -> list[tuple[Place, Place]]:
        """Sources and targets, without those from a data set to itself."""
        return [(s, t) for s in self.sources for t in self.targets if s.name != t.name]

    def cells(self) -> list[Cell]:
        """Every cell once: what begins from nothing serves all sources."""
        found: dict[Cell, None] = {}
        for source, target in self.pairs():
            for share in self.shares:
                for arm in self.arms:
                    found[self.cell(source.name, target.name, share.fraction, arm)] = None
        return list(found)

    @staticmethod
    def cell(source: str, target: str, fraction: float, arm: Arm) -> Cell:
        """The cell that a row of the table reads."""
        return Cell(source if arm in TRANSFERRED else None, target, fraction, arm)

    def source_jobs(self, out: Path) -> dict[str, list[Job]]:
        """Runs on the sources that no checkpoint was given for, one a seed."""
        if not set(TRANSFERRED) & self.arms.keys():
            return {}
        needed = {source.name for source, _ in self.pairs()} - self.source_ckpt.keys()
        return {
            place.name: [
                self._job(
                    out / "sources" / folder_name(place.name),
                    [f"--model={self.model}", *place.options, *self.options, *self.source_options],
                    seed,
                )
                for seed in range(self.seeds)
            ]
            for place in self.sources
            if place.name in needed
        }

    def cell_jobs(self, out: Path, cell: Cell) -> list[Job]:
        """Runs of a cell, one a seed: the seed also draws the users of a share, alike for all arms."""
        target = next(place for place in self.targets if place.name == cell.target)
        share = next(share for share in self.shares if share.fraction == cell.fraction)
        model = self.id_model if cell.arm == "id" else self.model
        origin = f"-from-{cell.source}" if cell.source is not None else ""
        place = folder_name(cell.target), f"{cell.fraction:g}", folder_name(f"{cell.arm}{origin}")
        jobs = []
        for seed in range(self.seeds):
            line = [f"--model={model}", *target.options, *self._fitting(self.options, cell.arm)]
            line += [*share.options, *self.arms[cell.arm]]
            if share.fraction < 1:
                line += [f"--data.train_fraction={share.fraction:g}", f"--data.fraction_seed={seed}"]
            if cell.source is not None:
                start = self.source_ckpt.get(cell.source)
                start = start or str(out / "sources" / folder_name(cell.source) / f"seed{seed}")
                line += [f"--model.init_from={start}", f"--model.transfer={self.parts}"]
            if cell.arm == "frozen":
                line.append(f"--model.freeze={self.freeze}")
            jobs.append(self._job(out.joinpath("cells", *place), line, seed, cell.arm))
        return jobs

    def _job(self, folder: Path, line: list[str], seed: int, arm: Arm = "scratch") -> Job:
        words = (*line, *self._fitting(self.typed, arm), f"--seed_everything={seed}")
        return Job("/".join([*folder.parts[-3:], f"seed{seed}"]), folder / f"seed{seed}", words)

    @staticmethod
    def _fitting(words: Sequence[str], arm: Arm) -> list[str]:
        return [word for word in words if arm != "id" or not word.startswith("--model.")]


def arm_of(name: str) -> Arm:
    """An arm by its name.

    Raises:
        ValueError: There is none of that name.
    """
    for arm in get_args(Arm):
        if arm == name.strip():
            found: Arm = arm
            return found
    raise ValueError(f"transfer: expected arms out of {', '.join(get_args(Arm))}, found '{name}'.")

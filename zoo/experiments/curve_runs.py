"""The runs behind curves: arms x levels x seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoo.experiments.grid import folder_name
from zoo.experiments.jobs import Job, Outcome, Runner, run_jobs

ONLY = "-"
"""The level of an arm that has but one."""
PARTNER, OUT = "{partner}", "{out}"
"""In an option: the folder of the partner's run at equal level and seed; the folder of all of this."""


class Key(NamedTuple):
    """A point of a curve."""

    arm: str
    level: str


class Arm(NamedTuple):
    """A curve to be: a model and its options."""

    model: str
    options: list[str]
    partner: str | None = None
    """The arm it is compared with."""
    fixed: bool = False
    """Whether levels do not apply to it."""

    @property
    def follows(self) -> bool:
        """Whether its runs begin from its partner's."""
        return any(PARTNER in word for word in self.options)


class Curves(NamedTuple):
    """What is to be run."""

    data: str
    arms: dict[str, Arm]
    levels: dict[str, list[str]]
    """Label -> options; empty where nothing is varied."""
    seeds: int
    options: list[str]
    """Words that every run gets."""
    typed: list[str]
    """The same from the command line: they win over all others."""

    def settings(self) -> dict[str, Any]:
        """What all its runs have in common: arms, levels and seeds may become more."""
        return {"command": "curves", "data": self.data, "options": [*self.options, *self.typed]}

    def levels_of(self, arm: str) -> list[str]:
        """Labels of an arm's levels."""
        return [ONLY] if self.arms[arm].fixed or not self.levels else list(self.levels)

    def every(self) -> list[Key]:
        """All points."""
        return [Key(arm, level) for arm in self.arms for level in self.levels_of(arm)]

    def partner_of(self, key: Key) -> Key | None:
        """The partner's point at equal level; its only one, if it has no levels."""
        partner = self.arms[key.arm].partner
        if partner is None or partner not in self.arms:
            return None
        levels = self.levels_of(partner)
        level = key.level if key.level in levels else ONLY
        return Key(partner, level) if level in levels else None

    def folder(self, out: Path, key: Key, seed: int) -> Path:
        """Where a run is."""
        levels = [] if key.level == ONLY else [folder_name(key.level)]
        return out.joinpath(folder_name(key.arm), *levels, f"seed{seed}")

    def jobs(self, out: Path, key: Key) -> list[Job]:
        """Runs of a point, one a seed."""
        arm, partner = self.arms[key.arm], self.partner_of(key)
        jobs = []
        for seed in range(self.seeds):
            known = {OUT: str(out)}
            if partner is not None:
                known[PARTNER] = str(self.folder(out, partner, seed))
            line = [f"--model={arm.model}", f"--data={self.data}", *self.options, *arm.options]
            line += [*self.levels.get(key.level, []), *self.typed, f"--seed_everything={seed}"]
            folder = self.folder(out, key, seed)
            name = "/".join([key.arm, *([] if key.level == ONLY else [key.level]), f"seed{seed}"])
            jobs.append(Job(name, folder, tuple(_filled(word, known) for word in line)))
        return jobs


class Run(NamedTuple):
    """A run of a point and what became of it."""

    job: Job
    outcome: Outcome


Runs = Mapping[Key, list[Run]]
"""Runs of every point, in the order of the seeds."""


def run_curves(curves: Curves, out: Path, runner: Runner) -> Runs:
    """Runs the arms that begin from nothing, then those that begin from their partners' runs."""
    jobs = {key: curves.jobs(out, key) for key in curves.every()}
    first = [job for key, each in jobs.items() if not curves.arms[key.arm].follows for job in each]
    outcomes = run_jobs(first, runner)
    later: list[Job] = []
    for key, each in jobs.items():
        partner = curves.partner_of(key)
        if not curves.arms[key.arm].follows or partner is None:
            continue
        for job, start in zip(each, jobs[partner], strict=True):
            if outcomes[start.name].good:
                later.append(job)
            else:
                outcomes[job.name] = Outcome("failed", {}, f"Its partner failed: {start.name}.")
    outcomes |= run_jobs(later, runner) if later else {}
    return {key: [Run(job, outcomes[job.name]) for job in each] for key, each in jobs.items()}


def require_sound(curves: Curves) -> None:
    """Refuses partners that cannot be.

    Raises:
        ValueError: An arm begins from what is not there, or not trained in time.
    """
    for label, arm in curves.arms.items():
        if arm.follows:
            found = [curves.partner_of(Key(label, level)) for level in curves.levels_of(label)]
            if None in found:
                raise ValueError(
                    f"The arm '{label}' begins from its partner's run ({PARTNER}), but has no partner at "
                    "equal level here. Name it under partners, and let --arms keep it."
                )
            if any(curves.arms[key.arm].follows for key in found if key is not None):
                raise ValueError(
                    f"The arm '{label}' begins from its partner's run, which begins from another one's. Let "
                    "the partner begin from nothing."
                )


def _filled(word: str, known: Mapping[str, str]) -> str:
    for mark, value in known.items():
        word = word.replace(mark, value)
    return word


def first_jobs(curves: Curves, out: Path) -> Sequence[Job]:
    """A run of each point that is not finished: the others differ by their seed."""
    each = [curves.jobs(out, key) for key in curves.every()]
    return [jobs[0] for jobs in each if not all(job.finished() for job in jobs)]

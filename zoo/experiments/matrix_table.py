"""What a transfer matrix found: the table, and whether fine-tuning beats training from scratch."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zoo.experiments.folder import write_atomic
from zoo.experiments.jobs import Job, Outcome
from zoo.experiments.matrix import ARMS, Cell, Matrix
from zoo.experiments.stats import Contrast, gains, holm, mean_sd, number, paired_bootstrap, paired_t
from zoo.experiments.tables import Table, title, write_csv

RANKS = "ranks.parquet"


class Run(NamedTuple):
    """A run of a cell and what became of it."""

    job: Job
    outcome: Outcome


Runs = Mapping[Cell, list[Run]]
"""Runs of every cell, in the order of the seeds."""


class Gain(NamedTuple):
    """Fine-tuned minus from scratch, for one source, target and share."""

    source: str
    target: str
    fraction: float
    over_seeds: Contrast
    over_users: Contrast
    seeds: int


class Corrected(NamedTuple):
    """A gain, and its p values corrected for the number of gains in the table."""

    gain: Gain
    p_seeds: float
    p_users: float


def gains_of(matrix: Matrix, runs: Runs, metric: str) -> list[Corrected]:
    """Paired tests of fine-tuning against training from scratch, over the seeds that both finished."""
    found = []
    if {"scratch", "finetuned"} <= matrix.arms.keys():
        for source, target in matrix.pairs():
            for share in matrix.shares:
                at = source.name, target.name, share.fraction
                tuned, scratch = runs[matrix.cell(*at, "finetuned")], runs[matrix.cell(*at, "scratch")]
                both = [
                    pair for pair in zip(tuned, scratch, strict=True) if all(r.outcome.good for r in pair)
                ]
                if both:
                    found.append(_gain(*at, both, metric))
    p_seeds, p_users = holm([g.over_seeds.p for g in found]), holm([g.over_users.p for g in found])
    return [Corrected(*each) for each in zip(found, p_seeds, p_users, strict=True)]


def _gain(source: str, target: str, fraction: float, pairs: list[tuple[Run, Run]], metric: str) -> Gain:
    tuned, scratch = zip(*pairs, strict=True)
    values = [[run.outcome.metrics()[metric] for run in arm] for arm in (tuned, scratch)]
    files = [[run.job.folder / RANKS for run in arm] for arm in (tuned, scratch)]
    gain_SU = gains([file for arm in files for file in arm], metric)[1]
    over_users = paired_bootstrap(gain_SU[: len(pairs)], gain_SU[len(pairs) :])
    return Gain(source, target, fraction, paired_t(*values), over_users, len(pairs))


def table_of(matrix: Matrix, runs: Runs, found: list[Corrected], metric: str) -> Table:
    """The table that is printed: source, target and arm down, shares of the data across."""
    rows = []
    for source, target in matrix.pairs():
        for arm in matrix.arms:
            cells = [
                _text(runs[matrix.cell(source.name, target.name, s.fraction, arm)], metric)
                for s in matrix.shares
            ]
            rows.append([source.name, target.name, ARMS[arm], *cells])
        here = {
            c.gain.fraction: c for c in found if (c.gain.source, c.gain.target) == (source.name, target.name)
        }
        if here:
            rows += [
                [source.name, target.name, name, *(cells.get(s.fraction, "-") for s in matrix.shares)]
                for name, cells in _test_lines(here).items()
            ]
    return Table(
        ["source", "target", f"test {title(metric)}", *(s.name for s in matrix.shares)], rows, left=3
    )


def _test_lines(here: dict[float, Corrected]) -> dict[str, dict[float, str]]:
    """Lines below the arms of one source and target: name -> cells by share."""
    each = here.items()
    return {
        "fine-tuned - from scratch": {f: f"{c.gain.over_users.difference:+.4f}" for f, c in each},
        "  95 % interval over users": {f: c.gain.over_users.interval() for f, c in each},
        "  p over seeds": {f: p_text(c.p_seeds) for f, c in each},
        "  p over users": {f: p_text(c.p_users) for f, c in each},
    }


def caption(matrix: Matrix, found: list[Corrected]) -> str:
    """How to read the table."""
    text = f"Mean ± standard deviation over {matrix.seeds} seed{'s' * (matrix.seeds > 1)}."
    if found:
        text += (
            " p over seeds: paired t test of the seeds' values; p over users: paired bootstrap of what each "
            "user gains, averaged over the seeds. "
        )
        text += f"Both two-sided and corrected for {len(found)} comparison{'s' * (len(found) > 1)} (Holm)."
    return text


def p_text(p: float) -> str:
    """A p value for a table.

    >>> p_text(0.0312), p_text(0.00002), p_text(math.nan)
    ('0.031', '< 0.001', '-')
    """
    if math.isnan(p):
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _text(runs: list[Run], metric: str) -> str:
    good = [run.outcome.metrics()[metric] for run in runs if run.outcome.good]
    failed = len(runs) - len(good)
    if not good:
        return "failed"
    return mean_sd(good).text() + (f" ({failed} of {len(runs)} failed)" if failed else "")


def write(out: Path, matrix: Matrix, runs: Runs, found: list[Corrected], text: str) -> None:
    """Writes ``table.md``, ``table.csv`` (one line a run) and ``results.json``."""
    write_atomic(out / "table.md", text + "\n")
    names = sorted({name for each in runs.values() for run in each for name in run.outcome.metrics()})
    lines: list[dict[str, Any]] = [
        {
            **cell._asdict(),
            "seed": seed,
            "state": run.outcome.state,
            **{name: run.outcome.metrics().get(name) for name in names},
            "train_seconds": run.outcome.cost.get("train_seconds"),
            "parameters": run.outcome.cost.get("parameters"),
            "folder": str(run.job.folder),
        }
        for cell, each in runs.items()
        for seed, run in enumerate(each)
    ]
    write_csv(out / "table.csv", lines)
    tests = [
        {
            **{key: getattr(each.gain, key) for key in ("source", "target", "fraction", "seeds")},
            "over_seeds": _plain(each.gain.over_seeds, each.p_seeds),
            "over_users": _plain(each.gain.over_users, each.p_users),
        }
        for each in found
    ]
    failed = {r.job.name: r.outcome.message for each in runs.values() for r in each if not r.outcome.good}
    content = {**matrix.settings(), "seeds": matrix.seeds, "runs": lines, "fine_tuned_minus_scratch": tests}
    write_atomic(out / "results.json", json.dumps({**content, "failed": failed}, indent=2) + "\n")


def _plain(contrast: Contrast, corrected: float) -> dict[str, float | None]:
    values = {name: number(value) for name, value in contrast._asdict().items()}
    return {**values, "p_holm": number(corrected)}

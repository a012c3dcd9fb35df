"""``mmzoo sweep``: one model on one data set under many settings, in one table."""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from zoo.experiments.command import add_runner_options, finish_command, runner_of, split_line
from zoo.experiments.folder import experiment_folder, write_atomic
from zoo.experiments.grid import Axis, Combination, Mode, combinations, require_apart
from zoo.experiments.jobs import Check, Job, Outcome, require_none_of_ours, run_jobs
from zoo.experiments.stats import MeanSd, mean_sd, number
from zoo.experiments.study import load_study
from zoo.experiments.tables import Table, title, write_csv
from zoo.options import flatten

METRICS = ("hr@10", "ndcg@10")
"""Test metrics in the table; the files have them all."""
METRICS_OF_PAIRS = ("recall@20", "ndcg@20")
"""The same for models whose users have several targets."""
STUDY = ("model", "data", "mode", "seeds", "options", "axes")
"""Keys of a study."""


class Sweep(NamedTuple):
    """What is to be run."""

    model: str
    data: str
    axes: list[Axis]
    mode: Mode
    seeds: int
    options: list[str]
    """Words that every run gets."""

    def settings(self) -> dict[str, Any]:
        """What all its runs have in common."""
        return {
            "command": "sweep",
            "model": self.model,
            "data": self.data,
            "axes": [axis.name for axis in self.axes],
            "options": self.options,
        }

    def line(self, combination: Combination) -> list[str]:
        """The options of one combination, without a seed."""
        return [f"--model={self.model}", f"--data={self.data}", *self.options, *combination.options]

    def jobs(self, out: Path) -> dict[str, list[Job]]:
        """Name of a combination -> its runs, one a seed."""
        return {
            combination.name: [
                Job(
                    f"{combination.name}/seed{seed}",
                    out / combination.name / f"seed{seed}",
                    (*self.line(combination), f"--seed_everything={seed}"),
                )
                for seed in range(self.seeds)
            ]
            for combination in combinations(self.axes, self.mode)
        }


class Row(NamedTuple):
    """What was found for one combination."""

    combination: Combination
    metrics: dict[str, list[float]]
    """Metric -> one value a finished seed."""
    seconds: list[float]
    parameters: int | None
    failed: dict[str, str]
    """Run -> the end of its log."""


def main(argv: Sequence[str], command: Sequence[str], check: Check) -> None:
    """Runs ``mmzoo sweep``.

    Args:
        argv: The words after ``sweep``.
        command: Program and first arguments of the command that trains.
        check: Parses a line of that command without running it.

    Raises:
        ValueError: Nothing was run: the line, the study or the folder is not right.
        SystemExit: A run failed, or the command was asked to stop.
    """
    arguments, extra = split_line(parser(), argv)
    sweep = plan(arguments, extra)
    default = arguments.study and Path(arguments.study).stem
    out = Path(arguments.out or f"runs/sweeps/{default or f'{sweep.data}-{sweep.model}'}")
    runner = runner_of(arguments, command)
    with experiment_folder(out, sweep.settings()):
        jobs = sweep.jobs(out)
        check_axes(sweep, jobs, check)
        outcomes = run_jobs([job for runs in jobs.values() for job in runs], runner)
        rows = [
            row_of(combination, {job.name: outcomes[job.name] for job in jobs[combination.name]})
            for combination in combinations(sweep.axes, sweep.mode)
        ]
        table = table_of(sweep, rows)
        write(out, sweep, rows, table)
    print(f"\n{table.markdown()}\n")
    finish_command(out, [name for row in rows for name in row.failed], len(outcomes))


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    found = argparse.ArgumentParser(
        prog="mmzoo sweep",
        description="Trains and tests one model under many settings and prints one table.",
        epilog="Every other option goes to every fit: --trainer.max_epochs 5, --data.size tiny. What is "
        "finished in --out is not run again; what was interrupted goes on.",
        allow_abbrev=False,
    )
    found.add_argument("--model", help="a model's short name, class path or file")
    found.add_argument("--data", help="a data set's short name, class path or file")
    found.add_argument("--study", help="a study's short name (mmzoo list) or file: model, data and axes")
    found.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="OPTION=A,B,...",
        help="an axis; its first value is the one kept while another axis is varied",
    )
    found.add_argument("--axes", help="of a study's axes only these, the others at their first value")
    found.add_argument(
        "--mode", choices=get_args(Mode), help="one axis at a time (default), or the full grid"
    )
    add_runner_options(found, "runs/sweeps/<study, or data and model>")
    return found


def plan(arguments: argparse.Namespace, extra: list[str]) -> Sweep:
    """What the command line and the study ask for; the command line wins.

    Raises:
        ValueError: They do not fit together.
    """
    study = load_study(arguments.study, "sweep", STUDY) if arguments.study else {}
    model, data = arguments.model or study.get("model"), arguments.data or study.get("data")
    if not model or not data:
        raise ValueError("sweep: give --model and --data, or a --study that names them.")
    axes = [Axis.of(name, given) for name, given in (study.get("axes") or {}).items()]
    fixed: list[str] = []
    if arguments.axes is not None:
        axes, fixed = choose(axes, arguments.axes.split(","))
    axes += [Axis.parse(text) for text in arguments.vary]
    if not axes:
        raise ValueError("sweep: nothing is varied. Give --vary OPTION=A,B or a --study.")
    options = [*flatten(study.get("options") or {}), *fixed, *extra]
    require_none_of_ours(options)
    require_apart(axes, extra)
    mode = arguments.mode or study.get("mode", "one")
    if mode not in get_args(Mode):
        raise ValueError(f"sweep: expected a mode out of {', '.join(get_args(Mode))}, found '{mode}'.")
    return Sweep(model, data, axes, mode, arguments.seeds or study.get("seeds", 1), options)


def choose(axes: list[Axis], names: list[str]) -> tuple[list[Axis], list[str]]:
    """Some axes of a study, and the options of the others at their first values.

    Raises:
        ValueError: The study has no such axis.
    """
    known = [axis.name for axis in axes]
    for name in names:
        if name not in known:
            raise ValueError(f"--axes: the study has no axis '{name}'. Known: {', '.join(known)}.")
    fixed = [word for axis in axes if axis.name not in names for word in next(iter(axis.values.values()))]
    return [axis for axis in axes if axis.name in names], fixed


def check_axes(sweep: Sweep, jobs: dict[str, list[Job]], check: Check) -> None:
    """Parses each value of each axis once, before anything is run.

    Raises:
        ValueError: The command would refuse one.
    """
    for combination in combinations(sweep.axes, "one"):
        runs = jobs.get(combination.name, [])
        if runs and all(job.finished() for job in runs):
            continue
        try:
            check(["fit", *sweep.line(combination)])
        except ValueError as error:
            at = ", ".join(f"{axis} = {label}" for axis, label in combination.labels.items())
            raise ValueError(f"{error}\n(Nothing was run. The line was that of {at}.)") from error


def row_of(combination: Combination, outcomes: dict[str, Outcome]) -> Row:
    """What the runs of one combination found."""
    good = [outcome for outcome in outcomes.values() if outcome.good]
    metrics: dict[str, list[float]] = {}
    for outcome in good:
        for name, value in outcome.metrics().items():
            metrics.setdefault(name, []).append(value)
    costs = [outcome.cost for outcome in good]
    return Row(
        combination,
        metrics,
        [cost["train_seconds"] for cost in costs if cost.get("train_seconds") is not None],
        next((cost["parameters"] for cost in costs if "parameters" in cost), None),
        {name: outcome.message for name, outcome in outcomes.items() if not outcome.good},
    )


def table_of(sweep: Sweep, rows: Sequence[Row]) -> Table:
    """The table that is printed."""
    found = {name for row in rows for name in row.metrics}
    metrics = METRICS_OF_PAIRS if METRICS_OF_PAIRS[0] in found else METRICS
    header = [*(axis.name for axis in sweep.axes), *map(title, metrics), "seconds", "parameters"]
    cells = []
    for row in rows:
        values = [mean_sd(row.metrics.get(name, [])).text() for name in metrics]
        if row.failed:
            total = len(row.failed) + len(row.metrics.get(metrics[0], []))
            values[0] = "failed" if values[0] == "-" else f"{values[0]} ({len(row.failed)} of {total} failed)"
        seconds = mean_sd(row.seconds).mean
        cells.append(
            [
                *row.combination.labels.values(),
                *values,
                "-" if math.isnan(seconds) else f"{seconds:,.1f}",
                "-" if row.parameters is None else f"{row.parameters:,}",
            ]
        )
    return Table(header, cells, left=len(sweep.axes))


def write(out: Path, sweep: Sweep, rows: Sequence[Row], table: Table) -> None:
    """Writes ``table.md``, ``table.csv`` and ``results.json``."""
    write_atomic(out / "table.md", table.markdown() + "\n")
    names = sorted({name for row in rows for name in row.metrics})
    lines: list[dict[str, str | float | int | None]] = []
    for row in rows:
        found = {name: mean_sd(row.metrics.get(name, [])) for name in names}
        lines.append(
            {
                **row.combination.labels,
                "finished": len(next(iter(row.metrics.values()), [])),
                "failed": len(row.failed),
                **{
                    f"{name}_{part}": number(getattr(value, part))
                    for name, value in found.items()
                    for part in MeanSd._fields
                },
                "train_seconds": number(mean_sd(row.seconds).mean),
                "parameters": row.parameters,
            }
        )
    write_csv(out / "table.csv", lines)
    content = {
        **sweep.settings(),
        "mode": sweep.mode,
        "seeds": sweep.seeds,
        "rows": [{**row._asdict(), "combination": row.combination._asdict()} for row in rows],
    }
    write_atomic(out / "results.json", json.dumps(content, indent=2) + "\n")

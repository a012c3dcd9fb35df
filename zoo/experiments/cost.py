"""``mmzoo cost``: what models cost to train on one data set, and what that buys; a table and a picture."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from zoo.experiments.command import (
    add_runner_options,
    finish_command,
    models_of,
    positive,
    runner_of,
    split_line,
)
from zoo.experiments.cost_picture import Disc, draw_costs
from zoo.experiments.folder import experiment_folder, write_atomic
from zoo.experiments.grid import folder_name
from zoo.experiments.jobs import Check, Job, Outcome, require_none_of_ours, run_jobs
from zoo.experiments.stats import MeanSd, mean_sd, number
from zoo.experiments.tables import Table, title, write_csv
from zoo.metrics.cost import WEIGHTS, check_weights, tpme
from zoo.options import option_names

QUALITY = ("hr@10", "recall@20")
"""What a training brings: the first of these that a test finds; the second for users of several targets."""
MEASURED = "cost.json"
"""What the meter leaves in a run's folder."""
METER = '--trainer.callbacks+=[{"class_path": "zoo.callbacks.cost.CostMeter"}]'
MIB = 2**20


class Comparison(NamedTuple):
    """What is to be compared."""

    models: dict[str, str]
    """Label -> short name, class path or file."""
    data: str
    epochs: int
    seeds: int
    weights: tuple[float, ...]
    options: list[str]

    def settings(self) -> dict[str, Any]:
        """What all its runs have in common; models, seeds and weights may change."""
        return {"command": "cost", "data": self.data, "epochs": self.epochs, "options": self.options}

    def line(self, model: str) -> list[str]:
        """The options of a model's runs, without a seed."""
        epochs = f"--trainer.max_epochs={self.epochs}"
        return [f"--model={model}", f"--data={self.data}", *self.options, epochs, METER]

    def jobs(self, out: Path) -> dict[str, list[Job]]:
        """Label of a model -> its runs, one a seed."""
        return {
            label: [
                Job(
                    f"{label}/seed{seed}",
                    out / folder_name(label) / f"seed{seed}",
                    (*self.line(model), f"--seed_everything={seed}"),
                )
                for seed in range(self.seeds)
            ]
            for label, model in self.models.items()
        }


class Cost(NamedTuple):
    """What was found of one model; the middle of its runs."""

    model: str
    quality: MeanSd
    seconds: float
    """Of an epoch after the first, which warms up; of the first if there is no other."""
    feature_seconds: float | None
    """Making frozen features took so long; None if they were found or there are none."""
    cached: bool
    trainable: int
    memory: float
    """Bytes at the peak of training."""
    memory_before: float
    """Bytes of the process before the model was made; 0 on a GPU."""
    device: str
    tpme: float = 0.0
    metric: str = QUALITY[0]
    """Whose values ``quality`` sums up."""


def main(argv: Sequence[str], command: Sequence[str], check: Check) -> None:
    """Runs ``mmzoo cost``.

    Args:
        argv: The words after ``cost``.
        command: Program and first arguments of the command that trains.
        check: Parses a line of that command without running it.

    Raises:
        ValueError: Nothing was run: the line or the folder is not right.
        SystemExit: A run failed, or the command was asked to stop.
    """
    arguments, extra = split_line(parser(), argv)
    comparison = plan(arguments, extra)
    out = Path(arguments.out or f"runs/costs/{Path(comparison.data).stem}")
    with experiment_folder(out, comparison.settings()):
        jobs = comparison.jobs(out)
        check_models(comparison, jobs, check)
        outcomes = run_jobs([job for runs in jobs.values() for job in runs], runner_of(arguments, command))
        good = {label: [job for job in runs if outcomes[job.name].good] for label, runs in jobs.items()}
        costs = with_tpme(
            [cost_of(label, runs, outcomes) for label, runs in good.items() if runs], comparison.weights
        )
        write(out, comparison, costs)
    print(f"\n{table_of(costs).markdown()}\n\n{notes(comparison, costs)}\n")
    failed = [name for name, outcome in outcomes.items() if not outcome.good]
    finish_command(out, failed, len(outcomes), "cost.md, cost.csv, cost.json and cost.png")


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    found = argparse.ArgumentParser(
        prog="mmzoo cost",
        description="Trains models one after the other, each in a process of its own, and compares what that "
        "takes: seconds an epoch, trained parameters, peak memory, TPME; and what it buys: HR@10.",
        epilog="Every other option goes to every fit: --data.size tiny, --data.batch_size 64. What is "
        "finished in --out is not run again.",
        allow_abbrev=False,
    )
    found.add_argument("--models", required=True, help="short names, class paths or files: iisan,iisan_fft")
    found.add_argument("--data", required=True, help="a data set's short name, class path or file")
    found.add_argument(
        "--epochs", type=positive, default=3, help="epochs of a run, the first to warm up (default: 3)"
    )
    found.add_argument(
        "--weights",
        default=",".join(map(str, WEIGHTS)),
        help="of time, parameters and memory in TPME (default: %(default)s)",
    )
    add_runner_options(found, "runs/costs/<data>", at_a_time=False)
    return found


def plan(arguments: argparse.Namespace, extra: list[str]) -> Comparison:
    """What the command line asks for.

    Raises:
        ValueError: It does not fit together.
    """
    models = models_of(arguments.models)
    try:
        weights = tuple(float(word) for word in arguments.weights.split(","))
    except ValueError:
        weights = ()
    check_weights(weights or (0.0,))
    require_none_of_ours(extra)
    if "trainer.max_epochs" in option_names(extra):
        raise ValueError("--trainer.max_epochs: give --epochs, which is that of every run.")
    return Comparison(models, arguments.data, arguments.epochs, arguments.seeds or 1, weights, extra)


def check_models(comparison: Comparison, jobs: dict[str, list[Job]], check: Check) -> None:
    """Parses the line of each model before anything is run.

    Raises:
        ValueError: The command would refuse one.
    """
    for label, model in comparison.models.items():
        if all(job.finished() for job in jobs[label]):
            continue
        try:
            check(["fit", *comparison.line(model)])
        except ValueError as error:
            raise ValueError(f"{error}\n(Nothing was run. The line was that of {label}.)") from error


def cost_of(label: str, runs: Sequence[Job], outcomes: dict[str, Outcome]) -> Cost:
    """What the finished runs of one model found."""
    found = [json.loads((job.folder / MEASURED).read_text(encoding="utf-8")) for job in runs]
    tested = [outcomes[job.name].metrics() for job in runs]
    metric = next(name for name in QUALITY if name in tested[0])
    made = [sum(each["feature_seconds"].values()) for each in found if each["feature_seconds"]]
    return Cost(
        label,
        mean_sd([metrics[metric] for metrics in tested]),
        median(median(each["epoch_seconds"][1:] or each["epoch_seconds"]) for each in found),
        median(made) if made else None,
        any(each["cached"] for each in found),
        found[0]["trainable"],
        median(each["memory_bytes"] for each in found),
        median(each["memory_before_bytes"] for each in found),
        found[0]["device"],
        metric=metric,
    )


def metric_of(costs: Sequence[Cost]) -> str:
    """The metric in the table: the same for all models on one data set."""
    return costs[0].metric if costs else QUALITY[0]


def with_tpme(costs: Sequence[Cost], weights: Sequence[float]) -> list[Cost]:
    """The same with TPME over all of them."""
    values = tpme(
        [c.seconds for c in costs], [c.trainable for c in costs], [c.memory for c in costs], weights
    )
    return [cost._replace(tpme=value) for cost, value in zip(costs, values, strict=True)]


def table_of(costs: Sequence[Cost]) -> Table:
    """The table that is printed; shares are of the costliest."""
    most = [
        max((values), default=0.0) for values in zip(*((c.seconds, c.trainable) for c in costs), strict=True)
    ]
    most += [max((c.memory - c.memory_before for c in costs), default=0.0)]

    def share(value: float, of: float) -> str:
        return f" ({value / of:4.0%})" if of else ""

    header = [
        "model",
        title(metric_of(costs)),
        "s/epoch",
        "features s",
        "trained",
        "peak MiB",
        "of it the run's",
        "TPME",
    ]
    rows = []
    for c in costs:
        own = c.memory - c.memory_before
        features = "found" if c.cached and c.feature_seconds is None else "-"
        rows.append(
            [
                c.model,
                c.quality.text(),
                f"{c.seconds:,.2f}{share(c.seconds, most[0])}",
                features if c.feature_seconds is None else f"{c.feature_seconds:,.2f}",
                f"{c.trainable:,}{share(c.trainable, most[1])}",
                f"{c.memory / MIB:,.0f}",
                f"{own / MIB:,.0f}{share(own, most[2])}",
                f"{c.tpme:.3f}",
            ]
        )
    return Table(header, rows)


def notes(comparison: Comparison, costs: Sequence[Cost]) -> str:
    """What the numbers are, under the table."""
    weights = " + ".join(
        f"{weight:g} {name}"
        for weight, name in zip(comparison.weights, ("time", "parameters", "memory"), strict=True)
    )
    devices = ", ".join(sorted({cost.device for cost in costs}))
    warm = "the first left out" if comparison.epochs > 1 else "the only one, warm-up included"
    return (
        f"On {devices}; {comparison.epochs} epochs ({warm}), {comparison.seeds} seeds. Peak: of training; "
        "the run's own part is what came on top of the process and its data. Shares are of the costliest. "
        f"TPME = {weights}, each from 0 (the cheapest here) to 1; lower is better. "
        f"{title(metric_of(costs))}: of the test, after these epochs only."
    )


def write(out: Path, comparison: Comparison, costs: Sequence[Cost]) -> None:
    """Writes ``cost.md``, ``cost.csv``, ``cost.json`` and ``cost.png``, as far as anything was found."""
    lines = [
        {
            "model": cost.model,
            f"{cost.metric}_mean": number(cost.quality.mean),
            f"{cost.metric}_sd": number(cost.quality.sd),
            "seconds_per_epoch": cost.seconds,
            "feature_seconds": cost.feature_seconds,
            "trainable": cost.trainable,
            "memory_bytes": cost.memory,
            "memory_before_bytes": cost.memory_before,
            "device": cost.device,
            "tpme": cost.tpme,
        }
        for cost in costs
    ]
    if not lines:
        return
    write_atomic(out / "cost.md", f"{table_of(costs).markdown()}\n\n{notes(comparison, costs)}\n")
    write_csv(out / "cost.csv", lines)
    content = {
        **comparison.settings(),
        "seeds": comparison.seeds,
        "weights": comparison.weights,
        "rows": lines,
    }
    write_atomic(out / "cost.json", json.dumps(content, indent=2) + "\n")
    discs = [
        Disc(cost.model, cost.seconds, cost.quality.mean, cost.memory - cost.memory_before, cost.tpme)
        for cost in costs
    ]
    part = out / "cost.png.part"
    draw_costs(discs, "seconds an epoch", title(metric_of(costs))).save(part, format="PNG")
    part.replace(out / "cost.png")

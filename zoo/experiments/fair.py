"""``mmzoo fair``: hosts with and without FMMRec, what each recommends and what attackers find; one table."""

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoo.experiments.attack import add_report_options, names, report_option
from zoo.experiments.command import add_runner_options, finish_command, models_of, runner_of, split_line
from zoo.experiments.folder import experiment_folder, write_atomic
from zoo.experiments.grid import folder_name
from zoo.experiments.jobs import Check, Job, Outcome, Runner, require_none_of_ours, run_jobs
from zoo.experiments.stats import Contrast, mean_sd, number, paired_t
from zoo.experiments.tables import Table, title, write_csv
from zoo.options import option_names

QUALITY = ("recall@20", "ndcg@20", "hr@10", "ndcg@10")
"""Metrics in the table, as far as the models have them."""
HOST = "host"
"""How the variant without FMMRec is called."""
LEAKS = "fairness.json"


class Fairness(NamedTuple):
    """What is to be run."""

    hosts: list[str]
    models: dict[str, str]
    """Label -> configuration of FMMRec."""
    data: str
    weights: list[str]
    """Weights of the discriminators; empty for the model's own."""
    seeds: int
    attributes: list[str] | None
    epochs: int
    options: list[str]
    """Words of every run."""
    host_options: list[str]
    model_options: list[str]

    def settings(self) -> dict[str, Any]:
        """What all its runs have in common; hosts, models, weights and seeds may become more."""
        kept = ("data", "attributes", "epochs", "options", "host_options", "model_options")
        return {"command": "fair", **{name: getattr(self, name) for name in kept}}

    def variants(self) -> dict[str, list[str]]:
        """Label of a variant of FMMRec -> its options."""
        found = {}
        for label, model in self.models.items():
            line = [f"--model={model}"]
            if not self.weights:
                found[label] = line
            for weight in self.weights:
                found[f"{label},weight={weight}"] = [*line, f"--model.adversary_weight={weight}"]
        return found

    def host_line(self, host: str) -> list[str]:
        """Options of the runs of a host, without a seed."""
        own = [f"--model.{word}" for word in self.host_options]
        return [f"--model={host}", f"--data={self.data}", *self.options, *own, self.report()]

    def fair_line(self, host: str, variant: str, start: Path, stages: Path) -> list[str]:
        """Options of the runs of FMMRec on a host, without a seed."""
        line = [*self.variants()[variant], f"--data={self.data}", *self.options, f"--model.host={host}"]
        line += [f"--model.host_args.{word}" for word in self.host_options]
        line += [f"--model.host_from={start}", f"--model.stages={stages}"]
        if self.attributes is not None:
            line.append(f"--model.attributes={json.dumps(self.attributes)}")
        return [*line, *self.model_options, self.report()]

    def report(self) -> str:
        """The option of the attackers."""
        return report_option(self.attributes, self.epochs)

    def jobs(self, out: Path) -> tuple[list["Run"], list["Run"]]:
        """Runs of the hosts, and those of FMMRec, which begin with them."""
        hosts, fair = [], []
        for host in self.hosts:
            for seed in range(self.seeds):
                last = f"--seed_everything={seed}"
                place = out / folder_name(host)
                start = place / HOST / f"seed{seed}"
                hosts.append(Run(host, HOST, seed, _job(start, out, [*self.host_line(host), last])))
                for variant in self.variants():
                    line = self.fair_line(host, variant, start, out / "stages")
                    folder = place / folder_name(variant) / f"seed{seed}"
                    fair.append(Run(host, variant, seed, _job(folder, out, [*line, last])))
        return hosts, fair


class Run(NamedTuple):
    """One training."""

    host: str
    variant: str
    """``HOST``, or that of FMMRec."""
    seed: int
    job: Job


Found = dict[tuple[str, str], dict[int, dict[str, float]]]
"""Host and variant -> seed -> value of each measure."""


def _job(folder: Path, out: Path, line: Sequence[str]) -> Job:
    return Job(str(folder.relative_to(out)), folder, tuple(line))


def main(argv: Sequence[str], command: Sequence[str], check: Check) -> None:
    """Runs ``mmzoo fair``.

    Args:
        argv: The words after ``fair``.
        command: Program and first arguments of the command that trains.
        check: Parses a line of that command without running it.

    Raises:
        ValueError: Nothing was run: the line or the folder is not right.
        SystemExit: A run failed, or the command was asked to stop.
    """
    arguments, extra = split_line(parser(), argv)
    fairness = plan(arguments, extra)
    out = Path(arguments.out or f"runs/fair/{Path(fairness.data).stem}")
    with experiment_folder(out, fairness.settings()):
        check_lines(fairness, out, check)
        outcomes = run(fairness, out, runner_of(arguments, command))
        found = collect(fairness, out, outcomes)
        text = f"{table_of(found).markdown()}\n\n{contrasts_table(found).markdown()}\n\n{NOTE}"
        write(out, fairness, found, text)
    print(f"\n{text}\n")
    failed = [name for name, outcome in outcomes.items() if not outcome.good]
    finish_command(out, failed, len(outcomes), "table.md, fair.csv and results.json")


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    found = argparse.ArgumentParser(
        prog="mmzoo fair",
        description="Trains each host, then FMMRec on it, attacks the vectors of both, and prints what each "
        "recommends and leaks, with paired tests over seeds.",
        epilog="--host.NAME goes to the host (--host.width 32), --model.NAME to FMMRec, every other option "
        "to every fit: --data.size tiny. What is finished in --out is not run again; stages are shared.",
        allow_abbrev=False,
    )
    found.add_argument("--hosts", required=True, help="short names of the hosts: lightgcn,lattice")
    found.add_argument("--data", required=True, help="a data set's short name, class path or file")
    found.add_argument(
        "--models", default="fmmrec", help="configurations of FMMRec: fmmrec,fmmrec_confuse (default: fmmrec)"
    )
    found.add_argument("--weights", help="weights of the discriminators, a variant each: 0.1,0.5,1")
    add_report_options(found)
    add_runner_options(found, "runs/fair/<data>")
    return found


def plan(arguments: argparse.Namespace, extra: Sequence[str]) -> Fairness:
    """What the command line asks for.

    Raises:
        ValueError: It does not fit together.
    """
    hosts, weights = names(arguments.hosts) or [], names(arguments.weights) or []
    for what, values in (("--hosts", hosts), ("--weights", weights)):
        if len(set(values)) < len(values):
            raise ValueError(f"{what}: a value is given twice in {', '.join(values)}.")
    if not hosts:
        raise ValueError("--hosts: expected names of models.")
    require_none_of_ours(extra)
    for name in option_names(extra):
        if name in ("model.host", "model.host_from", "model.stages"):
            raise ValueError(f"--{name} is set for each run: leave it out.")
    own = [word.removeprefix("--host.") for word in extra if word.startswith("--host.")]
    return Fairness(
        hosts,
        models_of(arguments.models),
        arguments.data,
        weights,
        arguments.seeds or 1,
        names(arguments.attributes),
        arguments.epochs,
        [word for word in extra if not word.startswith(("--host.", "--model."))],
        own,
        [word for word in extra if word.startswith("--model.")],
    )


def check_lines(fairness: Fairness, out: Path, check: Check) -> None:
    """Parses a line of each host and variant before anything is run.

    Raises:
        ValueError: The command would refuse one.
    """
    seen = set()
    for each in [run for runs in fairness.jobs(out) for run in runs]:
        if (each.host, each.variant) in seen or each.job.finished():
            continue
        seen.add((each.host, each.variant))
        try:
            check(["fit", *each.job.options])
        except ValueError as error:
            raise ValueError(f"{error}\n(Nothing was run. The line was that of {each.job.name}.)") from error


def run(fairness: Fairness, out: Path, runner: Runner) -> dict[str, Outcome]:
    """Trains the hosts, then FMMRec on those that were trained."""
    hosts, fair = fairness.jobs(out)
    outcomes = run_jobs([each.job for each in hosts], runner)
    good = {(each.host, each.seed) for each in hosts if outcomes[each.job.name].good}
    for each in fair:
        if (each.host, each.seed) not in good:
            outcomes[each.job.name] = Outcome("failed", {}, "Its host failed.")
    return outcomes | run_jobs([each.job for each in fair if (each.host, each.seed) in good], runner)


def collect(fairness: Fairness, out: Path, outcomes: Mapping[str, Outcome]) -> Found:
    """What the finished runs found: quality, and AUC and balanced accuracy of each attribute and side."""
    found: Found = {(host, v): {} for host in fairness.hosts for v in (HOST, *fairness.variants())}
    for each in [run for runs in fairness.jobs(out) for run in runs]:
        outcome = outcomes[each.job.name]
        if not outcome.good:
            continue
        metrics = outcome.metrics()
        values = {name: metrics[name] for name in QUALITY if name in metrics}
        leaks = json.loads((each.job.folder / LEAKS).read_text(encoding="utf-8"))["rows"]
        for leak in leaks:
            place = f"{leak['attribute']} {leak['side']}"
            values[f"{place} AUC"] = leak["strong"]["auc"]
            values[f"{place} balanced accuracy"] = leak["strong"]["balanced accuracy"]
            values[f"{place} published"] = leak["published"]
            values[f"{place} published majority"] = leak["published_majority"]
        found[each.host, each.variant][each.seed] = values
    return {row: runs for row, runs in found.items() if runs}


def shown(found: Found) -> list[str]:
    """Measures of the printed table."""
    every = dict.fromkeys(name for runs in found.values() for values in runs.values() for name in values)
    return [name for name in every if name in QUALITY[::2] or name.endswith(" AUC")]


def table_of(found: Found) -> Table:
    """One line a host and variant, means over seeds."""
    measures = shown(found)
    header = ["host", "variant", *(title(m) if m in QUALITY else m for m in measures)]
    rows = [
        [host, variant, *(mean_sd([v[m] for v in runs.values() if m in v]).text() for m in measures)]
        for (host, variant), runs in found.items()
    ]
    return Table(header, rows, left=2)


class Difference(NamedTuple):
    """FMMRec against its host by one measure, seed by seed."""

    host: str
    variant: str
    measure: str
    contrast: Contrast


def differences(found: Found) -> Iterator[Difference]:
    """Every variant against its host, by every measure that both have."""
    for (host, variant), runs in found.items():
        plain = found.get((host, HOST), {})
        if variant == HOST or not plain:
            continue
        for measure in shown(found):
            pairs = [
                (values[measure], plain[seed][measure])
                for seed, values in runs.items()
                if measure in values and measure in plain.get(seed, {})
            ]
            if pairs:
                better, worse = zip(*pairs, strict=True)
                yield Difference(host, variant, measure, paired_t(better, worse))


def contrasts_table(found: Found) -> Table:
    """FMMRec minus host, with an interval over seeds."""
    rows = []
    for host, variant, measure, contrast in differences(found):
        interval = contrast.interval("{:+.4f} to {:+.4f}")
        p = "-" if math.isnan(contrast.p) else f"{contrast.p:.4f}"
        rows.append([host, variant, measure, f"{contrast.difference:+.4f}", interval, p])
    return Table(["host", "variant", "measure", "minus host", "95 % over seeds", "p"], rows, left=3)


NOTE = (
    "AUC: of the strong attacker's probabilities on users it never saw; 0.5 tells nothing. user: the users' "
    "vectors; item: the mean vector of what each has consumed. p: paired t over seeds, not corrected."
)


def write(out: Path, fairness: Fairness, found: Found, text: str) -> None:
    """Writes ``table.md``, ``fair.csv`` with a line a run, and ``results.json``."""
    write_atomic(out / "table.md", text + "\n")
    measures = dict.fromkeys(name for runs in found.values() for values in runs.values() for name in values)
    lines: list[dict[str, str | float | int | None]] = [
        {
            "host": host,
            "variant": variant,
            "seed": seed,
            **{name: values.get(name) for name in measures},
        }
        for (host, variant), runs in found.items()
        for seed, values in runs.items()
    ]
    if lines:
        write_csv(out / "fair.csv", lines)
    tests = [
        {**each._asdict(), "contrast": {k: number(v) for k, v in each.contrast._asdict().items()}}
        for each in differences(found)
    ]
    content = {**fairness.settings(), "seeds": fairness.seeds, "runs": lines, "differences": tests}
    write_atomic(out / "results.json", json.dumps(content, indent=2) + "\n")

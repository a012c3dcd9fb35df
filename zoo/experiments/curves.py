"""``mmzoo curves``: quality against noise, or against what leaks, for several arms; table and picture."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from zoo.experiments.command import add_runner_options, finish_command, models_of, runner_of, split_line
from zoo.experiments.curve_runs import Arm, Curves, first_jobs, require_sound, run_curves
from zoo.experiments.curves_table import (
    FILES,
    Axes,
    caption,
    differences_of,
    points_of,
    require_numbers,
    table_of,
    write,
)
from zoo.experiments.folder import experiment_folder
from zoo.experiments.grid import Axis, require_apart
from zoo.experiments.jobs import Check, Job, require_none_of_ours
from zoo.experiments.quantity import LEVEL, Quantity
from zoo.experiments.study import load_study
from zoo.options import flatten, take_option

STUDY = ("data", "model", "arms", "partners", "fixed", "levels", "level_title", "seeds", "options", "x", "y")
"""Keys of a study."""
DEFAULT_Y = "recall@20"
REPORT = '--trainer.callbacks+=[{"class_path": "zoo.callbacks.fairness.FairnessReport"}]'
"""The attackers, where leaks are asked for and no option names them."""


def main(argv: Sequence[str], command: Sequence[str], check: Check) -> None:
    """Runs ``mmzoo curves``.

    Args:
        argv: The words after ``curves``.
        command: Program and first arguments of the command that trains.
        check: Parses a line of that command without running it.

    Raises:
        ValueError: The line, the study or the folder is not right, and nothing was run; or the runs measured
            something else than is to be drawn.
        SystemExit: A run failed, or the command was asked to stop.
    """
    arguments, typed = split_line(parser(), argv)
    curves, axes = plan(arguments, typed)
    name = (
        Path(arguments.study).stem if arguments.study else f"{Path(curves.data).stem}-{'-'.join(curves.arms)}"
    )
    out = Path(arguments.out or f"runs/curves/{name}")
    with experiment_folder(out, curves.settings()):
        check_lines(first_jobs(curves, out), check)
        runs = run_curves(curves, out, runner_of(arguments, command))
        points = points_of(runs, axes)
        differences = differences_of(curves, points, axes)
        table = table_of(points, differences, axes)
        text = f"{table.markdown()}\n\n{caption(curves, differences, axes)}"
        write(out, curves, points, differences, axes, text)
    print(f"\n{text}\n")
    failed = [name for point in points.values() for name in point.failed]
    finish_command(out, failed, sum(map(len, runs.values())), FILES)


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    found = argparse.ArgumentParser(
        prog="mmzoo curves",
        description="Trains several arms at several levels of one option and draws a metric against the "
        "level, or against something else that the runs measure; with the paired differences of the arms.",
        epilog="A metric is recall@20, hr@10, ..., or what attackers tell of an attribute: auc:gender, "
        "balanced:age, auc:gender:item. Every other option goes to every fit: --data.size tiny. What is "
        "finished in --out is not run again; what was interrupted goes on.",
        allow_abbrev=False,
    )
    found.add_argument("--study", help="a study's short name (mmzoo list) or file: data, arms and levels")
    found.add_argument(
        "--models", help="arms: short names, class paths or files; the first is the others' partner"
    )
    found.add_argument("--data", help="a data set's short name, class path or file")
    found.add_argument("--arms", help="of a study's arms only these: A,B")
    found.add_argument(
        "--x", metavar="OPTION=A,B,...|METRIC|level", help="levels, or what is drawn to the right"
    )
    found.add_argument("--levels", metavar="OPTION=A,B,...", help="levels, where --x is a metric")
    found.add_argument("--y", metavar="METRIC", help=f"what is drawn upwards (default: {DEFAULT_Y})")
    add_runner_options(found, "runs/curves/<study, or data and models>")
    return found


def plan(arguments: argparse.Namespace, typed: Sequence[str]) -> tuple[Curves, Axes]:
    """What the command line and the study ask for; the command line wins.

    Raises:
        ValueError: They do not fit together.
    """
    study = load_study(arguments.study, "curves", STUDY) if arguments.study else {}
    data = arguments.data or study.get("data")
    arms = arms_of(arguments, study)
    if not data or not arms:
        raise ValueError("curves: give --models and --data, or a --study that names data and arms.")
    axis, axes = axes_of(arguments, study)
    options = list(flatten(study.get("options") or {}))
    if any(quantity.leak for quantity in axes.measured) and not any("FairnessReport" in w for w in options):
        options.append(REPORT)
    require_none_of_ours([*options, *typed, *(word for arm in arms.values() for word in arm.options)])
    varied = Axis("arms", {label: arm.options for label, arm in arms.items() if not arm.fixed})
    own = Axis("fixed arms", {label: arm.options for label, arm in arms.items() if arm.fixed})
    require_apart([varied, *([axis] if axis else [])], typed)
    require_apart([own], typed)
    curves = Curves(
        data,
        arms,
        axis.values if axis else {},
        arguments.seeds or study.get("seeds", 1),
        options,
        list(typed),
    )
    require_sound(curves)
    if axes.x is None:
        require_numbers(list(curves.levels))
    return curves, axes


def arms_of(arguments: argparse.Namespace, study: Mapping[str, Any]) -> dict[str, Arm]:
    """The arms: those of ``--models``, or those of the study that ``--arms`` names.

    Raises:
        ValueError: An arm has no model, or a name is none.
    """
    if arguments.models and arguments.arms:
        raise ValueError("curves: --arms chooses among a study's arms. Leave it out, or --models.")
    if arguments.models:
        models = models_of(arguments.models)
        first = next(iter(models))
        return {label: Arm(model, [], None if label == first else first) for label, model in models.items()}
    given = study.get("arms") or {}
    if not isinstance(given, Mapping):
        raise ValueError(f"curves: arms: expected labels with their options, found {given!r}.")
    fixed = [str(label) for label in study.get("fixed") or []]
    first = str(next(iter(given), ""))
    partners = study.get("partners", {label: first for label in given if str(label) != first}) or {}
    arms = {}
    for label, options in given.items():
        if not isinstance(options, Mapping | None):
            raise ValueError(f"curves: arms, {label}: expected options and values, found {options!r}.")
        model, words = take_option(list(flatten(options or {})), "--model")
        model = model or study.get("model")
        if not model:
            raise ValueError(f"curves: the arm '{label}' names no model: add model: NAME to its options.")
        partner = partners.get(label)
        arms[str(label)] = Arm(model, words, None if partner is None else str(partner), str(label) in fixed)
    named = {"fixed": fixed, "partners": [str(name) for pair in partners.items() for name in pair]}
    chosen = [name.strip() for name in arguments.arms.split(",")] if arguments.arms else list(arms)
    for where, labels in {**named, "--arms": chosen}.items():
        for label in labels:
            if label not in arms:
                raise ValueError(f"{where}: there is no arm '{label}'. Known: {', '.join(arms)}.")
    return {label: arm for label, arm in arms.items() if label in chosen}


def axes_of(arguments: argparse.Namespace, study: Mapping[str, Any]) -> tuple[Axis | None, Axes]:
    """The levels, and what is drawn against what.

    Raises:
        ValueError: Levels are given twice, or a metric is none.
    """
    x, levels = arguments.x or str(study.get("x", LEVEL)), arguments.levels
    if "=" in x:
        if levels:
            raise ValueError(f"curves: --levels {levels} and --x {x} both give levels. Leave one out.")
        x, levels = LEVEL, x
    if levels:
        axis: Axis | None = Axis.parse(levels, "--levels" if arguments.levels else "--x")
    else:
        given = study.get("levels")
        axis = None if given is None else Axis.of(_name(given), given)
    name = axis.name if axis else LEVEL
    level_title = name if levels else str(study.get("level_title", name))
    quantity = None if x == LEVEL else Quantity.of(x, "--x")
    return axis, Axes(
        quantity, Quantity.of(arguments.y or study.get("y", DEFAULT_Y), "--y"), name, level_title
    )


def _name(levels: object) -> str:
    """The option that a study's levels set, if it is one alone."""
    return str(cast("dict[str, Any]", levels).get("option", LEVEL)) if isinstance(levels, Mapping) else LEVEL


def check_lines(jobs: Sequence[Job], check: Check) -> None:
    """Parses lines before anything is run.

    Raises:
        ValueError: The command would refuse one.
    """
    for job in jobs:
        try:
            check(["fit", *job.options])
        except ValueError as error:
            raise ValueError(f"{error}\n(Nothing was run. The line was that of {job.name}.)") from error

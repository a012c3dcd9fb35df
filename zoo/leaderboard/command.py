"""``mmzoo leaderboard``: the runs of run files, and what they found beside the published figures."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zoo.experiments.command import add_runner_options, runner_of, split_line
from zoo.experiments.folder import experiment_folder
from zoo.experiments.jobs import Check, Job, Outcome, Runner, require_none_of_ours, run_jobs
from zoo.leaderboard import showing
from zoo.leaderboard.runfile import DEFAULT_FOLDER, find_runs
from zoo.leaderboard.running import Planned, Stale, clear, note, note_begun, plan, stale_runs, to_run
from zoo.leaderboard.submit import outcomes_of, parse_options, still_there, submit, wait

OUT = Path("runs/leaderboard")
SHOWN = 10
"""Runs named one by one."""


def main(argv: Sequence[str], command: Sequence[str], check: Check) -> None:
    """Runs ``mmzoo leaderboard``.

    Args:
        argv: The words after ``leaderboard``.
        command: Program and first arguments of the command that trains.
        check: Parses a line of that command without running it, and answers its values.

    Raises:
        ValueError: Nothing was run or shown: the line, a run file or the folder is not right.
        SystemExit: A run failed, or the command was asked to stop.
    """
    arguments, typed = split_line(parser(), joined(argv))
    if arguments.action == "run":
        run(arguments, typed, command, check)
        return
    if typed:
        raise ValueError(f"leaderboard show: there is no option {typed[0]}. See mmzoo leaderboard show -h.")
    showing.show(arguments)


def joined(argv: Sequence[str]) -> list[str]:
    """Dotted options and their values as one word each: a value that stands alone is no board.

    >>> joined(["run", "--data.root", "~/x", "demo", "--seeds", "2"])
    ['run', '--data.root=~/x', 'demo', '--seeds', '2']
    """
    words: list[str] = []
    for word in argv:
        before = words[-1] if words else ""
        if before.startswith("--") and "." in before and "=" not in before and not word.startswith("--"):
            words[-1] = f"{before}={word}"
        else:
            words.append(word)
    return words


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    found = argparse.ArgumentParser(
        prog="mmzoo leaderboard",
        description="Runs pairs of model and data as the papers have them, over seeds, and says where a "
        "published figure is reached and where not.",
        allow_abbrev=False,
    )
    actions = found.add_subparsers(dest="action", required=True, metavar="run | show")
    running = actions.add_parser(
        "run",
        help="run what is missing",
        description="Runs what is missing of run files. What is finished is kept, what was interrupted goes "
        "on, what failed is tried again; what was made by other code or options is named and left alone.",
        epilog="Every other option goes to every fit: --data.root ~/NineRec, --trainer.max_epochs 1.",
        allow_abbrev=False,
    )
    running.add_argument("runs", nargs="+", metavar="DATA[/MODEL]", help="a board, or one run of it")
    add_runner_options(running, str(OUT))
    running.add_argument(
        "--again", action="store_true", help="remove runs of other code or options, and run them"
    )
    running.add_argument("--submit", choices=("slurm", "local", "debug"), help="hand each run to a cluster")
    running.add_argument(
        "--submit-options",
        default="",
        metavar="NAME=VALUE,...",
        help="for the cluster: timeout_min=600,slurm_partition=gpu,gpus_per_node=1",
    )
    running.add_argument("--wait", action="store_true", help="wait for what was handed to SLURM")
    for each in (running, showing.add_parser(actions)):
        each.add_argument(
            "--runs", type=Path, default=DEFAULT_FOLDER, dest="folder", help="folder of the run files"
        )
    return found


def run(arguments: argparse.Namespace, typed: list[str], command: Sequence[str], check: Check) -> None:
    """Runs what is missing.

    Raises:
        ValueError: Nothing was run.
        SystemExit: A run failed.
    """
    require_none_of_ours(typed)
    found = find_runs(arguments.folder, arguments.runs)
    files = [file for file in found if not file.command]
    for file in found:
        if file.command:
            print(f"{file.key} is trained by another program: {file.command}")
    if not files:
        return
    out = Path(arguments.out or OUT)
    runner = runner_of(arguments, command)
    options = parse_options(arguments.submit_options)
    with experiment_folder(out, {"command": "leaderboard"}):
        planned = plan(files, arguments.seeds, out, typed, check)
        elsewhere = still_there([job for each in planned for job in each.jobs])
        stale = [each for each in stale_runs(planned) if each.job not in elsewhere]
        if arguments.again:
            clear(stale)
            stale = []
        tell(planned, stale)
        note(planned)
        jobs = to_run(planned, stale)
        here = [job for job in jobs if job not in elsewhere]
        note_begun(planned, here)
        if elsewhere and not arguments.submit:
            print(f"{len(elsewhere)} of them wait or run on SLURM, and are left to it.")
            jobs = here
        if arguments.submit:
            outcomes = on_cluster(arguments, jobs, runner, options, out)
        else:
            outcomes = run_jobs(jobs, runner)
    finish(outcomes, len(jobs), out)


def tell(planned: Sequence[Planned], stale: Sequence[Stale]) -> None:
    """Says what is there, and what of it is other than what would be run."""
    jobs = [job for each in planned for job in each.jobs]
    left = {each.job.name for each in stale}
    kept = sum(job.finished() for job in jobs if job.name not in left)
    print(f"{len(jobs)} runs: {kept} finished, {len(jobs) - kept - len(left)} to do, {len(left)} left alone.")
    for each in stale[:SHOWN]:
        print(f"  {each.job.name}: {', '.join(each.why)}")
    if len(stale) > SHOWN:
        print(f"  and {len(stale) - SHOWN} more")
    if stale:
        print("These are kept as they are. Add --again to remove them and run them as they would be now.")


def on_cluster(
    arguments: argparse.Namespace, jobs: Sequence[Job], runner: Runner, options: dict[str, object], out: Path
) -> dict[str, Outcome]:
    """Hands runs to a cluster; outcomes are those of the runs that were waited for."""
    todo = [job for job in jobs if not job.finished()]
    handed, there = submit(todo, runner, arguments.submit, options, out)
    ids = ", ".join(each.job_id for each in handed) or "none"
    print(f"{len(handed)} runs handed over, jobs {ids}; {len(there)} were there already.")
    if arguments.submit == "slurm" and not arguments.wait:
        print("The same command says what is finished, and hands over what is not.")
        return {}
    wait(handed)
    return {job.name: outcome for job, outcome in outcomes_of(jobs) if job not in there}


def finish(outcomes: dict[str, Outcome], total: int, out: Path) -> None:
    """Says where everything is.

    Raises:
        SystemExit: A run failed.
    """
    failed = [name for name, outcome in outcomes.items() if not outcome.good]
    print(f"Runs are in {out}: mmzoo leaderboard show, or mmzoo leaderboard show --html leaderboard.html.")
    if failed:
        sys.exit(
            f"mmzoo: {len(failed)} of {total} runs failed: {', '.join(failed)}. Each has a log.txt in its "
            f"folder below {out}. The same command tries them again."
        )

"""Runs handed to a cluster through submitit (``pip install 'mmzoo[slurm]'``): each is a job of its own."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from zoo.experiments.folder import write_atomic
from zoo.experiments.jobs import Job, Outcome, Runner, read_outcome, read_state, run_jobs

if TYPE_CHECKING:
    from submitit import Job as Submitted
    from submitit.helpers import DelayedSubmission

Cluster = Literal["slurm", "local", "debug"]
"""``local`` takes processes of this machine, ``debug`` this very process."""
FILE, LOGS = "submitted.json", "submitted"
MINUTES = 24 * 60
"""What a run may take by default."""


class RunOne:
    """What a job of the cluster does; one that is preempted is submitted again and goes on."""

    def __call__(self, job: Job, runner: Runner) -> str:
        """Runs it, and says how it ended."""
        return run_jobs([job], runner)[job.name].state

    def checkpoint(self, job: Job, runner: Runner) -> "DelayedSubmission":
        """The run keeps its own checkpoints: the same call goes on from the last one."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job, runner)


def parse_options(text: str) -> dict[str, Any]:
    """What is told to the cluster.

    Raises:
        ValueError: A part is no name and value.

    >>> parse_options("timeout_min=600,slurm_partition=gpu")
    {'timeout_min': 600, 'slurm_partition': 'gpu'}
    """
    found = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise ValueError(f"--submit-options: expected NAME=VALUE,NAME=VALUE, found '{part}'.")
        found[name.strip()] = yaml.safe_load(value)
    return found


def submit(
    jobs: Sequence[Job], runner: Runner, cluster: Cluster, options: Mapping[str, Any], out: Path
) -> tuple[list["Submitted[str]"], list[Job]]:
    """Hands over what does not already wait or run there.

    Args:
        jobs: Not finished ones.
        runner: How each is run.
        cluster: Which.
        options: Parameters of ``submitit.AutoExecutor``.
        out: Where the cluster's logs go.

    Returns:
        What was handed over, and the jobs of earlier calls that are still there.

    Raises:
        ValueError: submitit is not installed, there is no such cluster here, or an option is unknown.
    """
    try:
        import submitit
    except ModuleNotFoundError:
        raise ValueError("--submit needs submitit: pip install 'mmzoo[slurm]'.") from None
    there = still_there(jobs)
    fresh = [job for job in jobs if job not in there]
    logs = out.resolve() / LOGS
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=cluster)
        wanted = {"timeout_min": MINUTES, "cpus_per_task": runner.threads or 1, **options}
        executor.update_parameters(name="mmzoo", **wanted)
    except (RuntimeError, NameError, ValueError, TypeError) as error:
        raise ValueError(f"--submit {cluster}: {error}") from error
    if not fresh:
        return [], there
    alone = runner._replace(jobs=1, threads=runner.threads or wanted["cpus_per_task"])
    with executor.batch():
        handed = [executor.submit(RunOne(), at_home(job), alone) for job in fresh]
    for job, each in zip(fresh, handed, strict=True):
        note = {"cluster": cluster, "id": each.job_id, "logs": str(logs)}
        write_atomic(job.folder / FILE, json.dumps(note) + "\n")
    return handed, there


def at_home(job: Job) -> Job:
    """A job whose folder is found from anywhere."""
    return Job(job.name, job.folder.resolve(), job.options, job.environment, job.action)


def still_there(jobs: Sequence[Job]) -> list[Job]:
    """Jobs that an earlier call handed to SLURM, and that wait or run there.

    Raises:
        ValueError: Nobody can say, because submitit is not installed.
    """
    return [job for job in jobs if not job.finished() and _waits(job)]


def _waits(job: Job) -> bool:
    path = job.folder / FILE
    if not path.is_file():
        return False
    note = json.loads(path.read_text(encoding="utf-8"))
    if note["cluster"] != "slurm":
        return False
    try:
        from submitit import SlurmJob
    except ModuleNotFoundError:
        raise ValueError(
            f"{job.name} was handed to SLURM as job {note['id']}, and whether it still runs is not known "
            f"without submitit: pip install 'mmzoo[slurm]', or remove {path} if it does not."
        ) from None

    return not SlurmJob(folder=note["logs"], job_id=note["id"]).done()


def wait(handed: Sequence["Submitted[str]"]) -> None:
    """Waits until all have ended, however they did."""
    for each in handed:
        each.wait()


def outcomes_of(jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
    """What became of jobs, as their folders say."""
    for job in jobs:
        if job.finished():
            yield job, read_outcome(job)
        else:
            state = read_state(job.folder) or {}
            yield job, Outcome("failed", {}, str(state.get("failed", "not finished")))

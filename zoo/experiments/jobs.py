"""Many runs of the command: several at a time, kept when finished, resumed when interrupted.

A job is a line of options for ``mmzoo fit`` and a folder. Its state stands in the folder, so that whoever
asks again with the same options gets what is there, and only what is missing is run.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

from tqdm.auto import tqdm

from zoo.experiments.folder import write_atomic
from zoo.options import option_names

STATE, LOG, RESULTS = "job.json", "log.txt", "results.json"
POLL = 0.1
"""Seconds between two looks at the running processes."""
GRACE = 10.0
"""Seconds a process may take to end when it is told to."""
TAIL = 15
"""Lines of a failed run's log that are shown."""
OWN = ("run_dir", "ckpt_path", "seed_everything", "threads", "print_config")
"""Options of ``fit`` that belong to whoever runs many of them."""

Check = Callable[[Sequence[str]], object]
"""Parses a command line without running it, and may answer all its values; raises ``ValueError``."""
FIT = ("fit",)


@dataclass(frozen=True)
class Job:
    """One run of ``mmzoo fit``.

    Args:
        name: Unique among the jobs of an experiment.
        folder: The run's folder.
        options: Everything that decides what is found, the seed included; two jobs with the same options are
            the same run.
        environment: Variables of the process beside those of this one.
        action: Words in front of the options; other actions than ``fit`` take a folder and nothing else.
    """

    name: str
    folder: Path
    options: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    action: tuple[str, ...] = FIT

    def finished(self) -> bool:
        """Whether these very options were run to the end."""
        state = read_state(self.folder)
        return state == {"options": list(self.options), "finished": True} and self.results_file.is_file()

    @property
    def results_file(self) -> Path:
        """What the test after the fit leaves."""
        return self.folder / RESULTS

    @property
    def log_file(self) -> Path:
        """What the run printed, over all its attempts."""
        return self.folder / LOG


class Runner(NamedTuple):
    """How jobs are run.

    Args:
        command: Program and first arguments; ``fit`` and the options follow.
        jobs: Runs at a time.
        threads: CPU threads of a run; by default the cores are shared out.
        gpus: Values of ``CUDA_VISIBLE_DEVICES``, dealt to the runs under way; empty leaves it as it is.
    """

    command: Sequence[str]
    jobs: int = 1
    threads: int | None = None
    gpus: Sequence[str] = ()

    def threads_each(self) -> int:
        """CPU threads of a run."""
        return self.threads or max(1, cores() // self.jobs)


class Outcome(NamedTuple):
    """What became of a job."""

    state: Literal["finished", "failed"]
    results: dict[str, Any]
    """Content of ``results.json``; empty if the job failed."""
    message: str = ""
    """Why it failed: the end of its log."""

    @property
    def good(self) -> bool:
        """Whether there are results."""
        return self.state == "finished"

    @property
    def cost(self) -> dict[str, Any]:
        """Parameters and seconds; empty if the job failed."""
        cost = self.results.get("cost", {})
        return cost if isinstance(cost, dict) else {}

    def metrics(self) -> dict[str, float]:
        """Test metrics over all users; empty if the job failed."""
        rows = self.results.get("rows", [])
        return next((row["metrics"] for row in rows if row["slice_name"] == "all"), {})


def run_jobs(jobs: Sequence[Job], runner: Runner) -> dict[str, Outcome]:
    """Runs what is not finished yet and returns the outcome of every job, by name.

    A job that fails leaves the others alone. When this process is interrupted or terminated, so are the runs,
    and the next call goes on from their last checkpoints: nothing they write is ever half a file.

    Raises:
        ValueError: A job's folder holds a run of other options.
        KeyboardInterrupt: The process was asked to stop; the runs have ended.
    """
    todo = deque(job for job in jobs if not require_same_run(job).finished())
    outcomes = {job.name: read_outcome(job) for job in jobs if job not in todo}
    slots = deque(range(runner.jobs))
    running: dict[str, tuple[Job, subprocess.Popen[bytes], int]] = {}
    bar = tqdm(total=len(jobs), initial=len(outcomes), desc="Runs", unit="run", smoothing=0)
    with bar, stop_signals() as stopped:
        try:
            while (todo or running) and not stopped.is_set():
                while todo and slots:
                    slot = slots.popleft()
                    job = todo.popleft()
                    running[job.name] = job, start(job, runner, slot), slot
                    bar.set_postfix_str(", ".join(running))
                for job, process, slot in list(running.values()):
                    if process.poll() is None:
                        continue
                    outcomes[job.name] = outcome = finish(job, process.returncode)
                    if outcome.state == "failed":
                        bar.write(f"{job.name} failed, {job.log_file} ends with:\n{outcome.message}\n")
                    del running[job.name]
                    slots.append(slot)
                    bar.update()
                    bar.set_postfix_str(", ".join(running))
                stopped.wait(POLL if running else 0)
        finally:
            end([process for _, process, _ in running.values()])
    if stopped.is_set():
        raise KeyboardInterrupt
    return outcomes


def start(job: Job, runner: Runner, slot: int) -> "subprocess.Popen[bytes]":
    """Starts a job, from its last checkpoint if there is one."""
    job.folder.mkdir(parents=True, exist_ok=True)
    job.results_file.unlink(missing_ok=True)
    write_state(job, finished=False)
    options = [*job.options, *own_options(job, runner)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(runner.threads_each()), **job.environment}
    if runner.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = runner.gpus[slot % len(runner.gpus)]
    with open(job.log_file, "ab") as log:
        return subprocess.Popen(
            [*runner.command, *job.action, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a key pressed here reaches the run through this process only
        )


def own_options(job: Job, runner: Runner) -> list[str]:
    """Options that are set for each run, here and now."""
    if job.action != FIT:
        return [f"--out={job.folder}"]
    options = [f"--run_dir={job.folder}", f"--threads={runner.threads_each()}"]
    if "trainer.enable_progress_bar" not in option_names(job.options):
        options.append("--trainer.enable_progress_bar=false")
    if (job.folder / "checkpoints" / "last.ckpt").is_file():
        options.append("--ckpt_path=last")
    return options


def finish(job: Job, code: int) -> Outcome:
    """Notes how a job's process ended."""
    if code == 0 and job.results_file.is_file():
        write_state(job, finished=True)
        return read_outcome(job)
    tail = "\n".join(job.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:])
    if code == 0:
        tail += (
            f"\nThe run ended without {RESULTS}: was it tested? (--test_after_fit, --trainer.fast_dev_run)"
        )
    elif code < 0:
        tail += f"\nThe run was ended by {signal_name(-code)}."
    write_state(job, finished=False, failed=tail.strip())
    return Outcome("failed", {}, tail.strip())


def signal_name(number: int) -> str:
    """What a signal is called; those without a name go by their number.

    >>> signal_name(9), signal_name(36)
    ('SIGKILL', 'signal 36')
    """
    return signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"


def read_outcome(job: Job) -> Outcome:
    """The outcome of a finished job."""
    return Outcome("finished", json.loads(job.results_file.read_text(encoding="utf-8")))


def end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Ends processes and the ranks they started: first asked to, then not."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signum)
        deadline = time.monotonic() + GRACE
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(POLL / 2)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Turns what asks this process to stop into an event, so that nothing is cut in the middle."""
    stopped = threading.Event()

    def stop(signum: int, frame: FrameType | None) -> None:
        stopped.set()

    if threading.current_thread() is not threading.main_thread():
        yield stopped  # Python handles signals in the main thread only
        return
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {signum: signal.signal(signum, stop) for signum in signals}
    try:
        yield stopped
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def require_same_run(job: Job) -> Job:
    """Refuses a folder that holds another run.

    Raises:
        ValueError: It was started with other options.
    """
    state = read_state(job.folder)
    if state is None:
        if any((job.folder / "checkpoints").glob("*.ckpt")):
            raise ValueError(f"{job.folder} holds a run that is no part of this. Name another --out.")
        return job
    found, wanted = state["options"], list(job.options)
    if found != wanted:
        only_there = [word for word in found if word not in wanted]
        only_here = [word for word in wanted if word not in found]
        raise ValueError(
            f"{job.folder} holds a run of other options: there {' '.join(only_there) or 'nothing more'}, "
            f"here {' '.join(only_here) or 'nothing more'}. Name another --out, or remove that folder."
        )
    return job


def read_state(folder: Path) -> dict[str, Any] | None:
    """What is known of the run in a folder; None if nothing was run there.

    Raises:
        ValueError: The file of it cannot be read.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read ({error}): it was edited, or the disk was full. Remove the folder."
        ) from error
    return state if isinstance(state, dict) else None


def write_state(job: Job, finished: bool, failed: str | None = None) -> None:
    """Notes what is run in a job's folder, and whether it was run to the end, or why it failed."""
    state: dict[str, Any] = {"options": list(job.options), "finished": finished}
    if failed is not None:
        state["failed"] = failed
    write_atomic(job.folder / STATE, json.dumps(state, indent=2) + "\n")


def require_none_of_ours(options: Sequence[str]) -> None:
    """Refuses options that are set for every run.

    Raises:
        ValueError: There is one.
    """
    for name in option_names(options):
        if name in OWN:
            raise ValueError(
                f"--{name} is set for each run: leave it out. This command has --seeds, --threads and --out."
            )


def cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

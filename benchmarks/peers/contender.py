"""The benchmark's end of the pipes: a contender is a process that trains when it is told to."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from benchmarks.peers.environments import PEERS, Environments
from benchmarks.peers.protocol import Mode, Setting, Stage

ROOT = Path(__file__).parents[2]
SHOWN = 3_000
"""Characters of a worker's own output in an error."""
OURS = "benchmarks.peers.worker_ours"
THREADS = tuple(
    f"{name}_THREADS" for name in ("OMP_NUM", "MKL_NUM", "OPENBLAS_NUM", "ARROW_NUM", "POLARS_MAX")
)


class Entry(NamedTuple):
    """Who takes part, and how."""

    name: str
    peer: str = ""
    """Of ``PEERS``; empty for what runs in the benchmark's own environment."""
    worker: str = OURS
    variant: str = ""


ENTRIES = (
    Entry("ours"),
    Entry("plain", variant="plain"),
    *(Entry(peer.name, key, peer.worker) for key, peer in PEERS.items()),
    Entry("RePlay, trimmed", "replay", PEERS["replay"].worker, variant="trimmed"),
)


class WorkerError(RuntimeError):
    """A worker ended or did not answer as agreed."""


class Contender:
    """A worker process.

    Args:
        entry: Who.
        python: Its interpreter.
        setting: What it trains; its folder is made.
    """

    def __init__(self, entry: Entry, python: Path, setting: Setting) -> None:
        self.name = entry.name
        self.setting = setting._replace(variant=entry.variant)
        self.setting.folder.mkdir(parents=True)
        self.log = self.setting.folder / "worker.log"
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        variables = {**os.environ, "PYTHONPATH": paths, **dict.fromkeys(THREADS, "1")}
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [python, "-m", entry.worker, json.dumps(self.setting.plain())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.setting.folder,
                env=variables,
            )
        self.about = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            tail = self.log.read_text("utf-8", errors="replace")[-SHOWN:]
            raise WorkerError(
                f"Expected an answer of {self.name}, found its end, code {self.process.returncode}:\n{tail}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, do: str, **request: object) -> dict[str, Any]:
        """One request and its answer.

        Raises:
            WorkerError: The worker ended.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def scores(self, stage: Stage, users: int) -> npt.NDArray[np.float32]:
        """Scores of the first users, all items; -inf for items that it does not know.

        Raises:
            WorkerError: A score is NaN, or the worker ended.
        """
        path = self.setting.folder / f"{stage}.npy"
        self.ask("scores", stage=stage, users=users, file=str(path))
        scores: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
        path.unlink()
        if np.isnan(scores).any():
            raise WorkerError(f"Expected scores of {self.name}, found NaN: its training has diverged.")
        return scores

    def save(self, path: Path) -> None:
        """Keeps what training needs to go on from here, all or nothing."""
        part = path.with_name(f"{path.name}.part").resolve()
        self.ask("save", file=str(part))
        os.replace(part, path)

    def stop(self) -> float:
        """Ends the process; its peak memory in MB."""
        peak = float(self.ask("stop")["peak_mb"])
        self.process.wait()
        return peak

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the process if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def running(
    entries: Sequence[Entry],
    setting: Setting,
    environments: Environments,
    mode: Mode = "train",
) -> Iterator[list[Contender]]:
    """All contenders, set up and waiting.

    Args:
        entries: Who.
        setting: What they train; each gets a folder of its own in this one.
        environments: Of the libraries.
        mode: What they are to do.
    """
    with ExitStack() as stack:
        contenders = []
        for number, entry in enumerate(entries):
            interpreter = environments.interpreter(entry.peer) if entry.peer else Path(sys.executable)
            own = setting._replace(folder=setting.folder / f"{mode}-{number}", mode=mode)
            contenders.append(stack.enter_context(Contender(entry, interpreter, own)))
        yield contenders

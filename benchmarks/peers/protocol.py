"""What the benchmark and a worker say to each other: JSON, an object a line, down one pipe and up another.

A worker's library runs its own training loop; ``Pacer`` lets that loop go on for as many steps as the
benchmark asks for, and counts labels and CPU seconds meanwhile. It runs in every library's environment.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, TextIO, get_args

Stage = Literal["val", "test"]
Mode = Literal["train", "evaluate"]


class Setting(NamedTuple):
    """What a worker trains: the same for all contenders."""

    data: Path
    """File of the histories."""
    folder: Path
    """Empty folder for what the library writes."""
    variant: str = ""
    """Which of the ways to drive the library."""
    mode: Mode = "train"
    width: int = 64
    blocks: int = 2
    heads: int = 1
    max_len: int = 50
    batch: int = 128
    """Rows of a training batch: histories, or labels where a library copies a prefix for each."""
    lr: float = 1e-3
    dropout: float = 0.2
    seed: int = 0
    resume: str = ""
    """File that ``save`` wrote in an earlier process; training goes on from there."""

    def plain(self) -> dict[str, str | int | float]:
        """As JSON has it."""
        return {
            name: value if isinstance(value, int | float) else str(value)
            for name, value in self._asdict().items()
        }

    @classmethod
    def parse(cls, argv: list[str] | None = None) -> "Setting":
        """From a worker's command line: one JSON object.

        Raises:
            ValueError: An unknown field or mode.
        """
        parser = argparse.ArgumentParser()
        parser.add_argument("setting", type=json.loads)
        given: dict[str, Any] = parser.parse_args(argv).setting
        if unknown := sorted(set(given) - set(cls._fields)):
            raise ValueError(f"Expected some of {', '.join(cls._fields)}, found {', '.join(unknown)}.")
        setting = cls(**given)
        if setting.mode not in get_args(Mode):
            raise ValueError(f"Expected mode {' or '.join(get_args(Mode))}, found {setting.mode!r}.")
        return setting._replace(data=Path(setting.data), folder=Path(setting.folder))


class Evaluated(NamedTuple):
    """What a library's own evaluation of the test targets found."""

    users: int
    metrics: Mapping[str, float]
    """Such as ``recall@10``, as the library defines them."""


def keep_output() -> int:
    """Sends what libraries print to standard error from now on.

    Returns:
        File number of what was standard output.
    """
    sys.stdout.flush()
    answers = os.dup(1)
    os.dup2(2, 1)
    return answers


class Channel:
    """A worker's end of the two pipes.

    Args:
        source: Where requests come from.
        target: Where answers go.
    """

    def __init__(self, source: TextIO, target: TextIO) -> None:
        self.source, self.target = source, target

    @classmethod
    def of_process(cls, answers: int | None = None) -> "Channel":
        """Standard input, and what was standard output.

        Args:
            answers: What ``keep_output`` gave, where it was called before.
        """
        return cls(sys.stdin, os.fdopen(keep_output() if answers is None else answers, "w", encoding="utf-8"))

    def ask(self) -> dict[str, Any]:
        """The next request; a closed pipe is one to stop."""
        line = self.source.readline()
        request: dict[str, Any] = json.loads(line) if line else {"do": "stop"}
        return request

    def answer(self, **values: object) -> None:
        """One answer."""
        self.target.write(json.dumps(values) + "\n")
        self.target.flush()

    def stop(self) -> NoReturn:
        """Says how much memory was used, and ends the process.

        Raises:
            SystemExit: Always.
        """
        self.answer(peak_mb=peak_mb())
        raise SystemExit(0)


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB (10^6 bytes)."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


class Pacer:
    """Holds a training loop back until it is told to go on, and measures how it goes.

    The loop calls ``begin`` before its first batch, ``step`` after every batch, ``epoch`` after every
    epoch. Time runs from the end of one step to the end of the next: loading, collating and logging are
    in it.

    Args:
        channel: To the benchmark.
        save_scores: Writes the scores of a stage's users to a file: the first so many users, all items.
        save: Writes what training needs to go on, asked for between epochs only.
    """

    def __init__(
        self,
        channel: Channel,
        save_scores: Callable[[Stage, int, Path], None],
        save: Callable[[Path], None] | None = None,
    ) -> None:
        self.channel, self.save_scores, self.save = channel, save_scores, save
        self.left = self.labels = self.steps = 0
        self.since = 0.0

    def begin(self, **about: object) -> None:
        """Training is about to start: says what was set up."""
        self.channel.answer(ready=True, **about)
        self._obey()

    def step(self, labels: int) -> None:
        """A batch with so many labels is done."""
        self.labels += labels
        self.steps += 1
        if self.steps == self.left:
            self._report()

    def epoch(self) -> None:
        """An epoch is done."""
        if not self.left:
            self._report()

    def _report(self) -> None:
        seconds = time.process_time() - self.since
        self.channel.answer(labels=self.labels, steps=self.steps, seconds=seconds)
        self._obey()

    def _obey(self) -> None:
        while (request := self.channel.ask())["do"] not in ("steps", "epoch"):
            if request["do"] == "stop":
                self.channel.stop()
            if request["do"] == "scores":
                self.save_scores(request["stage"], request["users"], Path(request["file"]))
            elif request["do"] == "save" and self.save is not None:
                self.save(Path(request["file"]))
            else:
                also = "" if self.save is None else "save, "
                raise ValueError(f"Expected steps, epoch, scores, {also}or stop, found {request['do']!r}.")
            self.channel.answer(done=True)
        self.left = request["count"] if request["do"] == "steps" else 0
        self.labels = self.steps = 0
        self.since = time.process_time()


def serve_evaluation(
    channel: Channel,
    evaluate: Callable[[], Evaluated],
    save_scores: Callable[[Stage, int, Path], None],
    **about: object,
) -> NoReturn:
    """Evaluates whenever it is asked to.

    Args:
        channel: To the benchmark.
        evaluate: The library's own evaluation of all test targets.
        save_scores: As in ``Pacer``.
        **about: What was set up.

    Raises:
        SystemExit: When told to stop.
    """
    channel.answer(ready=True, **about)
    while (request := channel.ask())["do"] != "stop":
        if request["do"] == "scores":
            save_scores(request["stage"], request["users"], Path(request["file"]))
            channel.answer(done=True)
            continue
        start = time.process_time()
        found = evaluate()
        seconds = time.process_time() - start
        channel.answer(seconds=seconds, users=found.users, metrics=dict(found.metrics))
    channel.stop()

"""Where the time of a training step goes: parts of the step, parts of the model, and PyTorch's operations.

    python -m benchmarks.profile --case ml1m
    python -m benchmarks.profile fit --model crossan --data demo

Milliseconds are CPU time of the process, all threads added, medians over steps; on a busy machine they say
more than wall time. Nothing is validated or tested.
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.frozen import planted_command
from benchmarks.training import shape_job
from cli import expand_names
from datamodules.base import RecDataModule
from zoo.command import ZooCLI
from zoo.sequence.base import is_packing

CASES: dict[str, Callable[[Path], tuple[str, ...]]] = {
    "ml1m": lambda folder: shape_job("ml1m", folder, full=True).command,
    "beauty": lambda folder: shape_job("beauty", folder, full=True).command,
    "crossan": lambda folder: ("--model", "crossan", "--data", "demo", f"--data.root={folder}"),
    "cached": lambda folder: planted_command(folder, "scientific"),
}
"""The commands that the README shows, at the sizes that the speed report has."""
OPERATIONS = 8
PARTS = ("loader", "forward", "backward", "update", "rest")


class Parts(Callback):
    """Measures a run's steps; the last of them under PyTorch's profiler.

    Args:
        warm_ups: Steps before.
        steps: Steps whose parts are timed.
        profiled: Steps whose operations are counted, after those.
    """

    def __init__(self, warm_ups: int = 5, steps: int = 14, profiled: int = 5) -> None:
        self.warm_ups, self.steps, self.profiled = warm_ups, steps, profiled
        self.spent: dict[str, list[float]] = defaultdict(list)
        self.inside: dict[str, float] = defaultdict(float)
        self.marks: dict[str, float] = {}
        self.labels: list[int] = []
        self.profiler: Any = None
        self.operations: list[tuple[str, float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Watches the parts of the model."""
        for name, module in pl_module.named_children():
            children = list(module.named_children()) if isinstance(module, nn.ModuleDict) else [("", module)]
            for child, part in children:
                self._watch(f"{name}.{child}".strip("."), part)
        self.marks["end"] = time.process_time()

    def _watch(self, name: str, module: nn.Module) -> None:
        started: list[float] = []

        def before(*_: object) -> None:
            started.append(time.process_time())

        def after(*_: object) -> None:
            self.inside[name] += time.process_time() - started.pop()

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)
        if not is_packing(module):
            return
        read = module.at_positions

        def timed(*arguments: Any) -> Any:  # noqa: ANN401
            before()
            read_PD = read(*arguments)
            after()
            return read_PD

        module.at_positions = timed  # type: ignore[assignment]

    def _mark(self, name: str) -> None:
        self.marks[name] = time.process_time()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *batch: object) -> None:
        """The batch is there."""
        self.inside.clear()
        self._mark("start")
        if trainer.global_step == self.warm_ups + self.steps:
            self.profiler = profile(activities=[ProfilerActivity.CPU])
            self.profiler.__enter__()

    def on_before_zero_grad(self, *_: object) -> None:
        """The loss is there."""
        self._mark("loss")

    def on_before_backward(self, *_: object) -> None:
        """Gradients are to be made."""
        self._mark("backward")

    def on_after_backward(self, *_: object) -> None:
        """Gradients are there."""
        self._mark("gradients")

    def on_before_optimizer_step(self, *_: object) -> None:
        """Parameters are to be changed."""
        self._mark("update")

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Any,  # noqa: ANN401  # of any kind
        batch_idx: int,
    ) -> None:
        """The step is over."""
        last, marks, now = self.marks["end"], self.marks, time.process_time()
        if self.warm_ups < trainer.global_step <= self.warm_ups + self.steps:
            parts = {
                "loader": marks["start"] - last,
                "forward": marks["loss"] - marks["start"],
                "backward": marks["gradients"] - marks["backward"],
                "update": now - marks["update"],
                "step": now - last,
            }
            parts["rest"] = 2 * parts["step"] - sum(parts.values())
            for name, seconds in {**parts, **{f"  {k}": v for k, v in self.inside.items()}}.items():
                self.spent[name].append(seconds)
            self.labels.append(len(batch.positions_P) if hasattr(batch, "positions_P") else len(batch.user_B))
        self._mark("end")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts the operations."""
        self.profiler.__exit__(None, None, None)
        found = self.profiler.key_averages()
        total = sum(event.self_cpu_time_total for event in found)
        # The loss is made within the optimiser's step: what is said of that is what lies between operations.
        named = [("Python" if "Optimizer.step" in event.key else event.key, event) for event in found]
        shares = [(name, event.self_cpu_time_total / total) for name, event in named]
        self.operations = sorted(shares, key=lambda pair: -pair[1])[:OPERATIONS]

    def lines(self) -> Iterator[str]:
        """Two Markdown tables."""
        step = median(self.spent["step"])
        rate = median(
            labels / seconds for labels, seconds in zip(self.labels, self.spent["step"], strict=True)
        )
        yield f"A step takes {1000 * step:.1f} ms of CPU time: {rate:,.0f} labels per CPU-s.\n"
        yield "| part | ms | share |\n|---|---|---|"
        inner = sorted(
            (name for name in self.spent if name.startswith("  ")), key=lambda n: -median(self.spent[n])
        )
        for name in PARTS:
            yield self._line(name, step)
            if name == "forward":
                yield from (self._line(part, step) for part in inner)
        yield "\n| operation | share |\n|---|---|"
        for name, share in self.operations:
            yield f"| `{name}` | {share:.0%} |"

    def _line(self, name: str, step: float) -> str:
        middle = median(self.spent[name])
        shown = f"… {name.strip()}" if name.startswith("  ") else name
        return f"| {shown} | {1000 * middle:.1f} | {middle / step:.0%} |"


def measured(command: Sequence[str], folder: Path, steps: int) -> Parts:
    """Runs ``mmzoo fit`` for some steps.

    Args:
        command: Its options.
        folder: For the run.
        steps: How many are timed.
    """
    given = {"class_path": f"{__name__}.Parts", "init_args": {"steps": steps}}
    total = Parts().warm_ups + steps + Parts().profiled
    argv = [
        *("fit", *command, f"--run_dir={folder}", f"--threads={torch.get_num_threads()}"),
        *(f"--trainer.max_steps={total}", "--trainer.limit_val_batches=0", "--test_after_fit=false"),
        f"--trainer.callbacks+={json.dumps(given)}",
    ]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run = ZooCLI(RecDataModule, expand_names(argv).argv, "benchmark/profile")
    callbacks: list[Callback] = run.trainer.callbacks  # type: ignore[attr-defined]
    return next(found for found in callbacks if isinstance(found, Parts))


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the tables of one command."""
    parser = argparse.ArgumentParser("python -m benchmarks.profile", description=__doc__.partition("\n")[0])
    parser.add_argument("--case", choices=sorted(CASES), help="one of the report's commands")
    parser.add_argument("--steps", type=int, default=14, help="timed steps; default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's CPU threads; default: %(default)s")
    options, command = parser.parse_known_args(argv)
    if (options.case is None) == (not command):
        parser.error("expected --case, or a command such as: fit --model idrec --data demo")
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if options.case is not None:
            command = ["fit", *CASES[options.case](folder / "data")]
        print("\n".join(measured(command[1:], folder / "run", options.steps).lines()))


if __name__ == "__main__":
    main()

"""How things are measured: clocks, contenders in turns, spreads, and the memory of a fresh process."""

import logging
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

PACKAGES = ("torch", "lightning", "transformers", "timm", "polars", "numpy", "pillow")


class Spread(NamedTuple):
    """Slowest, middle and fastest of a contender's rates."""

    minimum: float
    median: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of some rates.

        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(minimum=1.0, median=2.0, maximum=3.0)
        """
        return cls(min(values), median(values), max(values))


@dataclass
class Row:
    """One line of the report: rates of several contenders for one piece of work.

    Args:
        kind: Which of the measured rows it belongs to.
        case: What was done, to which shape.
        unit: Of the rates.
        shape: Sizes that the rates depend on.
        rates: Contender -> its rates; ``ours`` is among them.
        check: What was found equal before anything was timed.
        peak_mb: Contender -> peak memory of a process that does nothing else.
        notes: Further numbers.
        less_is_better: Whether the numbers are costs, not rates.
    """

    kind: str
    case: str
    unit: str
    shape: dict[str, float | int | str]
    rates: dict[str, Spread]
    check: str
    peak_mb: dict[str, float] = field(default_factory=dict)
    notes: dict[str, float | int | str] = field(default_factory=dict)
    less_is_better: bool = False

    def gains(self) -> dict[str, float]:
        """Contender -> how many times better ours is, by the medians."""
        sign = -1 if self.less_is_better else 1
        ours = self.rates["ours"].median
        return {name: (ours / rate.median) ** sign for name, rate in self.rates.items() if name != "ours"}

    def plain(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return {
            "row": self.kind,
            "case": self.case,
            "unit": self.unit,
            "shape": self.shape,
            "rates": {name: rate._asdict() for name, rate in self.rates.items()},
            "ours_over": self.gains(),
            "equal": True,  # an unequal contender ends the run before it is timed
            "check": self.check,
            "peak_mb": self.peak_mb,
            "notes": self.notes,
        }


class Unequal(AssertionError):
    """Two contenders do not compute the same: their rates say nothing."""


def require(equal: bool, what: str) -> None:
    """Ends the run unless the contenders agree.

    Raises:
        Unequal: They do not.
    """
    if not equal:
        raise Unequal(f"Expected equal results before timing, found a difference: {what}.")


def now(device: torch.device | str = "cpu") -> float:
    """Seconds: CPU time of this process, all threads added; wall time after the device is done on a GPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def second_of(device: torch.device | str) -> str:
    """What ``now`` counts on a device."""
    return "CPU-s" if torch.device(device).type == "cpu" else "s"


def in_turns(
    work: Mapping[str, Callable[[], int]], steps: int, warm_ups: int = 5, device: torch.device | str = "cpu"
) -> dict[str, Spread]:
    """Rates of contenders that take turns, so that a busy moment of the machine meets all of them.

    Args:
        work: Contender -> one step; returns how many units it did.
        steps: Timed steps of each.
        warm_ups: Steps of each before.
        device: Where the work is done.
    """
    rates: dict[str, list[float]] = {name: [] for name in work}
    for step in range(warm_ups + steps):
        for name, act in work.items():
            start = now(device)
            done = act()
            if step >= warm_ups:
                rates[name].append(done / (now(device) - start))
            else:
                now(device)
    return {name: Spread.of(values) for name, values in rates.items()}


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the memory of the process this one was started from
        lines = status.read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def in_fresh_process(function: Callable[..., Any], *arguments: object) -> tuple[Any, float]:
    """What a function returns in a process of its own, and that process's peak memory in MB."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_with_peak, torch.get_num_threads(), function, arguments).result()


def _with_peak(
    threads: int, function: Callable[..., Any], arguments: tuple[object, ...]
) -> tuple[Any, float]:
    quiet()
    torch.set_num_threads(threads)
    return function(*arguments), peak_mb()


def quiet() -> None:
    """Leaves standard output to the table: Lightning's notes are for people who train."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def machine() -> dict[str, Any]:
    """Versions and hardware, and how busy the machine is."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_1min": round(os.getloadavg()[0], 2),
        "gpu": gpu,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

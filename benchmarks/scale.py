"""How much time, memory and disk interactions cost that do not fit into memory, from raw files to batches.

    python -m benchmarks.scale --interactions 100_000_000 --out /tmp/scale

generates a set of MicroLens' layout (about 29 interactions a user, items by Zipf's law, milliseconds that
rise but for a day or so), prepares it through the data module, and draws the first 1,000 batches of an epoch.
Every stage is a process of its own, whose memory is looked at from outside, with that of its children. The
resident part counts mapped pages of files, which the system takes back when it needs room; the anonymous part
does not.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from benchmarks.measure import machine, quiet
from datamodules.cache import check_space
from datamodules.errors import size_text
from datamodules.microlens import MicroLens
from datamodules.stream import SPILLED
from zoo.types import ModelNeeds

Form = Literal["csv", "parquet"]

PER_USER = 29
ITEMS = 1_000_000
BLOCK = 5_000_000
"""Interactions that are generated at a time."""
BATCHES = 1_000
BATCH = 256
DISK = {"parquet": 30, "csv": 60}
"""Bytes on disk for an interaction: the raw file, and what is put aside or prepared of it."""
NAME = "MicroLens_pairs"


class Size(NamedTuple):
    """How many there are of what."""

    interactions: int

    @property
    def users(self) -> int:
        """As many as MicroLens has for so many interactions."""
        return max(self.interactions // PER_USER, 1)

    @property
    def items(self) -> int:
        """At most a million."""
        return max(min(ITEMS, self.interactions // 50), 10)


def some_interactions(size: Size, part: int, count: int) -> pl.DataFrame:
    """One part of them: some users are more active, items follow Zipf's law, times rise more or less."""
    rng = np.random.default_rng(part)
    user = (size.users * rng.random(count) ** 1.5).astype(np.int64)
    item = np.exp(np.log(size.items) * rng.random(count)).astype(np.int64)
    passed = np.arange(part * BLOCK, part * BLOCK + count) / size.interactions
    time_ms = 1_600_000_000_000 + passed * 1e11 + rng.integers(0, 86_400_000, count)
    # Multiplied by primes, so that numbers of users and items say nothing about how often they occur.
    return pl.DataFrame(
        {
            "user": (user * 15_485_863 % size.users + 1).astype(np.int32),
            "item": (item * 32_452_843 % size.items + 1).astype(np.int32),
            "timestamp": time_ms.astype(np.int64),
        }
    )


def generate(size: Size, folder: Path, form: Form) -> dict[str, float]:
    """Writes the raw file, or as Parquet a folder of them."""
    place = folder / f"{NAME}.{form}"
    folder.mkdir(parents=True)
    if form == "parquet":
        place.mkdir()
    for part, start in enumerate(range(0, size.interactions, BLOCK)):
        table = some_interactions(size, part, min(BLOCK, size.interactions - start))
        if form == "parquet":
            table.write_parquet(place / f"part-{part:05}.parquet")
        else:
            with open(place, "ab") as file:
                table.write_csv(file, include_header=part == 0)
    return {}


class Timed(MicroLens):
    """Notes the seconds of its two stages."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root), subset="full", batch_size=BATCH)
        self.bind(ModelNeeds({}))
        self.seconds: dict[str, float] = {}

    def _write_tables(self, folder: Path) -> None:
        with noted(self.seconds, "tables"):
            super()._write_tables(folder)

    def _write_windows(self, tables_folder: Path, folder: Path) -> None:
        with noted(self.seconds, "windows"):
            super()._write_windows(tables_folder, folder)


@contextmanager
def noted(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Adds wall and CPU seconds of a block to a dictionary."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    seconds[f"{name} s"] = time.perf_counter() - wall
    seconds[f"{name} CPU-s"] = time.process_time() - cpu


def prepare(root: Path) -> dict[str, float]:
    """From the raw file to windows."""
    data = Timed(root)
    data.prepare_data()
    return data.seconds


def draw(root: Path) -> dict[str, float]:
    """The first batches of an epoch."""
    data = Timed(root)
    with noted(data.seconds, "open"):
        data.prepare_data()
        data.setup()
    batches = iter(data.train_dataloader())
    with noted(data.seconds, "first batch"):
        next(batches)
    labels = 0
    with noted(data.seconds, "batches"):
        for _ in range(BATCHES):
            batch = next(batches, None)
            if batch is None:
                break
            labels += int((batch.items_BS[:, 1:] != 0).sum())
    data.seconds["labels"] = labels
    return data.seconds


class Peak(NamedTuple):
    """Memory of a process and its children, in bytes."""

    resident: int
    anonymous: int


def memory_of(process: int) -> Peak:
    """What a process and its children hold now; those that have just ended count nothing."""
    found = [0, 0]
    for one in (process, *children(process)):
        try:
            status = Path(f"/proc/{one}/status").read_text("ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue
        for place, field in enumerate(("VmRSS:", "RssAnon:")):
            found[place] += sum(
                int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field)
            )
    return Peak(*found)


def children(process: int) -> Iterator[int]:
    """Children of a process and theirs."""
    try:
        tasks = [path.read_text("ascii") for path in Path(f"/proc/{process}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in map(int, " ".join(tasks).split()):
        yield child
        yield from children(child)


def bytes_in(folder: Path) -> int:
    """Size of all files; what is deleted in the meantime counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def watched(command: list[str], folder: Path) -> dict[str, Any]:
    """Runs a stage and looks at its memory, and at what lies on disk.

    Raises:
        CalledProcessError: If it fails.
    """
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    memory, disk, looked = Peak(0, 0), 0, 0.0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        memory = Peak(*map(max, memory, memory_of(process.pid)))
        if time.perf_counter() - looked > 2:
            disk, looked = max(disk, bytes_in(folder)), time.perf_counter()
        time.sleep(0.05)
    out, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "s": time.perf_counter() - start,
        "CPU-s": cpu,
        "peak_resident": memory.resident,
        "peak_anonymous": memory.anonymous,
        "peak_disk": max(disk, bytes_in(folder)),
        **json.loads(out.splitlines()[-1]),
    }


def measure(size: Size, folder: Path, form: Form) -> dict[str, Any]:
    """All stages, each in a process of its own."""
    raw = folder / "MicroLens"
    report: dict[str, Any] = {
        "machine": machine(),
        "interactions": size.interactions,
        "users": size.users,
        "items": size.items,
        "form": form,
        "batch_size": BATCH,
    }
    for stage in ("generate", "prepare", "draw")[int(raw.exists()) :]:
        command = [sys.executable, "-m", "benchmarks.scale", "--interactions", str(size.interactions)]
        command += ["--out", str(folder), "--form", form, "--stage", stage]
        report[stage] = watched(command, folder)
        print(f"{stage}: {json.dumps(report[stage])}", file=sys.stderr, flush=True)
    report["raw_bytes"] = sum(path.stat().st_size for path in raw.rglob(f"*.{form}") if path.is_file())
    for kind in ("tables", "windows"):
        report[f"{kind} bytes"] = sum(bytes_in(part) for part in raw.rglob(f"{kind}-*"))
    return report


def table_lines(report: dict[str, Any]) -> list[str]:
    """The measurements as a table of Markdown."""
    prepared, drawn, n = report["prepare"], report["draw"], report["interactions"]
    bytes_kept = report["tables bytes"] + report["windows bytes"]
    rate = n / (prepared["tables CPU-s"] + prepared["windows CPU-s"]) / 1e6
    cells = {
        "interactions": f"{n:,}",
        "raw file": f"{report['form']}, {size_text(report['raw_bytes'])}",
        "tables": f"{prepared['tables s']:,.0f} s, {prepared['tables CPU-s']:,.0f} CPU-s",
        "windows": f"{prepared['windows s']:,.0f} s, {prepared['windows CPU-s']:,.0f} CPU-s",
        "interactions per CPU-s": f"{rate:.2f} M",
        "memory of preparing (with mapped pages)": _memory(prepared),
        "disk at most, then (with raw file)": (
            f"{size_text(prepared['peak_disk'])}, {size_text(report['raw_bytes'] + bytes_kept)}"
        ),
        "first batch of an epoch": f"{drawn['first batch s']:.1f} s",
        "a batch": f"{drawn['batches s'] / BATCHES * 1e3:.2f} ms",
        "memory of drawing (with mapped pages)": _memory(drawn),
    }
    return [f"| {' | '.join(cells)} |", "|" + "---|" * len(cells), f"| {' | '.join(cells.values())} |"]


def _memory(stage: dict[str, Any]) -> str:
    return f"{size_text(stage['peak_anonymous'])} ({size_text(stage['peak_resident'])})"


def main() -> None:
    """Measures, or as a child of that does one stage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("runs/scale"), help="folder for data and report")
    parser.add_argument("--form", choices=("csv", "parquet"), default="parquet")
    keep = "leave the data; raw files that are there are used"
    parser.add_argument("--keep", action="store_true", help=keep)
    parser.add_argument("--stage", choices=("generate", "prepare", "draw"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    size, raw = Size(asked.interactions), asked.out / "MicroLens"
    if asked.stage:
        quiet()
        stages = {
            "generate": partial(generate, size, raw, asked.form),
            "prepare": partial(prepare, raw),
            "draw": partial(draw, raw),
        }
        print(json.dumps(stages[asked.stage]()))
        return
    if (raw / ".mmzoo").exists():
        parser.error(f"{raw} is prepared already: name another folder or delete it.")
    asked.out.mkdir(parents=True, exist_ok=True)
    check_space(asked.out, (SPILLED if raw.exists() else DISK[asked.form]) * size.interactions)
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    try:
        report = measure(size, asked.out, asked.form)
    finally:
        if not asked.keep:
            shutil.rmtree(raw, ignore_errors=True)
    (asked.out / f"scale-{size.interactions}-{asked.form}.json").write_text(
        json.dumps(report, indent=1) + "\n"
    )
    print("\n".join(table_lines(report)))


if __name__ == "__main__":
    main()

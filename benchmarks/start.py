"""How long the command takes to answer, and what it imports for that."""

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, Spread, require

ROOT = Path(__file__).parents[1]
TOWERS = ("open_clip", "timm", "transformers", "av")
"""Libraries that encoders are made of."""
SLOW = ("torch", "lightning", *TOWERS)
CODE = """
import sys
import cli
try:
    cli.main(sys.argv[2:])
finally:
    found = [name for name in sys.argv[1].split(",") if name in sys.modules]
    print("imported:", *found, file=sys.stderr)
"""
HELP = ("--help",)
CONFIG = ("fit", "--model", "idrec", "--data", "demo", "--print_config")


def seconds_of(arguments: tuple[str, ...], watched: tuple[str, ...]) -> tuple[float, float, list[str]]:
    """Wall and CPU seconds of the command in a fresh process, and what it imported of some libraries."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-c", CODE, ",".join(watched), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stderr.rpartition("imported:")[2].split()


def start_rows(steps: int) -> Iterator[Row]:
    """Help, and a whole configuration of a model without towers.

    Args:
        steps: Timed starts of each, after one that is not.
    """
    for arguments, unwanted in ((HELP, SLOW), (CONFIG, TOWERS)):
        found = [seconds_of(arguments, unwanted) for _ in range(steps + 1)][1:]
        imported = sorted({name for _, _, names in found for name in names})
        if arguments == HELP:
            require(not imported, f"mmzoo --help imports {', '.join(imported)}")
        yield Row(
            kind="start",
            case=f"mmzoo {' '.join(arguments)}",
            unit="CPU-s",
            shape={},
            rates={"ours": Spread.of([cpu for _, cpu, _ in found])},
            check=f"imports none of {', '.join(name for name in unwanted if name not in imported)}",
            notes={
                "wall seconds, median": round(Spread.of([wall for wall, _, _ in found]).median, 2),
                "imports of towers' libraries": ", ".join(imported) or "none",
            },
            less_is_better=True,
        )

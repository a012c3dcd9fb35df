"""Speed, as ratios measured in one run on one machine, every contender's results found equal before.

    python -m benchmarks.speed --threads 1 --out speed.json
    python -m benchmarks.speed --quick --rows encodes,evaluation

``benchmarks/README.md`` says what the rows mean and what was measured.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from benchmarks.evaluation import ranking_rows
from benchmarks.frozen import store_rows
from benchmarks.goals import goal_lines
from benchmarks.inputs import input_rows
from benchmarks.measure import Row, machine, quiet
from benchmarks.peers.environments import Environments
from benchmarks.peers.gate import Rules, gate_rows, movielens_100k
from benchmarks.peers.protocol import Setting
from benchmarks.peers.rows import evaluation_row, shape_histories, training_row
from benchmarks.start import start_rows
from benchmarks.training import (
    demo_encodes_row,
    demo_job,
    encodes_rows,
    frozen_row,
    labels_row,
    shape_job,
)

KINDS = ("labels", "encodes", "evaluation", "input", "frozen", "start")
PEER_KINDS = ("peers", "peers_evaluation", "gate")
"""Rows of other libraries, which are installed for them: some 18 GB, once."""


class Plan(NamedTuple):
    """How much is measured."""

    shapes: tuple[str, ...]
    """Trained on."""
    encoded_shapes: tuple[str, ...]
    demo: Literal["tiny", "small"]
    steps: int
    warm_ups: int
    batches: int
    """Counted for encodes."""
    catalogues: dict[int, tuple[int, int]]
    """Items -> users ranked at once, and users sorted one by one."""
    large: int
    pictures: int
    interactions: int
    frozen: tuple[str, int]
    """Shape whose histories are trained on, and items whose states are read alone."""
    memory: bool
    """Whether trainings are repeated in fresh processes."""
    evaluated: str
    """Shape that libraries evaluate."""
    seeds: int
    """Of the quality gate."""
    epochs: int
    """At most, in the quality gate."""


FULL = Plan(
    shapes=("ml1m", "beauty"),
    encoded_shapes=("scientific", "beauty", "ml1m"),
    demo="small",
    steps=14,
    warm_ups=5,
    batches=40,
    catalogues={12_034: (2_048, 64), 100_000: (512, 16)},
    large=1_000_000,
    pictures=512,
    interactions=2_000_000,
    frozen=("scientific", 4_000),
    memory=True,
    evaluated="beauty",
    seeds=3,
    epochs=200,
)
QUICK = Plan(
    shapes=("mini",),
    encoded_shapes=("mini",),
    demo="tiny",
    steps=4,
    warm_ups=2,
    batches=3,
    catalogues={2_000: (256, 32)},
    large=20_000,
    pictures=64,
    interactions=20_000,
    frozen=("mini", 400),
    memory=False,
    evaluated="mini",
    seeds=1,
    epochs=2,
)


def measure(
    plan: Plan, kinds: Sequence[str], folder: Path, environments: Environments, gate: Path | None
) -> Iterator[Row]:
    """The rows of some kinds, one after the other.

    Args:
        plan: How much.
        kinds: Out of ``KINDS`` and ``PEER_KINDS``.
        folder: For generated data; may be empty.
        environments: Of the other libraries.
        gate: Where the gate keeps what is finished; below ``folder`` by default.
    """
    yield from measure_ours(plan, kinds, folder)
    if "peers" in kinds:
        for shape in plan.shapes:
            histories = shape_histories(shape, Setting._field_defaults["max_len"])
            yield training_row(shape, histories, folder / f"peers-{shape}", environments, plan.steps)
    if "peers_evaluation" in kinds:
        turns = max(2, plan.steps // 4)
        yield evaluation_row(plan.evaluated, "mini", folder / "peers-evaluation", environments, turns)
    if "gate" in kinds:
        ratings = movielens_100k(environments)
        rules = Rules(most=plan.epochs, seeds=tuple(range(plan.seeds)))
        yield from gate_rows(ratings, folder / "gate", environments, rules, gate or folder / "kept")


def measure_ours(plan: Plan, kinds: Sequence[str], folder: Path) -> Iterator[Row]:
    """Rows that need no other library.

    Args:
        plan: How much.
        kinds: Out of ``KINDS``.
        folder: For generated data; may be empty.
    """
    shapes, demo = folder / "shapes", folder / "demo"
    if "labels" in kinds:
        on_gpu = torch.cuda.is_available() and plan is FULL  # its steps are short and its first ones slow
        steps, warm_ups = (100, 20) if on_gpu else (plan.steps, plan.warm_ups)
        jobs = [shape_job(shape, shapes, full) for full in (True, False) for shape in plan.shapes]
        for number, job in enumerate([*jobs, demo_job(demo, plan.demo)]):
            yield labels_row(job, folder / f"run-{number}", steps, warm_ups, plan.memory)
    if "encodes" in kinds:
        yield from encodes_rows(plan.encoded_shapes, shapes, plan.batches)
        yield demo_encodes_row(demo, plan.demo, plan.batches)
    if "evaluation" in kinds:
        yield from ranking_rows(plan.catalogues, plan.large, plan.steps)
    if "input" in kinds:
        yield from input_rows(plan.pictures, plan.interactions, plan.steps)
    if "frozen" in kinds:
        shape, items = plan.frozen
        yield from store_rows(folder / "frozen", items, plan.steps)
        yield frozen_row(folder / "frozen", shape, plan.steps, plan.warm_ups)
    if "start" in kinds:
        yield from start_rows(max(2, plan.steps // 4))


def number(value: float) -> str:
    """Three significant digits.

    >>> number(32748.4), number(1.2345), number(0.04567)
    ('32,700', '1.23', '0.0457')
    """
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def table_lines(row: Row) -> Iterator[str]:
    """A row as lines of a Markdown table, one a contender."""
    gains = row.gains()
    for name, rate in row.rates.items():
        cells = [f"{row.case}, {row.unit}" if name == "ours" else "", name, *map(number, rate)]
        cells.append(f"{gains[name]:.2f}" if name in gains else "")
        cells.append(f"{row.peak_mb[name]:,.0f}" if name in row.peak_mb else "")
        yield f"| {' | '.join(cells)} |"
    for name in sorted(set(row.peak_mb) - set(row.rates)):
        yield f"|  | {name} |  |  |  |  | {row.peak_mb[name]:,.0f} |"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.speed", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small shapes: whether it runs, not how fast")
    kinds = (*KINDS, *PEER_KINDS)
    parser.add_argument(
        "--rows",
        help=f"which of {', '.join(kinds)}, by comma; default: all, or with --quick "
        "those without other libraries",
    )
    parser.add_argument(
        "--peers",
        type=Path,
        default=Path(".peers"),
        help="folder of the other libraries' environments, which are made if missing; default: %(default)s",
    )
    parser.add_argument(
        "--peers-python",
        type=Path,
        default=Path(sys.executable),
        help="interpreter to make them with; default: this one",
    )
    parser.add_argument(
        "--gate",
        type=Path,
        help="folder for finished parts of the quality gate: one that was stopped goes on",
    )
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's CPU threads; default: 1")
    parser.add_argument("--out", type=Path, help="file for the JSON; it is printed without")
    options = parser.parse_args(argv)
    default = KINDS if options.quick else kinds
    options.kinds = list(default) if options.rows is None else options.rows.split(",")
    if unknown := sorted(set(options.kinds) - set(kinds)):
        parser.error(f"--rows: expected some of {', '.join(kinds)}, found {', '.join(unknown)}")
    if options.threads < 1:
        parser.error(f"--threads: expected 1 or more, found {options.threads}")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints the table as it grows, then the goals, then the JSON."""
    options = parse(argv)
    quiet()
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {"machine": machine(), "quick": options.quick, "rows": []}
    print("| what | contender | min | median | max | ours is … times better | peak MB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        plan, peers = QUICK if options.quick else FULL, Environments(options.peers, options.peers_python)
        for row in measure(plan, options.kinds, Path(folder), peers, options.gate):
            print("\n".join(table_lines(row)), flush=True)
            report["rows"].append(row.plain())
    report["machine"]["load_1min_at_end"] = machine()["load_1min"]
    print("\n" + "\n".join(goal_lines(report["rows"])), flush=True)
    text = json.dumps(report, indent=1)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text + "\n", encoding="utf-8")
        print(f"\n{len(report['rows'])} rows written to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()

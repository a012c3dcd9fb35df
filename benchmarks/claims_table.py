"""The claims of the papers on the demo catalogue: runs what is asked for, and prints a verdict for each.

    python -m benchmarks.claims_table                          # verdicts of what was measured
    python -m benchmarks.claims_table --run odmt-text-view     # run a claim's arms, then print
    python -m benchmarks.claims_table --run PMMRec --write     # all of a paper, into the READMEs too

Every run is one of the real command, kept in its folder: a second call goes on where the first one stopped.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from tqdm.auto import tqdm

from benchmarks.claim_verdicts import (
    MEASURED,
    NOT_RUN,
    Arm,
    Book,
    Claim,
    Measured,
    long_table,
    read_book,
    read_measured,
    short_table,
    verdicts,
)
from benchmarks.claims import train
from zoo.experiments.folder import write_atomic
from zoo.names import near

ROOT = Path(__file__).parent.parent
METRICS = ("hr@10", "ndcg@10", "recall@20")
BEGIN, END = "<!-- claims: begin -->", "<!-- claims: end -->"
README, LONG = ROOT / "README.md", ROOT / "benchmarks" / "README.md"


def main() -> None:
    """Runs, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", nargs="+", default=[], metavar="NAME", help="claims, papers, or 'missing'")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--folder", type=Path, default=Path("runs/claims"), help="of the runs; kept")
    parser.add_argument("--data_root", help="folder of the demo catalogue (default: that of --data demo)")
    parser.add_argument("--write", action="store_true", help="put the tables into both READMEs")
    parser.add_argument("--long", action="store_true", help="print everything that is known of each claim")
    options = parser.parse_args()
    book = read_book()
    try:
        wanted = chosen(book, read_measured(book), options.run)
    except ValueError as error:
        parser.error(str(error))
    try:
        run_arms(book, wanted, options.jobs, options.folder, options.data_root)
    except ValueError as error:
        parser.error(str(error))
    measured = read_measured(book)
    found = verdicts(book, measured)
    print(long_table(found, book, measured) if options.long else short_table(found, book.papers))
    if options.write:
        put_between(README, short_table(found, book.papers))
        put_between(LONG, long_table(found, book, measured))


def chosen(book: Book, measured: Measured, names: Sequence[str]) -> list[Claim]:
    """The claims that are asked for and can be run here.

    Raises:
        ValueError: A name is neither a claim, nor a paper, nor ``missing``.
    """
    by_name = {claim.name: claim for claim in book.claims}
    papers = {paper.lower(): paper for paper in book.papers}
    found: list[Claim] = []
    for name in names:
        if name in by_name:
            found.append(by_name[name])
        elif name.lower() in papers:
            found += [claim for claim in book.claims if claim.paper == papers[name.lower()]]
        elif name == "missing":
            found += [each.claim for each in verdicts(book, measured) if each.word == NOT_RUN]
        else:
            close = near(name, [*by_name, *book.papers])
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"there is no claim or paper {name}.{hint}")
    return list({claim.name: claim for claim in found if claim.better}.values())


def waves(book: Book, claims: Sequence[Claim], measured: Measured) -> list[list[Arm]]:
    """Arms to run, those that others begin from first; what is measured is not run again.

    An arm with a command of its own is said, not run.
    """
    todo = {name: book.arms[name] for claim in claims for name in claim.arms if name not in measured}
    for arm in [arm for arm in todo.values() if arm.command]:
        print(f"{arm.name} is made by its own command, which is not run here: {arm.command}", file=sys.stderr)
    runs = {name: arm for name, arm in todo.items() if arm.line}
    first = {name: book.arms[name] for arm in runs.values() for name in arm.after}
    later = [arm for name, arm in runs.items() if name not in first]
    return [list(first.values()), [arm for arm in later if not arm.after], [a for a in later if a.after]]


def run_arms(
    book: Book, claims: Sequence[Claim], jobs: int, folder: Path, data_root: str | None = None
) -> None:
    """Runs what is missing of some claims and notes what was found, arm by arm.

    Raises:
        ValueError: A folder holds runs of an arm as it was before it changed.
    """
    found = waves(book, claims, read_measured(book))
    for arm in (arm for wave in found for arm in wave):
        require_same_line(arm, folder)
    for wave in found:
        work = [(arm, seed) for arm in wave for seed in range(arm.seeds)]

        def one(what: tuple[Arm, int]) -> None:
            arm, seed = what
            train(words(arm, seed, folder, data_root), seed, folder / f"{arm.name}-{seed}", metric_of(arm))

        with ThreadPoolExecutor(jobs) as pool:
            list(tqdm(pool.map(one, work), total=len(work), desc="Runs", disable=not work))
        for arm in wave:
            note(arm, [values_of(folder / f"{arm.name}-{seed}") for seed in range(arm.seeds)])


def require_same_line(arm: Arm, folder: Path) -> None:
    """Keeps the line of an arm beside its runs; runs of another line would be taken for its own.

    Raises:
        ValueError: There are runs of another one.
    """
    path = folder / f"{arm.name}.line"
    before = path.read_text(encoding="utf-8").strip() if path.is_file() else arm.text
    if before != arm.text:
        raise ValueError(
            f"{folder} holds runs of the arm {arm.name} as it was before ({before}). Remove {arm.name}-* and "
            f"{path.name} there, or name another --folder."
        )
    write_atomic(path, arm.text + "\n")


def words(arm: Arm, seed: int, folder: Path, data_root: str | None = None) -> list[str]:
    """Options of a run."""
    found = [
        word.format(folder=folder, seed=seed) if "{folder}" in word else word
        for word in shlex.split(arm.line)
    ]
    return [*found, "--data.root", data_root] if data_root else found


def metric_of(arm: Arm) -> str:
    """A metric that the results of an arm have."""
    return "recall@20" if "demo_cf" in arm.line else "hr@10"


def values_of(folder: Path) -> dict[str, float]:
    """The metrics of a run: over all users as such, of other rows with their names before them."""
    rows = json.loads((folder / "results.json").read_text(encoding="utf-8"))["rows"]
    return {
        name if row["slice_name"] == "all" else f"{row['slice_name']}: {name}": round(row["metrics"][name], 6)
        for row in rows
        for name in METRICS
        if name in row["metrics"] and row["slice_name"] in ("all", "cold", "new")
    }


def note(arm: Arm, found: Sequence[dict[str, float]], path: Path = MEASURED) -> None:
    """Keeps what an arm gave, beside what was run."""
    known = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}
    shared = [name for name in found[0] if all(name in each for each in found)]
    known[arm.name] = {"run": arm.text, "values": {name: [each[name] for each in found] for name in shared}}
    text = yaml.safe_dump(known, sort_keys=False, width=110, default_flow_style=None)
    head = (
        "# What the arms of claims.yaml gave, seed by seed from 0 on; written by benchmarks.claims_table.\n"
    )
    write_atomic(path, head + text)


def put_between(path: Path, table: str) -> None:
    """Puts a table between its two marks.

    Raises:
        ValueError: The file has no marks.
    """
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no {BEGIN} and {END}.")
    write_atomic(path, f"{before}{BEGIN}\n{table}\n{END}{after}")


if __name__ == "__main__":
    main()

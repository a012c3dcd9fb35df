"""What MoRec finds in the demo catalogue, against what is there: rows over seeds, paired tests.

Every trained row is a run of the real command, ``mmzoo fit --model <name> --data demo``, at equal epochs;
every reference row is counted from the data. The table of the README comes from

    python -m benchmarks.demo_claims --seeds 5 --out claims.json
"""

import argparse
import json
from pathlib import Path
from statistics import fmean

from benchmarks.claims import print_contrasts, print_table, references, train_all
from datamodules.demo import Demo
from datamodules.demo_rules import IMAGE, TEXT

RUNS: dict[str, tuple[str, ...]] = {
    "text + image": ("--model", "morec"),
    "text": ("--model", "morec", "--model.image", "null"),
    "image": ("--model", "morec", "--model.text", "null"),
    "ids (IDRec)": ("--model", "idrec", "--model.width", "64"),
}


def main() -> None:
    """Runs what is missing, prints the table and the verdicts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/demo_claims"), help="kept: a second call resumes"
    )
    parser.add_argument("--out", type=Path, help="JSON of all values")
    parser.add_argument("extra", nargs="*", help="further options of the command, after --")
    arguments = parser.parse_args()
    if any(word.startswith("--data") for word in arguments.extra):
        parser.error("the reference rows are those of --data demo as it is; change options of the model only")
    fixed = references(Demo(), {"oracle of title and cover": TEXT + IMAGE})
    runs = {name: (*options, "--data", "demo", *arguments.extra) for name, options in RUNS.items()}
    rows = train_all(runs, arguments.seeds, arguments.jobs, arguments.folder)
    print_table(fixed, {f"MoRec, {name}": found for name, found in rows.items()})
    better = max(("text", "image"), key=lambda name: fmean(rows[name]))
    markov = {"Markov": [fixed["Markov, first order"]] * arguments.seeds}
    print_contrasts({**rows, **markov}, [("text + image", "Markov"), ("text + image", better)])
    if arguments.out:
        arguments.out.write_text(json.dumps({"references": fixed, "runs": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Whether adapters gain from more modalities, from exchange, and over frozen features: rows, paired tests.

Every trained row is a run of the real command at equal epochs; every reference row is counted from the data.
CROSSAN is this project's reference design. The tables of ``FINDINGS.md`` come from

    python -m benchmarks.modality_claims --data demo --seeds 5 --out demo.json
    python -m benchmarks.modality_claims --data demo_even --seeds 5 --out even.json
"""

import argparse
import json
from pathlib import Path

from benchmarks.claims import print_contrasts, print_table, references, train_all
from datamodules.demo import Demo, PlatformName
from datamodules.demo_rules import IMAGE, TEXT

PLATFORM: dict[str, PlatformName] = {"demo": "a", "demo_even": "even"}
WITHOUT = {name: (f"--model.{name}", "null") for name in ("image", "audio", "video")}
ORACLES = {
    "oracle, M = 1 (text)": TEXT,
    "oracle, M = 2 (+ image)": TEXT + IMAGE,
    "oracle, M = 3 (+ sound)": (*TEXT, *IMAGE, "sound"),
    "oracle, M = 4 (+ video)": (*TEXT, *IMAGE, "sound", "motion"),
}
CROSSAN = ("--model", "crossan")
RUNS: dict[str, tuple[str, ...]] = {
    "CROSSAN, M = 1 (text)": (*CROSSAN, *WITHOUT["image"], *WITHOUT["audio"], *WITHOUT["video"]),
    "CROSSAN, M = 2 (+ image)": (*CROSSAN, *WITHOUT["audio"], *WITHOUT["video"]),
    "CROSSAN, M = 3 (+ sound)": (*CROSSAN, *WITHOUT["video"]),
    "CROSSAN, M = 4 (+ video)": CROSSAN,
    "M = 4, no exchange": (*CROSSAN, "--model.cross", "none"),
    "M = 4, concatenation instead of MOMEF": (*CROSSAN, "--model.momef", "false"),
    "IISAN, M = 2": ("--model", "iisan"),
    "frozen last layer, M = 2": ("--model", "iisan_frozen"),
}
CONTRASTS = (
    ("CROSSAN, M = 2 (+ image)", "CROSSAN, M = 1 (text)"),
    ("CROSSAN, M = 3 (+ sound)", "CROSSAN, M = 2 (+ image)"),
    ("CROSSAN, M = 4 (+ video)", "CROSSAN, M = 3 (+ sound)"),
    ("CROSSAN, M = 4 (+ video)", "M = 4, no exchange"),
    ("CROSSAN, M = 4 (+ video)", "M = 4, concatenation instead of MOMEF"),
    ("CROSSAN, M = 2 (+ image)", "frozen last layer, M = 2"),
    ("IISAN, M = 2", "frozen last layer, M = 2"),
)


def main() -> None:
    """Runs what is missing, prints the table and the verdicts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=list(PLATFORM), default="demo")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--folder", type=Path, help="kept: a second call resumes; by default one in runs/")
    parser.add_argument("--out", type=Path, help="JSON of all values")
    arguments = parser.parse_args()
    folder = arguments.folder or Path("runs") / f"modality_claims-{arguments.data}"
    fixed = references(Demo(platform=PLATFORM[arguments.data]), ORACLES)
    runs = {name: (*options, "--data", arguments.data) for name, options in RUNS.items()}
    rows = train_all(runs, arguments.seeds, arguments.jobs, folder)
    print_table(fixed, rows)
    markov = {"Markov": [fixed["Markov, first order"]] * arguments.seeds}
    print_contrasts({**rows, **markov}, [("CROSSAN, M = 4 (+ video)", "Markov"), *CONTRASTS])
    if arguments.out:
        arguments.out.write_text(json.dumps({"references": fixed, "runs": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""What MoRec finds in the demo catalogue, against what is there: rows over seeds, paired tests.

Every trained row is a run of the real command, ``mmzoo fit --model <name> --data demo``, at equal epochs;
every reference row is counted from the data. The table of the README comes from

    python -m benchmarks.demo_claims --seeds 5 --out claims.json
"""

import argparse
import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from datamodules.baselines import markov_ranks, popularity_ranks
from datamodules.demo import Demo
from datamodules.demo_oracle import oracle_ranks
from datamodules.histories import EvalWindows
from zoo.types import ModelNeeds

RUNS: dict[str, tuple[str, ...]] = {
    "text + image": ("--model", "morec"),
    "text": ("--model", "morec", "--model.image", "null"),
    "image": ("--model", "morec", "--model.text", "null"),
    "ids (IDRec)": ("--model", "idrec", "--model.width", "64"),
}
METRIC = "hr@10"


class Contrast(NamedTuple):
    """Mean difference of two rows over seeds, and its paired standard error."""

    difference: float
    error: float

    def holds(self) -> bool:
        """Whether the difference exceeds two paired standard errors."""
        return self.difference > 2 * self.error


def contrast(better: list[float], worse: list[float]) -> Contrast:
    """Compares two rows seed by seed.

    >>> contrast([0.3, 0.4], [0.1, 0.2]).holds()
    True
    """
    differences = [b - w for b, w in zip(better, worse, strict=True)]
    error = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.inf
    return Contrast(fmean(differences), error)


def references(data: Demo) -> dict[str, float]:
    """HR@10 of popularity, of first-order Markov, and of oracles that know the law and some attributes."""
    data.bind(ModelNeeds({}))
    data.prepare_data()
    data.setup("test")
    windows = data.windows
    users = np.arange(windows.n_users - 1)
    test = EvalWindows(windows, data.max_len, "test").__getitems__(users.tolist())
    train_UL = windows.last(users + 1, data.max_len + 1, without=2)
    items, n_items = data.latents(), data.spec.n_items
    ranks = {
        "popularity": popularity_ranks(train_UL, test.target_B, test.hidden_BH, n_items),
        "Markov, first order": markov_ranks(
            train_UL, test.history_BL[:, -1], test.target_B, test.hidden_BH, n_items
        ),
        "oracle of title and cover": oracle_ranks(items, test.history_BL, test.target_B, test.hidden_BH),
    }
    return {name: float((rank_U <= 10).mean()) for name, rank_U in ranks.items()}


def train(options: tuple[str, ...], seed: int, folder: Path, extra: list[str]) -> float:
    """Runs the command once, unless an earlier call did, and reads its test metric."""
    results = folder / "results.json"
    if not results.is_file():
        line = [
            sys.executable,
            "-m",
            "cli",
            "fit",
            *options,
            "--data",
            "demo",
            "--seed_everything",
            str(seed),
        ]
        done = subprocess.run(
            [*line, "--run_dir", str(folder), *extra], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{' '.join(line)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    rows = json.loads(results.read_text(encoding="utf-8"))["rows"]
    return float(next(row["metrics"][METRIC] for row in rows if row["slice_name"] == "all"))


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
    fixed = references(Demo())
    wanted = [(name, seed) for seed in range(arguments.seeds) for name in RUNS]
    extra = ["--threads", "1", *arguments.extra]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        values = list(
            tqdm(
                pool.map(
                    lambda w: train(RUNS[w[0]], w[1], arguments.folder / f"{w[0]}-{w[1]}", extra), wanted
                ),
                total=len(wanted),
                desc="Runs",
            )
        )
    rows = {name: [v for (n, _), v in zip(wanted, values, strict=True) if n == name] for name in RUNS}
    print(f"| {METRIC}, test | mean | standard deviation |\n|---|---|---|")
    for name, value in fixed.items():
        print(f"| {name} | {value:.4f} | |")
    for name, found in rows.items():
        print(f"| MoRec, {name} | {fmean(found):.4f} | {stdev(found) if len(found) > 1 else math.nan:.4f} |")
    both = rows["text + image"]
    single = max((rows["text"], rows["image"]), key=fmean)
    against = {
        "Markov, first order": [fixed["Markov, first order"]] * len(both),
        "the better modality": single,
    }
    for name, other in against.items():
        gap = contrast(both, other)
        verdict = "holds" if gap.holds() else "does not hold"
        print(f"text + image over {name}: {gap.difference:+.4f} ± {gap.error:.4f} (paired SE): {verdict}")
    if arguments.out:
        arguments.out.write_text(json.dumps({"references": fixed, "runs": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""What the scripts of claims share: runs of the real command, reference rows, paired differences."""

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from datamodules.baselines import markov_ranks, popularity_ranks
from datamodules.demo import Demo
from datamodules.demo_oracle import oracle_ranks
from datamodules.demo_rules import PLATFORMS
from datamodules.histories import EvalWindows
from zoo.experiments.stats import holm, mean_sd, paired_t
from zoo.types import ModelNeeds

METRIC = "hr@10"
LEVEL = 0.05
"""Below which corrected p a claim holds."""


def references(data: Demo, oracles: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """HR@10 of popularity, of first-order Markov, and of oracles that know the law and some attributes.

    Args:
        data: The demo catalogue.
        oracles: Name of a row -> the attributes that oracle sees.
    """
    data.bind(ModelNeeds({}))
    data.prepare_data()
    data.setup("test")
    windows = data.windows
    users = np.arange(windows.n_users - 1)
    test = EvalWindows(windows, data.max_len, "test").__getitems__(users.tolist())
    train_UL = windows.last(users + 1, data.max_len + 1, without=2)
    items, n_items = data.latents(), data.spec.n_items
    rules = PLATFORMS[data.platform].rules
    case = (test.history_BL, test.target_B, test.hidden_BH)
    ranks = {
        "popularity": popularity_ranks(train_UL, test.target_B, test.hidden_BH, n_items),
        "Markov, first order": markov_ranks(
            train_UL, test.history_BL[:, -1], test.target_B, test.hidden_BH, n_items
        ),
    }
    ranks |= {name: oracle_ranks(items, *case, known, rules=rules) for name, known in oracles.items()}
    return {name: float((rank_U <= 10).mean()) for name, rank_U in ranks.items()}


def train(options: Sequence[str], seed: int, folder: Path, metric: str = METRIC) -> float:
    """Runs ``mmzoo fit`` once, unless an earlier call did, and reads its test metric."""
    results = folder / "results.json"
    if not results.is_file():
        line = [sys.executable, "-m", "cli", "fit", *options, "--seed_everything", str(seed)]
        line += ["--threads", "1", "--run_dir", str(folder)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(line)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    rows = json.loads(results.read_text(encoding="utf-8"))["rows"]
    return float(next(row["metrics"][metric] for row in rows if row["slice_name"] == "all"))


def train_all(
    rows: Mapping[str, Sequence[str]], seeds: int, jobs: int, folder: Path, metric: str = METRIC
) -> dict[str, list[float]]:
    """Every row with every seed, several at a time; a second call goes on where the first one stopped.

    Args:
        rows: Name of a row -> options of ``mmzoo fit``.
        seeds: Seeds from 0 on.
        jobs: Runs at a time.
        folder: Of the runs; that of a run is ``<name>-<seed>``.
        metric: What is read of each run's results.

    Returns:
        Name of a row -> its metric by seed.
    """
    wanted = [(name, seed) for seed in range(seeds) for name in rows]

    def one(what: tuple[str, int]) -> float:
        return train(rows[what[0]], what[1], folder / f"{what[0]}-{what[1]}", metric)

    with ThreadPoolExecutor(jobs) as pool:
        values = list(tqdm(pool.map(one, wanted), total=len(wanted), desc="Runs"))
    return {name: [v for (n, _), v in zip(wanted, values, strict=True) if n == name] for name in rows}


def print_table(
    fixed: Mapping[str, float], rows: Mapping[str, Sequence[float]], metric: str = METRIC
) -> None:
    """Reference rows, then trained rows with their standard deviation over seeds."""
    print(f"| {metric}, test | mean ± standard deviation |\n|---|---|")
    for name, value in fixed.items():
        print(f"| {name} | {value:.4f} |")
    for name, found in rows.items():
        print(f"| {name} | {mean_sd(found).text()} |")


def print_contrasts(rows: Mapping[str, Sequence[float]], pairs: Sequence[tuple[str, str]]) -> None:
    """Paired differences over seeds with their 95 % interval, and p corrected for the number of tests."""
    found = [paired_t(rows[better], rows[worse]) for better, worse in pairs]
    print("\n| difference | mean | 95 % interval | p (Holm) | |\n|---|---|---|---|---|")
    for (better, worse), test, p in zip(pairs, found, holm([test.p for test in found]), strict=True):
        verdict = "holds" if test.difference > 0 and p < LEVEL else "not shown"
        between = test.interval("{:+.4f} to {:+.4f}")
        value = "-" if math.isnan(p) else f"{p:.3g}"
        print(f"| {better} - {worse} | {test.difference:+.4f} | {between} | {value} | {verdict} |")

"""Whether GUIDER finds planted noise in the demo catalogue, and whether a student is better for it.

Every row is a run of the real command, ``mmzoo fit --data demo_cf``, at equal epochs and rates; the noise is
planted by the data and read by no model. Two questions, each with paired differences over seeds: how well a
teacher's weights tell the planted pairs from the rest (area under the ROC curve against 0.5), and the
student's recall against that of the same host alone, at every noise rate.

    python -m benchmarks.denoise_claims --seeds 5 --out denoise.json
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch

from benchmarks.claims import print_contrasts, print_table, train_all
from zoo.denoise.recovery import FILE, recovery
from zoo.denoise.teachers import Verdict
from zoo.experiments.stats import mean_sd

METRIC = "recall@20"
HOSTS: dict[str, tuple[str, str]] = {
    "freedom": ("freedom", '{"knn_k": 20, "dropout": 0.1, "reg_weight": 1.0e-4}'),
    "bm3": ("bm3", '{"n_layers": 1, "dropout": 0.1, "contrast_weight": 0.01}'),
    "vbpr": ("vbpr", '{"reg_weight": 1.0e-4}'),
    "lightgcn": ("lightgcn", "{}"),
}
"""Hosts with the arguments that GUIDER's repository gives them, or with their own."""
GUIDERS = {
    "GUIDER": "guider",
    "GUIDER (logs)": "guider_logs",
    "GUIDER-fixed": "guider_fixed",
    "GUIDER-fixed by profiles": "guider_profile",
}
ALONE = "host alone"
SETTINGS = ("--model.lr", "5e-3", "--trainer.max_epochs", "40", "--trainer.enable_progress_bar", "false")


def lines(host: str, noises: Sequence[float]) -> dict[str, tuple[str, ...]]:
    """Name of a row -> options of its command."""
    name, arguments = HOSTS[host]
    own = [
        word for key, value in json.loads(arguments).items() for word in (f"--model.{key}", json.dumps(value))
    ]
    rows: dict[str, tuple[str, ...]] = {}
    for noise in noises:
        data = ("--data", "demo_cf", "--data.noise", str(noise))
        rows[row_name(ALONE, noise)] = ("--model", name, *data, *SETTINGS, *own)
        for title, model in GUIDERS.items():
            student = ("--model.host", name, "--model.host_args", arguments)
            rows[row_name(title, noise)] = ("--model", model, *data, *SETTINGS, *student)
    return rows


def row_name(title: str, noise: float) -> str:
    """A row's name and the end of its run's folder."""
    return f"{title}, {noise:.0%} noise"


def found_noise(folder: Path) -> dict[str, float]:
    """Areas under the ROC curve of a run: of what its teacher judges by, and of its weights."""
    pairs = pl.read_parquet(folder / FILE)
    verdict = Verdict(
        *(torch.from_numpy(pairs[c].to_numpy().copy()) for c in ("weight", "noisy", "suspicion"))
    )
    return recovery(verdict, pairs["planted"].to_numpy().astype(np.bool_))


def print_recovery(found: Mapping[str, Sequence[dict[str, float]]]) -> None:
    """Areas over seeds, against chance."""
    print("\n| planted noise found (AUC; chance 0.5) | by what the teacher judges by | by its weights |")
    print("|---|---|---|")
    for name, seeds in found.items():
        columns = (mean_sd([seed[key] for seed in seeds]).text() for key in ("suspicion", "weight"))
        print(f"| {name} | {' | '.join(columns)} |")


def main() -> None:
    """Runs what is missing, prints tables and verdicts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", choices=list(HOSTS), default="freedom")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.2])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--folder", type=Path, help="kept: a second call resumes; by default one in runs/")
    parser.add_argument("--out", type=Path, help="JSON of all values")
    parser.add_argument("extra", nargs="*", help="further options of every run, after --")
    options = parser.parse_args()
    folder = options.folder or Path("runs") / f"denoise_claims-{options.host}"
    runs = {name: (*line, *options.extra) for name, line in lines(options.host, options.noise).items()}
    rows = train_all(runs, options.seeds, options.jobs, folder, METRIC)
    print_table({}, rows, METRIC)
    guided = [(row_name(g, noise), row_name(ALONE, noise)) for noise in options.noise for g in GUIDERS]
    areas = {
        name: [found_noise(folder / f"{name}-{seed}") for seed in range(options.seeds)] for name, _ in guided
    }
    print_recovery(areas)
    if options.seeds > 1:
        print_contrasts(rows, guided)
        chance = {f"AUC of {n}": [area["suspicion"] for area in areas[n]] for n, _ in guided}
        pairs = [(name, "chance") for name in chance]
        print_contrasts({**chance, "chance": [0.5] * options.seeds}, pairs)
    if options.out:
        options.out.write_text(json.dumps({METRIC: rows, "auc": areas}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Results of runs that were never run, as the command leaves them."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from zoo.metrics.ranking import CUTOFFS, metric_gains
from zoo.provenance import file_digest, seal

USERS = 200
PROTOCOL, DATA = "leave two out, among the whole catalogue", "d1"


def made_run(
    out: Path,
    model: str,
    seed: int = 0,
    share: float = 0.3,
    board: str = "toy",
    users: Callable[[int], str] = "u{}".format,
    typed: Sequence[str] = (),
    **changes: object,
) -> Path:
    """Writes a finished run in which about this share of the users has its target at rank 1 to 10."""
    folder = out / board / model / f"seed-{seed}"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed + 1)
    hit_U = np.random.default_rng(7).random(USERS) + 0.02 * rng.standard_normal(USERS) < share
    rank_U = np.where(hit_U, rng.integers(1, 11, USERS), 99).astype(np.uint32)
    targets = [f"i{at}" for at in range(USERS)]
    table = {"user": list(map(users, range(USERS))), "target": targets, "rank": rank_U, "rank_repeat": rank_U}
    pl.DataFrame(table).write_parquet(folder / "ranks.parquet")
    metric_names, gain_RM = metric_gains()
    means = gain_RM[np.where(rank_U > CUTOFFS[-1], 0, rank_U)].mean(0)
    metrics = dict(zip(metric_names, means.tolist(), strict=True))
    hit = metrics["hr@10"]
    group = {"n": 50, "hr@10": [hit, hit - 0.05, hit + 0.05]}
    content: dict[str, Any] = {
        "rows": [{"slice_name": "all", "metrics": metrics, "intervals": {}, "users": USERS}],
        "cost": {
            "parameters": 1_500_000,
            "trainable": 200_000,
            "train_seconds": 60.0 * (1 + len(model) % 7),
            "test_seconds": 2.0,
            "memory_bytes": 3 * 2**28,
            "memory_before_bytes": 2**29,
        },
        "seed": seed,
        "processes": 1,
        "modalities": ["text"],
        "ids": False,
        "data": DATA,
        "protocol": PROTOCOL,
        "config": f"c-{model}",
        "code": {"version": "0.1.0", "commit": "abcdef0123456789", "dirty": False, "digest": "k1"},
        "slices": {"cold": {"1-9": group, "10 or more": group}},
        "users": {"file": "ranks.parquet", "sha256": file_digest(folder / "ranks.parquet")},
    }
    content |= changes
    kept = {key: value for key, value in content.items() if value is not None}
    (folder / "results.json").write_text(json.dumps(seal(kept)))
    options = [f"--model={model}", "--data=demo", *typed, "--weights=true", f"--seed_everything={seed}"]
    write_job(folder, {"options": options, "finished": True})
    return folder


def lost_run(out: Path, model: str, seed: int, message: str | None = None, board: str = "toy") -> None:
    """Writes a run that failed, or that has not ended."""
    state: dict[str, Any] = {"options": [], "finished": False}
    write_job(
        out / board / model / f"seed-{seed}", state if message is None else {**state, "failed": message}
    )


def write_job(folder: Path, state: Mapping[str, Any]) -> None:
    """Writes the state of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps(state))


def run_file(runs: Path, name: str, board: str = "toy", **values: object) -> Path:
    """Writes a run file."""
    path = runs / board / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"title": f"The {name}", "model": name, "data": "demo", **values}))
    return path

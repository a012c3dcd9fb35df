"""Stands for ``mmzoo`` where many runs are made: takes the same line, finds what the line asks it to find.

``--hits=N`` of the 100 users have their target at rank 1, one more with every seed and ten more with
``--model.init_from``; ``--fail=true`` ends in an error, ``--sleep=S`` takes its time after a checkpoint. What
it costs follows from the model's name. On ``demo_cf`` users have several targets; ``data.noise`` takes hits
away, half as many from ``guider``, which later seeds help. Attackers tell less the heavier the adversary.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

USERS = 100
COSTS = {"fft": (40.0, 5000, 900), "lora": (30.0, 200, 800), "side": (2.0, 500, 300)}
"""Model -> seconds an epoch, trained parameters, MiB at the peak, of which 200 were there before."""


def main(argv: list[str]) -> None:
    options = dict(word.removeprefix("--").partition("=")[::2] for word in argv[1:])
    folder = Path(options["run_dir"])
    print("line:", json.dumps(argv))
    print("threads:", os.environ["OMP_NUM_THREADS"], "gpu:", os.environ.get("CUDA_VISIBLE_DEVICES"))
    if options.get("fail") == "true" or options.get("model") == "broken":
        sys.exit("mmzoo: the loss was NaN")
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    print("from:", time.time())
    time.sleep(float(options.get("sleep", 0)) if "ckpt_path" not in options else 0)
    print("until:", time.time())
    if options.get("untested") == "true":
        return
    hits = int(options.get("hits", 20)) + int(options["seed_everything"])
    hits += 10 if "model.init_from" in options else 0
    if "FAKE_RANKS" in os.environ:  # made by a fixture: polars takes longer to import than all else here
        shutil.copy(Path(os.environ["FAKE_RANKS"]) / f"{hits}.parquet", folder / "ranks.parquet")
    guided = options.get("model") == "guider"
    hits -= int((25 if guided else 50) * float(options.get("data.noise", 0)))
    value = (hits + guided * int(options["seed_everything"]) ** 2) / USERS
    names = ("recall@20", "ndcg@20") if options.get("data") == "demo_cf" else ("hr@10", "ndcg@10")
    row = {"slice_name": "all", "metrics": dict.fromkeys(names, value), "users": USERS}
    if options.get("model") in COSTS:
        write_cost(folder, options["model"], int(options["trainer.max_epochs"]))
    if "FairnessReport" in options.get("trainer.callbacks+", ""):
        write_leaks(folder, float(options.get("model.adversary_weight", -1)), int(options["seed_everything"]))
    cost = {"parameters": 1234, "trainable": 1234, "train_seconds": 2.0}
    (folder / "results.json").write_text(json.dumps({"rows": [row], "cost": cost}))


def write_leaks(folder: Path, weight: float, seed: int) -> None:
    auc = (0.9 if weight < 0 else 0.8 / (1 + weight)) + 0.01 * seed
    strong = {"auc": auc, "balanced accuracy": auc / 2, "accuracy": auc / 3}
    rows = [
        {"attribute": "gender", "side": side, "strong": strong, "published": 0.5, "published_majority": 0.5}
        for side in ("user", "item")
    ]
    (folder / "fairness.json").write_text(json.dumps({"rows": rows}))


def write_cost(folder: Path, model: str, epochs: int) -> None:
    seconds, trainable, memory = COSTS[model]
    found = {
        "epoch_seconds": [10 * seconds, *[seconds] * (epochs - 1)],
        "cached": ["text"] if model == "side" else [],
        "feature_seconds": {"text": 4.5} if model == "side" else {},
        "parameters": 9000,
        "trainable": trainable,
        "memory_bytes": memory * 2**20,
        "memory_before_bytes": 200 * 2**20,
        "device": "cpu",
    }
    (folder / "cost.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])

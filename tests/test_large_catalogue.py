"""An evaluation over a million items by the real command: exact, ties included, and in bounded memory."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from tests.command import succeeded
from zoo.names import config_file

N_USERS, N_EACH = 400, 2_510
MODEL = '''
import resource

import torch

from zoo.models.morec import MoRec

CLASS_CD = torch.tensor([[0, 1], [1, 0], [1, 1], [2, -1], [-1, 2], [0, 0], [1, -2]]).float()


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Tied(MoRec):
    """Seven kinds of items, so that a seventh of the catalogue ties with every target."""

    def encode_items(self, ids_N, content):
        return CLASS_CD[ids_N % 7]

    def user_vectors(self, batch, table_ID):
        return torch.stack([batch.user_B % 5 - 2, batch.user_B % 3 - 1], dim=1).float()

    def on_test_start(self):
        super().on_test_start()
        self.before = peak_mb()

    def test_step(self, batch, batch_idx):
        found = super().test_step(batch, batch_idx)
        count_C = torch.bincount(torch.arange(1, self.spec.n_items) % 7, minlength=7)
        score_BC = self.user_vectors(batch, None) @ CLASS_CD.T
        rows = zip(batch.target_B.tolist(), batch.hidden_BH.tolist(), score_BC, strict=True)
        for row, (target, hidden, score_C) in enumerate(rows):
            ahead_C = score_C >= score_C[target % 7]
            seen = torch.tensor(sorted(set(hidden) - {0, target}))
            rank = int(count_C[ahead_C].sum() - ahead_C[seen % 7].sum())
            assert found["rank_repeat_B"][row] == rank, (target, rank)
            assert found["rank_B"][row] == (self.spec.n_items if target in hidden else rank)
        return found

    def on_test_end(self):
        print(f"{self.spec.n_items - 1} items, {peak_mb() - self.before} MB more", flush=True)
'''


@pytest.mark.slow
def test_a_million_items(tmp_path: Path) -> None:
    item_E = np.random.default_rng(0).permutation(N_USERS * N_EACH)
    item_E[N_EACH - 1] = item_E[0]  # the first user's target was seen before
    pl.DataFrame(
        {
            "user": [f"u{n // N_EACH}" for n in range(len(item_E))],
            "item": item_E,
            "time": np.arange(len(item_E)),
        }
    ).write_csv(tmp_path / "interactions.csv")
    (tmp_path / "mine.py").write_text(MODEL)
    config = yaml.safe_load(config_file("model", "idrec").read_text())
    config["class_path"] = "mine.Tied"
    config["init_args"] |= {"width": 2, "n_heads": 1, "item_chunk": 100_000}
    (tmp_path / "tied.yaml").write_text(yaml.safe_dump(config))
    out = succeeded(
        *("test", "--model", "tied.yaml", "--data", "folder", "--data.root", ".", "--run_dir", "run"),
        *("--data.max_len", str(N_EACH - 2), "--trainer.accelerator", "cpu"),
        *("--trainer.enable_progress_bar", "false"),
        cwd=tmp_path,
    )
    (line,) = (line for line in out.splitlines() if line.endswith("MB more"))
    items, more = int(line.split()[0]), int(line.split()[2])
    assert items >= 1_000_000
    assert more < N_USERS * items * 4 / 2**20 / 3, "all users' scores at once would take 1.5 GB"
    rows = {
        row["slice_name"]: row for row in json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    }
    assert rows["all"]["users"] == N_USERS

"""Models of pairs in whole runs: the files a run leaves, and what the real command says."""

import json
from pathlib import Path

import polars as pl
import pytest
from lightning.pytorch import Trainer

from datamodules.demo_mmrec import DemoCF
from tests.command import mmzoo, succeeded
from zoo.callbacks.checkpoint import BestCheckpoint
from zoo.callbacks.predictions import PredictionWriter
from zoo.callbacks.ranks import RankWriter
from zoo.callbacks.table import ResultTable
from zoo.metrics.topk import NAMES
from zoo.models.bpr import BPR

QUIET = ("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false")
TINY = ("--data", "demo_cf", "--data.root", "demo", "--data.size", "tiny", *QUIET)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairs")


def test_a_run_leaves_its_best_epoch_results_users_and_predictions(root: Path) -> None:
    data = DemoCF(root=str(root / "demo"), size="tiny", batch_size=512)
    best = BestCheckpoint(str(root / "checkpoints"))
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        default_root_dir=root,
        callbacks=[best, RankWriter(), ResultTable(), PredictionWriter()],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )
    model = BPR(width=16, lr=1e-2)
    trainer.fit(model, datamodule=data)
    assert best.monitor == "val/recall@20"
    assert best.best_model_score is not None
    assert best.best_model_score >= trainer.callback_metrics["val/recall@20"]
    trainer.test(model, datamodule=data, ckpt_path=best.best_model_path, weights_only=True, verbose=False)
    (row,) = json.loads((root / "results.json").read_text())["rows"]
    users = pl.read_parquet(root / "users.parquet")
    assert row["users"] == users.height == len(set(users["user"].to_list()))
    for name in NAMES:
        assert users[name].cast(pl.Float64).mean() == pytest.approx(row["metrics"][name], abs=1e-6)
        low, high = row["intervals"][name]
        assert low <= row["metrics"][name] <= high
    trainer.predict(model, datamodule=data, return_predictions=False)
    predicted = pl.read_parquet(root / "predictions.parquet")
    items, names = data.items, pl.Series(data.user_names)
    trained = {(names[int(u)], data.item_names[i]) for u, i in zip(items.user_E, items.item_E, strict=True)}
    assert predicted.height == 10 * predicted["user"].n_unique()
    assert not trained & set(predicted.select("user", "item").iter_rows())


@pytest.mark.slow
def test_two_processes_give_the_metrics_of_one(root: Path) -> None:
    line = ("--model", "lightgcn", *TINY, "--run_dir", "run")
    succeeded("fit", *line, "--trainer.max_epochs", "2", cwd=root)
    (checkpoint,) = (root / "run" / "checkpoints").glob("best*.ckpt")
    found = []
    for devices in ((), ("--trainer.devices", "2", "--trainer.strategy", "ddp")):
        succeeded("test", "--ckpt_path", str(checkpoint), *TINY, *devices, cwd=root)
        rows = json.loads((root / "run" / "results.json").read_text())["rows"]
        slices = (root / "run" / "slices.csv").read_text()
        found.append((rows, pl.read_parquet(root / "run" / "users.parquet"), slices))
    assert found[0][0] == found[1][0]
    assert found[0][1].equals(found[1][1])
    assert found[0][2] == found[1][2]


@pytest.mark.slow
def test_a_model_and_data_of_different_kinds_are_told_what_fits(root: Path) -> None:
    done = mmzoo("fit", "--model", "idrec", *TINY, cwd=root)
    assert done.returncode
    assert "collaborative model" in done.stderr
    histories = ("--data", "demo", "--data.root", "demo", "--data.size", "tiny", *QUIET)
    done = mmzoo("fit", "--model", "bpr", *histories, cwd=root)
    assert done.returncode
    assert "demo_cf" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vbpr", "lattice"])
def test_two_processes_train(model: str, root: Path) -> None:
    devices = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_epochs", "1")
    succeeded("fit", "--model", model, *TINY, *devices, "--run_dir", f"two_{model}", cwd=root)
    assert json.loads((root / f"two_{model}" / "results.json").read_text())["rows"]

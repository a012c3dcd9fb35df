"""Whole runs through the real command: devices, precision, checkpoints, predictions, bad numbers."""

import json
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.command import mmzoo, succeeded
from tests.data_makers.ninerec import make_ninerec
from zoo.names import config_file

pytestmark = pytest.mark.slow
QUIET = ("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false")
DEMO = ("--data", "demo", "--data.size", "tiny", *QUIET)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a NineRec tree of 61 users and a trained run on it."""
    folder = tmp_path_factory.mktemp("odd")
    make_ninerec(folder / "tree", n_users=61, n_items=50)
    data = ("--data", "nineRec", "--data.root", "tree", *QUIET)
    succeeded("fit", "--model", "morec", *data, "--trainer.max_epochs", "2", "--run_dir", "run", cwd=folder)
    return folder


def metrics(folder: Path) -> dict[str, object]:
    """The slices of a run's results."""
    rows = json.loads((folder / "run" / "results.json").read_text())["rows"]
    return {row["slice_name"]: (row["metrics"], row["users"]) for row in rows}


def test_two_processes_give_the_metrics_of_one(odd: Path) -> None:
    (checkpoint,) = (odd / "run" / "checkpoints").glob("best*.ckpt")
    line = ("test", "--ckpt_path", str(checkpoint), "--data", "nineRec", "--data.root", "tree", *QUIET)
    succeeded(*line, cwd=odd)
    one, ranks = metrics(odd), pl.read_parquet(odd / "run" / "ranks.parquet")
    slices = (odd / "run" / "slices.csv").read_text()
    assert one["all"][1] == 61  # type: ignore[index]
    assert ranks["user"].n_unique() == 61
    succeeded(*line, "--trainer.devices", "2", "--trainer.strategy", "ddp", cwd=odd)
    assert metrics(odd) == one
    assert (odd / "run" / "slices.csv").read_text() == slices
    assert pl.read_parquet(odd / "run" / "ranks.parquet").equals(ranks)


def test_the_catalogue_is_divided_among_the_processes(odd: Path) -> None:
    (odd / "mine.py").write_text(
        """from zoo.models.morec import MoRec


class Watched(MoRec):
    encoded = 0

    def encode_items(self, ids_N, content):
        self.encoded += len(ids_N) - 1
        return super().encode_items(ids_N, content)

    def _start_evaluation(self, slices):
        super()._start_evaluation(slices)
        own, table_ID = self.encoded, self.table_ID
        assert (self.item_table() == table_ID).all(), "not the bits of one process"
        print(f"rank {self.global_rank} encoded {own} of {len(table_ID) - 1}", flush=True)
"""
    )
    config = yaml.safe_load(config_file("model", "morec").read_text())
    config["class_path"] = "mine.Watched"
    (odd / "watched.yaml").write_text(yaml.safe_dump(config))
    line = ("test", "--model", "watched.yaml", "--data", "nineRec", "--data.root", "tree", *QUIET)
    two = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--run_dir", "divided")
    for chunk, first, second in ((7, 28, 22), (512, 50, 50)):
        out = succeeded(*line, *two, "--model.item_chunk", str(chunk), cwd=odd)
        assert f"rank 0 encoded {first} of 50" in out
        assert f"rank 1 encoded {second} of 50" in out


def test_predictions_name_users_and_items(odd: Path) -> None:
    (checkpoint,) = (odd / "run" / "checkpoints").glob("best*.ckpt")
    line = ("predict", "--ckpt_path", str(checkpoint), "--data", "nineRec", "--data.root", "tree")
    succeeded(*line, "--model.top_k", "7", cwd=odd)
    table = pl.read_parquet(next(odd.rglob("predictions.parquet")))
    assert table["user"].n_unique() == 61
    assert table.height == 427


def test_another_models_checkpoint_is_refused(odd: Path) -> None:
    (checkpoint,) = (odd / "run" / "checkpoints").glob("best*.ckpt")
    line = ("--ckpt_path", str(checkpoint), "--data", "nineRec", "--data.root", "tree", *QUIET)
    done = mmzoo("test", "--model", "morec_dssm", *line, cwd=odd)
    assert done.returncode
    assert "holds a zoo.models.morec.MoRec" in done.stderr


def test_a_resumed_run_is_the_same_run(odd: Path) -> None:
    data = ("--data", "nineRec", "--data.root", "tree", *QUIET, "--run_dir", "run", "--ckpt_path", "last")
    done = mmzoo("fit", "--model", "morec", *data, "--model.n_heads", "4", cwd=odd)
    assert done.returncode
    assert "--model.n_heads differs" in done.stderr
    done = mmzoo("fit", "--model", "morec", *data, "--seed_everything", "3", cwd=odd)
    assert done.returncode
    assert "--seed_everything 0" in done.stderr


def test_resuming_on_another_catalogue_is_refused(odd: Path) -> None:
    make_ninerec(odd / "other", n_users=61, n_items=30, seed=5)
    data = ("--data", "nineRec", "--data.root", "other", *QUIET)
    done = mmzoo("fit", "--model", "morec", *data, "--run_dir", "run", "--ckpt_path", "last", cwd=odd)
    assert done.returncode
    assert "Give the same data set" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--trainer.precision", "bf16-mixed", "--trainer.accumulate_grad_batches", "2"),
        ("--trainer.devices", "2", "--trainer.strategy", "ddp"),
        ("--data.num_workers", "2", "--model.schedule", "cosine", "--model.warmup_steps", "5"),
        ("--trainer.fast_dev_run", "true"),
    ],
)
def test_options_of_a_run(options: tuple[str, ...], tmp_path: Path) -> None:
    out = succeeded("fit", "--model", "morec", *DEMO, "--trainer.max_epochs", "1", *options, cwd=tmp_path)
    assert "fast_dev_run" in options[0] or "ndcg@10" in out


def test_a_loss_that_explodes_ends_with_advice(tmp_path: Path) -> None:
    done = mmzoo("fit", "--model", "idrec", *DEMO, "--model.lr", "1e30", cwd=tmp_path)
    assert done.returncode
    assert "NaN or infinite" in done.stderr
    assert "lr" in done.stderr


def test_a_second_run_gets_its_own_folder_and_last_finds_the_newest(tmp_path: Path) -> None:
    line = ("fit", "--model", "idrec", *DEMO, "--model.width", "16", "--trainer.max_epochs")
    succeeded(*line, "1", cwd=tmp_path)
    succeeded(*line, "1", cwd=tmp_path)
    runs = tmp_path / "runs" / "demo-tiny"
    assert {path.name for path in runs.iterdir()} == {"idrec", "idrec-2"}
    succeeded(*line, "2", "--ckpt_path", "last", cwd=tmp_path)
    assert {path.name for path in runs.iterdir()} == {"idrec", "idrec-2"}
    assert (runs / "idrec-2" / "results.json").stat().st_mtime > (
        runs / "idrec" / "results.json"
    ).stat().st_mtime

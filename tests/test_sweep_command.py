"""``mmzoo sweep`` and ``mmzoo curves`` as a user runs them, with real trainings of seconds."""

import json
from pathlib import Path

import pytest

from tests.command import mmzoo, succeeded

TINY = ("--data.size", "tiny", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")


@pytest.mark.slow
def test_sweep_prints_its_table_and_does_nothing_twice(tmp_path: Path) -> None:
    line = ("sweep", "--model", "idrec", "--data", "demo", "--vary", "model.width=16,32", *TINY)
    out = succeeded(*line, "--out", "s", cwd=tmp_path)
    assert "| model.width |" in out
    assert (tmp_path / "s" / "model.width=32" / "seed0" / "ranks.parquet").is_file()
    stored = json.loads((tmp_path / "s" / "results.json").read_text())
    assert stored["rows"][1]["parameters"] > stored["rows"][0]["parameters"] > 0
    times = {path: path.stat().st_mtime for path in tmp_path.rglob("results.json") if path.parent.name != "s"}
    assert "| model.width |" in succeeded(*line, "--out", "s", cwd=tmp_path)
    assert times == {path: path.stat().st_mtime for path in times}


STUDY = """# Recall against what is told of gender, in little
command: curves
data: demo_cf
x: auc:gender
levels: {option: model.adversary_weight, values: [1]}
fixed: [host]
options:
  trainer.callbacks+: [{class_path: zoo.callbacks.fairness.FairnessReport, init_args: {epochs: 5}}]
arms:
  host: {model: vbpr}
  fair: {model: fmmrec, model.host: vbpr, model.host_args: '{}', model.host_from: '{partner}',
         model.split_epochs: 1, model.stages: '{out}/stages'}
"""


@pytest.mark.slow
def test_curves_of_a_host_and_of_what_begins_from_it(tmp_path: Path) -> None:
    (tmp_path / "little.yaml").write_text(STUDY)
    line = ("curves", "--study", "little.yaml", "--data.root", str(tmp_path / "demo"), *TINY)
    assert "| host |" in succeeded(*line, "--out", "c", cwd=tmp_path)
    stored = json.loads((tmp_path / "c" / "results.json").read_text())
    assert [(point["arm"], point["level"], point["n"]) for point in stored["points"]] == [
        ("host", "-", 1),
        ("fair", "1", 1),
    ]
    assert all(0 < point["x_mean"] < 1 for point in stored["points"])
    assert len(stored["differences"]) == 2
    assert (tmp_path / "c" / "curves.png").is_file()
    times = {path: path.stat().st_mtime for path in tmp_path.rglob("fairness.json")}
    assert "NDCG@20" in succeeded(*line, "--out", "c", "--y", "ndcg@20", cwd=tmp_path)
    assert times == {path: path.stat().st_mtime for path in tmp_path.rglob("fairness.json")}
    noisy = ("curves", "--models", "bpr", "--data", "demo_cf", "--x", "data.noise=0,0.4", *line[3:])
    assert "| bpr | 0.4" in succeeded(*noisy, "--out", "n", cwd=tmp_path)


def test_an_unknown_value_stops_the_sweep_before_the_first_run(tmp_path: Path) -> None:
    line = ("sweep", "--model", "idrec", "--data", "demo", "--out", "s")
    done = mmzoo(*line, "--vary", "model.widht=16,32", cwd=tmp_path)
    assert done.returncode
    assert "Did you mean width" in done.stderr
    assert "Nothing was run" in done.stderr
    assert not list(tmp_path.rglob("job.json"))

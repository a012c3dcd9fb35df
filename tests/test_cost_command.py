"""``mmzoo cost`` as a user runs it, with real trainings of seconds."""

import csv
import json
from pathlib import Path

import pytest

from tests.command import mmzoo, succeeded

TINY = ("--data", "demo", "--data.size", "tiny", "--trainer.accelerator", "cpu", "--threads", "1")


@pytest.mark.slow
def test_cached_states_cost_less_than_fine_tuning(tmp_path: Path) -> None:
    line = ("cost", "--models", "iisan,iisan_fft", "--epochs", "2", *TINY, "--out", "c")
    out = succeeded(*line, cwd=tmp_path)
    assert "| iisan_fft |" in out
    with open(tmp_path / "c" / "cost.csv", newline="") as file:
        side, full = csv.DictReader(file)
    for column in ("seconds_per_epoch", "trainable", "tpme"):
        assert float(side[column]) < float(full[column]), column
    own = [float(row["memory_bytes"]) - float(row["memory_before_bytes"]) for row in (side, full)]
    assert own[0] < own[1]
    assert float(side["feature_seconds"]) > 0
    assert full["feature_seconds"] == ""
    assert 0 < float(side["hr@10_mean"]) < 1
    measured = json.loads((tmp_path / "c" / "iisan" / "seed0" / "cost.json").read_text())
    assert len(measured["epoch_seconds"]) == 2
    assert sorted(measured["feature_seconds"]) == ["image", "text"]
    assert (tmp_path / "c" / "cost.png").is_file()
    once = (tmp_path / "c" / "iisan" / "seed0" / "results.json").stat().st_mtime
    assert "| iisan_fft |" in succeeded(*line, cwd=tmp_path)
    assert (tmp_path / "c" / "iisan" / "seed0" / "results.json").stat().st_mtime == once


def test_an_unknown_model_stops_the_command_before_the_first_run(tmp_path: Path) -> None:
    done = mmzoo("cost", "--models", "iisan_lorra,idrec", *TINY, "--out", "c", cwd=tmp_path)
    assert done.returncode
    assert "Did you mean iisan_lora" in done.stderr
    assert not list(tmp_path.rglob("job.json"))

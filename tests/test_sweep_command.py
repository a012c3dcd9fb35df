"""``mmzoo sweep`` and ``mmzoo transfer`` as a user runs them, with real trainings of seconds."""

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


def test_an_unknown_value_stops_the_sweep_before_the_first_run(tmp_path: Path) -> None:
    line = ("sweep", "--model", "idrec", "--data", "demo", "--out", "s")
    done = mmzoo(*line, "--vary", "model.widht=16,32", cwd=tmp_path)
    assert done.returncode
    assert "Did you mean width" in done.stderr
    assert "Nothing was run" in done.stderr
    assert not list(tmp_path.rglob("job.json"))

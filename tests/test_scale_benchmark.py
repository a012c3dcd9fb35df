"""The benchmark of scale runs, measures every stage from outside, and leaves nothing but its report."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from benchmarks.scale import BLOCK, Form, Size, bytes_in, generate, memory_of, some_interactions
from datamodules.event_sources import headed_events
from datamodules.microlens_files import COLUMNS
from datamodules.tables import Report

ROOT = Path(__file__).parents[1]


def test_interactions_are_of_unequal_users_and_items_and_rise_in_time() -> None:
    table = some_interactions(Size(200_000), 0, 200_000)
    assert table.equals(some_interactions(Size(200_000), 0, 200_000))
    users, items = (np.sort(np.bincount(table[name].to_numpy())) for name in ("user", "item"))
    assert table["user"].min() == 1
    assert table["user"].max() == Size(200_000).users
    assert users[-1] > 5 * np.median(users)
    assert items[-1] > 0.05 * len(table)
    times = table["timestamp"].to_numpy()
    assert np.corrcoef(np.arange(len(times)), times)[0, 1] > 0.99
    assert (np.diff(times) < 0).any()


@pytest.mark.parametrize("form", get_args(Form))
def test_raw_files_hold_what_was_drawn(form: Form, tmp_path: Path) -> None:
    size = Size(3_000)
    generate(size, tmp_path / "raw", form)
    source = headed_events(tmp_path / "raw" / f"MicroLens_pairs.{form}", COLUMNS)
    read = source.read(Report())
    drawn = some_interactions(size, 0, min(BLOCK, 3_000))
    assert read["user"].to_list() == [str(user) for user in drawn["user"]]
    assert read["time"].to_list() == drawn["timestamp"].to_list()


def test_memory_of_children_counts() -> None:
    hold = "import time; held = bytearray(200_000_000); print('held', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        memory = memory_of(os.getpid())
    finally:
        child.kill()
        child.wait()
    assert memory.anonymous > 200_000_000
    assert memory.resident >= memory.anonymous


@pytest.mark.slow
@pytest.mark.parametrize("form", get_args(Form))
def test_all_stages(form: Form, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.scale", "--interactions", "20_000", "--form", form]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| interactions | raw file |")
    (file,) = tmp_path.iterdir()
    report = json.loads(file.read_text("utf-8"))
    assert report["form"] == form
    assert report["raw_bytes"] > 0
    assert report["windows bytes"] > 0
    for stage in ("generate", "prepare", "draw"):
        assert report[stage]["peak_resident"] > report[stage]["peak_anonymous"] > 0
    assert report["draw"]["labels"] > 0
    assert bytes_in(tmp_path) == file.stat().st_size

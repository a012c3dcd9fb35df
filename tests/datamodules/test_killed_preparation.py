"""The whole preparation, in a process of its own, killed at random times and started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datamodules.microlens import MicroLens
from tests.data_makers.killing import files_of
from tests.data_makers.ninerec import Damage, make_ninerec

PREPARE = """
import sys
from datamodules.ninerec import NineRec
from tests.data_makers.transforms import LetterTransform, PixelTransform
from zoo.types import ModelNeeds
data = NineRec(sys.argv[1], cache_dir=sys.argv[2])
data.bind(ModelNeeds({"text": LetterTransform(), "image": PixelTransform(224)}))
print("begins", flush=True)
data.prepare_data()
"""


STREAM = """
import sys
from datamodules import event_sources, events, spill
from datamodules.microlens import MicroLens
events.STREAM_FROM, event_sources.PIECE, spill.USERS, spill.ROWS = 0, 2**16, 2**8, 2**12
data = MicroLens(sys.argv[1], subset="full", cache_dir=sys.argv[2])
print("begins", flush=True)
data.prepare_data()
"""


def start(root: Path, cache: Path, script: str = PREPARE) -> "subprocess.Popen[bytes]":
    """Starts a preparation and returns when it has loaded its libraries."""
    command = [sys.executable, "-W", "ignore", "-c", script, str(root), str(cache)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begins\n"
    return process


def prepared(cache: Path) -> dict[str, bytes]:
    return {name: content for name, content in files_of(cache).items() if not name.endswith(".lock")}


@pytest.mark.slow
def test_killed_at_random_times_and_resumed(tmp_path: Path) -> None:
    damage: tuple[Damage, ...] = ("truncated_covers", "missing_covers", "empty_titles")
    make_ninerec(tmp_path / "data", n_users=500, n_items=1000, damage=damage, cover_size=(496, 280))
    begin = time.perf_counter()
    assert start(tmp_path / "data", tmp_path / "whole").wait() == 0
    whole_seconds = time.perf_counter() - begin
    expected = prepared(tmp_path / "whole")
    assert any("image" in name for name in expected)
    rng = np.random.default_rng(0)
    deaths = 0
    for _ in range(4):
        process = start(tmp_path / "data", tmp_path / "killed")
        time.sleep(float(rng.uniform(0, whole_seconds / 4)))
        os.kill(process.pid, signal.SIGKILL)
        deaths += process.wait() == -signal.SIGKILL
    assert deaths
    assert start(tmp_path / "data", tmp_path / "killed").wait() == 0
    assert prepared(tmp_path / "killed") == expected


@pytest.mark.slow
def test_streamed_interactions_killed_and_begun_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    columns = {"user": 20_000, "item": 3_000, "timestamp": 10**9}
    table = pl.DataFrame({name: rng.integers(1, top, 400_000) for name, top in columns.items()})
    table.write_csv(tmp_path / "MicroLens_pairs.csv")
    in_memory = MicroLens(str(tmp_path), subset="full", cache_dir=str(tmp_path / "whole"))
    in_memory.prepare_data()
    spilled = tmp_path / "killed"
    for _ in range(3):
        process = start(tmp_path, spilled, STREAM)
        while not list(spilled.glob("*/tables-*.part/spill/users-*.bin")):
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0, 0.3)))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert start(tmp_path, spilled, STREAM).wait() == 0
    assert prepared(spilled) == prepared(tmp_path / "whole")
    assert not list(spilled.rglob("*.part"))

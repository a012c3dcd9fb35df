"""Frozen features made by processes of their own: killed at random times, and by two at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import cli
from tests.command import succeeded
from tests.test_features_command import delete_features, features, line


@pytest.mark.slow
def test_killed_at_random_times_and_resumed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent), "OMP_NUM_THREADS": "1"}

    def start() -> "subprocess.Popen[bytes]":
        program = [sys.executable, "-m", "cli", *line(tmp_path, 5)]
        return subprocess.Popen(program, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)

    assert start().wait() == 0
    cache = tmp_path / "tiny-0" / ".mmzoo" / "demo-tiny-0"
    whole = features(cache)
    delete_features(cache)
    rng = np.random.default_rng(0)
    deaths = 0
    for _ in range(8):
        process = start()
        while process.poll() is None and not list(cache.glob("features-*.part")):
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0, 0.3)))
        process.kill()
        deaths += process.wait() == -signal.SIGKILL
    assert deaths >= 4
    assert start().wait() == 0
    assert features(cache) == whole


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tmp_path: Path) -> None:
    succeeded(*line(tmp_path), cwd=tmp_path)
    cache = tmp_path / "tiny-0" / ".mmzoo" / "demo-tiny-0"
    alone = features(cache)
    delete_features(cache)
    both = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
    assert "by 2 processes" in succeeded(*line(tmp_path), *both, cwd=tmp_path)
    assert features(cache) == alone

"""Interactions that are streamed take less memory than they would in memory, however many there are."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.measure import in_fresh_process, peak_mb
from datamodules import event_sources, events, spill
from datamodules.microlens import MicroLens
from zoo.types import ModelNeeds


def write_pairs(folder: Path, interactions: int) -> None:
    rng = np.random.default_rng(0)
    table = pl.DataFrame(
        {
            "user": rng.integers(1, interactions // 25, interactions),
            "item": rng.integers(1, 20_000, interactions),
            "timestamp": 1_600_000_000_000 + rng.integers(0, 10**11, interactions),
        }
    )
    table.write_csv(folder / "MicroLens_pairs.csv")


def prepared(root: Path, streamed: bool) -> float:
    """Prepares the pairs; the MB that this took beyond what the process had."""
    events.STREAM_FROM = 0 if streamed else 2**60
    event_sources.PIECE, spill.ROWS, spill.USERS = 2**23, 2**18, 2**12
    before = peak_mb()
    data = MicroLens(str(root), subset="full", cache_dir=str(root / ("streamed" if streamed else "memory")))
    data.bind(ModelNeeds({}))
    data.prepare_data()
    return peak_mb() - before


@pytest.mark.slow
def test_streaming_takes_a_fraction_of_the_memory(tmp_path: Path) -> None:
    write_pairs(tmp_path, 4_000_000)
    streamed, _ = in_fresh_process(prepared, tmp_path, True)
    memory, _ = in_fresh_process(prepared, tmp_path, False)
    assert streamed < 350 < memory, (streamed, memory)
    assert streamed < 0.5 * memory, (streamed, memory)

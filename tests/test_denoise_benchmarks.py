"""The scripts that say whether GUIDER finds noise and what it costs: their parts, small."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.denoise_claims import ALONE, GUIDERS, found_noise, lines, print_recovery, row_name
from benchmarks.denoise_speed import SHAPES, Contender, MadeUp, compare
from zoo.names import short_names


def test_every_row_is_a_command_with_known_names() -> None:
    rows = lines("freedom", [0.0, 0.2])
    assert len(rows) == 2 * (1 + len(GUIDERS))
    assert set(GUIDERS.values()) < set(short_names("model"))
    assert rows[row_name(ALONE, 0.2)][:6] == (
        "--model",
        "freedom",
        "--data",
        "demo_cf",
        "--data.noise",
        "0.2",
    )


def test_recovery_is_read_from_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"weight": [1.0, 0.2, 0.9], "noisy": [False, True, False], "suspicion": [0.1, 0.9, 0.95]}
    pl.DataFrame({**columns, "planted": np.array([False, True, False])}).write_parquet(
        tmp_path / "noise.parquet"
    )
    found = found_noise(tmp_path)
    assert found == {"suspicion": 0.5, "weight": 1.0}
    print_recovery({"GUIDER": [found]})
    assert "| GUIDER | 0.5000" in capsys.readouterr().out


def test_both_contenders_give_the_student_one_gradient() -> None:
    source = MadeUp(SHAPES["toy"])
    ours, plain = Contender(source, plain=False), Contender(source, plain=True)
    compare(ours, plain)
    assert ours.step() == plain.step() == 2 * SHAPES["toy"].batch

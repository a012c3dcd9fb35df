"""The speed benchmark runs, finds its contenders equal, and writes what it promises."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from benchmarks import ladder, profile
from benchmarks.evaluation import check_ranks, make_problem
from benchmarks.frozen import store_rows
from benchmarks.inputs import pictures_row
from benchmarks.measure import Row, Spread, Unequal, in_turns, require
from benchmarks.shapes import SHAPES, make_histories
from benchmarks.speed import KINDS, parse, table_lines
from benchmarks.training import encodes_rows, shape_job

ROOT = Path(__file__).parents[1]


def run_quick(out: Path, *options: str) -> dict[str, list[dict[str, object]]]:
    command = [sys.executable, "-m", "benchmarks.speed", "--quick", "--out", str(out), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| what | contender |")
    report: dict[str, list[dict[str, object]]] = json.loads(out.read_text("utf-8"))
    assert {"machine", "quick", "rows"} <= report.keys()
    for row in report["rows"]:
        assert row.keys() == {
            *("row", "case", "unit", "shape", "rates", "ours_over", "equal", "check", "peak_mb", "notes")
        }
        assert row["equal"] is True
    return report


@pytest.mark.slow
def test_quick_measures_every_row(tmp_path: Path) -> None:
    report = run_quick(tmp_path / "speed.json")
    assert {row["row"] for row in report["rows"]} == set(KINDS)
    assert len(report["rows"]) == 16


def test_states_of_the_store_are_those_of_the_files_and_come_faster(tmp_path: Path) -> None:
    full, kept = store_rows(tmp_path / "store", 400, steps=2)
    assert full.shape["states"] == 13
    assert kept.shape["states"] == 7
    assert full.gains()["a file an item"] > 1
    assert not list(tmp_path.iterdir())


def test_pictures_come_out_alike_however_they_are_kept(tmp_path: Path) -> None:
    row = pictures_row(tmp_path / "pictures", 16, steps=2)
    assert row.rates.keys() == {"ours", "raw arrays in LMDB", "decode JPEG"}
    assert row.gains()["decode JPEG"] > 1


@pytest.mark.slow
def test_every_technique_keeps_the_loss(tmp_path: Path) -> None:
    lines = list(ladder.measured("mini", tmp_path, steps=2, warm_ups=1))
    assert len(lines) == 2 + len(ladder.TECHNIQUES) + 2
    assert lines[2].startswith("| plain | ")


@pytest.mark.slow
def test_parts_of_a_step_add_up_to_it(tmp_path: Path) -> None:
    command = shape_job("mini", tmp_path / "data", full=True).command
    parts = profile.measured(command, tmp_path / "run", steps=3)
    sums = zip(*(parts.spent[name] for name in profile.PARTS), strict=True)
    assert [sum(values) for values in sums] == pytest.approx(parts.spent["step"])
    assert max(parts.spent["  sequence"]) > 0
    assert sum("| … sequence |" in line for line in parts.lines()) == 1


def test_every_distinct_item_is_encoded_once_a_batch(tmp_path: Path) -> None:
    rows = list(encodes_rows(("mini",), tmp_path, batches=2))
    assert [row.rates["plain"].median for row in rows] == [704, 1344, 3264]
    gains = [row.gains()["plain"] for row in rows]
    assert gains == sorted(gains)
    assert gains[0] > 1


def test_ranks_of_all_contenders_agree_on_many_ties() -> None:
    assert "equal" in check_ranks(make_problem(300, 80, torch.device("cpu")))


def test_histories_have_the_shape_and_no_repetition() -> None:
    shape = SHAPES["mini"]
    offsets, items = make_histories(shape)
    assert len(offsets) == shape.users + 1
    assert items.max() < shape.items
    for start, stop in pairwise(offsets.tolist()):
        assert stop - start >= shape.shortest
        assert len(set(items[start:stop].tolist())) == stop - start


def test_an_unequal_contender_ends_the_run() -> None:
    with pytest.raises(Unequal, match=r"losses 1\.0 and 2\.0"):
        require(False, "losses 1.0 and 2.0")


def test_contenders_take_turns() -> None:
    order: list[str] = []

    def act(name: str) -> int:
        order.append(name)
        sum(range(20_000))  # the processor's clock is coarse
        return 1

    rates = in_turns({"a": lambda: act("a"), "b": lambda: act("b")}, steps=2, warm_ups=1)
    assert order == ["a", "b"] * 3
    assert all(rate.minimum <= rate.median <= rate.maximum for rate in rates.values())


def test_costs_and_rates_are_compared_the_right_way_round() -> None:
    spreads = {"ours": Spread(2, 2, 2), "plain": Spread(8, 8, 8)}
    row = Row("encodes", "case", "encodes", {}, spreads, "", less_is_better=True)
    assert row.gains() == {"plain": 4}
    assert list(table_lines(row))[1] == "|  | plain | 8 | 8 | 8 | 4.00 |  |"


def test_unknown_rows_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--rows", "labels,speed"])
    assert "found speed" in capsys.readouterr().err

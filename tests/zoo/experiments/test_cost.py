import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.zoo.experiments.test_jobs import COMMAND
from tests.zoo.experiments.test_sweep import Checked
from zoo.experiments import cost
from zoo.experiments.command import split_line
from zoo.experiments.cost_picture import Disc, draw_costs
from zoo.experiments.picture import PAPER, even_ticks, log_ticks

LINE = ("--models", "fft,lora,side", "--data", "demo")


def run(folder: Path, *arguments: str, check: Checked | None = None) -> Checked:
    check = check or Checked()
    cost.main([*arguments, "--out", str(folder / "out")], COMMAND, check)
    return check


def test_the_table_its_files_and_tpme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = run(tmp_path, *LINE, "--data.size", "tiny")
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].split("|")[1:3] == [" model ", "  HR@10 "]
    fft, lora, side = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:5])
    assert fft == ["fft", "0.2000", "40.00 (100%)", "-", "5,000 (100%)", "900", "700 (100%)", "1.000"]
    assert lora[2:] == ["30.00 ( 75%)", "-", "200 (  4%)", "800", "600 ( 86%)", "0.707"]
    assert side[2:] == ["2.00 (  5%)", "4.50", "500 ( 10%)", "300", "100 ( 14%)", "0.006"]
    assert lora[-1] == f"{0.45 * 28 / 38 + 0.45 * 500 / 600:.3f}"
    assert side[-1] == f"{0.10 * 300 / 4800:.3f}"
    assert "0.45 time + 0.1 parameters + 0.45 memory" in (tmp_path / "out" / "cost.md").read_text()
    with open(tmp_path / "out" / "cost.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["fft", "lora", "side"]
    assert (rows[0]["feature_seconds"], float(rows[2]["feature_seconds"])) == ("", 4.5)
    stored = json.loads((tmp_path / "out" / "cost.json").read_text())
    assert stored["rows"][1]["seconds_per_epoch"] == 30.0
    with Image.open(tmp_path / "out" / "cost.png") as picture:
        assert picture.size == (1520, 920)
        assert len(set(picture.convert("RGB").getcolors(2**20) or [])) > 20
    assert "--trainer.max_epochs=3" in check.lines[0]
    assert check.lines[0][-1].startswith("--trainer.callbacks+=")


def test_one_epoch_is_its_own_warm_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, *LINE, "--epochs", "1")
    out = capsys.readouterr().out
    assert "400.00 (100%)" in out
    assert "warm-up included" in out


def test_more_models_keep_what_is_there(tmp_path: Path) -> None:
    run(tmp_path, "--models", "fft,lora", "--data", "demo")
    assert len(run(tmp_path, *LINE, "--weights", "1,0,0").lines) == 1
    with pytest.raises(ValueError, match="epochs: there 3, here 2"):
        run(tmp_path, *LINE, "--epochs", "2")


def test_a_failed_model_is_told_and_the_others_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"1 of 2 runs failed: broken/seed0"):
        run(tmp_path, "--models", "broken,side", "--data", "demo")
    assert "| side " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2 of 2 runs failed"):
        cost.main(
            [*LINE[:1], "fft,side", *LINE[2:], "--fail=true", "--out", str(tmp_path / "none")],
            COMMAND,
            Checked(),
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--models", "fft,fft"), "expected different models"),
        (("--models", ","), "expected different models"),
        (("--models", "a", "--weights", "1,1,1"), "summing to 1; found 1.0, 1.0, 1.0"),
        (("--models", "a", "--weights", "half"), "expected three weights"),
        (("--models", "a", "--trainer.max_epochs", "2"), "give --epochs"),
        (("--models", "a", "--seed_everything", "2"), "is set for each run"),
    ],
)
def test_lines_that_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cost.plan(*split_line(cost.parser(), [*words, "--data", "demo"]))


def test_runs_are_never_at_the_same_time() -> None:
    arguments, extra = split_line(cost.parser(), [*LINE, "--jobs", "2"])
    assert (arguments.jobs, extra) == (1, ["--jobs=2"])  # and fit knows no --jobs


def test_nothing_runs_if_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)Got value: lora.*The line was that of lora"):
        run(tmp_path, *LINE, check=Checked("lora"))
    assert not list(tmp_path.rglob("job.json"))


def test_one_disc_and_equal_discs_are_drawn() -> None:
    for discs in ([Disc("a", 1.0, 0.1, 0.0, 0.0)], [Disc(name, 2.0, 0.1, 5.0, 0.0) for name in "abc"]):
        picture = draw_costs(discs, "seconds", "HR@10")
        assert picture.getpixel((0, 0)) == (255, 255, 255), PAPER


def test_ticks_cover_small_and_large_numbers() -> None:
    assert log_ticks(90, 2100) == [100.0, 200.0, 500.0, 1000.0, 2000.0]
    assert even_ticks(-0.004, 0.011) == [-0.0, 0.005, 0.01] or len(even_ticks(-0.004, 0.011)) >= 3

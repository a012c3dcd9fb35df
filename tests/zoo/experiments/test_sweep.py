import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.zoo.experiments.test_jobs import COMMAND
from zoo.experiments import sweep
from zoo.experiments.command import split_line
from zoo.experiments.grid import combinations


class Checked:
    """Remembers what was parsed, and refuses a word."""

    def __init__(self, refused: str = "flim") -> None:
        self.lines: list[list[str]] = []
        self.refused = refused

    def __call__(self, argv: Sequence[str]) -> None:
        self.lines.append(list(argv))
        if any(self.refused in word for word in argv):
            raise ValueError(f"Got value: {self.refused}")


def run(folder: Path, *arguments: str, check: Checked | None = None) -> Checked:
    check = check or Checked()
    sweep.main([*arguments, "--out", str(folder / "out")], COMMAND, check)
    return check


LINE = ("--model", "morec", "--data", "demo")


def test_table_over_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = run(tmp_path, *LINE, "--vary", "hits=20,40", "--seeds", "2", "--jobs", "2", "--data.size", "tiny")
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0] == "| hits |           HR@10 |         NDCG@10 | seconds | parameters |"
    assert lines[3] == "| 40   | 0.4050 ± 0.0071 | 0.4050 ± 0.0071 |     2.0 |      1,234 |"
    assert [len(check.lines), check.lines[1][-1]] == [2, "--hits=40"]
    assert (tmp_path / "out" / "table.md").read_text().splitlines() == lines[:4]
    with open(tmp_path / "out" / "table.csv", newline="") as file:
        one, _ = csv.DictReader(file)
    assert (one["hits"], one["finished"]) == ("20", "2")
    assert float(one["hr@10_mean"]) == pytest.approx(0.205)
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored["rows"][1]["metrics"]["hr@10"] == [0.4, 0.41]
    log = (tmp_path / "out" / "hits=40" / "seed1" / "log.txt").read_text()
    assert all(word in log for word in ("--model=morec", "--data=demo", "--data.size=tiny", "--hits=40"))


def test_more_values_and_seeds_keep_what_is_there(tmp_path: Path) -> None:
    run(tmp_path, *LINE, "--vary", "hits=20,40")
    check = run(tmp_path, *LINE, "--vary", "hits=20,40,60", "--seeds", "2")
    logs = [path.read_text() for path in (tmp_path / "out").rglob("log.txt")]
    assert len(logs) == 6
    assert all(log.count("line:") == 1 for log in logs)
    assert len(check.lines) == 3
    assert (
        run(tmp_path, *LINE, "--vary", "hits=20,40,60", "--seeds", "2").lines == []
    )  # nothing left to check


def test_another_sweep_in_the_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path, *LINE, "--vary", "hits=20,40")
    with pytest.raises(ValueError, match=r'axes: there \["hits"\], here \["model.lr"\]'):
        run(tmp_path, *LINE, "--vary", "model.lr=1,2")
    with pytest.raises(ValueError, match=r'options: there \[\], here \["--data.size=tiny"\]'):
        run(tmp_path, *LINE, "--vary", "hits=20,40", "--data.size", "tiny")


def test_nothing_runs_if_a_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)Got value: flim.*hits = 20, model.fusion = flim"):
        run(tmp_path, *LINE, "--vary", "hits=20,40", "--vary", "model.fusion=sum,flim")
    assert not list(tmp_path.rglob("job.json"))


def test_a_failed_run_is_a_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"1 of 2 runs failed: fail=true/seed0") as stop:
        run(tmp_path, *LINE, "--vary", "fail=false,true")
    assert isinstance(stop.value.code, str)
    out = capsys.readouterr().out
    assert "| true  | failed |       - |       - |          - |" in out
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert "the loss was NaN" in stored["rows"][1]["failed"]["fail=true/seed0"]


STUDY = """# A study
command: sweep
model: mmsr
data: demo
options: {trainer: {max_epochs: 3}}
axes:
  tower:
    bert: {model.text.name: bert}
    electra: {model: {text: {name: electra}}, hits: 30}
  fusion: {option: model.fusion, values: [sum, film]}
"""


def test_a_study_names_axes_and_the_line_wins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "mine.yaml"
    study.write_text(STUDY)
    run(tmp_path, "--study", str(study), "--trainer.max_epochs", "1", "--axes", "tower")
    out = capsys.readouterr().out
    assert "| tower   |  HR@10 |" in out
    assert "| electra | 0.3000 |" in out
    log = (tmp_path / "out" / "tower=electra" / "seed0" / "log.txt").read_text()
    line = json.loads(log.splitlines()[0].removeprefix("line: "))
    wanted = ["--trainer.max_epochs=3", "--model.fusion=sum", "--trainer.max_epochs=1"]
    assert line[1:6] == ["--model=mmsr", "--data=demo", *wanted]
    assert line[6:8] == ["--model.text.name=electra", "--hits=30"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("command: transfer", "is a study of mmzoo transfer"),
        ("axess: {}", "Did you mean axes"),
        ("- a", "expected keys and values"),
        ("model: [", "is not YAML"),
        ("{model: a, data: b, mode: all, axes: {a: {b: null}}}", "expected a mode out of one, grid"),
        ("{model: a, data: b}", "nothing is varied"),
        ("data: b", "give --model and --data"),
    ],
)
def test_a_study_that_is_none(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=words):
        run(tmp_path, "--study", str(tmp_path / "mine.yaml"))


def test_lines_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no study named 'mmsrr'. Did you mean mmsr"):
        run(tmp_path, "--study", "mmsrr")
    with pytest.raises(ValueError, match="'tiny' belongs to no option"):
        run(tmp_path, *LINE, "--vary", "hits=1,2", "--data.size=small", "tiny")
    (tmp_path / "mine.yaml").write_text(STUDY)
    with pytest.raises(ValueError, match=r"no axis 'towers'. Known: tower, fusion"):
        run(tmp_path, "--study", str(tmp_path / "mine.yaml"), "--axes", "towers")
    with pytest.raises(ValueError, match=r"--run_dir is set for each run"):
        run(tmp_path, *LINE, "--vary", "hits=1,2", "--run_dir", "x")


def test_the_metrics_in_the_table_are_those_of_the_models() -> None:
    plan = sweep.plan(
        *split_line(sweep.parser(), ["--model=bpr", "--data=demo_cf", "--vary", "model.lr=1,2"])
    )
    (combination, _) = combinations(plan.axes, plan.mode)
    row = sweep.Row(combination, {"recall@20": [0.5], "ndcg@20": [0.25], "hr@5": [0.1]}, [], None, {})
    assert sweep.table_of(plan, [row]).rows[0][1:3] == ["0.5000", "0.2500"]

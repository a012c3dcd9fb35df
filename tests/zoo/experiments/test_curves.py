import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.zoo.experiments.test_jobs import COMMAND
from tests.zoo.experiments.test_sweep import Checked
from zoo.experiments import curves
from zoo.experiments.command import split_line
from zoo.experiments.curve_runs import Curves
from zoo.experiments.curves_picture import Curve, Mark, draw_curves
from zoo.experiments.curves_table import Axes
from zoo.experiments.picture import COLOURS
from zoo.experiments.stats import MeanSd

LINE = ("--models", "freedom,guider", "--data", "demo_cf", "--x", "data.noise=0,0.2,0.4")
STUDY = """# A study
command: curves
data: demo_cf
x: auc:gender
levels: {option: model.adversary_weight, values: [0, 1]}
fixed: [LATTICE]
options: {trainer: {callbacks+: [{class_path: zoo.callbacks.fairness.FairnessReport}]}}
arms:
  LATTICE: {model: lattice, hits: 30}
  FMMRec: {model: fmmrec, hits: 25, model.host_from: '{partner}', model.stages: '{out}/stages'}
"""


def run(folder: Path, *arguments: str, check: Checked | None = None) -> Checked:
    check = check or Checked()
    curves.main([*arguments, "--out", str(folder / "out")], COMMAND, check)
    return check


def planned(*arguments: str) -> tuple[Curves, Axes]:
    return curves.plan(*split_line(curves.parser(), arguments))


def cells(out: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line[:1] == "|"]


def study_file(folder: Path, text: str = STUDY) -> str:
    (folder / "mine.yaml").write_text(text)
    return str(folder / "mine.yaml")


def pixels(path: Path) -> dict[object, int]:
    with Image.open(path) as picture:
        return {colour: count for count, colour in picture.convert("RGB").getcolors(2**20) or []}


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def test_quality_against_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = run(tmp_path, *LINE, "--seeds", "3", "--jobs", "2", "--data.size", "tiny")
    out = capsys.readouterr().out
    header, _, *rows = cells(out)
    assert header == [
        "arm",
        "data.noise",
        "Recall@20",
        *(f"Recall@20: {p}" for p in ("minus partner", "95 %", "p")),
    ]
    assert rows[0] == ["freedom", "0", "0.2100 ± 0.0100", "", "", ""]
    assert rows[2][:3] == ["freedom", "0.4", "0.0100 ± 0.0100"]
    # 0.10 of the noise, and the square of the seed: 0, 1 and 4 hundredths, of which t = 11.67 / 1.2
    arm, level, value, difference, interval, p = rows[5]
    assert (arm, level, value, difference) == ("guider", "0.4", "0.1267 ± 0.0306", "+0.1167")
    assert interval == "[+0.0650, +0.1684]"
    assert p == "0.031"  # 0.0104 of three
    assert "Partner of guider: freedom; at equal level and seed." in out
    assert "corrected for 3 comparisons of a quantity (Holm)" in out
    assert len(check.lines) == 6
    folder = tmp_path / "out"
    with open(folder / "curves.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["arm"], line["level"], line["n"]) for line in lines][3] == ("guider", "0", "3")
    assert (float(lines[1]["x_mean"]), lines[1]["x_sd"]) == (0.2, "")
    assert float(lines[1]["y_mean"]) == pytest.approx(0.11)
    stored = json.loads((folder / "results.json").read_text())
    assert stored["points"][0]["values"] == {"recall@20": {"0": 0.2, "1": 0.21, "2": 0.22}}
    assert stored["differences"][2]["p_holm"] == pytest.approx(0.0313, abs=1e-4)
    assert (folder / "curves.md").read_text() in out.lstrip() + "\n"
    assert all(pixels(folder / "curves.png")[rgb(colour)] > 300 for colour in COLOURS[:2])


def test_what_is_there_is_kept_and_drawn_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, *LINE)
    out = capsys.readouterr().out
    assert "| guider  | 0.4" in out
    assert "Holm" not in out  # one seed says nothing of chance
    again = (*LINE[:-1], "data.noise=0,0.2,0.4,0.1", "--y", "ndcg@20")
    assert len(run(tmp_path, *again).lines) == 2
    logs = [path.read_text() for path in (tmp_path / "out").rglob("log.txt")]
    assert [log.count("line:") for log in logs] == [1] * 8
    assert "NDCG@20" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r'options: there \[\], here \["--data.size=tiny"\]'):
        run(tmp_path, *LINE, "--data.size", "tiny")


def test_quality_against_leakage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "--study", study_file(tmp_path), "--seeds", "2", "--jobs", "2")
    header, _, *rows = cells(capsys.readouterr().out)
    assert header[:4] == ["arm", "model.adversary_weight", "AUC of gender", "Recall@20"]
    assert [row[:4] for row in rows] == [
        ["LATTICE", "-", "0.9050 ± 0.0071", "0.3050 ± 0.0071"],
        ["FMMRec", "0", "0.8050 ± 0.0071", "0.2550 ± 0.0071"],
        ["FMMRec", "1", "0.4050 ± 0.0071", "0.2550 ± 0.0071"],
    ]
    assert [row[4] for row in rows] == ["", "-0.0500", "-0.0500"]
    assert [row[7] for row in rows] == ["", "-0.1000", "-0.5000"]
    out = tmp_path / "out"
    line = json.loads(
        (out / "FMMRec" / "1" / "seed1" / "log.txt").read_text().splitlines()[0].removeprefix("line: ")
    )
    assert f"--model.host_from={out}/LATTICE/seed1" in line
    assert f"--model.stages={out}/stages" in line
    assert line.index("--model=fmmrec") < line.index("--model.adversary_weight=1")
    with open(out / "curves.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert float(first["x_mean"]) == pytest.approx(0.905)
    for other in (
        ("--x", "level"),
        ("--x", "auc:gender:item"),
        ("--x", "balanced:gender", "--arms", "LATTICE"),
    ):
        assert run(tmp_path, "--study", study_file(tmp_path), "--seeds", "2", *other).lines == []
    with pytest.raises(ValueError, match=r"measured no auc:age, but auc:gender:user, .*not run again"):
        run(tmp_path, "--study", study_file(tmp_path), "--seeds", "2", "--x", "auc:age")


def test_attackers_come_with_what_asks_for_them(tmp_path: Path) -> None:
    plan, _ = planned("--models", "lattice,freedom", "--data", "demo_cf", "--x", "auc:gender")
    assert plan.options == [curves.REPORT]
    assert planned(*LINE)[0].options == []
    assert planned("--study", study_file(tmp_path))[0].options == [curves.REPORT]


def test_failed_runs_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = STUDY.replace("hits: 30", "fail: true")
    with pytest.raises(SystemExit, match=r"3 of 3 runs failed: LATTICE/seed0, FMMRec/0/seed0"):
        run(tmp_path, "--study", study_file(tmp_path, text))
    assert [row[3] for row in cells(capsys.readouterr().out)[2:]] == ["failed"] * 3
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored["failed"]["FMMRec/1/seed0"] == "Its partner failed: LATTICE/seed0."
    assert not (tmp_path / "out" / "curves.png").exists()
    with pytest.raises(SystemExit, match=r"2 of 4 runs failed"):
        curves.main(
            ["--models", "broken,guider", *LINE[2:-1], "data.noise=0,1", "--out", str(tmp_path / "b")],
            COMMAND,
            Checked(),
        )
    rows = cells(capsys.readouterr().out)[2:]
    assert [row[2:4] for row in rows] == [["failed", ""], ["failed", ""], ["0.2000", ""], ["-0.0500", ""]]


def test_nothing_runs_if_a_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)Got value: guider.*The line was that of guider/0/seed0"):
        run(tmp_path, *LINE, check=Checked("guider"))
    assert not list(tmp_path.rglob("job.json"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (LINE[:2], "give --models and --data"),
        (LINE[:4], "nothing to draw against"),
        ((*LINE[:-1], "data.cut=random,time"), "'random' is no number"),
        ((*LINE[:-1], "data.noise="), r"--x: expected OPTION=VALUE"),
        ((*LINE, "--levels", "data.noise=0,1"), "both give levels"),
        ((*LINE[:-1], "recal@20"), r"(?s)--x: expected a test metric.*Did you mean recall@20"),
        ((*LINE, "--y", "auk:gender"), "--y: expected MEASURE:ATTRIBUTE"),
        ((*LINE, "--y", "auc:gender:users"), "a side out of user, item"),
        ((*LINE, "--arms", "freedom"), "--arms chooses among a study's"),
        (("--models", "bpr,bpr", *LINE[2:]), "expected different models"),
        ((*LINE, "--data.noise", "0.1"), "--data.noise is what the axis 'data.noise' varies"),
        ((*LINE, "--ckpt_path", "x"), "--ckpt_path is set for each run"),
    ],
)
def test_lines_that_are_refused(words: Sequence[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planned(*words)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("command: curves", "command: sweep", "is a study of mmzoo sweep"),
        ("fixed: [LATTICE]", "fixed: [LATICE]", "fixed: there is no arm 'LATICE'. Known: LATTICE, FMMRec"),
        ("fixed: [LATTICE]", "partners: {FMMRec: X}", "partners: there is no arm 'X'"),
        ("fixed: [LATTICE]", "partners: {}", "begins from its partner's run .* but has no partner"),
        ("fixed: [LATTICE]", "partners: {FMMRec: FMMRec}", "which begins from another one's"),
        ("{model: lattice, hits: 30}", "{hits: 30}", "the arm 'LATTICE' names no model"),
        ("{model: lattice, hits: 30}", "lattice", "arms, LATTICE: expected options"),
        (
            "hits: 25",
            "model.adversary_weight: 1",
            "--model.adversary_weight is set by the axis 'arms' and by",
        ),
        ("hits: 25", "run_dir: x", "--run_dir is set for each run"),
    ],
)
def test_studies_that_are_refused(before: str, after: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        planned("--study", study_file(tmp_path, STUDY.replace(before, after)))


def test_an_arm_without_its_partner_is_refused_where_it_begins_from_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="let --arms keep it"):
        planned("--study", study_file(tmp_path), "--arms", "FMMRec")


def test_pictures_of_single_points_equal_values_and_many_arms() -> None:
    nothing = math.nan
    one = [Curve("a", [Mark(MeanSd(0.0, nothing), MeanSd(0.1, nothing))])]
    same = [Curve(str(i), [Mark(None, MeanSd(0.0, 0.0))]) for i in range(10)]
    rates = [Curve("b", [Mark(MeanSd(10.0**-i, nothing), MeanSd(0.1 * i, 0.02)) for i in range(5)])]
    for found in (one, same, rates, [*one, *same]):
        for exact in (True, False):
            picture = draw_curves(found, "x", "y", "note", exact)
            assert picture.getpixel((0, 0)) == (255, 255, 255)

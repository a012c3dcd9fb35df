import csv
import json
from pathlib import Path

import pytest

from tests.zoo.experiments.test_jobs import COMMAND
from tests.zoo.experiments.test_sweep import Checked
from zoo.experiments import attack, fair

LINE = ("--hosts", "lightgcn,bpr", "--data", "demo_cf")


def run(folder: Path, *arguments: str, check: Checked | None = None) -> Checked:
    check = check or Checked()
    fair.main([*arguments, "--out", str(folder / "out")], COMMAND, check)
    return check


def lines_of(folder: Path) -> dict[str, list[str]]:
    """Run -> the line it was started with."""
    return {
        str(path.parent.relative_to(folder / "out")): json.loads(
            path.read_text().splitlines()[0].removeprefix("line: ")
        )
        for path in sorted((folder / "out").glob("*/*/seed*/log.txt"))
    }


def test_hosts_first_then_fmmrec_on_each_and_paired_tests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = run(tmp_path, *LINE, "--weights", "0,1", "--seeds", "2", "--data.size", "tiny")
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if "|" in line]
    assert rows[0] == ["host", "variant", "Recall@20", "gender user AUC", "gender item AUC"]
    assert [row[:2] for row in rows[2:5]] == [
        ["lightgcn", "host"],
        ["lightgcn", "fmmrec,weight=0"],
        ["lightgcn", "fmmrec,weight=1"],
    ]
    assert rows[2][3] == "0.9050 ± 0.0071"
    # The same difference for every seed: how far it varies is not known.
    assert ["lightgcn", "fmmrec,weight=1", "gender user AUC", "-0.5000", "-", "-"] in rows
    assert ["bpr", "fmmrec,weight=0", "recall@20", "+0.0000", "+0.0000 to +0.0000", "1.0000"] in rows
    with open(tmp_path / "out" / "fair.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 2 * 3 * 2
    assert (found[0]["host"], found[0]["gender user AUC"]) == ("lightgcn", "0.9")
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(stored["differences"]) == 2 * 2 * 3
    assert len(check.lines) == 2 * 3


def test_who_gets_which_option(tmp_path: Path) -> None:
    run(tmp_path, *LINE, "--host.width", "8", "--model.neighbours", "4", "--attributes", "gender,age")
    lines = lines_of(tmp_path)
    host, tuned = lines["bpr/host/seed0"], lines["bpr/fmmrec/seed0"]
    assert {"--model=bpr", "--model.width=8"} <= set(host)
    assert not [word for word in host if "neighbours" in word or "host_from" in word]
    assert {"--model=fmmrec", "--model.host=bpr", "--model.host_args.width=8", "--model.neighbours=4"} <= set(
        tuned
    )
    assert f"--model.host_from={tmp_path / 'out' / 'bpr' / 'host' / 'seed0'}" in tuned
    assert f"--model.stages={tmp_path / 'out' / 'stages'}" in tuned
    assert '--model.attributes=["gender", "age"]' in tuned
    reports = [word for word in (*host, *tuned) if word.startswith("--trainer.callbacks+=")]
    assert len(set(reports)) == 1
    assert json.loads(reports[0].partition("=")[2])[0]["init_args"]["attributes"] == ["gender", "age"]


def test_more_seeds_keep_what_is_there(tmp_path: Path) -> None:
    run(tmp_path, *LINE)
    assert not run(tmp_path, *LINE).lines
    run(tmp_path, *LINE, "--seeds", "2")
    assert len(lines_of(tmp_path)) == 2 * 2 * 2
    with pytest.raises(ValueError, match="another experiment"):
        run(tmp_path, *LINE, "--data.size", "tiny")


def test_a_host_that_fails_takes_its_own_along_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"2 of 4 runs failed: broken/host/seed0, broken/fmmrec/seed0"):
        run(tmp_path, "--hosts", "broken,bpr", "--data", "demo_cf")
    assert "| bpr  | fmmrec" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--weights", "1,1"), "given twice"),
        (("--model.host_from", "x"), "set for each run"),
        (("--run_dir", "x"), "set for each run"),
    ],
)
def test_lines_that_cannot_be(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path, *LINE, *words)
    with pytest.raises(ValueError, match="names of models"):
        run(tmp_path, "--hosts", ",", "--data", "demo_cf")


def test_a_line_that_the_command_refuses_stops_everything(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Nothing was run.*lightgcn/fmmrec/seed0"):
        run(tmp_path, *LINE, "--model.nothing", "1", check=Checked("model.nothing"))
    assert not lines_of(tmp_path)


def test_attack_is_a_test_with_the_report(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / "best-epoch001-step000002.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    echo = ("python3", "-c", "import sys, json; print(json.dumps(sys.argv[1:]))")
    attack.main(
        ["--ckpt_path", str(tmp_path / "run"), "--data", "demo_cf", "--epochs", "5", "--data.size", "tiny"],
        echo,
        Checked(),
    )
    line = json.loads(capfd.readouterr().out)
    assert line[:3] == ["test", f"--ckpt_path={checkpoint}", "--data=demo_cf"]
    assert line[-1] == "--data.size=tiny"
    (report,) = json.loads(line[3].removeprefix("--trainer.callbacks+="))
    assert report["init_args"] == {"attributes": None, "epochs": 5, "seed": 0}
    with pytest.raises(FileNotFoundError, match="best"):
        attack.main(["--ckpt_path", str(tmp_path), "--data", "demo_cf"], echo, Checked())

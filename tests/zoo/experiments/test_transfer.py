import csv
import json
from pathlib import Path

import polars as pl
import pytest

from tests.zoo.experiments.fake import USERS
from tests.zoo.experiments.test_jobs import COMMAND
from tests.zoo.experiments.test_sweep import Checked
from zoo.experiments import transfer


@pytest.fixture(autouse=True)
def ranks(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of ranks for the fake runs, one a number of hits."""
    folder = tmp_path_factory.mktemp("ranks")
    for hits in range(15, 45):
        found = [1] * hits + [500] * (USERS - hits)
        table = {"user": [f"u{u}" for u in range(USERS)], "target": ["v1"] * USERS, "rank": found}
        pl.DataFrame(table).write_parquet(folder / f"{hits}.parquet")
    monkeypatch.setenv("FAKE_RANKS", str(folder))


def run(folder: Path, *arguments: str, check: Checked | None = None) -> Checked:
    check = check or Checked()
    transfer.main([*arguments, "--out", str(folder / "out")], COMMAND, check)
    return check


def line(folder: Path, *place: str) -> list[str]:
    log = folder.joinpath("out", *place, "log.txt").read_text()
    found = json.loads(log.splitlines()[0].removeprefix("line: "))
    assert isinstance(found, list)
    return found


PAIR = ("--model", "pmmrec", "--sources", "demo", "--targets", "demo_b")


def test_one_table_of_all_arms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = run(tmp_path, *PAIR, "--fractions", "0.1,1", "--seeds", "2", "--jobs", "2", "--hits=20")
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in row.strip("| ").split("|")] for row in out.strip().splitlines()]
    assert rows[0] == ["source", "target", "test HR@10", "10 %", "100 %"]
    assert [row[2] for row in rows[2:6]] == ["from scratch", "frozen", "fine-tuned", "ID only"]
    assert rows[2][3] == "0.2050 ± 0.0071"
    assert rows[4][4] == "0.3050 ± 0.0071"
    assert rows[6][2:] == ["fine-tuned - from scratch", "+0.1000", "+0.1000"]
    assert rows[9][2:] == ["p over users", "< 0.001", "< 0.001"]
    assert "corrected for 2 comparisons (Holm)" in out
    assert len(check.lines) == 9  # a source, and four arms at two shares
    with open(tmp_path / "out" / "table.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 16
    (small, whole) = json.loads((tmp_path / "out" / "results.json").read_text())["fine_tuned_minus_scratch"]
    assert small["over_users"]["difference"] == pytest.approx(0.1)
    assert (whole["fraction"], whole["seeds"]) == (1.0, 2)
    assert whole["over_seeds"]["p_holm"] is None  # equal differences tell nothing of their spread


def test_what_each_arm_is_told(tmp_path: Path) -> None:
    run(tmp_path, *PAIR, "--fractions", "0.1", "--model.lr", "0.1", "--data.size", "tiny")
    scratch, frozen, tuned, ids = (
        line(tmp_path, "cells", "demo_b", "0.1", arm, "seed0")
        for arm in ("scratch", "frozen-from-demo", "finetuned-from-demo", "id")
    )
    common = ["--data.train_fraction=0.1", "--data.fraction_seed=0"]
    start = [f"--model.init_from={tmp_path}/out/sources/demo/seed0", "--model.transfer=full"]
    typed = ["--model.lr=0.1", "--data.size=tiny", "--seed_everything=0"]
    assert scratch[1:-3] == ["--model=pmmrec", "--data=demo_b", *common, *typed]
    assert tuned[1:-3] == ["--model=pmmrec", "--data=demo_b", *common, *start, *typed]
    assert frozen[1:-3] == [*tuned[1:7], "--model.freeze=item", *typed]
    assert ids[1:-3] == ["--model=idrec", "--data=demo_b", *common, *typed[1:]]
    assert line(tmp_path, "sources", "demo", "seed0")[1:-3] == ["--model=pmmrec", "--data=demo", *typed]


def test_what_begins_from_nothing_runs_once_for_all_sources(tmp_path: Path) -> None:
    pairs = ("--model", "pmmrec", "--sources", "a,b,c", "--targets", "c", "--fractions", "1")
    run(tmp_path, *pairs, "--arms", "scratch,finetuned")
    assert {path.name for path in (tmp_path / "out" / "sources").iterdir()} == {"a", "b"}  # not c to itself
    arms = {path.name for path in (tmp_path / "out" / "cells" / "c" / "1").iterdir()}
    assert arms == {"scratch", "finetuned-from-a", "finetuned-from-b"}


def test_a_cell_whose_source_failed_is_shown_as_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "mine.yaml"
    study.write_text("{command: transfer, source_options: {fail: true}}")
    with pytest.raises(SystemExit, match="1 of 2 runs failed"):
        run(tmp_path, *PAIR, "--study", str(study), "--fractions", "1", "--arms", "scratch,finetuned")
    out = capsys.readouterr().out
    assert "| demo   | demo_b | fine-tuned   | failed |" in out
    assert "fine-tuned - from scratch" not in out
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(stored["failed"].values()) == ["Its source failed: out/sources/demo/seed0."]


STUDY = """
command: transfer
model: pmmrec
id_model: idrec
sources: {big: {data: nineRec, data.subset: Bili_2M}}
targets: {QB: {data: nineRec, data.subset: QB}}
fractions: {0.1: {trainer.max_epochs: 40}, 1: null}
arms: {scratch: null, finetuned: {model.lr: 0.01}, id: {model.width: 8}}
parts: [text, user]
"""


def test_a_study_has_options_of_arms_and_shares(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(STUDY)
    (tmp_path / "big.ckpt").touch()
    given = ("--source_ckpt", str(tmp_path / "big.ckpt"))
    run(tmp_path, "--study", str(tmp_path / "mine.yaml"), *given, "--fractions", "0.1")
    tuned = line(tmp_path, "cells", "QB", "0.1", "finetuned-from-big", "seed0")
    assert tuned[1:6] == [
        "--model=pmmrec",
        "--data=nineRec",
        "--data.subset=QB",
        "--trainer.max_epochs=40",
        "--model.lr=0.01",
    ]
    assert tuned[8:10] == [f"--model.init_from={tmp_path / 'big.ckpt'}", "--model.transfer=text,user"]
    assert "--model.width=8" in line(tmp_path, "cells", "QB", "0.1", "id", "seed0")
    assert not (tmp_path / "out" / "sources").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "pmmrec"), "give --model, --sources and --targets"),
        ((*PAIR, "--fractions", "2"), "above 0 and up to 1"),
        ((*PAIR, "--fractions", "a"), "above 0 and up to 1"),
        ((*PAIR, "--arms", "scrach"), "expected arms out of scratch"),
        ((*PAIR[:4], "--targets", "demo"), "the source itself"),
        ((*PAIR, "--source_ckpt", "a,b"), "expected 1, one a source, found 2"),
        ((*PAIR, "--source_ckpt", "nowhere.ckpt"), "there is no nowhere.ckpt"),
        ((*PAIR[:4], "--targets", "b,b"), "given twice"),
        ((*PAIR, "--model.fusion=flim"), "The line was that of out/sources/demo"),
        ((*PAIR, "--metric", "hr@11"), "Expected a metric out of"),
    ],
)
def test_lines_that_are_refused(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path, *words)
    assert not list(tmp_path.rglob("job.json"))

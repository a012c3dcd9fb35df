"""Run files of the leaderboard: all are read, all parse by the real command, three run from raw files on."""

import json
from pathlib import Path

import pytest

import cli
from tests.command import ROOT, succeeded
from tests.data_makers.miniatures import MINIATURES
from zoo.leaderboard.published import read_published, require_known
from zoo.leaderboard.runfile import RunFile, read_run_file, run_files

RUNS = ROOT / "benchmarks" / "runs"
FILES = [read_run_file(path) for paths in run_files(RUNS).values() for path in paths]
TRAINED = [file for file in FILES if file.model]
ONE_A_MODEL = list({file.model: file for file in TRAINED}.values())


def parse(file: RunFile) -> None:
    config = cli.check_line(["fit", *file.line()])
    assert config["model"]["class_path"]


@pytest.mark.parametrize("file", ONE_A_MODEL, ids=lambda file: file.key)
def test_a_run_of_each_model_parses(file: RunFile) -> None:
    parse(file)


@pytest.mark.slow
@pytest.mark.parametrize("file", TRAINED, ids=lambda file: file.key)
def test_every_run_parses(file: RunFile) -> None:
    parse(file)


def test_every_figure_that_a_run_stands_beside_is_there() -> None:
    figures = read_published(ROOT / "benchmarks" / "published.yaml")
    require_known({file.key: file.published for file in FILES}, figures)
    assert all(figure.hides for figure in figures.values())
    assert all(0 < value < 1 for f in figures.values() for m, value in f.metrics.items() if "@" in m)


def test_every_board_has_a_baseline_and_says_what_is_what() -> None:
    boards = {file.board: [f for f in FILES if f.board == file.board] for file in FILES}
    for board, files in boards.items():
        assert any(file.role == "baseline" for file in files), board
        assert len({file.title for file in files}) == len(files), board
    papers = {file.name for file in boards["demo"] + boards["demo_cf"] if file.role == "paper"}
    assert papers >= {
        "morec",
        "pmmrec",
        "mmsr",
        "odmt",
        "iisan",
        "iisan_versa",
        "crossan",
        "guider",
        "fmmrec",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tree", "board", "models"),
    [
        ("nineRec", "ninerec-qb", ("popularity", "sasrec_id")),
        ("microlens", "microlens-100k", ("markov", "gru4rec_id")),
        ("amazon-iisan", "amazon-scientific", ("popularity", "idrec")),
    ],
)
def test_from_raw_files_to_the_page(tree: str, board: str, models: tuple[str, str], tmp_path: Path) -> None:
    MINIATURES[tree].make(tmp_path / "raw")
    asked = [f"{board}/{model}" for model in models]
    line = ("leaderboard", "run", *asked, "--runs", str(RUNS), "--seeds", "2", "--threads", "1")
    small = ("--model.width", "16", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")
    out = succeeded(*line, "--data.root", "raw", *small, cwd=tmp_path)
    assert "3 runs: 0 finished, 3 to do" in out
    assert "3 runs: 3 finished, 0 to do" in succeeded(*line, "--data.root", "raw", *small, cwd=tmp_path)
    folder = tmp_path / "runs" / "leaderboard" / board / models[1] / "seed-1"
    assert (folder / "weights.safetensors").is_file()
    stored = json.loads((folder / "results.json").read_text())
    assert stored["slices"].keys() >= {"popularity", "activity"}
    show = (
        "leaderboard",
        "show",
        "--runs",
        str(RUNS),
        "--published",
        str(ROOT / "benchmarks/published.yaml"),
    )
    out = succeeded(*show, "--html", "page.html", "--format", "json", cwd=tmp_path)
    (found,) = json.loads(out[: out.rindex("]") + 1])
    assert [row["seeds"] for row in found["rows"] if row["model"] in models] in ([1, 2], [2, 1])
    assert found["apart"] == []
    assert stored["protocol"] == found["protocol"]
    assert "<svg" in (tmp_path / "page.html").read_text()

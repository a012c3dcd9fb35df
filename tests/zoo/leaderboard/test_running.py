import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.zoo.experiments.test_jobs import COMMAND
from tests.zoo.leaderboard.made import made_run, run_file
from zoo.experiments.jobs import write_state
from zoo.leaderboard import command
from zoo.leaderboard.runfile import find_runs, read_run_file
from zoo.leaderboard.running import differences, jobs_of, note_begun, plan
from zoo.provenance import code_version, config_hash, seal

CONFIG = {"model": {"class_path": "zoo.models.morec.MoRec"}, "data": {"class_path": "tests.Data"}}


def check(argv: Sequence[str]) -> object:
    if "--model=flim" in argv:
        raise ValueError("There is no model named 'flim'.")
    return CONFIG


def run(folder: Path, *words: str, runs: Path | None = None) -> None:
    out = ["--out", str(folder / "out"), "--runs", str(runs or folder / "runs")]
    command.main(["run", *words, *out], COMMAND, check)


def finished(path: Path) -> dict[str, object]:
    state: dict[str, object] = json.loads((path / "job.json").read_text())
    return state


def test_a_run_file_is_read_and_its_options_become_words(tmp_path: Path) -> None:
    options = {"model.width": 64, "model.image": None, "model.text.name": "bert"}
    path = run_file(tmp_path, "morec", options=options, published=["a:b"], seeds=3, role="control")
    found = read_run_file(path)
    assert found.key == "toy/morec"
    assert found.line()[:2] == ["--model=morec", "--data=demo"]
    assert "--model.image=null" in found.options
    assert (found.seeds, found.role, found.published) == (3, "control", ("a:b",))
    assert type(found).of_plain(json.loads(json.dumps(found.plain()))) == found


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sedes": 3}, "no 'sedes'. Did you mean seeds"),
        ({"seeds": 0}, "seeds: expected a number of at least 1"),
        ({"role": "hero"}, "expected one of paper, control, baseline, found 'hero'"),
        ({"ranker": "markov"}, "expected one of model, ranker, command, found model and ranker"),
        ({"model": ""}, "expected one of model, ranker, command, found none of them"),
        ({"title": ""}, "'title' is missing"),
        ({"options": ["a"]}, "expected options and values"),
    ],
)
def test_a_bad_run_file_says_what_is_wrong(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = run_file(tmp_path, "morec", **values)
    with pytest.raises(ValueError, match=said.replace(".", r"\.")) as error:
        read_run_file(path)
    assert str(path) in str(error.value)


def test_unknown_names_list_what_is_near(tmp_path: Path) -> None:
    for model in ("morec", "mmsr", "odmt"):
        run_file(tmp_path, model)
    assert [file.name for file in find_runs(tmp_path, ["TOY", "toy/MoRec"])] == ["mmsr", "morec", "odmt"]
    with pytest.raises(ValueError, match=r"no run 'moreq'. Did you mean morec"):
        find_runs(tmp_path, ["toy/moreq"])
    with pytest.raises(ValueError, match=r"no board 'tiy'. Did you mean toy"):
        find_runs(tmp_path, ["tiy"])
    with pytest.raises(ValueError, match=r"not with the wheel"):
        find_runs(tmp_path / "nowhere", ["toy"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no run file"):
        find_runs(tmp_path / "empty", ["toy"])


def test_what_the_user_types_goes_over_the_file_and_rankers_get_data_options_only(tmp_path: Path) -> None:
    file = read_run_file(run_file(tmp_path, "morec", options={"model.width": 64, "data.size": "small"}))
    (job, _) = jobs_of(file, 2, tmp_path, ["--data.size=tiny", "--trainer.max_epochs=1"])
    assert job.options == (
        "--model=morec", "--data=demo", "--model.width=64", "--data.size=tiny", "--trainer.max_epochs=1",
        "--weights=true", "--seed_everything=0",
    )  # fmt: skip
    ranker = read_run_file(run_file(tmp_path, "pop", ranker="popularity", model=""))
    (job,) = jobs_of(ranker, 5, tmp_path, ["--data.size=tiny", "--trainer.max_epochs=1"])
    assert job.action == ("data", "baseline")
    assert job.options == ("--data=demo", "--data.size=tiny", "--ranker=popularity")


def test_runs_that_are_there_are_kept_and_failed_ones_are_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file(tmp_path / "runs", "morec", seeds=2)
    run_file(tmp_path / "runs", "broken")
    with pytest.raises(SystemExit, match=r"2 of 4 runs failed: toy/broken/seed-0, toy/broken/seed-1"):
        run(tmp_path, "toy", "--seeds", "2")
    assert "4 runs: 0 finished, 4 to do" in capsys.readouterr().out
    board = tmp_path / "out" / "toy"
    assert finished(board / "morec" / "seed-1")["finished"]
    assert "the loss was NaN" in str(finished(board / "broken" / "seed-0")["failed"])
    assert json.loads((board / "morec" / "run.json").read_text())["title"] == "The morec"
    for _ in range(2):  # the fake's results have no seal, so that they are called old, and kept
        run(tmp_path, "toy/morec", "--seeds", "2")
    out = capsys.readouterr().out
    assert "2 left alone" in out
    assert "edited by hand, or made by an older version" in out
    assert (board / "morec" / "seed-0" / "log.txt").read_text().count("line:") == 1
    run(tmp_path, "toy/morec", "--seeds", "2", "--again")
    assert "2 to do, 0 left alone" in capsys.readouterr().out
    assert (board / "morec" / "seed-0" / "log.txt").read_text().count("line:") == 1  # a fresh folder


def test_what_another_program_trains_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file(tmp_path / "runs", "theirs", model="", command="python -m theirs FOLDER", role="baseline")
    run_file(tmp_path / "runs", "morec")
    run(tmp_path, "toy", "--seeds", "1")
    out = capsys.readouterr().out
    assert "toy/theirs is trained by another program: python -m theirs FOLDER" in out
    assert "1 runs: 0 finished, 1 to do" in out
    assert not (tmp_path / "out" / "toy" / "theirs").exists()
    run(tmp_path, "toy/theirs")
    assert "1 runs" not in capsys.readouterr().out


def test_what_differs_is_said(tmp_path: Path) -> None:
    file = read_run_file(run_file(tmp_path / "runs", "morec"))
    (planned,) = plan([file], 1, tmp_path / "out", [], check)
    assert planned.config == config_hash(CONFIG)
    job = planned.jobs[0]
    assert differences(job, planned) == []
    code = code_version(["zoo", "tests"])
    folder = made_run(tmp_path / "out", "morec", config=planned.config, code=code)
    (folder / "job.json").write_text(json.dumps({"options": list(job.options), "finished": True}))
    assert differences(job, planned) == []
    content = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(
        json.dumps(seal({**content, "config": "x", "code": {"commit": "abc"}}))
    )
    assert differences(job, planned) == ["another configuration", "other code (abc)"]
    (folder / "job.json").write_text(json.dumps({"options": ["--model=odmt"], "finished": False}))
    assert differences(job, planned) == ["other options"]


def test_what_other_code_has_begun_is_not_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = read_run_file(run_file(tmp_path / "runs", "morec", seeds=1))
    (planned,) = plan([file], None, tmp_path / "out", [], check)
    (job,) = planned.jobs
    note_begun([planned._replace(code="older")], planned.jobs)
    write_state(job, finished=False)
    assert differences(job, planned) == []  # nothing of it is trained yet
    (job.folder / "checkpoints").mkdir()
    (job.folder / "checkpoints" / "last.ckpt").write_text("")
    note_begun([planned], planned.jobs)
    assert differences(job, planned) == ["begun by other code"]
    (tmp_path / "out" / "experiment.json").write_text('{"command": "leaderboard"}')
    run(tmp_path, "toy")
    assert "toy/morec/seed-0: begun by other code" in capsys.readouterr().out
    run(tmp_path, "toy", "--again")
    assert finished(job.folder)["finished"]


def test_what_runs_on_a_cluster_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file(tmp_path / "runs", "morec", seeds=2)
    folder = tmp_path / "out" / "toy" / "morec" / "seed-1"
    folder.mkdir(parents=True)
    note = json.dumps({"cluster": "slurm", "id": "7", "logs": str(tmp_path)})
    (folder / "submitted.json").write_text(note)
    (tmp_path / "out" / "experiment.json").write_text('{"command": "leaderboard"}')
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"morec/seed-1 was handed to SLURM as job 7"):
        run(tmp_path, "toy")

    class Waits:
        def __init__(self, **options: object) -> None: ...

        def done(self) -> bool:
            return False

    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(SlurmJob=Waits))
    run(tmp_path, "toy")
    assert "1 of them wait or run on SLURM" in capsys.readouterr().out
    assert (folder.parent / "seed-0" / "results.json").is_file()
    assert not (folder / "job.json").exists()
    (folder / "job.json").write_text('{"options": ["--model=other"], "finished": false}')
    run(tmp_path, "toy", "--again")
    assert (folder / "submitted.json").is_file()  # what runs there is not removed


def test_nothing_is_run_if_a_line_is_refused(tmp_path: Path) -> None:
    run_file(tmp_path / "runs", "morec")
    run_file(tmp_path / "runs", "flim")
    with pytest.raises(ValueError, match=r"no model named 'flim'.*\n.*line was that of toy/flim"):
        run(tmp_path, "toy")
    with pytest.raises(ValueError, match=r"--run_dir is set for each run"):
        run(tmp_path, "toy/morec", "--run_dir=x")
    assert not (tmp_path / "out" / "toy").exists()


def test_a_cluster_of_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit")
    run_file(tmp_path / "runs", "morec")
    run_file(tmp_path / "runs", "broken")
    words = ["toy", "--seeds", "1", "--submit", "local", "--submit-options", "timeout_min=5"]
    with pytest.raises(SystemExit, match=r"1 of 2 runs failed: toy/broken/seed-0"):
        run(tmp_path, *words)
    assert "2 runs handed over" in capsys.readouterr().out
    board = tmp_path / "out" / "toy"
    assert finished(board / "morec" / "seed-0")["finished"]
    assert json.loads((board / "morec" / "seed-0" / "submitted.json").read_text())["cluster"] == "local"
    with pytest.raises(ValueError, match=r"expected NAME=VALUE"):
        run(tmp_path, "toy", "--submit", "local", "--submit-options", "timeout")
    with pytest.raises(ValueError, match=r"--submit local"):
        run(tmp_path, "toy/broken", "--submit", "local", "--submit-options", "nonsense=5")

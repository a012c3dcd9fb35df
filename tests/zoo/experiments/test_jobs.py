import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zoo.experiments.jobs import Job, Runner, require_none_of_ours, run_jobs

COMMAND = (sys.executable, str(Path(__file__).with_name("fake.py")))
ROOT = Path(__file__).parents[3]


def job(folder: Path, *options: str, name: str = "a", seed: int = 0) -> Job:
    return Job(name, folder / name, (*options, f"--seed_everything={seed}"))


def log(folder: Path, name: str = "a") -> str:
    return (folder / name / "log.txt").read_text()


def test_a_finished_job_is_not_run_again(tmp_path: Path) -> None:
    for _ in range(2):
        outcomes = run_jobs([job(tmp_path, "--hits=30")], Runner(COMMAND))
    assert outcomes["a"].metrics()["hr@10"] == 0.3
    assert outcomes["a"].cost["parameters"] == 1234
    assert log(tmp_path).count("line:") == 1


def test_other_options_in_the_folder_are_refused(tmp_path: Path) -> None:
    run_jobs([job(tmp_path, "--hits=30")], Runner(COMMAND))
    with pytest.raises(ValueError, match=r"there --hits=30, here --hits=31"):
        run_jobs([job(tmp_path, "--hits=31")], Runner(COMMAND))


def test_a_foreign_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "checkpoints").mkdir(parents=True)
    (tmp_path / "a" / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(ValueError, match="no part of this"):
        run_jobs([job(tmp_path)], Runner(COMMAND))


def test_a_failed_job_shows_its_log_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [job(tmp_path, "--fail=true"), job(tmp_path, name="b")]
    outcomes = run_jobs(jobs, Runner(COMMAND))
    assert (outcomes["a"].state, outcomes["b"].state) == ("failed", "finished")
    assert "the loss was NaN" in outcomes["a"].message
    assert outcomes["a"].metrics() == outcomes["a"].cost == {}
    printed = capsys.readouterr()
    assert "a failed" in printed.out + printed.err
    run_jobs(jobs, Runner(COMMAND))
    assert log(tmp_path).count("line:") == 2  # tried again
    assert log(tmp_path, "b").count("line:") == 1


def test_a_run_that_was_not_tested_is_no_result(tmp_path: Path) -> None:
    outcomes = run_jobs([job(tmp_path, "--untested=true")], Runner(COMMAND))
    assert outcomes["a"].state == "failed"
    assert "without results.json" in outcomes["a"].message


def test_several_at_a_time_with_threads_and_devices_of_their_own(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "--sleep=4", name=name) for name in "ab"]
    run_jobs(jobs, Runner(COMMAND, jobs=2, threads=3, gpus=("5", "7")))
    logs = [log(tmp_path, name) for name in "ab"]
    assert all("threads: 3" in text and "--threads=3" in text for text in logs)
    assert {text.partition("gpu: ")[2][0] for text in logs} == {"5", "7"}
    times = [
        [float(line.split()[1]) for line in text.splitlines() if line[:4] in ("from", "unti")]
        for text in logs
    ]
    assert max(begin for begin, _ in times) < min(end for _, end in times)  # side by side
    assert "--trainer.enable_progress_bar=false" in logs[0]


def test_an_interrupted_job_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.zoo.experiments.test_jobs import *\n"
        "jobs = [job(Path(sys.argv[1]), '--sleep=60', name=name) for name in 'ab']\n"
        "run_jobs(jobs, Runner(COMMAND, jobs=2))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, stderr=subprocess.PIPE
    )
    checkpoints = [tmp_path / name / "checkpoints" / "last.ckpt" for name in "ab"]
    deadline = time.monotonic() + 50
    while not all(path.is_file() for path in checkpoints) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert b"KeyboardInterrupt" in errors
    running = subprocess.run(["ps", "-ef"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in running
    states = [json.loads((tmp_path / name / "job.json").read_text()) for name in "ab"]
    assert [state["finished"] for state in states] == [False, False]
    assert not list(tmp_path.rglob("*.part"))
    jobs = [job(tmp_path, "--sleep=60", name=name) for name in "ab"]
    outcomes = run_jobs(jobs, Runner(COMMAND, jobs=2))
    assert all(outcome.good for outcome in outcomes.values())
    assert "--ckpt_path=last" in log(tmp_path)


def test_options_set_for_each_run_are_refused() -> None:
    require_none_of_ours(["--model.lr=1", "--trainer.max_epochs=2"])
    with pytest.raises(ValueError, match="--seed_everything is set for each run"):
        require_none_of_ours(["--seed_everything=3"])

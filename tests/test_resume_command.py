"""``mmzoo fit`` killed with SIGKILL and resumed by ``--ckpt_path last`` equals an uninterrupted run."""

import json
import multiprocessing as mp
import os
import signal
import subprocess
import sys
from contextlib import suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch

import cli
from tests.data_makers.killer import command
from tests.test_resume import equal

ROOT = Path(cli.__file__).parent
STEPS = '{"class_path": "zoo.callbacks.checkpoint.StepCheckpoint", "init_args": {"every_n_steps": 2}}'
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["torch", "lightning.pytorch", "timm", "transformers"])
    return context


@pytest.fixture(scope="module")
def data(context: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo catalogue, written and prepared once."""
    folder = tmp_path_factory.mktemp("demo")
    in_process(context, folder, arguments(folder, folder / "first", ["--trainer.max_epochs", "0"]))
    return folder


def arguments(data: Path, run: Path, more: list[str]) -> list[str]:
    return [
        *("fit", "--model", "morec", "--data", "demo", "--data.size", "tiny", "--data.root", str(data)),
        *("--run_dir", str(run), "--threads", "1", "--trainer.max_epochs", "2", "--data.batch_size", "40"),
        *(
            "--data.eval_batch_size",
            "100",
            "--model.width",
            "16",
            "--model.image.config.dims",
            "[8, 8, 8, 8]",
        ),
        *("--trainer.accelerator", "cpu"),
        *("--trainer.callbacks+", STEPS, *more),
    ]


def kill(moment: str, count: int, rank: int = 0) -> list[str]:
    init_args = {"moment": moment, "count": count, "rank": rank}
    killer = {"class_path": "tests.data_makers.killer.Killer", "init_args": init_args}
    return ["--trainer.callbacks+", json.dumps(killer)]


def in_process(context: ForkServerContext, folder: Path, line: list[str]) -> int | None:
    process = context.Process(target=command, args=(folder, line))
    process.start()
    process.join(600)
    if process.exitcode not in (0, -signal.SIGKILL):
        process.kill()
        pytest.fail((folder / "log.txt").read_text()[-3000:])
    return process.exitcode


def outcome(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the last checkpoint holds, without paths, and what the test found."""
    stored = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    kept = {
        key: stored[key]
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")
    }
    for name, state in stored["callbacks"].items():
        wanted = ("wait_count", "best_score", "best_model_score", "current_score", "stopped_epoch")
        kept[name] = {key: value for key, value in state.items() if key in wanted}
    kept["best"] = sorted(path.name for path in (run / "checkpoints").iterdir())
    results = json.loads((run / "results.json").read_text())
    # What is measured differs from run to run, and with it the checksum of the whole.
    for measured in ("train_seconds", "test_seconds", "memory_bytes", "memory_before_bytes"):
        assert results["cost"].pop(measured, 1) > 0
    assert results.pop("checksum").startswith("sha256:")
    return kept, results


def same(run: Path, whole: Path) -> None:
    found, results = outcome(run)
    expected, expected_results = outcome(whole)
    assert [key for key in expected if not equal(found[key], expected[key])] == []
    assert found.keys() == expected.keys()
    assert results == expected_results


@pytest.mark.parametrize(
    "options",
    [
        # A schedule asks the trainer for the number of steps; asked too early, it starts the epoch over.
        pytest.param(
            [
                *("--model.loss", "bce", "--trainer.accumulate_grad_batches", "2"),
                *("--model.schedule", "cosine", "--model.warmup_steps", "3"),
            ],
            id="bce",
        ),
        pytest.param(["--data.num_workers", "2"], id="workers", marks=pytest.mark.slow),
    ],
)
def test_killed_command_resumes(
    context: ForkServerContext, data: Path, tmp_path: Path, options: list[str]
) -> None:
    in_process(context, tmp_path, arguments(data, tmp_path / "whole", options))
    run = tmp_path / "run"
    resume: list[str] = []
    for moment, count in [("step", 5), ("validation", 1)]:
        line = arguments(data, run, [*options, *kill(moment, count), *resume])
        assert in_process(context, tmp_path, line) == -signal.SIGKILL
        resume = ["--ckpt_path", "last"]
    assert in_process(context, tmp_path, arguments(data, run, [*options, *resume])) == 0
    same(run, tmp_path / "whole")


def in_processes(folder: Path, line: list[str]) -> int:
    """The command as a user starts it, with the processes it starts itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *line],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=(folder / "log.txt").open("ab"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return process.wait(600)
    finally:
        if process.poll() is None or process.returncode:
            with suppress(ProcessLookupError):  # the other rank may have noticed, and ended by itself
                os.killpg(process.pid, signal.SIGKILL)  # ranks that wait for a dead one


@pytest.mark.slow
def test_two_processes_killed_and_resumed(context: ForkServerContext, data: Path, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert in_processes(tmp_path, arguments(data, whole, TWO)) == 0, (tmp_path / "log.txt").read_text()[
        -3000:
    ]
    resume: list[str] = []
    for moment, count, rank in [("step", 3, 0), ("validation", 1, 1), ("epoch_end", 1, 0)]:
        line = arguments(data, run, [*TWO, *kill(moment, count, rank), *resume])
        assert in_processes(tmp_path, line) != 0
        resume = ["--ckpt_path", "last"]
    assert in_processes(tmp_path, arguments(data, run, [*TWO, *resume])) == 0
    same(run, whole)

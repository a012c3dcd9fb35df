"""``mmzoo fit --model.init_from``: from one demo platform to the other, resumed without the source."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.command import mmzoo, succeeded
from tests.miniature import TEXT

pytestmark = pytest.mark.slow
MODEL = ("--model", "morec", "--model.image", "null", "--model.width", "16")
SMALL = ("--model.text.config.hidden_size", "16", "--model.text.config.intermediate_size", "16")
RUN = ("--data.size", "tiny", "--data.root", "data", "--threads", "1", "--trainer.accelerator", "cpu")
RATE = ("--model.warmup_steps", "0", "--model.schedule", "constant")
QUIET = ("--trainer.enable_progress_bar", "false", *RATE)
FIT = (*MODEL, *SMALL, *RUN, *QUIET)
PAIR = json.dumps({**TEXT, "config": {**TEXT["config"], "hidden_size": 16, "intermediate_size": 16}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on the first platform."""
    folder = tmp_path_factory.mktemp("transfer")
    line = ("fit", *FIT, "--data", "demo", "--trainer.max_epochs", "2", "--run_dir", "source")
    succeeded(*line, "--model.lr", "0.004", cwd=folder)
    return folder


def checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    """What a run's checkpoint holds."""
    (path,) = (run / "checkpoints").glob(f"{name}*.ckpt")
    stored = torch.load(path, weights_only=True)
    assert isinstance(stored, dict)
    return stored


def target(*options: str, run: str, init_from: str = "source") -> tuple[str, ...]:
    """A run on the second platform."""
    start = ("--model.init_from", init_from, "--data.train_fraction", "0.1")
    return ("fit", *FIT, "--data", "demo_b", *start, "--run_dir", run, *options)


def test_a_transfer_is_told_and_goes_on_without_its_source(folder: Path) -> None:
    shutil.copytree(folder / "source", folder / "gone")
    options = ("--model.transfer", "[text,fusion]", "--model.freeze", "text")
    out = succeeded(*target(*options, "--trainer.max_epochs", "1", run="run", init_from="gone"), cwd=folder)
    assert out.count("Transferred from gone/checkpoints/best") == 1
    assert "23 tensors: not asked for" in out
    assert "30 users train, 0.1 of all" in out
    told = json.loads((folder / "run" / "transfer.json").read_text())
    assert [part["component"] for part in told["parts"]] == ["text", "user"]
    frozen = told["parts"][0]["loaded"]
    source, first = checkpoint(folder / "source", "best"), checkpoint(folder / "run")
    assert all(torch.equal(source["state_dict"][n], first["state_dict"][n]) for n in frozen)
    shutil.rmtree(folder / "gone")
    line = target(*options, "--trainer.max_epochs", "2", run="run", init_from="gone")
    out = succeeded(*line, "--ckpt_path", "last", cwd=folder)
    assert "Transferred" not in out
    second = checkpoint(folder / "run")
    assert second["epoch"] == 1
    assert all(torch.equal(source["state_dict"][n], second["state_dict"][n]) for n in frozen)
    (best,) = (folder / "run" / "checkpoints").glob("best*.ckpt")
    succeeded("test", "--ckpt_path", str(best), "--data", "demo_b", *RUN, cwd=folder)


def test_the_optimizer_comes_along_when_asked(folder: Path) -> None:
    """One more step of every moment; the rate is the source's, whatever is typed."""
    one = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--model.lr", "0.1")
    for name, extra in (("fresh", ()), ("along", ("--model.transfer_optimizer", "true"))):
        succeeded(*target(*one, *extra, run=name), cwd=folder)
    source = checkpoint(folder / "source", "best")["optimizer_states"][0]
    steps = {
        name: {int(s["step"]) for s in checkpoint(folder / name)["optimizer_states"][0]["state"].values()}
        for name in ("fresh", "along")
    }
    assert steps["fresh"] == {1}
    assert steps["along"] == {int(state["step"]) + 1 for state in source["state"].values()}
    groups = checkpoint(folder / "along")["optimizer_states"][0]["param_groups"]
    assert {group["lr"] for group in groups} == {0.004}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model.transfer", "txt"), "Did you mean text?"),
        (("--model.n_blocks", "1"), "--model.n_blocks 2 (here 1)"),
        (("--data.max_len", "7"), "--data.max_len 10 (here 7)"),
        (("--model.init_from", "data"), "there is no best*.ckpt"),
        (("--model.transfer", "text", "--model.transfer_optimizer", "true"), "whole model only"),
    ],
)
def test_refusals_are_messages(folder: Path, options: tuple[str, ...], words: str) -> None:
    done = mmzoo(*target(*options, run="refused"), cwd=folder)
    assert done.returncode
    assert words in done.stderr
    assert "Traceback (most" not in done.stderr
    assert not (folder / "refused" / "checkpoints").exists()


def test_a_pair_model_takes_a_text_tower(folder: Path) -> None:
    model = ("--model", "morec_dssm", "--model.text", PAIR, "--model.width", "16", *QUIET)
    start = ("--model.init_from", "source", "--model.transfer", "text", "--run_dir", "pairs")
    data = ("--data", "demo_b", "--data.train_fraction", "0.1", *RUN)
    out = succeeded("fit", *model, *start, *data, "--trainer.max_epochs", "1", cwd=folder)
    assert "1 tensors: not asked for" in out

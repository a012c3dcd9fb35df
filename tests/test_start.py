"""What the command imports before it needs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import ROOT

HEAVY = "transformers", "timm", "open_clip", "torchvision", "scipy", "matplotlib", "peft", "av", "lmdb"
ONE_STEP = (
    *("fit", "--model", "idrec", "--model.width", "16", "--data", "demo", "--data.size", "tiny"),
    *("--trainer.accelerator", "cpu", "--trainer.max_steps", "1", "--trainer.limit_val_batches", "0"),
    *("--trainer.enable_progress_bar", "false", "--test_after_fit", "false"),
)


def imported_by(folder: Path, *arguments: str) -> set[str]:
    """The large libraries among the modules of a process that ran ``mmzoo``."""
    code = (
        "import sys, cli\n"
        "try:\n    cli.main(sys.argv[1:])\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"print('imported', *sorted(set(sys.modules) & { ({'torch', 'lightning', *HEAVY})!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("arguments", [("--help",), ("list",), ("sweep", "--help"), ("data", "--help")])
def test_words_alone_import_nothing_large(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert not imported_by(tmp_path, *arguments)


def test_parsing_imports_no_encoder_library(tmp_path: Path) -> None:
    line = ("fit", "--model", "idrec", "--data", "demo", "--print_config")
    assert imported_by(tmp_path, *line) == {"torch", "lightning"}


@pytest.mark.slow
def test_a_model_of_ids_trains_without_encoder_libraries(tmp_path: Path) -> None:
    assert imported_by(tmp_path, *ONE_STEP) == {"torch", "lightning"}


def test_the_libraries_left_out_can_still_be_imported(tmp_path: Path) -> None:
    code = (
        "from zoo.lean import import_metrics\n"
        "import_metrics()\n"
        "import sys\n"
        "assert 'torchmetrics' in sys.modules and 'torchvision' not in sys.modules\n"
        "import torchmetrics, torchvision, transformers, timm\n"
        "from lightning_utilities.core.imports import RequirementCache, package_available\n"
        "assert RequirementCache('torchvision') and package_available('transformers')\n"
        "assert torchmetrics.Accuracy and torchmetrics.retrieval.RetrievalNormalizedDCG\n"
    )
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)

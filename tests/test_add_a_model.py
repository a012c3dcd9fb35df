"""The page on adding a model, followed literally from an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "zoo" / "models" / "README.md"


def blocks(language: str) -> list[str]:
    """Code blocks of the page."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_page_works_as_it_stands(tmp_path: Path) -> None:
    model, check = blocks("python")
    (config,) = blocks("yaml")
    (command,) = blocks("sh")
    (tmp_path / "mine.py").write_text(model)
    (tmp_path / "gated.yaml").write_text(config)
    (tmp_path / "check.py").write_text(check)
    root = str(PAGE.parent.parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    assert command.startswith("mmzoo ")
    fit = subprocess.run(
        [sys.executable, "-m", "cli", *command.split()[1:]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert fit.returncode == 0, fit.stdout + fit.stderr
    assert "hr@10" in fit.stdout
    done = subprocess.run(
        [sys.executable, "check.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

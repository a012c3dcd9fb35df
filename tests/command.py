"""The real command as a user runs it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def mmzoo(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs ``mmzoo`` with one thread a process and returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def succeeded(*arguments: str, cwd: Path) -> str:
    """Runs ``mmzoo``, which must succeed, and returns its output."""
    done = mmzoo(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr

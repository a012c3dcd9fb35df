"""Kills a piece of work at any of the moments at which it touches the disk, in a process of its own."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOMENTS = ("fsync", "replace", "rename", "mkdir", "open", "unlink", "rmdir")
"""Functions of ``os`` that change what is on the disk, or are called beside something that does."""


def killed_at(moment: int, work: Callable[[], object]) -> bool:
    """Runs the work in a forked process that dies by SIGKILL before its ``moment``-th touch of the disk.

    Returns:
        Whether it died; False means that it came to its end with fewer touches.
    """
    child = os.fork()
    if child == 0:
        kill_before(moment)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def kill_before(moment: int) -> None:
    """Lets this process die by SIGKILL before its touch of the disk after ``moment`` others."""
    seen = 0

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # stands for any function
            nonlocal seen
            seen += 1
            if seen > moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    for name in MOMENTS:
        setattr(os, name, watched(getattr(os, name)))


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

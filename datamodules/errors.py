"""What can be wrong with data, each with the sentence that says what to do about it."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class DataNotFoundError(FileNotFoundError):
    """A folder or file of a data set is not where it was looked for.

    Args:
        looked_for: What was expected, with where.
        found: What is there instead.
        remedy: Where to get it, or which option to set.
    """

    def __init__(self, looked_for: str, found: str, remedy: str) -> None:
        super().__init__(f"Expected {looked_for}, found {found}. {remedy}")


class UnknownSubsetError(ValueError):
    """A data set has no part of this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = list(known)
        by_lower = {k.lower(): k for k in known}
        near = [by_lower[n] for n in get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        super().__init__(f"No subset is called {name!r}. {hint}There are: {', '.join(known)}.")


class BadTableError(ValueError):
    """A table of the data set cannot be understood as a whole; single bad rows are reported instead."""


class EmptyDataError(ValueError):
    """Nothing is left to train on; the message counts what each filter took."""


class BadMediaError(ValueError):
    """A picture, sound or clip that cannot be read; the message is the reason, fit for a report."""


class BadImageError(BadMediaError):
    """A picture that cannot be shown."""


class DiskFullError(OSError):
    """The disk cannot hold what is being written; what was finished stays and is taken up again.

    Args:
        folder: Being written to.
        needed: Bytes that are still to be written.
        free: Bytes free on the disk of that folder.
    """

    def __init__(self, folder: Path, needed: int, free: int) -> None:
        self.folder, self.needed, self.free = folder, needed, free
        super().__init__(
            f"The disk is full: {folder} needs {size_text(needed)} ({needed:,} bytes) more, "
            f"free are {size_text(free)} ({free:,} bytes). Free some space or set cache_dir to a folder on "
            "another disk (--data.cache_dir), then run the same command again: what is done is kept."
        )


class DownloadError(OSError):
    """A file could not be fetched or unpacked; the message says what to do, also by hand."""


def size_text(n_bytes: float) -> str:
    """A number of bytes for people.

    Example:
        >>> size_text(301_056_000)
        '301.1 MB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"

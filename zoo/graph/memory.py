"""What a graph will take is said before it is built, and refused where it cannot fit."""

import logging
import os
from pathlib import Path

import torch

log = logging.getLogger(__name__)

ANNOUNCED = 2**30
"""Bytes from which on a graph is announced: below, nobody waits for it."""


class GraphTooLargeError(MemoryError):
    """A graph needs more memory than there is."""


def require_memory(what: str, n_bytes: int, device: torch.device, advice: str) -> None:
    """Announces what takes long to build, and refuses what cannot be held.

    Args:
        what: Names the graph and its sizes.
        n_bytes: The most it takes at a time while it is built.
        device: Where it is built.
        advice: What to do where it does not fit.

    Raises:
        GraphTooLargeError: ``n_bytes`` are not free on the device.
    """
    free = free_bytes(device)
    if free is not None and n_bytes > free:
        raise GraphTooLargeError(
            f"{what} takes {gibibytes(n_bytes)}, and {gibibytes(free)} are free on {device}. {advice}"
        )
    if n_bytes >= ANNOUNCED:
        known = "" if free is None else f" of the {gibibytes(free)} free"
        log.warning("%s: building it takes %s%s on %s.", what, gibibytes(n_bytes), known, device)


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be taken on a device; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [n for n in (_of_machine(), _of_control_group()) if n is not None]
    return min(found, default=None)


def _of_machine() -> int | None:
    """What the machine has left, caches that can be dropped included."""
    table = Path("/proc/meminfo")
    if table.exists():
        for line in table.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_control_group() -> int | None:
    """What the container, or whatever limits this process, has left."""
    folder = Path("/sys/fs/cgroup")
    limit, used = folder / "memory.max", folder / "memory.current"
    if not limit.exists() or not used.exists():
        return None
    text = limit.read_text(encoding="ascii").strip()
    return None if text == "max" else max(0, int(text) - int(used.read_text(encoding="ascii")))


def gibibytes(n_bytes: int) -> str:
    """A number of bytes for people.

    >>> gibibytes(3 * 2**29)
    '1.50 GiB'
    """
    return f"{n_bytes / 2**30:.2f} GiB"

"""Results of what ranks by counts or outside of the zoo: the same files as those of a model's test."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from zoo.callbacks.cost import peak
from zoo.callbacks.ranks import FILE as RANKS
from zoo.callbacks.ranks import rank_table
from zoo.callbacks.slices import cut
from zoo.callbacks.table import FILE, ResultRow, format_table, write_results
from zoo.leaderboard.running import ranker_config
from zoo.metrics.ranking import CUTOFFS, bootstrap_interval, metrics_from_histogram
from zoo.provenance import code_version, cpu_name, file_digest, library_versions
from zoo.types import ItemSource

Ints = npt.NDArray[np.int64]


class Ranked(Protocol):
    """The test targets of all users, ranked."""

    @property
    def ranker(self) -> str: ...  # noqa: D102
    @property
    def user_U(self) -> Ints: ...  # noqa: D102
    @property
    def target_U(self) -> Ints: ...  # noqa: D102
    @property
    def rank_U(self) -> Ints:
        """From 1; a target that the user had already seen has the last place."""
        ...

    @property
    def seen_U(self) -> npt.NDArray[np.bool_]: ...  # noqa: D102
    @property
    def known_U(self) -> Ints:
        """Items that the user had seen."""
        ...

    @property
    def seconds(self) -> float: ...  # noqa: D102


class Named(Protocol):
    """A data module after ``setup``."""

    @property
    def item_names(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def user_names(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def items(self) -> ItemSource: ...  # noqa: D102


def record_ranks(
    out: Path,
    data: Named,
    found: Ranked,
    cost: Mapping[str, float | None] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Writes ``ranks.parquet`` and ``results.json``.

    Args:
        out: Folder of both.
        data: What was ranked on.
        found: The ranks.
        cost: What they cost; by default that of counting.
        more: What else is known of where they come from, or is other than for what counts.

    Returns:
        The latter.
    """
    out.mkdir(parents=True, exist_ok=True)
    columns = np.stack([found.user_U, found.target_U, found.rank_U, found.rank_U]).astype(np.int64)
    part = out / f"{RANKS}.part"
    rank_table(torch.from_numpy(columns), data).write_parquet(part, compression="zstd")
    os.replace(part, out / RANKS)
    beyond_U = np.where(found.rank_U > CUTOFFS[-1], 0, found.rank_U)
    histogram = torch.from_numpy(np.bincount(beyond_U, minlength=CUTOFFS[-1] + 1))
    rows = [ResultRow("all", metrics_from_histogram(histogram), bootstrap_interval(histogram), len(beyond_U))]
    print(f"\n{format_table(rows)}\n")
    held = peak(torch.device("cpu"))  # read once: two readings may differ by a page, and the less be negative
    counting = {
        "parameters": 0,
        "trainable": 0,
        "train_seconds": round(found.seconds, 3),
        "test_seconds": None,
        "memory_bytes": held,
        "memory_before_bytes": held,
    }
    ranks = (found.user_U, found.target_U, found.rank_U, found.rank_U, found.seen_U, found.known_U)
    slices = cut(np.stack(ranks).astype(np.int64), np.empty((2, 0), np.int32), data.items)
    origin = {**origin_of(data, found.ranker, out / RANKS), **(more or {}), "slices": slices}
    write_results(out / FILE, rows, None, counting if cost is None else cost, origin)
    return out / FILE


def origin_of(data: Named, ranker: str, users: Path) -> dict[str, Any]:
    """Where these results come from; what is not asked of a model is as for one that learns nothing."""
    return {
        "model": ranker,
        "modalities": [],
        "ids": True,
        "data": getattr(data, "data_fingerprint", None),
        "protocol": getattr(data, "protocol_text", None),
        "seed": 0,
        "monitor": None,
        "config": ranker_config(ranker),
        "code": code_version([type(data).__module__]),
        "versions": library_versions(),
        "device": cpu_name(),
        "device_type": "cpu",
        "processes": 1,
        "threads": torch.get_num_threads(),
        "precision": "exact",
        "users": {"file": users.name, "sha256": file_digest(users)},
    }

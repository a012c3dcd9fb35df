"""What a teacher made of the training pairs, as a file, and how well that agrees with planted noise."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from zoo.denoise.teachers import Verdict
from zoo.types import InteractionSource

FILE = "noise.parquet"


class Named(Protocol):
    """What users and items are called."""

    item_names: Sequence[str]
    user_names: Sequence[str]


def recovery(verdict: Verdict, noise_E: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Areas under the ROC curve with which planted noise is told from the rest; 0.5 is chance.

    Args:
        verdict: Of all training pairs.
        noise_E: Which of them were planted.

    Returns:
        ``suspicion``: of the number the teacher judges by; ``weight``: of what a pair counts in its loss,
        low weights for noise: below 0.5, noise counts more than the rest. NaN without noise, or with nothing
        else.

    >>> verdict = Verdict(torch.tensor([1.0, 0.0]), torch.tensor([False, True]), torch.tensor([0.1, 0.3]))
    >>> recovery(verdict, np.array([False, True]))
    {'suspicion': 1.0, 'weight': 1.0}
    """
    if noise_E.all() or not noise_E.any():
        return {"suspicion": float("nan"), "weight": float("nan")}
    label_E = torch.from_numpy(noise_E.astype(np.int64))
    return {"suspicion": _auc(verdict.suspicion_E, label_E), "weight": _auc(-verdict.weight_E, label_E)}


def _auc(score_E: Tensor, label_E: Tensor) -> float:
    # The curve needs scores from 0 to 1, or it squeezes them by a sigmoid, which makes ties: places do not.
    _, place_E = torch.unique(score_E.cpu().double(), return_inverse=True)
    return float(binary_auroc(place_E.double() / max(1, int(place_E.max())), label_E))


def write_verdict(folder: Path, verdict: Verdict, items: InteractionSource, names: Named) -> None:
    """Writes ``noise.parquet``, one line a training pair, all or nothing.

    Columns: ``user`` and ``item`` by name, ``weight``, ``noisy``, ``suspicion`` and, where the data knows,
    ``planted``.
    """
    columns = {
        "user": pl.Series(names.user_names, dtype=pl.String).gather(items.user_E),
        "item": pl.Series(names.item_names, dtype=pl.String).gather(items.item_E),
        "weight": verdict.weight_E.float().cpu().numpy(),
        "noisy": verdict.noisy_E.cpu().numpy(),
        "suspicion": verdict.suspicion_E.float().cpu().numpy(),
    }
    if items.noise_E is not None:
        columns["planted"] = items.noise_E
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{FILE}.part"
    pl.DataFrame(columns).write_parquet(part)
    os.replace(part, folder / FILE)

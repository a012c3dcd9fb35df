"""What other experiments found, for the page: the matrix of ``transfer``, the lines of ``curves``."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zoo.experiments.jobs import RESULTS
from zoo.experiments.matrix import ARMS
from zoo.experiments.stats import MeanSd, mean_sd
from zoo.leaderboard.svg import Series, Spot

METRIC = "hr@10"
NOTHING = "nothing"
"""Where a run begins that has no source."""


class MatrixPanel(NamedTuple):
    """What pre-training brings, by source, target, arm and share of the target's users."""

    title: str
    metric: str
    columns: list[float]
    rows: list[tuple[str, str, str]]
    cells: dict[tuple[str, str, str, float], MeanSd]


class CurvePanel(NamedTuple):
    """A metric against a level, or against what else was measured."""

    title: str
    across: str
    upward: str
    series: list[Series]


Panel = MatrixPanel | CurvePanel


def read_panels(folder: Path) -> list[Panel]:
    """What a folder holds.

    Raises:
        ValueError: It is none of ``mmzoo transfer`` or ``mmzoo curves``.
    """
    path = folder / RESULTS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"--with {folder}: {path} cannot be read: {error}.") from error
    try:
        if isinstance(content, Mapping) and "points" in content:
            return [curve_panel(folder.name, content)]
        if isinstance(content, Mapping) and "fine_tuned_minus_scratch" in content:
            return [matrix_panel(folder.name, content)]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"--with {folder}: {path} is not as the command left it: {error!r}.") from error
    raise ValueError(f"--with {folder}: expected the folder of mmzoo transfer or curves, found neither.")


def curve_panel(name: str, content: Mapping[str, Any]) -> CurvePanel:
    """Curves with their spread over seeds."""
    found: dict[str, list[Spot]] = {}
    for point in content["points"]:
        x, y, sd = (point.get(key) for key in ("x_mean", "y_mean", "y_sd"))
        if x is None or y is None:
            continue
        spread = math.nan if sd is None else float(sd)
        spot = Spot(float(x), float(y), float(y) - spread, float(y) + spread)
        found.setdefault(str(point["arm"]), []).append(spot)
    series = [Series(arm, sorted(spots)) for arm, spots in found.items()]
    return CurvePanel(name, str(content["x"]), str(content["y"]), series)


def matrix_panel(name: str, content: Mapping[str, Any]) -> MatrixPanel:
    """Means and standard deviations over seeds of every cell."""
    values: dict[tuple[str, str, str, float], list[float]] = {}
    for run in content["runs"]:
        if run.get("state") == "finished" and run.get(METRIC) is not None:
            arm = ARMS.get(run["arm"], str(run["arm"]))
            key = str(run["source"] or NOTHING), str(run["target"]), arm, float(run["fraction"])
            values.setdefault(key, []).append(float(run[METRIC]))
    rows = list(dict.fromkeys(key[:3] for key in values))
    cells = {key: mean_sd(found) for key, found in values.items()}
    return MatrixPanel(name, METRIC, sorted({key[3] for key in values}), rows, cells)

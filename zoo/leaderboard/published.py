"""Published figures, their sources, and what was found beside them, in words."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from zoo.names import near

DEFAULT_FILE = Path("benchmarks/published.yaml")
TOLERANCE = 0.02
"""Share of a published figure that rounding and unstated details are given."""


class Figure(NamedTuple):
    """What a paper reports of one row of one table."""

    name: str
    """``<table>:<row>``."""
    paper: str
    where: str
    """Table or file."""
    protocol: str
    metrics: dict[str, float]
    hides: str
    """What the number does not say: bugs, what was chosen on what, splits."""


class Verdict(NamedTuple):
    """What is to be said of a figure."""

    kind: str
    """``reached``, ``exceeded``, ``not reproduced`` or ``not run``."""
    words: str


def read_published(path: Path) -> dict[str, Figure]:
    """Reads the figures.

    Returns:
        Name -> figure.

    Raises:
        ValueError: The file is not as it should be.
        OSError: It cannot be read.
    """
    try:
        tables = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(tables, Mapping):
        raise ValueError(f"{path}: expected names of tables with their figures, found {tables!r}.")
    found = {}
    for name, table in tables.items():
        for figure in _figures(path, str(name), table):
            found[figure.name] = figure
    return found


def _figures(path: Path, name: str, table: Any) -> list[Figure]:  # noqa: ANN401
    required = {"paper", "where", "protocol", "metrics", "rows"}
    if not isinstance(table, Mapping) or not required <= table.keys():
        raise ValueError(f"{path}, {name}: expected {', '.join(sorted(required))}.")
    unit = {"percent": 100.0, "share": 1.0}.get(table.get("unit", "share"))
    if unit is None:
        raise ValueError(f"{path}, {name}: unit: expected percent or share, found {table['unit']!r}.")
    figures = []
    for row, values in table["rows"].items():
        if not isinstance(values, list) or len(values) != len(table["metrics"]):
            raise ValueError(
                f"{path}, {name}:{row}: expected {len(table['metrics'])} values, found {values!r}."
            )
        pairs = zip(table["metrics"], values, strict=True)
        metrics = {str(metric): round(float(value) / unit, 6) for metric, value in pairs if value is not None}
        origin = str(table["paper"]), str(table["where"]), str(table["protocol"])
        figures.append(Figure(f"{name}:{row}", *origin, metrics, str(table.get("hides", "")).strip()))
    return figures


def require_known(names: Mapping[str, tuple[str, ...]], figures: Mapping[str, Figure]) -> None:
    """Refuses run files that stand beside figures that are not there.

    Args:
        names: Run -> the figures it names.
        figures: Those that are there.

    Raises:
        ValueError: One is not; the message says what is near.
    """
    for run, wanted in names.items():
        for name in wanted:
            if name not in figures:
                close = near(name, list(figures))
                hint = f" Did you mean {' or '.join(close)}?" if close else ""
                raise ValueError(f"{run}: there is no published figure '{name}'.{hint}")


def verdict(published: float, mean: float | None, low: float | None, high: float | None) -> Verdict:
    """What is said of a figure beside what was found.

    A figure is reached if it lies in our interval, widened by ``TOLERANCE`` of it on both sides. Where
    there is no interval, our mean takes its place.

    Args:
        published: The paper's.
        mean: Ours; None if nothing was run.
        low: Lower end of our interval; NaN if there is none.
        high: Its upper end.

    >>> verdict(0.2, 0.15, 0.14, 0.16).words
    'not reproduced: 25 % below 0.2000'
    >>> verdict(0.2, 0.195, 0.185, 0.205).kind, verdict(0.2, 0.3, 0.29, 0.31).kind
    ('reached', 'exceeded')
    """
    if mean is None or low is None or high is None:
        return Verdict("not run", f"not run ({published:.4f})")
    if math.isnan(low) or math.isnan(high):
        low = high = mean
    room = TOLERANCE * published
    off = abs(mean / published - 1) * 100 if published else 0.0
    if high + room < published:
        return Verdict("not reproduced", f"not reproduced: {off:.0f} % below {published:.4f}")
    if low - room > published:
        return Verdict("exceeded", f"exceeded: {off:.0f} % above {published:.4f}")
    if low <= published <= high:
        return Verdict("reached", f"reached: {published:.4f} is in our interval")
    near_what = "our interval" if low < high else "ours"
    return Verdict("reached", f"reached: {published:.4f} is within {100 * TOLERANCE:g} % of {near_what}")

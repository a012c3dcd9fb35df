"""Published figures, their sources, and what was found beside them, in words."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from zoo.names import near

DEFAULT_FILE = Path("benchmarks/published.yaml")
REQUIRED = frozenset({"paper", "where", "protocol", "metrics", "rows"})
UNITS = {"percent": 100.0, "share": 1.0}
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
    _require_table(f"{path}, {name}", table)
    unit = UNITS[table.get("unit", "share")]
    figures = []
    for row, values in table["rows"].items():
        if not isinstance(values, list) or len(values) != len(table["metrics"]):
            raise ValueError(
                f"{path}, {name}:{row}: expected {len(table['metrics'])} values, found {values!r}."
            )
        metrics = {}
        for metric, value in zip(table["metrics"], values, strict=True):
            if value is not None:
                metrics[str(metric)] = round(_value(f"{path}, {name}:{row}", str(metric), value, unit), 6)
        origin = str(table["paper"]), str(table["where"]), str(table["protocol"])
        figures.append(Figure(f"{name}:{row}", *origin, metrics, str(table.get("hides", "")).strip()))
    return figures


def _require_table(place: str, table: Any) -> None:  # noqa: ANN401
    """Refuses what is no table.

    Raises:
        ValueError: It lacks a key, has an unknown one, or a value is of a wrong kind.
    """
    if not isinstance(table, Mapping) or not REQUIRED <= table.keys():
        raise ValueError(f"{place}: expected {', '.join(sorted(REQUIRED))}.")
    known = [*sorted(REQUIRED), "unit", "hides"]
    for key in table:
        if key not in known:
            close = near(str(key), known)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"{place}: a table has no '{key}'.{hint} Known: {', '.join(known)}.")
    if table.get("unit", "share") not in UNITS:
        raise ValueError(f"{place}: unit: expected {' or '.join(UNITS)}, found {table['unit']!r}.")
    if not isinstance(table["metrics"], list) or not table["metrics"]:
        raise ValueError(f"{place}: metrics: expected a list of names, found {table['metrics']!r}.")
    if not isinstance(table["rows"], Mapping):
        raise ValueError(f"{place}: rows: expected names with their values, found {table['rows']!r}.")


def _value(place: str, metric: str, value: Any, unit: float) -> float:  # noqa: ANN401
    """A value as a share.

    Raises:
        ValueError: It is no number, or none that a metric at a cut-off can have.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{place}: {metric}: expected a number or null, found {value!r}.")
    if "@" in metric and not 0 <= value / unit <= 1:
        raise ValueError(f"{place}: {metric}: expected 0 to {unit:g}, found {value!r}. Is the unit percent?")
    return float(value) / unit


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

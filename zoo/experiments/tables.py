"""A table of results: on the screen, as Markdown and as CSV."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from zoo.experiments.folder import write_atomic

WORDS = ("recall", "precision")
"""Metrics whose names are no abbreviations."""


class Table(NamedTuple):
    """Cells as they are shown."""

    header: list[str]
    rows: list[list[str]]
    left: int = 1
    """Columns from the left that hold words; the others hold numbers."""

    def markdown(self) -> str:
        """A Markdown table whose columns also align on the screen.

        >>> print(Table(["fusion", "HR@10"], [["sum", "0.25"]]).markdown())
        | fusion | HR@10 |
        |:-------|------:|
        | sum    |  0.25 |
        """
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(self._pad(at, cell, widths[at]) for at, cell in enumerate(cells)) + " |"

        rule = "|".join(
            ":" + "-" * (w + 1) if at < self.left else "-" * (w + 1) + ":" for at, w in enumerate(widths)
        )
        return "\n".join([line(self.header), f"|{rule}|", *map(line, self.rows)])

    def _pad(self, at: int, cell: str, width: int) -> str:
        return cell.ljust(width) if at < self.left else cell.rjust(width)


def write_csv(path: Path, rows: Sequence[dict[str, str | float | int | None]]) -> None:
    """Writes lines with the same columns, all or nothing; what is None is empty.

    Args:
        path: The file.
        rows: Column -> value, at least one line.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue())


def title(metric: str) -> str:
    """How a metric is headed.

    >>> title("ndcg@10"), title("recall@20")
    ('NDCG@10', 'Recall@20')
    """
    return metric.capitalize() if metric.startswith(WORDS) else metric.upper()

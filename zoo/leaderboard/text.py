"""A board as Markdown, CSV, LaTeX and JSON."""

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from zoo.experiments.matrix_table import p_text
from zoo.experiments.panels import short
from zoo.experiments.stats import Contrast, number
from zoo.experiments.tables import Table, title
from zoo.leaderboard.board import Row, Versus, main_metrics
from zoo.leaderboard.estimates import Estimate
from zoo.leaderboard.records import Apart, Board

NAMES = {"paper": "paper", "control": "control", "baseline": "baseline"}
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$",
    ">": r"$>$", "|": r"\textbar{}", "·": r"$\cdot$", "→": r"$\rightarrow$",
}  # fmt: skip


def estimate_text(found: Estimate | None) -> str:
    """A mean with half of its interval, for a cell.

    >>> estimate_text(Estimate(0.25, 0.24, 0.26)), estimate_text(None)
    ('0.2500 ± 0.0100', '-')
    """
    if found is None:
        return "-"
    return f"{found.mean:.4f}" + ("" if math.isnan(found.half) else f" ± {found.half:.4f}")


def seconds_text(value: float) -> str:
    """Seconds, or minutes and hours where these are many.

    >>> seconds_text(7.25), seconds_text(75), seconds_text(8000), seconds_text(math.nan)
    ('7.2 s', '75 s', '2.2 h', '-')
    """
    if math.isnan(value):
        return "-"
    if value < 10:
        return f"{value:.1f} s"
    if value < 600:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 6000 else f"{value / 3600:.1f} h"


def bytes_text(value: float) -> str:
    """Memory.

    >>> bytes_text(700 * 2**20), bytes_text(3.5 * 2**30)
    ('700 MiB', '3.5 GiB')
    """
    if math.isnan(value):
        return "-"
    return f"{value / 2**20:.0f} MiB" if value < 2**30 else f"{value / 2**30:.1f} GiB"


def count_text(value: float) -> str:
    """A number of parameters.

    >>> count_text(1_234_567), count_text(0), count_text(999), count_text(999_936)
    ('1.23M', '0', '999', '1M')
    """
    if math.isnan(value):
        return "-"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:  # what three digits round up to the next unit is told in it
            return f"{value / size:.3g}{letter}"
    return short(value)


def seeds_text(row: Row) -> str:
    """How many seeds there are, and what became of the others."""
    parts = [str(len(row.seeds))] if row.done or row.failed or row.unfinished else ["not run"]
    if row.failed:
        parts.append(f"{len(row.failed)} failed")
    if row.unfinished:
        parts.append(f"{len(row.unfinished)} unfinished")
    return ", ".join(parts)


def difference(versus: Versus) -> Contrast:
    """The difference to the best baseline over users, or over seeds where users cannot be paired."""
    return versus.over_seeds if math.isnan(versus.over_users.p) else versus.over_users


def versus_text(versus: Versus | None, is_base: bool) -> list[str]:
    """Difference to the best baseline with its interval over users, and both p."""
    if is_base:
        return ["best baseline", "", ""]
    if versus is None:
        return ["-", "-", "-"]
    contrast = difference(versus)
    if math.isnan(contrast.difference):
        return ["-", "-", "-"]
    between = "" if math.isnan(contrast.lower) else f" {contrast.interval()}"
    return [f"{contrast.difference:+.4f}{between}", p_text(versus.p_users), p_text(versus.p_seeds)]


def said(row: Row) -> str:
    """What is said of the published figures of a row."""
    return "; ".join(f"{title(each.metric)} {each.verdict.words}" for each in row.beside) or "-"


def table_of(board: Board, rows: Sequence[Row]) -> Table:
    """The table that is printed."""
    metrics = main_metrics(board.records)
    header = ["model", "", *map(title, metrics), f"{title(metrics[0])} over baseline", "p users", "p seeds"]
    header += ["published", "train", "test", "memory", "parameters", "trained", "seeds"]
    cells = []
    for row in rows:
        found = [estimate_text(row.metrics.get(name)) for name in metrics]
        if not row.done and row.failed:
            found[0] = "failed"
        cost = row.costs
        cells.append(
            [
                row.model,
                row.role,
                *found,
                *versus_text(row.versus, row.is_base),
                said(row),
                seconds_text(cost.train_seconds),
                seconds_text(cost.test_seconds),
                bytes_text(cost.memory_bytes),
                count_text(cost.parameters),
                count_text(cost.trainable),
                seeds_text(row),
            ]
        )
    return Table(header, cells, left=2)


def apart_table(apart: Sequence[Apart]) -> Table:
    """What stands in no common column, and why."""
    rows = []
    for each in apart:
        metrics = each.record.metrics
        name = next((n for n in ("hr@10", "recall@20") if n in metrics), "")
        value = f"{title(name)} {metrics[name]:.4f}" if name else "-"
        rows.append([f"{each.record.model}/seed-{each.record.seed}", each.reason, value])
    return Table(["run", "why it stands apart", "what it says"], rows, left=2)


def caption(board: Board, rows: Sequence[Row]) -> str:
    """How the table is to be read, and where its numbers come from."""
    versus = next((row.versus for row in rows if row.versus is not None), None)
    text = f"Protocol: {board.protocol}. Data: {board.data}. " if board.records else ""
    text += "± is half of the 95 % interval over seeds and users. "
    if any(len(row.seeds) == 1 and row.costs.trainable > 0 for row in rows):
        text += "Where there is one seed, it is over users alone. "
    if versus is not None:
        tests = sorted({versus.tests_users, versus.tests_seeds} - {0}, reverse=True)
        text += (
            f"Over {versus.base}, the best baseline: mean difference and its interval over users (paired "
            "bootstrap), p of that and of a paired t test over seeds, two-sided, corrected for "
            f"{' and '.join(map(str, tests))} comparison{'s' * (tests != [1])} (Holm). "
        )
    changed = [f"{row.model} {' '.join(row.changed)}" for row in rows if row.changed]
    if changed:
        text += f"Run with other options than their run files say: {'; '.join(changed)}. "
    codes = sorted({code_text(record.content) for record in board.records})
    if codes:
        text += f"Code: {'; '.join(codes)}."
    return text.strip()


def code_text(content: dict[str, Any]) -> str:
    """Version and commit of the code that made a result."""
    code = content.get("code") or {}
    commit = str(code.get("commit") or "")[:10]
    dirty = " with changes" if code.get("dirty") else ""
    at = f" ({commit}{dirty})" if commit else f" (sources {code.get('digest', 'unknown')})"
    return f"{code.get('version', 'unknown')}{at}"


def markdown(board: Board, rows: Sequence[Row]) -> str:
    """Everything a board says, as Markdown."""
    parts = [f"## {board.name}"]
    if rows:
        table = table_of(board, rows)
        safe = Table(table.header, [[_pipe(cell) for cell in row] for row in table.rows], table.left)
        parts += [safe.markdown(), caption(board, rows)]
    else:
        parts.append("Nothing to show.")
    failed = [record for record in board.lost if record.state == "failed"]
    if failed:
        lines = (f"- {r.model}/seed-{r.seed}: {_last_line(r.message)}" for r in failed)
        parts.append("Failed:\n\n" + "\n".join(lines))
    if board.apart:
        table = apart_table(board.apart)
        safe = Table(table.header, [[_pipe(cell) for cell in row] for row in table.rows], table.left)
        parts.append(f"Not comparable with the table above:\n\n{safe.markdown()}")
    return "\n\n".join(parts) + "\n"


def _pipe(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def latex(board: Board, rows: Sequence[Row]) -> str:
    """The table for a paper, in the commands of booktabs."""
    table = table_of(board, rows)
    columns = "l" * table.left + "r" * (len(table.header) - table.left)
    lines = [r"\begin{tabular}{" + columns + "}", r"\toprule"]
    lines.append(" & ".join(map(escape_latex, table.header)) + r" \\")
    lines.append(r"\midrule")
    lines += [" & ".join(map(escape_latex, row)) + r" \\" for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    note = escape_latex(f"{board.name}: {caption(board, rows)}")
    return "\n".join([*lines, f"% {note}"]) + "\n"


def escape_latex(text: str) -> str:
    r"""A text that LaTeX prints as it is.

    >>> escape_latex("a_b & 5 % ± {x}")
    'a\\_b \\& 5 \\% $\\pm$ \\{x\\}'
    """
    return re.sub(".", lambda found: LATEX.get(found.group(), found.group()), " ".join(text.split()))


def csv_text(boards: Sequence[tuple[Board, Sequence[Row]]]) -> str:
    """A line a model below one header, every metric with the ends of its interval."""
    names = sorted({name for _, rows in boards for row in rows for name in row.metrics})
    text = io.StringIO()
    lines = [line_of(board, row, names) for board, rows in boards for row in rows]
    if not lines:
        return ""
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def line_of(board: Board, row: Row, names: Sequence[str]) -> dict[str, str | float | int | None]:
    """A row in plain values."""
    line: dict[str, str | float | int | None] = {
        "board": board.name,
        "model": row.model,
        "title": row.title,
        "role": row.role,
        "paper": row.paper,
        "seeds": len(row.seeds),
        "failed": len(row.failed),
        "unfinished": len(row.unfinished),
    }
    for name in names:
        found = row.metrics.get(name)
        for part in Estimate._fields:
            line[f"{name}_{part}"] = None if found is None else number(getattr(found, part))
    for name, value in row.costs._asdict().items():
        line[name] = number(value)
    versus = row.versus
    line["over_baseline"] = None if versus is None else number(difference(versus).difference)
    line["p_users"] = None if versus is None else number(versus.p_users)
    line["p_seeds"] = None if versus is None else number(versus.p_seeds)
    line["published"] = said(row) if row.beside else None
    line["other_options"] = " ".join(row.changed) or None
    line["modalities"] = " ".join(row.modalities)
    line["protocol"] = board.protocol
    line["data"] = board.data
    return line


def json_text(boards: Sequence[tuple[Board, Sequence[Row]]]) -> str:
    """Everything in plain values."""
    content = []
    for board, rows in boards:
        names = sorted({name for row in rows for name in row.metrics})
        content.append(
            {
                "board": board.name,
                "protocol": board.protocol,
                "data": board.data,
                "rows": [{**line_of(board, row, names), "slices": row.slices} for row in rows],
                "failed": [
                    {"run": f"{r.model}/seed-{r.seed}", "message": r.message}
                    for r in board.lost
                    if r.state == "failed"
                ],
                "apart": [
                    {"run": f"{a.record.model}/seed-{a.record.seed}", "reason": a.reason} for a in board.apart
                ],
            }
        )
    return json.dumps(content, indent=2) + "\n"

"""The leaderboard as one HTML page: no request goes out, no name from data is ever markup."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from zoo.experiments.tables import title
from zoo.leaderboard.board import Beside, Row, main_metrics
from zoo.leaderboard.drawings import cost_figures, curve_figure, slice_figures
from zoo.leaderboard.estimates import Estimate
from zoo.leaderboard.panels import CurvePanel, MatrixPanel, Panel
from zoo.leaderboard.records import Board
from zoo.leaderboard.text import (
    bytes_text,
    caption,
    count_text,
    difference,
    seconds_text,
    seeds_text,
    versus_text,
)

HERE = Path(__file__).parent
LETTERS = 600
"""Of a failed run's message that are shown."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
CLASSES = {"reached": "reached", "exceeded": "exceeded", "not reproduced": "missed", "not run": "unrun"}


def page(shown: Sequence[tuple[Board, Sequence[Row]]], panels: Sequence[Panel] = ()) -> str:
    """The whole page.

    Args:
        shown: Boards and the rows of each that are shown.
        panels: What other experiments found.
    """
    style = (HERE / "page.css").read_text(encoding="utf-8")
    script = (HERE / "page.js").read_text(encoding="utf-8")
    links = [(f"board-{at}", board.name) for at, (board, _) in enumerate(shown)]
    links += [(f"panel-{at}", panel.title) for at, panel in enumerate(panels)]
    listed = "".join(f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name in links)
    sections = [_board(f"board-{at}", board, rows) for at, (board, rows) in enumerate(shown)]
    sections += [_panel(f"panel-{at}", panel) for at, panel in enumerate(panels)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>mmzoo leaderboard</title><style>{style}</style></head><body>"
        "<header><h1>mmzoo leaderboard</h1>"
        "<p>Every row is runs of one command over seeds. A published figure that is not reached is called "
        "not reproduced; a result of another protocol or catalogue, or one that was edited, stands apart.</p>"
        f'<nav aria-label="Boards"><ul>{listed}</ul></nav></header>'
        f"<main>{''.join(sections)}</main><script>{script}</script></body></html>\n"
    )


def _board(anchor: str, board: Board, rows: Sequence[Row]) -> str:
    parts = [f'<section id="{anchor}"><h2>{escape(board.name)}</h2>']
    if rows:
        parts += [_table(board, rows), f'<p class="soft">{escape(caption(board, rows))}</p>']
    else:
        parts.append("<p>Nothing to show.</p>")
    figures = [*cost_figures(board, rows), *slice_figures(board, rows)]
    if figures:
        parts.append(f'<div class="figures">{"".join(figures)}</div>')
    parts += [_published(rows), _failed(board), _apart(board)]
    return "".join(parts) + "</section>"


def _table(board: Board, rows: Sequence[Row]) -> str:
    metrics = main_metrics(board.records)
    published = any(row.beside for row in rows)
    ranges = {name: _range([row.metrics[name] for row in rows if name in row.metrics]) for name in metrics}
    lines = []
    for row in rows:
        cells = [_name(row)]
        cells += [_estimate(row, name, ranges[name]) for name in metrics]
        cells += _versus(row)
        if published:
            cells.append(_beside(row.beside))
        cost = row.costs
        cells += [
            _number(cost.train_seconds, seconds_text(cost.train_seconds)),
            _number(cost.test_seconds, seconds_text(cost.test_seconds)),
            _number(cost.memory_bytes, bytes_text(cost.memory_bytes)),
            _number(cost.parameters, count_text(cost.parameters)),
            _number(cost.trainable, count_text(cost.trainable)),
            _number(float(len(row.seeds)), seeds_text(row), "failed" if row.failed else ""),
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    heads = [head for head in column_heads(metrics) if published or head[0] != "published"]
    return sortable(f"Results on {board.name}", heads, lines) + _legend(heads)


def column_heads(metrics: Sequence[str]) -> list[tuple[str, str]]:
    """Names of the columns, and what stands in them."""
    return [
        ("model", "What was run, from which paper, and what it reads."),
        *(
            (
                title(name),
                "Mean over the seeds ± half of the 95 % interval over seeds and users; higher is better.",
            )
            for name in metrics
        ),
        (
            f"{title(metrics[0])} over baseline",
            "Mean difference to the best baseline, and its 95 % interval over users.",
        ),
        ("p over users", "How often no true difference looks like this one, over users: paired bootstrap."),
        ("p over seeds", "The same over seeds: paired t test. Both are corrected for the number of rows."),
        ("published", "What the paper reports, and whether it was reached."),
        ("training", "Time to train, with its validations; mean over the seeds."),
        ("test", "Time of the test; mean over the seeds."),
        ("memory", "At the peak, less what was there before the model."),
        ("parameters", "All of the model's, frozen ones too."),
        ("trained", "Those that training changes."),
        ("seeds", "Runs that finished; failed and unfinished ones are counted beside them."),
    ]


def sortable(name: str, heads: Iterable[tuple[str, str]], lines: Iterable[str]) -> str:
    """A table whose columns are sorted by a button each, in a box that scrolls by itself."""
    words = {"model", "published"}
    head = "".join(
        f'<th scope="col" aria-sort="none"{_class("words") if text in words else ""}>'
        f'<button type="button" title="{escape(said, quote=True)}">{escape(text)}</button></th>'
        for text, said in heads
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name, quote=True)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _legend(heads: Iterable[tuple[str, str]]) -> str:
    """What the columns are, for those who cannot point at their heads."""
    items = "".join(f"<dt>{escape(text)}</dt><dd>{escape(said)}</dd>" for text, said in heads)
    return f"<details><summary>What the columns are</summary><dl>{items}</dl></details>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _name(row: Row) -> str:
    reads = ", ".join([*row.modalities, *(["ids"] if row.ids else [])])
    notes = " · ".join(part for part in (row.title, row.paper, f"reads {reads}" if reads else "") if part)
    tip = f' title="{escape(row.notes, quote=True)}"' if row.notes else ""
    value = escape(row.model, quote=True)
    typed = escape(" ".join(row.changed), quote=True)
    warned = f' <span class="role other" title="{typed}">other options</span>' if typed else ""
    return (
        f'<th scope="row" data-v="{value}"{tip}>{escape(row.model)} '
        f'<span class="role">{escape(row.role)}</span>{warned}<small>{escape(notes)}</small></th>'
    )


def _range(found: Sequence[Estimate]) -> tuple[float, float]:
    ends = [end for each in found for end in (each.low, each.high) if not math.isnan(end)]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def _estimate(row: Row, metric: str, spread: tuple[float, float]) -> str:
    found = row.metrics.get(metric)
    if found is None:
        text = "failed" if row.failed and not row.done else "-"
        return f'<td data-v=""{_class("failed" if text == "failed" else "")}>{text}</td>'
    half = "" if math.isnan(found.half) else f' <small class="half">± {found.half:.4f}</small>'
    return f'<td data-v="{found.mean:.6f}">{found.mean:.4f}{half}{_strip(found, spread)}</td>'


def _strip(found: Estimate, spread: tuple[float, float]) -> str:
    """Where a value and its interval lie among those of the column."""
    width = (spread[1] - spread[0]) or 1.0
    low, mean, high = (100 * (value - spread[0]) / width for value in (found.low, found.mean, found.high))
    line = "" if math.isnan(low) else f'<line x1="{low:.1f}" y1="5" x2="{high:.1f}" y2="5"/>'
    return (
        '<svg class="strip" viewBox="-4 0 108 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect x="0" y="4" width="100" height="2"/>{line}<circle cx="{mean:.1f}" cy="5" r="3.5"/></svg>'
    )


def _versus(row: Row) -> list[str]:
    shown = versus_text(row.versus, row.is_base)
    values = ["0" if row.is_base else "", "", ""]
    if row.versus is not None:
        found = difference(row.versus).difference, row.versus.p_users, row.versus.p_seeds
        values = list(map(_plain, found))
    value, *between = shown[0].partition(" [")
    interval = f"<small>{escape(''.join(between).strip())}</small>" if any(between) else ""
    cells = [escape(value) + interval, *map(escape, shown[1:])]
    return [f'<td data-v="{v}">{cell}</td>' for v, cell in zip(values, cells, strict=True)]


def _plain(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _number(value: float, text: str, kind: str = "") -> str:
    return f'<td data-v="{_plain(value)}"{_class(kind)}>{escape(text)}</td>'


def _beside(found: Sequence[Beside]) -> str:
    if not found:
        return '<td data-v="" class="words">-</td>'
    items = []
    for each in found:
        tip = escape(f"{each.figure.paper}, {each.figure.where}. {each.figure.hides}".strip(), quote=True)
        kind = CLASSES[each.verdict.kind]
        words = escape(f"{title(each.metric)} {each.verdict.words}")
        items.append(f'<li class="{kind}" title="{tip}">{words}</li>')
    return f'<td data-v="{found[0].published:.6f}" class="words"><ul>{"".join(items)}</ul></td>'


def _published(rows: Sequence[Row]) -> str:
    """The published figures of the rows, with source, protocol and what they hide."""
    figures = {each.figure.name: each.figure for row in rows for each in row.beside}
    if not figures:
        return ""
    lines = []
    for figure in figures.values():
        values = ", ".join(f"{title(name)} {value:.4f}" for name, value in figure.metrics.items())
        cells = (values, f"{figure.paper}, {figure.where}", figure.protocol, figure.hides or "-")
        inner = "".join(f'<td class="words">{escape(cell)}</td>' for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(figure.name)}</th>{inner}</tr>')
    heads = ("figure", "values", "source", "protocol", "what it hides")
    head = "".join(f'<th scope="col" class="words">{text}</th>' for text in heads)
    return (
        "<details><summary>Published figures, their protocols and what they hide</summary>"
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div></details>"
    )


def _failed(board: Board) -> str:
    failed = [record for record in board.lost if record.state == "failed"]
    if not failed:
        return ""
    items = "".join(
        f'<li><span class="failed">{escape(r.model)}/seed-{r.seed}</span> '
        f"<code>{escape(r.message[-LETTERS:])}</code></li>"
        for r in failed
    )
    return f"<h3>Failed</h3><ul>{items}</ul>"


def _apart(board: Board) -> str:
    """What stands in no common column, with the reason."""
    if not board.apart:
        return ""
    lines = []
    for each in board.apart:
        metrics = each.record.metrics
        name = next((n for n in ("hr@10", "recall@20") if n in metrics), "")
        value = f"{title(name)} {metrics[name]:.4f}" if name else "-"
        run = escape(f"{each.record.model}/seed-{each.record.seed}")
        lines.append(
            f'<tr><th scope="row">{run}</th><td class="words">{escape(each.reason)}</td><td>{value}</td></tr>'
        )
    heads = ("run", "why it stands apart", "what it says")
    head = "".join(f'<th scope="col"{_class("words" * (text != heads[2]))}>{text}</th>' for text in heads)
    return (
        "<h3>Not comparable with the table above</h3>"
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _panel(anchor: str, panel: Panel) -> str:
    if isinstance(panel, CurvePanel):
        body = curve_figure(panel)
    else:
        body = _matrix(panel)
    return f'<section id="{anchor}"><h2>{escape(panel.title)}</h2>{body}</section>'


def _matrix(panel: MatrixPanel) -> str:
    """The transfer matrix: shares of the target's users across, shaded by the value."""
    means = [cell.mean for cell in panel.cells.values()]
    low, high = (min(means), max(means)) if means else (0.0, 1.0)
    head = "".join(f'<th scope="col">{100 * share:g} % of the users</th>' for share in panel.columns)
    lines = []
    for source, target, arm in panel.rows:
        cells = []
        for share in panel.columns:
            cell = panel.cells.get((source, target, arm, share))
            if cell is None:
                cells.append("<td>-</td>")
                continue
            part = (cell.mean - low) / ((high - low) or 1.0)
            cells.append(f'<td class="heat" style="--share: {part:.3f}">{escape(cell.text())}</td>')
        name = escape(f"{source} → {target}, {arm}")
        lines.append(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>')
    return (
        f'<p class="soft">{title(panel.metric)}, mean ± standard deviation over seeds.</p>'
        f'<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">from → to, arm</th>{head}</tr>'
        f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
    )

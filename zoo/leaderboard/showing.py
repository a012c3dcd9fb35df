"""``mmzoo leaderboard show``: tables, files and the page."""

import argparse
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from zoo.experiments.folder import write_atomic
from zoo.leaderboard.board import Filters, Row, rows_of
from zoo.leaderboard.page import page
from zoo.leaderboard.panels import read_panels
from zoo.leaderboard.published import DEFAULT_FILE, Figure, read_published, require_known
from zoo.leaderboard.records import Board, boards, read_board
from zoo.leaderboard.runfile import run_files
from zoo.leaderboard.text import csv_text, json_text, latex, markdown
from zoo.names import near, plain

RESULTS = Path("benchmarks/results")
MODALITIES = frozenset({"text", "image", "audio", "video", "ids"})
Shown = Sequence[tuple[Board, list[Row]]]
FORMATS: dict[str, Callable[[Shown], str]] = {
    "markdown": lambda shown: "\n".join(markdown(board, rows) for board, rows in shown),
    "csv": lambda shown: csv_text(shown).rstrip("\n"),
    "latex": lambda shown: "\n".join(latex(board, rows) for board, rows in shown),
    "json": json_text,
}


def add_parser(actions: Any) -> argparse.ArgumentParser:  # noqa: ANN401  # argparse's own is private
    """Adds ``show`` to the actions of the command."""
    found: argparse.ArgumentParser = actions.add_parser(
        "show",
        help="tables of what was found beside what was published",
        description="Means over seeds with intervals over seeds and users, tests against the best baseline, "
        "what is said of published figures, and what it cost.",
        allow_abbrev=False,
    )
    found.add_argument("boards", nargs="*", metavar="DATA", help="boards (default: all that were run)")
    found.add_argument("--out", type=Path, default=Path("runs/leaderboard"), help="folder of the runs")
    found.add_argument("--published", type=Path, default=DEFAULT_FILE, help="file of the published figures")
    found.add_argument("--modality", default="", help="models that read all of these: text,image; ids")
    found.add_argument("--max-parameters", default="", help="such as 500k or 10M")
    found.add_argument("--protocol", default="", help="only results whose protocol contains this")
    found.add_argument("--all", action="store_true", help="run files that were never run too")
    found.add_argument("--format", choices=tuple(FORMATS), default="markdown", help="what is printed")
    found.add_argument("--html", type=Path, help="write one page without any other file")
    found.add_argument(
        "--with",
        type=Path,
        action="append",
        default=[],
        dest="panels",
        metavar="FOLDER",
        help="of mmzoo transfer or curves: drawn on the page; may be given several times",
    )
    found.add_argument(
        "--write", action="store_true", help=f"write each table to {RESULTS}/<data>.csv as well"
    )
    found.add_argument("--results", type=Path, default=RESULTS, help="where --write goes")
    return found


def show(arguments: argparse.Namespace) -> None:
    """Prints, and writes what was asked for.

    Raises:
        ValueError: A board, a figure or a filter is unknown.
    """
    if arguments.panels and not arguments.html:
        raise ValueError("--with draws on the page: add --html FILE.")
    figures = published_figures(arguments.published)
    names = chosen_boards(arguments.boards, arguments.out, arguments.folder)
    filters = Filters(
        frozenset(part.strip() for part in arguments.modality.split(",") if part.strip()),
        parse_count(arguments.max_parameters),
    )
    found = []
    for name in names:
        board = read_board(name, arguments.out, arguments.folder, arguments.protocol)
        if figures:
            require_known({file.key: file.published for file in board.files.values()}, figures)
        everything = arguments.all or bool(arguments.boards)
        found.append((board, rows_of(board, figures, everything)))
    require_known_filters(arguments.protocol, filters, found)
    shown = [(board, [row for row in rows if filters.lets(row)]) for board, rows in found]
    print(FORMATS[arguments.format](shown))
    if arguments.html:
        panels = [panel for folder in arguments.panels for panel in read_panels(folder)]
        write_atomic(arguments.html, page(shown, panels))
        print(f"The page is {arguments.html}.")
    if arguments.write:
        for board, rows in shown:
            done = [row for row in rows if row.done]
            if done:
                path = arguments.results / f"{board.name}.csv"
                write_atomic(path, csv_text([(board, done)]))
                print(f"{path}")


def require_known_filters(protocol: str, filters: Filters, found: Shown) -> None:
    """Refuses filters that nothing could pass.

    Raises:
        ValueError: A modality is unknown, or no result is of the protocol; the message says what there is.
    """
    known = sorted(MODALITIES | {name for _, rows in found for row in rows for name in row.modalities})
    for name in sorted(filters.modalities):
        if name not in known:
            close = near(name, known)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"--modality: there is no '{name}'.{hint} Known: {', '.join(known)}.")
    protocols = sorted({place for board, _ in found for place in board.protocols})
    if protocols and not any(protocol.lower() in place.lower() for place in protocols):
        raise ValueError(f"--protocol: no result is of '{protocol}'. There are: {'; '.join(protocols)}.")


def published_figures(path: Path) -> dict[str, Figure]:
    """The published figures; none where the default file is not there, which the wheel does not bring.

    Raises:
        OSError: A file that was named cannot be read.
    """
    if path == DEFAULT_FILE and not path.is_file():
        return {}
    return read_published(path)


def chosen_boards(asked: Sequence[str], out: Path, runs: Path) -> list[str]:
    """The boards asked for, or all that were run.

    Raises:
        ValueError: Nothing has that name, or nothing was run.
    """
    there = boards(out)
    known = sorted({*there, *(run_files(runs) if runs.is_dir() else ())})
    if not asked:
        if not there:
            raise ValueError(
                f"Nothing was run in {out} yet: mmzoo leaderboard run demo, or name another --out."
            )
        return there
    found = []
    for name in asked:
        match = next((each for each in known if plain(each) == plain(name)), None)
        if match is None:
            close = near(name, known)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"There is no board '{name}'.{hint} Known: {', '.join(known) or 'none'}.")
        found.append(match)
    return found


def parse_count(text: str) -> float:
    """A number with k, M or G behind it.

    Raises:
        ValueError: It is none.

    >>> parse_count("1.5M"), parse_count("")
    (1500000.0, inf)
    """
    if not text:
        return math.inf
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)", text)
    if found is None:
        raise ValueError(f"--max-parameters: expected a number such as 500000, 500k or 10M, found '{text}'.")
    return float(found.group(1)) * {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}[found.group(2)]

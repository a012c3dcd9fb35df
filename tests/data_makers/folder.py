"""Writes folders as people have them: any names, separators, with and without a header, whole or damaged."""

from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from tests.data_makers.parts import TONE, histories_of, jpeg, steps, wav

Damage = Literal[
    "crlf",
    "mixed_separators",
    "open_quote",
    "few_columns",
    "unknown_items",
    "duplicate_rows",
    "bad_times",
    "negative_times",
    "milliseconds",
    "renumbered",
    "duplicate_items",
    "not_utf8",
    "leaving_paths",
    "addresses",
    "long_names",
    "missing_files",
    "truncated_files",
]
EVERY_DAMAGE: tuple[Damage, ...] = get_args(Damage)
Times = Literal["seconds", "dates", "none"]


class Tree(NamedTuple):
    """What was written: the truth that a reader must find again."""

    root: Path
    histories: dict[str, list[str]]
    items: list[str]
    titles: dict[str, str]
    damaged: dict[Damage, list[str]]


class Style(NamedTuple):
    """How the tables are written."""

    interactions: str = "interactions.csv"
    columns: tuple[str, ...] = ("user_id", "item_id", "rating", "timestamp")
    """Header; ``user``, ``item``, ``rating`` and ``time`` are in this order."""
    items: str = "items.csv"
    item_columns: tuple[str, ...] = ("item_id", "title", "genre", "image", "audio")
    separator: str = ","
    header: bool = True
    times: Times = "seconds"


def make_folder_tree(
    root: Path,
    style: Style = Style(),  # noqa: B008 - never changed
    n_users: int = 40,
    n_items: int = 30,
    seed: int = 0,
    media: bool = True,
    damage: Collection[Damage] = (),
) -> Tree:
    """Writes interactions in the order of time, an item table, and files of pictures and sounds.

    Args:
        root: Made if absent.
        style: Of the tables.
        n_users: Users of 5 to 25 interactions.
        n_items: Items; ids keep their leading zeros.
        seed: Same seed, same tree.
        media: Whether files are written.
        damage: What is wrong with the tree.
    """
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    items = [f"{number:04d}" for number in rng.choice(3000, n_items, replace=False)]
    histories = histories_of(rng, items, n_users, 25, "u")
    titles = {item: f"a thing of number {place}, red" for place, item in enumerate(items)}
    damaged = {kind: [items[k] for k in rng.choice(n_items, 3, replace=False)] for kind in damage}
    _write_interactions(root / style.interactions, style, histories, items, damage, rng)
    if style.items:
        _write_items(root / style.items, style, items, titles, damaged)
    if media:
        _write_files(root, items, damaged, rng)
    return Tree(root, histories, items, titles, damaged)


def _lines(style: Style, header: tuple[str, ...], rows: list[list[str]], damage: Collection[Damage]) -> bytes:
    mark = style.separator
    quoted = [[f'"{cell}"' if mark in cell else cell for cell in row] for row in rows]
    lines = [mark.join(row) for row in ([list(header)] if style.header else []) + quoted]
    return ("\r\n" if "crlf" in damage else "\n").join([*lines, ""]).encode()


def _time(style: Style, seconds: int) -> str:
    if style.times == "dates":
        return str(np.datetime64(seconds, "s"))
    return str(seconds)


def _write_interactions(
    path: Path,
    style: Style,
    histories: dict[str, list[str]],
    items: list[str],
    damage: Collection[Damage],
    rng: np.random.Generator,
) -> None:
    rows: list[tuple[int, list[str]]] = []
    for place, (user, history) in enumerate(histories.items()):
        times = 1_600_000_000 + np.cumsum(steps(rng, history)).astype(np.int64)
        if place == 0 and "negative_times" in damage:
            times -= 1_700_000_000
        if place == 1 and "milliseconds" in damage:
            times *= 1000
        # A program that took ids for numbers lost the zeros of this user's rows.
        names = [str(int(item)) for item in history] if place == 2 and "renumbered" in damage else history
        for item, seconds in zip(names, times.tolist(), strict=True):
            rows.append((seconds, [user, item, str(rng.integers(1, 6)), _time(style, seconds)]))
    rows.sort(key=lambda row: row[0])
    cells = [row for _, row in rows]
    if "unknown_items" in damage:
        cells += [["u-other", f"x{k}", "5", _time(style, 1_700_000_000)] for k in range(3)]
    if "duplicate_rows" in damage:
        cells += [cells[5], cells[9]]
    if "bad_times" in damage:
        cells += [["u-bad", items[0], "1", "yesterday"], ["u-bad", items[0], "1", ""]]
    width = len(style.columns) if style.header else 4 - (style.times == "none")
    content = _lines(style, style.columns, [row[:width] for row in cells], damage)
    lines = content.decode().split("\n")
    if "mixed_separators" in damage:
        lines[5] = lines[5].replace(style.separator, "\t" if style.separator != "\t" else ",")
    if "open_quote" in damage:
        lines[7] = f'"{lines[7]}'
    if "few_columns" in damage:
        lines.insert(4, "u1")
    path.write_text("\n".join(lines), newline="")


def _write_items(
    path: Path, style: Style, items: list[str], titles: dict[str, str], damaged: dict[Damage, list[str]]
) -> None:
    rows = []
    for place, item in enumerate(items):
        cells = {
            "item_id": item,
            "title": titles[item],
            "genre": f"g{place % 3}",
            "image": f"pictures/p{item}.jpg",
            "audio": f"tones\\{item}.wav",
        }
        row = list(cells.values())[: len(style.item_columns)]
        if item in damaged.get("leaving_paths", ()) and len(row) > 3:
            row[3] = "../secret.jpg" if place % 2 else str(path.parent.parent / "secret.jpg")
        elif item in damaged.get("addresses", ()) and len(row) > 3:
            row[3] = f"https://example.invalid/{item}.jpg"
        elif item in damaged.get("long_names", ()) and len(row) > 3:
            row[3] = "x" * 5000 + ".jpg"
        rows.append(row)
    for item in damaged.get("duplicate_items", ()):
        rows.append([item, "a second row", "", "", ""][: len(style.item_columns)])
    content = _lines(style, style.item_columns, rows, damaged)
    if "not_utf8" in damaged:
        content = content.replace(b"a thing of number 7,", b"caf\xe9 of number 7,")
    path.write_bytes(content)


def _write_files(
    root: Path, items: list[str], damaged: dict[Damage, list[str]], rng: np.random.Generator
) -> None:
    (root.parent / "secret.jpg").write_bytes(jpeg(rng, (16, 16)))
    for name in ("pictures", "tones"):
        (root / name).mkdir()
    for item in items:
        content = jpeg(rng, (24, 24))
        if item in damaged.get("truncated_files", ()):
            content = content[: len(content) // 2]
        if item not in damaged.get("missing_files", ()):
            (root / "pictures" / f"p{item}.jpg").write_bytes(content)
        (root / "tones" / f"{item}.wav").write_bytes(wav(TONE))

"""Writes small trees with the names, columns and oddities of Microsoft's MIND, whole or damaged."""

from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

Damage = Literal[
    "crlf",
    "bom",
    "blank_lines",
    "short_lines",
    "bad_times",
    "double_spaces",
    "no_labels",
    "nobody",
    "unknown_news",
    "duplicate_news",
    "few_columns",
    "not_utf8",
]
EVERY_DAMAGE: tuple[Damage, ...] = get_args(Damage)


class Tree(NamedTuple):
    """What was written."""

    root: Path
    histories: dict[str, list[str]]
    """A user's first history, then the clicks by time; of damaged lines what is left."""
    titles: dict[str, str]


def make_mind_tables(
    root: Path, n_users: int = 24, n_items: int = 30, seed: int = 0, damage: Collection[Damage] = ()
) -> Tree:
    """Writes ``behaviors.tsv`` and ``news.tsv`` into ``MINDsmall_train``, ``_dev`` and ``_test``.

    Args:
        root: Made if absent.
        n_users: Users of 3 to 12 earlier clicks and several impressions, some without a click.
        n_items: News; one that nobody clicked is among them.
        seed: Same seed, same tree.
        damage: What is wrong with the tables of the training folder.
    """
    rng = np.random.default_rng(seed)
    items = [f"N{number}" for number in rng.choice(99_999, n_items, replace=False) + 1]
    titles = {item: f'Title {place}, "so" they say' for place, item in enumerate(items)}
    titles[items[1]] = 'A quote " that stays open'
    histories: dict[str, list[str]] = {}
    lines: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    number = 0
    for user in range(n_users):
        name = f"U{user + 1}"
        history = [items[k] for k in rng.integers(0, n_items - 1, int(rng.integers(3, 13)))]
        begin = datetime(2019, 11, 9, 9) + timedelta(minutes=user)
        clicked, own = list(history), []
        for at, folder in enumerate(["train", "train", "train", "dev", "test"]):
            number += 1
            shown = [items[k] for k in rng.choice(n_items - 1, 5, replace=False)]
            clicks = [int(rng.random() < 0.4) for _ in shown]
            time = (begin + timedelta(hours=11 * at)).strftime("%m/%d/%Y %I:%M:%S %p").lstrip("0")
            labelled = (
                shown if folder == "test" else [f"{item}-{c}" for item, c in zip(shown, clicks, strict=True)]
            )
            own.append((folder, f"{number}\t{name}\t{time}\t{' '.join(history)}\t{' '.join(labelled)}"))
            if folder != "test":
                clicked += [item for item, c in zip(shown, clicks, strict=True) if c]
        histories[name] = clicked
        for folder, line in (own[1], own[0], *own[2:]):  # out of order, as in the released files
            lines[folder].append(line)
    _damage(lines["train"], histories, damage)
    end = "\r\n" if "crlf" in damage else "\n"
    for folder, rows in lines.items():
        place = root / f"MINDsmall_{folder}"
        place.mkdir(parents=True, exist_ok=True)
        start = "\ufeff" if "bom" in damage else ""
        (place / "behaviors.tsv").write_text(start + end.join([*rows, ""]), "utf-8", newline="")
        part = items[:-3] if folder == "train" else items[3:]
        (place / "news.tsv").write_bytes(_news(part, titles, damage, end))
    return Tree(root, histories, titles)


def _news(items: list[str], titles: dict[str, str], damage: Collection[Damage], end: str) -> bytes:
    rows = [
        f"{item}\tnews\tnewsworld\t{titles[item]}\t{'An abstract.' if place % 3 else ''}\thttps://x/y\t[]\t[]"
        for place, item in enumerate(items)
    ]
    if "duplicate_news" in damage:
        rows.append(f"{items[0]}\tnews\tnewsworld\ta second title\t\t\t[]\t[]")
    if "few_columns" in damage:
        rows.append("N999999\tnews")
    content = end.join([*rows, ""]).encode()
    return content.replace(b"newsworld", b"newsw\xefrld", 1) if "not_utf8" in damage else content


def _damage(lines: list[str], histories: dict[str, list[str]], damage: Collection[Damage]) -> None:
    """Changes lines of users who have no other use, and takes what cannot be read from the histories."""
    if "double_spaces" in damage:
        lines[3] = lines[3].replace(" N", "  N")
    if "unknown_news" in damage:
        lines[6] = f"{lines[6]} N0-1 N0-0"
    extra = {
        "short_lines": "990\tU99\t11/9/2019 9:05:58 AM",
        "bad_times": f"991\tU99\tnoon\t\t{next(iter(histories.values()))[0]}-1",
        "nobody": f"992\t\t11/9/2019 9:05:58 AM\t\t{next(iter(histories.values()))[0]}-1",
        "no_labels": f"993\tU1\t11/9/2019 11:05:58 PM\t\t{next(iter(histories.values()))[0]}",
        "blank_lines": "\n  ",
    }
    lines += [line for kind, line in extra.items() if kind in damage]

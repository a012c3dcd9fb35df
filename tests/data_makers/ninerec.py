"""Writes trees with the names, columns and oddities of NineRec as released, whole or damaged, at any size."""

import csv
import io
from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from tests.data_makers.parts import histories_of, huge_png, jpeg

Damage = Literal[
    "crlf",
    "trailing_spaces",
    "duplicate_users",
    "duplicate_items",
    "unknown_items",
    "no_tab",
    "bad_times",
    "short_users",
    "empty_titles",
    "not_utf8",
    "few_columns",
    "truncated_covers",
    "empty_covers",
    "renamed_covers",
    "missing_covers",
    "huge_covers",
]
EVERY_DAMAGE: tuple[Damage, ...] = get_args(Damage)

ZH = list("如何折一只纸鹤今天吃什么猫咪的日常旅行音乐舞蹈电影动画美食教程合集第一期")
EN = "how to fold a paper crane what to eat today a cat's day travel music dance film food lesson one".split()


class Tree(NamedTuple):
    """What was written: the truth that a reader must find again."""

    root: Path
    histories: dict[str, list[str]]
    """User -> items, oldest first, as an undamaged reader sees them."""
    items: list[str]
    """In the order of the item file."""
    titles: dict[str, tuple[str, str]]
    damaged: dict[Damage, list[str]]
    """Damage -> items it hit, for kinds that hit items."""


def make_ninerec(
    root: Path,
    subset: str = "QB",
    n_users: int = 60,
    n_items: int = 40,
    seed: int = 0,
    longest: int = 30,
    user_first: bool = False,
    damage: Collection[Damage] = (),
    covers: bool = True,
    cover_size: tuple[int, int] = (64, 36),
) -> Tree:
    """Writes ``root/<subset>/``; QB and TN get a behaviour file, the others pairs.

    Half of the interactions follow a fixed successor of the item before, so that there is something to learn.

    Args:
        root: Made if absent.
        subset: One of NineRec's names.
        n_users: Users, 5 to ``longest`` interactions each.
        n_items: Items.
        seed: Same seed, same tree.
        longest: Longest history.
        user_first: Column order of the pair file.
        damage: What is wrong with the tree.
        covers: Whether there are pictures.
        cover_size: Width and height.
    """
    rng = np.random.default_rng(seed)
    folder = root / subset
    folder.mkdir(parents=True, exist_ok=True)
    prefix = "v" if subset in ("QB", "TN") else ""
    numbers = rng.permutation(np.arange(1, 3 * n_items))[:n_items]
    # Ids keep their leading zeros: they are names, not numbers.
    items = [f"{prefix}{number:05d}" if number % 7 == 0 else f"{prefix}{number}" for number in numbers]
    histories = histories_of(rng, items, n_users, longest, "u" if prefix else "")
    titles = {item: _title(rng, position) for position, item in enumerate(items)}
    damaged = {kind: list(rng.choice(items, 3, replace=False)) for kind in damage}
    if "empty_titles" in damage:
        titles.update({item: ("  ", "") for item in damaged["empty_titles"]})
    if "short_users" in damage:
        for user in list(histories)[:4]:
            histories[user] = histories[user][:4]
    if covers:
        cover_folder = (
            "Source_Bili_2M_cover" if subset in ("Bili_2M", "Bili_500K") else f"{subset}/{subset}_cover"
        )
        _write_covers(root / cover_folder, items, cover_size, damaged, rng)
    _write_items(folder / f"{subset}_item.csv", items, titles, damaged)
    if prefix:
        _write_behaviours(folder / f"{subset}_behaviour.tsv", histories, damage)
    else:
        _write_pairs(folder / f"{subset}_pair.csv", histories, user_first, damage, rng)
        urls = "".join(f"{item},https://example.invalid/{item}\n" for item in items)
        (folder / f"{subset}_url.csv").write_text(urls)
    return Tree(root, histories, items, titles, damaged)


def _title(rng: np.random.Generator, position: int) -> tuple[str, str]:
    chinese = "".join(rng.choice(ZH, 12))
    english = " ".join(rng.choice(EN, 6))
    odd = {
        0: (f'{chinese},"引号"', f'{english}, with "quotes", and commas'),
        1: (f"{chinese}\n第二行", f"{english}\nsecond line"),
        2: (chinese, f'said "{english}" in the middle'),
    }
    return odd.get(position % 10, (chinese, english))


def _write_items(
    path: Path, items: list[str], titles: dict[str, tuple[str, str]], damaged: dict[Damage, list[str]]
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n" if "crlf" in damaged else "\n")
    for item in items:
        if item in damaged.get("few_columns", ()):
            writer.writerow([item])
            continue
        spaces = "  " if "trailing_spaces" in damaged else ""
        writer.writerow([item + spaces, titles[item][0], titles[item][1] + spaces])
    for item in damaged.get("duplicate_items", ()):
        writer.writerow([item, "重复", "a second row of the same item"])
    content = text.getvalue().encode()
    for item in damaged.get("not_utf8", ()):
        # The title is replaced by bytes of another encoding.
        start = content.index(f"\n{item}".encode()) + 1 if not content.startswith(item.encode()) else 0
        comma = content.index(b",", start)
        content = content[: comma + 1] + "\xe9t\xe9 ".encode("latin-1") + content[comma + 1 :]
    path.write_bytes(content)


def _write_behaviours(path: Path, histories: dict[str, list[str]], damage: Collection[Damage]) -> None:
    end = ("  " if "trailing_spaces" in damage else "") + ("\r\n" if "crlf" in damage else "\n")
    lines = [f"{user}\t{' '.join(history)}" for user, history in histories.items()]
    users = list(histories)
    if "duplicate_users" in damage:
        # An earlier line of the same user, which the later one overwrites.
        lines = [f"{users[k]}\t{' '.join(reversed(histories[users[k]]))}" for k in (5, 6)] + lines
    if "unknown_items" in damage:
        lines = [line + " nobody-knows-this" if row % 9 == 0 else line for row, line in enumerate(lines)]
    if "no_tab" in damage:
        lines.insert(3, "a line without a tab")
    path.write_bytes("".join(line + end for line in lines).encode())


def _write_pairs(
    path: Path,
    histories: dict[str, list[str]],
    user_first: bool,
    damage: Collection[Damage],
    rng: np.random.Generator,
) -> None:
    """Rows in no order; some neighbours in a history have equal times, and then the file's order counts."""
    rows: list[tuple[str, str, int]] = []
    for user, history in histories.items():
        times = 1_600_000_000_000 + np.cumsum(rng.integers(0, 3, len(history)) * 1000)
        rows += [(item, user, int(time)) for item, time in zip(history, times, strict=True)]
    keys = rng.random(len(rows))
    starts = np.flatnonzero([k == 0 or rows[k][1:] != rows[k - 1][1:] for k in range(len(rows))])
    keys = np.repeat(keys[starts], np.diff([*starts, len(rows)]))  # rows of equal user and time stay together
    rows = [rows[k] for k in np.argsort(keys, kind="stable")]
    if "unknown_items" in damage:
        rows += [("nobody-knows-this", rows[k][1], rows[k][2]) for k in range(5)]
    end = ("  " if "trailing_spaces" in damage else "") + ("\r\n" if "crlf" in damage else "\n")
    lines = [
        f"{user},{item},{time}{end}" if user_first else f"{item},{user},{time}{end}"
        for item, user, time in rows
    ]
    if "bad_times" in damage:
        lines += [f"{rows[0][0]},{rows[0][1]},yesterday{end}", f"{rows[0][0]}{end}"]
    path.write_text("".join(lines), newline="")


def _write_covers(
    folder: Path,
    items: list[str],
    size: tuple[int, int],
    damaged: dict[Damage, list[str]],
    rng: np.random.Generator,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    encoded = [jpeg(rng, size) for _ in range(min(len(items), 64))]
    for position, item in enumerate(items):
        (folder / f"{item}.jpg").write_bytes(encoded[position % len(encoded)])
    for item in damaged.get("truncated_covers", ()):
        content = (folder / f"{item}.jpg").read_bytes()
        (folder / f"{item}.jpg").write_bytes(content[: len(content) // 2])
    for item in damaged.get("empty_covers", ()):
        (folder / f"{item}.jpg").write_bytes(b"")
    for item in damaged.get("renamed_covers", ()):
        (folder / f"{item}.jpg").write_bytes(b"<html>404 not found</html>")
    for item in damaged.get("missing_covers", ()):
        (folder / f"{item}.jpg").unlink()
    for item in damaged.get("huge_covers", ()):
        (folder / f"{item}.jpg").write_bytes(huge_png())

"""Writes trees of a line a user and a line an item, with the oddities of those that IISAN and MoRec ship."""

import io
from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from PIL import Image

from tests.data_makers.lmdb import Payload, write_lmdb
from tests.data_makers.parts import histories_of, jpeg

Damage = Literal[
    "crlf",
    "bom",
    "blank_lines",
    "double_spaces",
    "trailing_spaces",
    "duplicate_users",
    "no_tab",
    "unknown_items",
    "duplicate_items",
    "few_columns",
    "not_utf8",
    "truncated_covers",
    "empty_covers",
    "missing_covers",
]
EVERY_DAMAGE: tuple[Damage, ...] = get_args(Damage)


class Names(NamedTuple):
    """What the files are called and how items are written."""

    users: str
    items: str
    pictures: str = ""
    """A folder, or an LMDB where it ends so."""
    texts: int = 1
    separator: str = "\t"
    prefix: str = "v"
    numbered: bool = False
    """Whether the LMDB's keys are numbers without the prefix."""


class Tree(NamedTuple):
    """What was written: the truth that a reader must find again."""

    root: Path
    lines: list[tuple[str, list[str]]]
    """Users and items, oldest first, in the order of the file."""
    items: list[str]
    """As the catalogue has them: those of the items file, then others in the order of the users file."""
    texts: dict[str, list[str]]
    damaged: dict[Damage, list[str]]


def make_lines(
    root: Path,
    names: Names,
    n_users: int = 40,
    n_items: int = 30,
    seed: int = 0,
    longest: int = 30,
    damage: Collection[Damage] = (),
    hostile: Path | None = None,
) -> Tree:
    """Writes the two files, and pictures where they have a name.

    Args:
        root: Made if absent.
        names: Of the files.
        n_users: Users, most of 5 to ``longest`` interactions, some of two to four, neighbours often alike.
        n_items: Items of the items file; one that nobody took is among them.
        seed: Same seed, same tree.
        longest: Longest history.
        damage: What is wrong with the tree.
        hostile: Of the LMDB's second record: a folder that is made if somebody unpickles it.
    """
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    items = [f"{names.prefix}{number:05d}" for number in rng.choice(90_000, n_items, replace=False)]
    lines = list(histories_of(rng, items[:-1], n_users, longest, "A").items())
    lines[3:6] = [
        (user, history[:length]) for (user, history), length in zip(lines[3:6], (2, 3, 4), strict=True)
    ]
    lines[7] = (lines[7][0], [lines[7][1][0], *lines[7][1]])
    texts = {item: _texts(place, names) for place, item in enumerate(items)}
    damaged = {kind: [items[k] for k in rng.choice(n_items, 3, replace=False)] for kind in damage}
    catalogue = list(items)
    if "unknown_items" in damage:
        lines[8] = (lines[8][0], ["v99999", *lines[8][1], "v99998"])
        catalogue += ["v99999", "v99998"]
    if "duplicate_users" in damage:
        lines.append((lines[9][0], lines[10][1][:6]))
    _write_users(root / names.users, lines, damage)
    _write_items(root / names.items, names, items, texts, damaged)
    if names.pictures.endswith(".lmdb"):
        keys = [str(int(item[1:])) if names.numbered else item for item in items]
        pictures = {key: np.asarray(Image.open(io.BytesIO(jpeg(rng, (8, 8))))) for key in keys}
        write_lmdb(root / names.pictures, pictures, {keys[1]: Payload(str(hostile))} if hostile else {})
    elif names.pictures:
        _write_covers(root / names.pictures, items, damaged, rng)
    return Tree(root, lines, catalogue, texts, damaged)


def _texts(place: int, names: Names) -> list[str]:
    odd = {
        0: '" Industrial &amp; Scientific"" />"',  # as in IISAN's Scientific
        1: 'Prop 2.5&quot; "Metal, with an open quote',
        2: "a title of, two parts" if names.separator == "," else "a title\tof two parts",
        3: "",
    }
    title = odd.get(place, f"thing {place}, red")
    return [title, f"abstract {place}" if place % 4 else ""][: names.texts]


def _write_users(path: Path, lines: list[tuple[str, list[str]]], damage: Collection[Damage]) -> None:
    between = "  " if "double_spaces" in damage else " "
    rows = [f"{user}\t{between.join(history)}" for user, history in lines]
    if "trailing_spaces" in damage:
        rows = [f"{row} " for row in rows]
    if "no_tab" in damage:
        rows[2:2] = ["A-nobody", "A-other v00001 v00002"]
    if "blank_lines" in damage:
        rows[4:4] = ["", "  "]
    start = "\ufeff" if "bom" in damage else ""
    path.write_text(start + ("\r\n" if "crlf" in damage else "\n").join([*rows, ""]), "utf-8", newline="")


def _write_items(
    path: Path,
    names: Names,
    items: list[str],
    texts: dict[str, list[str]],
    damaged: dict[Damage, list[str]],
) -> None:
    rows = []
    for item in items:
        bare = item in damaged.get("few_columns", ())
        rows.append(item if bare else names.separator.join([item, *texts[item]]))
    rows += [names.separator.join([item, "a second line"]) for item in damaged.get("duplicate_items", ())]
    if "blank_lines" in damaged:
        rows.insert(3, "")
    start = "\ufeff" if "bom" in damaged else ""
    content = (start + ("\r\n" if "crlf" in damaged else "\n").join([*rows, ""])).encode()
    if "not_utf8" in damaged:
        content = content.replace(b"thing 7", b"th\xefng 7")
    path.write_bytes(content)


def _write_covers(
    folder: Path, items: list[str], damaged: dict[Damage, list[str]], rng: np.random.Generator
) -> None:
    folder.mkdir()
    for item in items:
        content = jpeg(rng, (24, 24))
        if item in damaged.get("truncated_covers", ()):
            content = content[: len(content) // 2]
        if item in damaged.get("empty_covers", ()):
            content = b""
        if item not in damaged.get("missing_covers", ()):
            (folder / f"{item}.jpg").write_bytes(content)

"""Writes trees with the names, columns and oddities of PixelRec as released, whole or damaged."""

import csv
import io
from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from PIL import Image

from tests.data_makers.lmdb import Payload, write_lmdb
from tests.data_makers.parts import histories_of, jpeg, steps

Damage = Literal[
    "crlf",
    "mixed_separators",
    "open_quote",
    "few_columns",
    "repeated_header",
    "unknown_items",
    "duplicate_rows",
    "bad_times",
    "negative_times",
    "milliseconds",
    "duplicate_items",
    "item_columns",
    "not_utf8",
    "empty_covers",
    "truncated_covers",
    "missing_covers",
]
EVERY_DAMAGE: tuple[Damage, ...] = get_args(Damage)
INFO = (
    "item_id,view_number,comment_number,thumbup_number,share_number,coin_number,favorite_number,"
    "barrage_number,title,tag,description"
).split(",")


class Row(NamedTuple):
    """One interaction."""

    item: str
    user: str
    time: int


class Tree(NamedTuple):
    """What was written: the truth that a reader must find again."""

    root: Path
    histories: dict[str, list[str]]
    """User -> items, oldest first."""
    items: list[str]
    """Rows of the item information."""
    texts: dict[str, tuple[str, str, str]]
    """Title, tag and description."""
    damaged: dict[Damage, list[str]]


def make_pixelrec(
    root: Path,
    subset: str = "Pixel200K",
    n_users: int = 40,
    n_items: int = 30,
    seed: int = 0,
    longest: int = 30,
    damage: Collection[Damage] = (),
    covers: Literal["folder", "lmdb", "none"] = "folder",
    hostile: Path | None = None,
) -> Tree:
    """Writes one part: the smallest in a folder of its own, the others in folders of one table each.

    Args:
        root: Made if absent.
        subset: The authors' name.
        n_users: Users of 6 to ``longest`` interactions, none with the same item twice in neighbouring places.
        n_items: Items of the information; one more, without information, is in the interactions.
        seed: Same seed, same tree.
        longest: Longest history.
        damage: What is wrong with the tree.
        covers: A folder of pictures, the authors' LMDB, or none.
        hostile: Of the LMDB's second record: a folder that is made if somebody unpickles it.
    """
    rng = np.random.default_rng(seed)
    items = [f"i{number}" for number in rng.choice(408_374, n_items, replace=False)]
    users = histories_of(rng, items, n_users, longest, "u")
    histories = {user: [*history, items[0]] for user, history in users.items()}
    last = next(iter(histories))
    histories[last][2] = "i192714"  # the item that the first release of the information lacked
    texts = {item: _texts(place) for place, item in enumerate(items)}
    damaged = {kind: list(rng.choice(items, 3, replace=False)) for kind in damage}
    sample = subset == "PixelRec50K"
    folder = root / subset if sample else root / "dataset"
    information = root / subset if sample else root / "information"
    for place in (folder, information):
        place.mkdir(parents=True, exist_ok=True)
    _write_interactions(folder / f"{'interaction' if sample else subset}.csv", histories, damage, rng)
    _write_items(information / f"{'item_info' if sample else subset}.csv", items, texts, damaged, rng)
    if covers == "lmdb":
        pictures = {item: np.asarray(Image.open(io.BytesIO(jpeg(rng, (8, 8))))) for item in items}
        payload = {items[1]: Payload(str(hostile))} if hostile else {}
        write_lmdb(root / f"{subset.lower()}.lmdb", pictures, payload)
    elif covers == "folder":
        _write_covers(root / "cover", items, damaged, rng)
    return Tree(root, histories, items, texts, damaged)


def _texts(place: int) -> tuple[str, str, str]:
    odd = {
        0: ('Said "crane", and commas', "craft", "line one\nline two, with a comma"),
        1: ("", "food", ""),
        2: ('A 5" disc in the middle', "music", "-"),
        3: ("", "", ""),
    }
    return odd.get(place, (f"title {place}", f"tag{place % 5}", f"description {place}" if place % 4 else ""))


def _write_interactions(
    path: Path, histories: dict[str, list[str]], damage: Collection[Damage], rng: np.random.Generator
) -> None:
    """Rows in the order of nothing; of equal times the file's order counts, as some neighbours have them."""
    rows: list[Row] = []
    for user, history in histories.items():
        times = 1_600_000_000 + np.cumsum(steps(rng, history))
        rows += [Row(item, user, int(time)) for item, time in zip(history, times, strict=True)]
    keys = rng.random(len(rows))
    starts = np.flatnonzero([k == 0 or rows[k][1:] != rows[k - 1][1:] for k in range(len(rows))])
    keys = np.repeat(keys[starts], np.diff([*starts, len(rows)]))
    rows = [rows[k] for k in np.argsort(keys, kind="stable")]
    first = next(iter(histories))
    if "negative_times" in damage:  # the user's two oldest: they stay so
        oldest = sorted((r for r in rows if r.user == first), key=lambda r: r.time)[0].time
        rows = [r._replace(time=oldest - 2_000_000_000) if r[1:] == (first, oldest) else r for r in rows]
    if "milliseconds" in damage:
        rows = [r._replace(time=r.time * 1000) if r.user == first else r for r in rows]
    lines = [f"{row.item},{row.user},{row.time}" for row in rows]
    if "mixed_separators" in damage:
        lines[3:6] = [line.replace(",", ";") for line in lines[3:6]]
    if "open_quote" in damage:
        lines[7] = f'"{lines[7]}'
        lines[11] = f'{lines[11]}"'
    if "duplicate_rows" in damage:
        lines += [f"{rows[0].item},u-twice,{1_700_000_000 + step // 2}" for step in range(3)]
    if "few_columns" in damage:
        lines.insert(5, "i5,u5")
    if "repeated_header" in damage:
        lines.insert(9, "item_id,user_id,timestamp")
    if "unknown_items" in damage:
        lines += [f"i-nobody-knows-{k},u-other,1700000000" for k in range(3)]
    if "bad_times" in damage:
        lines += [f"{rows[0].item},u-bad,yesterday", f"{rows[0].item},u-bad,"]
    end = "\r\n" if "crlf" in damage else "\n"
    path.write_text(end.join(["item_id,user_id,timestamp", *lines, ""]), newline="")


def _write_items(
    path: Path,
    items: list[str],
    texts: dict[str, tuple[str, str, str]],
    damaged: dict[Damage, list[str]],
    rng: np.random.Generator,
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n" if "crlf" in damaged else "\n")
    writer.writerow(INFO)
    for place, item in enumerate(items):
        counters = [f"{number}.0" for number in rng.integers(0, 10_000, 7)]
        if place == 3:  # some rows have nothing but an id
            counters = [""] * 7
        row = [item, *counters, *texts[item]]
        if item in damaged.get("item_columns", ()):
            row = [item, "many", "3.0"]
        writer.writerow(row)
    for item in damaged.get("duplicate_items", ()):
        writer.writerow([item, *["1.0"] * 7, "a second row of the same item", "", ""])
    content = text.getvalue().encode()
    if "not_utf8" in damaged:
        content = content.replace(b"title 7", b"caf\xe9 7")
    path.write_bytes(content)


def _write_covers(
    folder: Path, items: list[str], damaged: dict[Damage, list[str]], rng: np.random.Generator
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for item in items:
        (folder / f"{item}.jpg").write_bytes(jpeg(rng, tuple(rng.integers(20, 60, 2).tolist())))
    for item in damaged.get("truncated_covers", ()):
        content = (folder / f"{item}.jpg").read_bytes()
        (folder / f"{item}.jpg").write_bytes(content[: len(content) // 2])
    for item in damaged.get("empty_covers", ()):
        (folder / f"{item}.jpg").write_bytes(b"")
    for item in damaged.get("missing_covers", ()):
        (folder / f"{item}.jpg").unlink()

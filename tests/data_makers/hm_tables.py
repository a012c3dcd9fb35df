"""Writes small trees with the names, columns and oddities of H&M's competition on Kaggle, or damaged ones."""

from collections.abc import Collection
from datetime import date, timedelta
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from tests.data_makers.parts import jpeg

Damage = Literal[
    "lost_zeros",
    "crlf",
    "bom",
    "blank_lines",
    "short_lines",
    "mixed_separators",
    "bad_days",
    "unknown_items",
    "duplicate_rows",
    "duplicate_items",
    "open_quotes",
    "not_utf8",
    "repeated_header",
]
EVERY_DAMAGE: tuple[Damage, ...] = get_args(Damage)
COLUMNS = (
    "article_id,product_code,prod_name,product_type_no,product_type_name,product_group_name,colour_group_name,"
    "index_name,detail_desc"
)


class Tree(NamedTuple):
    """What was written."""

    root: Path
    histories: dict[str, list[str]]
    """By day, then by line; several pieces of an article on one day once."""
    names: dict[str, str]
    """Of the articles, in the order of their file."""


def make_hm_tables(
    root: Path, n_users: int = 24, n_items: int = 30, seed: int = 0, damage: Collection[Damage] = ()
) -> Tree:
    """Writes ``transactions_train.csv``, ``articles.csv`` and ``images/010/0108775015.jpg`` and so on.

    Args:
        root: Made if absent.
        n_users: Customers of 5 to 25 purchases.
        n_items: Articles; one that nobody bought is among them.
        seed: Same seed, same tree.
        damage: What is wrong with the tables. ``lost_zeros``: some program took articles for numbers.
    """
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    items = [f"0{number:09d}" for number in rng.choice(999_999_999, n_items, replace=False)]
    taken: list[tuple[date, str, str]] = []
    for user in range(n_users):
        name = f"{user:02d}" * 32
        for _ in range(int(rng.integers(5, 26))):
            day = date(2018, 9, 20) + timedelta(days=int(rng.integers(0, 700)))
            taken.append((day, name, items[int(rng.integers(n_items - 1))]))
    taken.sort(key=lambda row: row[0])
    if "unknown_items" in damage:
        taken[4:4] = [(taken[4][0], taken[4][1], "0999999999")]
    plain = {"lost_zeros"} <= set(damage)
    lines = [
        f"{day},{user},{item.lstrip('0') if plain and place % 2 else item},0.0508{place},2"
        for place, (day, user, item) in enumerate(taken)
    ]
    dropped = _damage(lines, damage)
    rows = [row for place, row in enumerate(taken) if place not in dropped]
    if "duplicate_rows" in damage:
        lines.append(lines[-1])
    if "blank_lines" in damage:
        lines[3:3] = ["", "  "]
    header = "t_dat,customer_id,article_id,price,sales_channel_id"
    if "repeated_header" in damage:
        lines.insert(9, header)
    start, end = "\ufeff" if "bom" in damage else "", "\r\n" if "crlf" in damage else "\n"
    (root / "transactions_train.csv").write_text(start + end.join([header, *lines, ""]), "utf-8", newline="")
    names = {item: f"Strap top {place}" for place, item in enumerate(items)}
    names[items[0]] = 'Tee 5" wide, red'
    _write_articles(root / "articles.csv", names, damage)
    for item in items[2:]:
        picture = root / "images" / item[:3] / f"{item}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(jpeg(rng, (16, 16)))
    histories: dict[str, list[str]] = {}
    seen: set[tuple[date, str, str]] = set()
    for row in rows:  # days are in order already
        if row not in seen:
            histories.setdefault(row[1], []).append(row[2])
        seen.add(row)
    return Tree(root, histories, names)


def _damage(lines: list[str], damage: Collection[Damage]) -> set[int]:
    """Changes lines in place; answers with the places that cannot be read any more."""
    dropped = set()
    if "short_lines" in damage:
        lines[12] = lines[12][:30]
        dropped.add(12)
    if "bad_days" in damage:
        lines[20], lines[21] = f"yesterday{lines[20][10:]}", lines[21][10:]
        dropped |= {20, 21}
    if "mixed_separators" in damage:
        lines[30] = lines[30].replace(",", ";")
    return dropped


def _write_articles(path: Path, names: dict[str, str], damage: Collection[Damage]) -> None:
    rows = []
    for place, (item, name) in enumerate(names.items()):
        shown = item.lstrip("0") if "lost_zeros" in damage and place % 3 else item
        quoted = '"' + name.replace('"', '""') + '"' if '"' in name else name
        description = '"Jersey top, with ""narrow"" straps.\nLined."' if place % 2 else ""
        if "open_quotes" in damage and place == 4:
            description = 'A 3" heel'
        rows.append(
            f"{shown},{item[:7]},{quoted},253,Vest top,Garment Upper body,Black,Ladieswear,{description}"
        )
    if "duplicate_items" in damage:
        rows.append(f"{next(iter(names))},1,another,1,x,y,z,w,v")
    end = "\r\n" if "crlf" in damage else "\n"
    content = end.join([COLUMNS, *rows, ""]).encode()
    if "not_utf8" in damage:
        content = content.replace(b"Ladieswear", b"Ladi\xe9swear", 1)
    path.write_bytes((b"\xef\xbb\xbf" if "bom" in damage else b"") + content)

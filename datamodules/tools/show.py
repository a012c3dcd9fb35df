"""``mmzoo data show``: a few users' histories, as a contact sheet and as text."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.base import RecDataModule
from datamodules.histories import EvalWindows
from datamodules.mmrec import MMRec
from datamodules.mmrec_files import Pairs, read_layout
from datamodules.module import DataModule
from datamodules.splits import HELD_OUT, Stage
from datamodules.tools.raw import known_kind
from datamodules.tools.sheet import SheetRow, draw_sheet
from datamodules.tools.texts import aligned

_WIDE = 60


def show(
    data: DataModule,
    out: Path,
    users: str | None = None,
    count: int = 6,
    items: int = 10,
    seed: int = 0,
) -> int:
    """Prints histories, and draws them as ``show.png`` where there are covers.

    Args:
        data: The data set; its tables and windows are prepared if they are not.
        out: Folder for the picture.
        users: Names of users, with commas between them.
        count: How many users are drawn if none are named.
        items: Most recent items shown of each.
        seed: Of the draw.

    Raises:
        ValueError: If a user is unknown, or a number below 1.
    """
    if count < 1 or items < 1 or seed < 0:
        raise ValueError(
            f"Expected --count and --items of at least 1 and --seed of at least 0, found {count}, {items} "
            f"and {seed}."
        )
    data = known_kind(data)
    data.prepare_data()
    data.setup()
    chosen = _chosen(data.user_names, users, count, seed)
    if isinstance(data, MMRec):
        print(_pairs(data, chosen, items))
        return 0
    rows = _rows(data, chosen, items)
    print("\n".join(_listed(row, data) for row in rows))
    covers = {item: data.cover(item) for row in rows for item in row.items}
    if all(cover is None for cover in covers.values()):
        print("None of these items has a cover that can be opened: there is no picture.")
        return 0
    out.mkdir(parents=True, exist_ok=True)
    titles = {item: " ".join(data.raw_title(item).split()) for item in covers}
    sheet, note = draw_sheet(rows, covers, titles)
    sheet.save(out / "show.png")
    print("\n".join(filter(None, [note, str(out / "show.png")])))
    return 0


def _chosen(names: Sequence[str], users: str | None, count: int, seed: int) -> list[int]:
    """User rows, named or drawn."""
    if users is None:
        n_users = len(names) - 1
        drawn = np.random.default_rng(seed).choice(n_users, min(count, n_users), replace=False)
        return [int(row) + 1 for row in drawn]
    wanted = list(dict.fromkeys(name.strip() for name in users.split(",") if name.strip()))
    rows = {name: row for row, name in enumerate(names) if row and name in set(wanted)}
    if missing := [name for name in wanted if name not in rows]:
        raise ValueError(
            f"--users: there is no user {' and no '.join(missing)} among the {len(names) - 1:,} that are "
            f"kept. There are, for example, {', '.join(names[1:6])}."
        )
    return [rows[name] for name in wanted]


def _rows(data: RecDataModule, users: Sequence[int], items: int) -> list[SheetRow]:
    """The ends of windows, with what is validated and tested on in them."""
    found = []
    for user in users:
        (row,) = data.windows.last(np.array([user]), items).tolist()
        shown = [item for item in row if item]
        first = int(data.windows.offsets[user + 1]) - len(shown)
        marks = {place - first: name for place, name in _targets(data, user) if place >= first}
        found.append(SheetRow(data.user_names[user], shown, marks))
    return found


def _targets(data: RecDataModule, user: int) -> list[tuple[int, str]]:
    """Positions of a user's targets in the windows, and what they are for."""
    found = []
    loaders: tuple[tuple[Stage, str, Any], ...] = (
        ("val", "validation", data.val_dataloader()),
        ("test", "test", data.test_dataloader()),
    )
    for stage, name, loader in loaders:
        rows: EvalWindows = loader.dataset
        if rows.places is None:
            found.append((int(rows.windows.offsets[user + 1]) - HELD_OUT[stage][0], name))
        else:
            first, past = np.searchsorted(rows.places.user_R, [user, user + 1])
            found += [(int(place), name) for place in rows.places.place_R[first:past]]
    return found


def _listed(row: SheetRow, data: RecDataModule) -> str:
    lines = []
    for place, item in enumerate(row.items):
        title = " ".join(data.raw_title(item).split())
        lines.append([f"  {place + 1}", row.marks.get(place, ""), data.item_names[item], title[:_WIDE]])
    return f"user {row.user}:\n{aligned(['', 'target of', 'item', 'title'], lines)}"


def _pairs(data: MMRec, users: Sequence[int], items: int) -> str:
    """A line a user and split: pairs have no order, and the layout no pictures."""
    layout = read_layout(data.folder, data.name)
    title: Callable[[int], str] = getattr(data, "raw_title", lambda row: "")
    lines = []
    for user in users:
        for name, pairs in (("training", layout.train), ("validation", layout.val), ("test", layout.test)):
            shown = _items_of(pairs, user)
            words = [
                " ".join(filter(None, [data.item_names[row], title(row)[:_WIDE]])) for row in shown[:items]
            ]
            more = f", and {len(shown) - items:,} more" if len(shown) > items else ""
            lines.append([data.user_names[user], name, len(shown), ", ".join(words) + more])
    return aligned(["user", "split", "items", ""], lines)


def _items_of(pairs: Pairs, user: int) -> list[int]:
    first, last = np.searchsorted(pairs.user_E, [user, user + 1])
    return [int(item) for item in pairs.item_E[first:last]]

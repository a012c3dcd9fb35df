"""Writes trees with the names, columns and oddities of MicroLens as released, whole or damaged."""

from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from tests.data_makers.parts import TONE, histories_of, jpeg, mp4, steps, wav

Damage = Literal[
    "crlf",
    "mixed_separators",
    "few_columns",
    "unknown_items",
    "duplicate_users",
    "duplicate_rows",
    "bad_times",
    "negative_times",
    "seconds",
    "renumbered",
    "no_tab",
    "empty_titles",
    "missing_titles",
    "open_quote",
    "not_utf8",
    "odd_likes",
    "truncated_covers",
    "missing_covers",
    "truncated_videos",
    "html_videos",
    "truncated_audio",
    "truncated_frames",
]
EVERY_DAMAGE: tuple[Damage, ...] = get_args(Damage)
TITLES = {"50k": "titles.csv", "100k": "title_en.csv", "1M": "title.csv"}
Media = Literal["covers", "videos", "audio", "frames"]


class Tree(NamedTuple):
    """What was written: the truth that a reader must find again."""

    root: Path
    histories: dict[str, list[str]]
    items: list[str]
    titles: dict[str, str]
    """Of every item; those whose line is missing have an empty one."""
    damaged: dict[Damage, list[str]]


def make_microlens(
    root: Path,
    subset: str = "100k",
    n_users: int = 40,
    n_items: int = 30,
    seed: int = 0,
    longest: int = 25,
    pairs: Collection[str] = ("tsv", "csv"),
    old_header: bool = False,
    media: Collection[Media] = (),
    damage: Collection[Damage] = (),
) -> Tree:
    """Writes ``root/MicroLens-<subset>/``; users and items are numbers from 1.

    Args:
        root: Made if absent.
        subset: ``50k``, ``100k`` or ``1M``, which differ in their file of titles.
        n_users: Users of 5 to ``longest`` interactions.
        n_items: Items.
        seed: Same seed, same tree.
        longest: Longest history.
        pairs: Forms in which the interactions are written.
        old_header: Column names of the older release.
        media: Folders to write. Videos need PyAV.
        damage: What is wrong with the tree.
    """
    rng = np.random.default_rng(seed)
    name, folder = f"MicroLens-{subset}", root / f"MicroLens-{subset}"
    folder.mkdir(parents=True, exist_ok=True)
    items = [str(number) for number in range(1, n_items + 1)]
    histories = histories_of(rng, items, n_users, longest, "")
    titles = {item: _title(place, item) for place, item in enumerate(items)}
    damaged = {
        kind: [items[k] for k in rng.choice(np.arange(8, n_items), 3, replace=False)] for kind in damage
    }
    for kind in ("empty_titles", "missing_titles"):
        titles.update(dict.fromkeys(damaged.get(kind, ()), ""))
    if "tsv" in pairs:
        _write_lines(folder / f"{name}_pairs.tsv", histories, damage)
    if "csv" in pairs:
        _write_pairs(folder / f"{name}_pairs.csv", histories, old_header, damage, rng)
    _write_titles(folder / f"{name}_{TITLES[subset]}", subset, titles, damaged)
    _write_rest(folder, name, items, histories, damaged, rng)
    for kind in media:
        _write_media(folder, name, kind, items, damaged, rng)
    return Tree(root, histories, items, titles, damaged)


def _title(place: int, item: str) -> str:
    odd = {0: "Cooking, slowly, at home", 1: 'He said "no', 2: "two  words", 3: '"quoted" at the start'}
    return odd.get(place, f"title of {item}")


def _end(damage: Collection[Damage]) -> str:
    return "\r\n" if "crlf" in damage else "\n"


def _write_lines(path: Path, histories: dict[str, list[str]], damage: Collection[Damage]) -> None:
    lines = [f"{user}\t{' '.join(history)}" for user, history in histories.items()]
    if "duplicate_users" in damage:
        first = next(iter(histories))
        lines.insert(0, f"{first}\t{' '.join(reversed(histories[first]))}")
    if "unknown_items" in damage:
        lines += ["900001\t99991 99992 99993"]
    if "renumbered" in damage:
        lines[1] = lines[1].replace(" ", ".0 ") + ".0"
    if "no_tab" in damage:
        lines.insert(3, "a line without a tab")
    path.write_text(_end(damage).join([*lines, ""]), newline="")


def _write_pairs(
    path: Path,
    histories: dict[str, list[str]],
    old_header: bool,
    damage: Collection[Damage],
    rng: np.random.Generator,
) -> None:
    """User by user, as released; milliseconds."""
    lines = []
    for place, (user, history) in enumerate(histories.items()):
        times = 1_600_000_000_000 + 1000 * np.cumsum(steps(rng, history))
        if place == 0 and "negative_times" in damage:
            times -= 1_700_000_000_000
        if place == 1 and "seconds" in damage:
            times //= 1000
        names = [f"{item}.0" for item in history] if place == 2 and "renumbered" in damage else history
        lines += [f"{user},{item},{time}" for item, time in zip(names, times, strict=True)]
    if "mixed_separators" in damage:
        lines[4] = lines[4].replace(",", "\t")
    if "few_columns" in damage:
        lines.insert(6, "7,7")
    if "duplicate_rows" in damage:
        lines += ["900000,1,1700000000000"] * 3
    if "unknown_items" in damage:
        lines += [f"900001,{item},1700000000000" for item in (99991, 99992, 99993)]
    if "bad_times" in damage:
        lines += ["900002,1,yesterday"]
    header = "userID,videoID,timestamp" if old_header else "user,item,timestamp"
    path.write_text(_end(damage).join([header, *lines, ""]), newline="")


def _write_titles(path: Path, subset: str, titles: dict[str, str], damaged: dict[Damage, list[str]]) -> None:
    """With a header and quotes in the smallest set, else lines whose quotes do not add up."""
    written = [
        (item, title) for item, title in titles.items() if item not in damaged.get("missing_titles", ())
    ]
    if subset == "50k":
        lines = [
            "item,title",
            *(f'{item},"{title.replace(chr(34), chr(34) * 2)}"' for item, title in written),
        ]
        if "open_quote" in damaged:
            lines.append('"never closed')
    else:
        lines = [f"{item},{title}" for item, title in written]
        if "open_quote" in damaged:
            lines.append('"never closed,')
    content = _end(damaged).join([*lines, ""]).encode()
    if "not_utf8" in damaged:
        content = content.replace(b"title of 7", b"caf\xe9 of 7")
    path.write_bytes(content)


def _write_rest(
    folder: Path,
    name: str,
    items: list[str],
    histories: dict[str, list[str]],
    damaged: dict[Damage, list[str]],
    rng: np.random.Generator,
) -> None:
    """Likes, comments, labels and captions."""
    views = rng.integers(1000, 10_000, len(items)).tolist()
    likes = [f"{item}\t{view // 10}\t{view}" for item, view in zip(items, views, strict=True)]
    if "odd_likes" in damaged:
        likes[4], likes[5] = f"{items[4]}\t99999\t5", f"{items[5]}\tmany\t5"
    (folder / f"{name}_likes_and_views.txt").write_text("\n".join([*likes, ""]))
    comments = [
        f"{user}\t{item}\tcomment {k} of {user}\ton it"
        for user, history in histories.items()
        for k, item in enumerate(history)
    ]
    (folder / f"{name}_comment_en.txt").write_text("\n".join([*comments, "a line\twithout more", ""]))
    tags = [f"{item},label {int(item) % 4}" for item in items[:-2]]
    (folder / "tags_to_summary.csv").write_text("\n".join(["id,category", *tags, ""]))
    captions = [f"{item}\ta person does {int(item) % 3}, slowly" for item in items[2:]]
    (folder / f"{name.replace('-', '').replace('k', 'K')}_captions_en.csv").write_text(
        "\n".join([*captions, ""])
    )


def _write_media(
    folder: Path,
    name: str,
    kind: Media,
    items: list[str],
    damaged: dict[Damage, list[str]],
    rng: np.random.Generator,
) -> None:
    ending = "frames_interval_1_number_5" if kind == "frames" else kind
    place = folder / f"{name}_{ending}"
    place.mkdir()
    if kind == "videos":
        mp4(folder / "one.mp4")
        content = (folder / "one.mp4").read_bytes()
        (folder / "one.mp4").unlink()
    for item in items:
        if kind == "covers":
            (place / f"{item}.jpg").write_bytes(jpeg(rng, (48, 64)))
        elif kind == "videos":
            (place / f"{item}.mp4").write_bytes(content)
        elif kind == "audio":
            (place / f"{item}.wav").write_bytes(wav(TONE))
        else:
            for frame in range(1, 6):
                (place / f"{item}-{frame}.jpg").write_bytes(jpeg(rng, (32, 32)))
    suffix = {"covers": ".jpg", "videos": ".mp4", "audio": ".wav", "frames": "-3.jpg"}[kind]
    for item in damaged.get(f"truncated_{kind}", ()):  # type: ignore[call-overload]
        file = place / f"{item}{suffix}"
        content = file.read_bytes()
        file.write_bytes(content[: min(900, len(content) // 2)])
    if kind == "videos":
        for item in damaged.get("html_videos", ()):
            (place / f"{item}.mp4").write_bytes(b"<html>502 Bad Gateway</html>")
    if kind == "covers":
        for item in damaged.get("missing_covers", ()):
            (place / f"{item}.jpg").unlink()

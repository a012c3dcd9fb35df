"""Writes trees of Amazon's raw reviews with the fields and oddities of 2018 and 2023, whole or damaged."""

import gzip
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from tests.data_makers.parts import histories_of, jpeg, steps

Damage = Literal[
    "crlf",
    "broken_lines",
    "not_objects",
    "deep_lines",
    "missing_fields",
    "duplicate_rows",
    "bad_times",
    "mixed_times",
    "unknown_items",
    "duplicate_items",
    "page_code",
    "not_utf8",
    "odd_fields",
]
EVERY_DAMAGE: tuple[Damage, ...] = get_args(Damage)
Release = Literal["2018", "2023"]
Kind = Literal["reviews", "packed", "ratings"]
FIELDS = {"2018": ("reviewerID", "asin", "unixReviewTime"), "2023": ("user_id", "parent_asin", "timestamp")}


class Tree(NamedTuple):
    """What was written: the truth that a reader must find again."""

    root: Path
    histories: dict[str, list[str]]
    items: list[str]
    """Of the metadata, in their order."""
    metadata: dict[str, dict[str, Any]]
    n_rows: int
    """Rows of reviews or ratings that say who took what and when."""


def make_amazon(
    root: Path,
    release: Release = "2023",
    kind: Kind = "reviews",
    category: str = "All_Beauty",
    n_users: int = 40,
    n_items: int = 30,
    seed: int = 0,
    damage: Collection[Damage] = (),
) -> Tree:
    """Writes one category in the folders that the release has, and a picture of every item.

    Args:
        root: Made if absent.
        release: Whose names and fields.
        kind: Reviews, packed or not, or ratings alone.
        category: In the names of the files.
        n_users: Users of 5 to 20 reviews.
        n_items: Items of the metadata.
        seed: Same seed, same tree.
        damage: What is wrong with the tree.
    """
    rng = np.random.default_rng(seed)
    items = [f"B0{number:08d}" for number in rng.choice(10**7, n_items, replace=False)]
    histories = histories_of(rng, items, n_users, 20, "AG")
    first = next(iter(histories))
    if "unknown_items" in damage:
        histories[first] = ["B0UNKNOWN1", *histories[first], "B0UNKNOWN2"]
    rows = _in_time(rng, histories)
    if release == "2023":
        # Milliseconds, but for one user where the damage is that a program cut them.
        rows = [r if "mixed_times" in damage and r[0] == first else (*r[:2], r[2] * 1000) for r in rows]
    if "duplicate_rows" in damage:
        rows += rows[:4]
    ratings = kind == "ratings"
    place = root / ("ratings" if ratings else "raw/review_categories" if release == "2023" else "reviews")
    place.mkdir(parents=True, exist_ok=True)
    if ratings:
        _write_ratings(place / f"{category}.csv", release, rows, damage)
    else:
        lines = [json.dumps(_review(release, row)) for row in rows] + _bad_reviews(release, rows[0], damage)
        ending = ("jsonl" if release == "2023" else "json") + (".gz" if kind == "packed" else "")
        _write_lines(place / f"{category}.{ending}", lines, damage)
    metadata = {item: _metadata(release, item, k, damage) for k, item in enumerate(items)}
    beside = root / ("raw/meta_categories" if release == "2023" else "metadata")
    beside.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(record, ensure_ascii=False) for record in metadata.values()]
    if "duplicate_items" in damage:
        lines += [json.dumps({**metadata[item], "title": "a second row"}) for item in items[:3]]
    whole = category.removesuffix("_5")
    ending = "jsonl" if release == "2023" else "json.gz"
    _write_lines(beside / f"meta_{whole}.{ending}", lines, damage)
    (root / "images").mkdir(exist_ok=True)
    for item in items:
        (root / "images" / f"{item}.jpg").write_bytes(jpeg(rng, (16, 16)))
    return Tree(root, histories, items, metadata, len(rows))


def _in_time(rng: np.random.Generator, histories: dict[str, list[str]]) -> list[tuple[str, str, int]]:
    rows: list[tuple[str, str, int]] = []
    for user, history in histories.items():
        times = 1_400_000_000 + np.cumsum(steps(rng, history))
        rows += [(user, item, int(time)) for item, time in zip(history, times, strict=True)]
    return sorted(rows, key=lambda row: row[2])


def _review(release: Release, row: tuple[str, str, int]) -> dict[str, Any]:
    user, item, time = row
    said = {"title": 'Says "yes"', "text": "Two\nlines, and a comma"}
    if release == "2018":
        day = {"overall": 5.0, "verified": True, "reviewTime": "09 8, 2015", "unixReviewTime": time}
        return {**day, "reviewerID": user, "asin": item, "reviewText": said["text"], "summary": said["title"]}
    ids = {"asin": f"{item[:-1]}X", "parent_asin": item, "user_id": user, "timestamp": time}
    return {"rating": 5.0, **said, "images": [], **ids, "helpful_vote": 0, "verified_purchase": True}


def _bad_reviews(release: Release, row: tuple[str, str, int], damage: Collection[Damage]) -> list[str]:
    user, item, time = FIELDS[release]
    lines: list[str] = []
    if "broken_lines" in damage:
        lines += [json.dumps(_review(release, row))[:40], "{'asin': 'of a dictionary'}"]
    if "not_objects" in damage:
        lines += ["[1, 2]", '"text"', "{}"]
    if "deep_lines" in damage:
        lines += ["[" * 100_000]
    if "missing_fields" in damage:
        lines += [json.dumps({item: row[1], time: row[2]}), json.dumps({user: "AG-other", time: row[2]})]
    if "bad_times" in damage:
        lines += [json.dumps({user: "AG-bad", item: row[1], time: value}) for value in ("yesterday", None)]
    return lines


def _metadata(release: Release, item: str, place: int, damage: Collection[Damage]) -> dict[str, Any]:
    lists = ["first line", "second \n line"]
    texts: dict[str, Any] = {"title": f"thing {place}, red", "description": lists if place % 3 else []}
    if release == "2018":
        texts |= {
            "asin": item,
            "brand": f"brand {place % 4}",
            "feature": lists,
            "category": ["a", "b &amp; c"],
        }
        texts |= {"imageURLHighRes": [f"https://example.invalid/{item}.jpg"]}
    else:
        texts |= {"parent_asin": item, "store": f"store {place % 4}", "features": lists, "categories": []}
        texts |= {"images": [{"hi_res": None, "large": "https://example.invalid/l.jpg", "variant": "MAIN"}]}
    if "page_code" in damage and place == 4:
        texts["title"] = "var aPageStart = (new Date()).getTime();"
    if "odd_fields" in damage and place < 3:
        texts["title"] = (None, 5, {"en": "a title"})[place]
        texts["description"] = [["deep"], None, "flat"]
    return texts


def _write_lines(path: Path, lines: list[str], damage: Collection[Damage]) -> None:
    content = ("\r\n" if "crlf" in damage else "\n").join([*lines, ""]).encode()
    if "not_utf8" in damage:
        content = content.replace(b"thing 7,", b"caf\xe9 7,")
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _write_ratings(
    path: Path, release: Release, rows: list[tuple[str, str, int]], damage: Collection[Damage]
) -> None:
    """In 2018 without a header and the item first; in 2023 with a header and the user first."""
    new = release == "2023"
    lines = [",".join([*(row[:2] if new else row[1::-1]), "5.0", str(row[2])]) for row in rows]
    if "bad_times" in damage:
        lines += [
            ",".join([*(("AG-bad", rows[0][1]) if new else (rows[0][1], "AG-bad")), "5.0", "yesterday"])
        ]
    if "broken_lines" in damage:
        lines += ["AG-short"]
    header = ["user_id,parent_asin,rating,timestamp"] if new else []
    end = "\r\n" if "crlf" in damage else "\n"
    path.write_text(end.join([*header, *lines, ""]), newline="")

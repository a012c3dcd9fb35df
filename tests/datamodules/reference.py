"""Leave-two-out windows in plain loops, from the description alone: what the fast ones are held to."""

from typing import NamedTuple

import numpy as np
import polars as pl

from datamodules.tables import Report, Tables, tables_from_lines


class PlainUser(NamedTuple):
    train: list[int]
    val_history: list[int]
    val_target: int
    val_hidden: set[int]
    test_history: list[int]
    test_target: int
    test_hidden: set[int]


def plain_windows(
    lines: list[tuple[str, list[str]]], items: list[str], max_len: int, min_len: int
) -> tuple[list[str], dict[str, PlainUser]]:
    """Kept items in order, and every user's parts with catalogue ids from 1."""
    windows: dict[str, list[str]] = {}
    seen: set[str] = set()
    for user, history in lines:
        if len(history) < min_len:
            continue
        window = history[-(max_len + 3) :]
        windows[user] = window
        seen.update(window)
    kept = [item for item in items if item in seen]
    number = {item: position + 1 for position, item in enumerate(kept)}
    users = {}
    for user, window in windows.items():
        s = [number[item] for item in window]
        users[user] = PlainUser(
            train=s[:-2],
            val_history=s[-(max_len + 2) : -1][:-1][-max_len:],
            val_target=s[-2],
            val_hidden=set(s[:-2]),
            test_history=s[-(max_len + 1) :][:-1],
            test_target=s[-1],
            test_hidden=set(s[:-1]),
        )
    return kept, users


def tables_of(lines: list[tuple[str, list[str]]], items: list[str]) -> Tables:
    """Tables of histories in memory."""
    frame = pl.DataFrame(
        {"user": [user for user, _ in lines], "items": [" ".join(history) for _, history in lines]},
        schema={"user": pl.String, "items": pl.String},
    )
    return tables_from_lines(frame, pl.DataFrame({"item": items}, schema={"item": pl.String}), Report())


def random_lines(seed: int, n_users: int, n_items: int) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Lines of 0 to 14 interactions, every tenth of a user seen before."""
    rng = np.random.default_rng(seed)
    items = [f"v{number}" for number in rng.permutation(n_items)]
    lines: list[tuple[str, list[str]]] = []
    for row in range(n_users):
        user = lines[int(rng.integers(row))][0] if row and rng.random() < 0.1 else f"u{row}"
        lines.append((user, list(rng.choice(items, int(rng.integers(1, 15))))))
    return lines, items

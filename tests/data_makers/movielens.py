"""Writes small trees with the names, columns and oddities of MovieLens-1M as released."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

AGES = (1, 18, 25, 35, 45, 50, 56)
TITLES = ("Léon: The Professional (1994)", "Toy Story (1995)", "Misérables, Les (1995)", "Heat\x85")
"""With a colon inside, letters of Latin-1, and one of its characters that some take for a line end."""


class Rating(NamedTuple):
    """One line of the rating file."""

    user: int
    movie: int
    stars: int
    time: int


class Tree(NamedTuple):
    """What was written."""

    root: Path
    ratings: list[Rating]
    """In the order of the file, those of users with too few of them included."""
    users: dict[int, tuple[str, int, int]]
    """Gender, age code and occupation of the users that the user file has."""
    titles: dict[int, str]


def make_movielens(
    root: Path,
    n_users: int = 25,
    n_movies: int = 40,
    seed: int = 0,
    crlf: bool = False,
    short_users: int = 0,
    unlisted: bool = False,
) -> Tree:
    """Writes ``ratings.dat``, ``users.dat`` and ``movies.dat``; numbers count from 1 and have gaps.

    Args:
        root: Made if absent.
        n_users: Users with 20 ratings or more, as all have in the released set.
        n_movies: Movies that may be rated.
        seed: Same seed, same tree.
        crlf: Lines end as on Windows.
        short_users: Further users of three ratings.
        unlisted: The last user and the most rated movie are missing from their files, the first user's age
            code is none of MovieLens.
    """
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    movies = rng.choice(4000, n_movies, replace=False) + 1
    ratings = []
    for user in range(1, n_users + short_users + 1):
        n = int(rng.integers(20, 31)) if user <= n_users else 3
        for movie in rng.choice(movies, n, replace=False).tolist():
            ratings.append(
                Rating(user, movie, int(rng.integers(1, 6)), 956_700_000 + int(rng.integers(10**7)))
            )
    users = {
        user: ("FM"[int(rng.integers(2))], AGES[user % len(AGES)], user % 21)
        for user in range(1, n_users + short_users + 1)
    }
    titles = {movie: f"{TITLES[place % len(TITLES)]}" for place, movie in enumerate(sorted(movies.tolist()))}
    if unlisted:
        users[1] = (users[1][0], 99, users[1][2])
        del users[n_users]
        del titles[max(titles, key=lambda movie: sum(rating.movie == movie for rating in ratings))]
    lines = {
        "ratings.dat": ["::".join(map(str, rating)) for rating in ratings],
        "users.dat": [f"{user}::{'::'.join(map(str, told))}::48067" for user, told in users.items()],
        "movies.dat": [f"{movie}::{title}::Drama|Comedy" for movie, title in titles.items()],
    }
    for name, rows in lines.items():
        (root / name).write_bytes(("\r\n" if crlf else "\n").join([*rows, ""]).encode("latin-1"))
    return Tree(root, ratings, users, titles)

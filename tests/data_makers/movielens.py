"""Writes small trees with the names, columns and oddities of MovieLens as released, whole or damaged."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

Form = Literal["1m", "100k", "recbole"]
"""GroupLens' files of either set, or RecBole's of 100K."""
Damage = Literal[
    "short_lines",
    "long_lines",
    "mixed_separators",
    "empty_lines",
    "bad_times",
    "milliseconds",
    "duplicate_ratings",
    "duplicate_movies",
    "padded_ids",
    "unlisted",
    "odd_attributes",
    "quotes",
    "nul_bytes",
    "utf8",
]
EVERY_DAMAGE: tuple[Damage, ...] = get_args(Damage)
AGES = (1, 18, 25, 35, 45, 50, 56)
JOBS = ("administrator", "artist", "doctor", "educator", "engineer", "entertainment", "executive")
TITLES = (
    "Léon: The Professional (1994)",
    "Toy Story (1995)",
    "Misérables, Les (1995)",
    "Heat\x85wave (1995)",
)
"""With a colon inside, letters of Latin-1, and one of its characters that some take for a line end."""
QUOTED = '"Lone quote (1990)'


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
    """That can be read, in the order of the file, those of users with too few of them included."""
    users: dict[int, tuple[str, int, int]]
    """Gender, age code and occupation of the users that the user file has."""
    titles: dict[int, str]
    genres: dict[int, str]


def make_movielens(
    root: Path,
    n_users: int = 25,
    n_movies: int = 40,
    seed: int = 0,
    crlf: bool = False,
    short_users: int = 0,
    form: Form = "1m",
    damage: Collection[Damage] = (),
) -> Tree:
    """Writes ratings, users and movies; numbers count from 1 and have gaps.

    Args:
        root: Made if absent.
        n_users: Users with 20 ratings or more, as all have in the released sets.
        n_movies: Movies that may be rated.
        seed: Same seed, same tree.
        crlf: Lines end as on Windows.
        short_users: Further users of three ratings.
        form: Whose files.
        damage: What is wrong with them. ``unlisted``: the last user and the most rated movie are missing from
            their files, the first user's age is nobody's.
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
        user: ("FM"[int(rng.integers(2))], AGES[user % len(AGES)], user % (21 if form == "1m" else len(JOBS)))
        for user in range(1, n_users + short_users + 1)
    }
    titles = {movie: TITLES[place % len(TITLES)] for place, movie in enumerate(sorted(movies.tolist()))}
    if form != "1m":
        titles[min(titles)] = "unknown"
    if "quotes" in damage:
        titles[max(titles)] = QUOTED
    if "unlisted" in damage or "odd_attributes" in damage:
        users[1] = (users[1][0], 199, users[1][2])
    if "unlisted" in damage:
        del users[n_users]
        del titles[max(titles, key=lambda movie: sum(rating.movie == movie for rating in ratings))]
    genres = {movie: "Comedy, Drama" if movie % 2 else "Drama" for movie in titles}
    tree = Tree(root, ratings, users, titles, genres)
    tables = _MAKERS[form](tree)
    names = list(tables)
    _damage(
        tables, names, tree, damage, {"1m": ("::", "::"), "100k": ("\t", "|"), "recbole": ("\t", "\t")}[form]
    )
    encoding = "utf-8" if form == "recbole" or "utf8" in damage else "latin-1"
    for name, rows in tables.items():
        (root / name).write_bytes(("\r\n" if crlf else "\n").join([*rows, ""]).encode(encoding))
    return tree


def _one_m(tree: Tree) -> dict[str, list[str]]:
    return {
        "ratings.dat": ["::".join(map(str, rating)) for rating in tree.ratings],
        "users.dat": [f"{user}::{'::'.join(map(str, told))}::48067" for user, told in tree.users.items()],
        "movies.dat": [
            f"{movie}::{title}::{tree.genres[movie].replace(', ', '|')}"
            for movie, title in tree.titles.items()
        ],
    }


def _hundred_k(tree: Tree) -> dict[str, list[str]]:
    def flags(movie: int) -> str:
        names = tree.genres[movie].split(", ")
        return "|".join(
            "1" if place in [{"Comedy": 5, "Drama": 8}[name] for name in names] else "0"
            for place in range(19)
        )

    return {
        "u.data": ["\t".join(map(str, rating)) for rating in tree.ratings],
        "u.user": [
            f"{user}|{age}|{gender}|{JOBS[job]}|T8H1N" for user, (gender, age, job) in tree.users.items()
        ],
        "u.item": [
            f"{movie}|{title}|{'' if title == 'unknown' else '01-Jan-1995'}||http://us.imdb.com/M/title-exact?x|"
            f"{flags(movie)}"
            for movie, title in tree.titles.items()
        ],
    }


def _recbole(tree: Tree) -> dict[str, list[str]]:
    def titled(title: str) -> str:
        if title == "unknown":
            return "unkonwn\tunkonwn"
        return f"{title}\tV" if title == TITLES[0] else "\t".join(title.removesuffix(")").rsplit(" (", 1))

    return {
        "ml-100k.inter": [
            "user_id:token\titem_id:token\trating:float\ttimestamp:float",
            *("\t".join(map(str, rating)) for rating in tree.ratings),
        ],
        "ml-100k.user": [
            "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
            *(
                f"{user}\t{age}\t{gender}\t{JOBS[job]}\t85711"
                for user, (gender, age, job) in tree.users.items()
            ),
        ],
        "ml-100k.item": [
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
            *(
                f"{movie}\t{titled(title)}\t{tree.genres[movie].replace(',', '')}"
                for movie, title in tree.titles.items()
            ),
        ],
    }


_MAKERS = {"1m": _one_m, "100k": _hundred_k, "recbole": _recbole}


def _damage(
    tables: dict[str, list[str]],
    names: Sequence[str],
    tree: Tree,
    damage: Collection[Damage],
    separators: tuple[str, str],
) -> None:
    """Changes lines of the tables; what a reader must lose by it leaves the tree's ratings too."""
    ratings, _, movies = (tables[name] for name in names)
    mark, begin = separators[0], len(ratings) - len(tree.ratings)
    dropped: list[int] = []

    def edit(place: int, line: str) -> None:
        ratings[begin + place] = line

    if "milliseconds" in damage:
        for place in range(0, len(tree.ratings), 7):
            rating = tree.ratings[place]
            edit(place, mark.join(map(str, [*rating[:3], rating.time * 1000])))
    if "padded_ids" in damage:
        for place in (1, 8):
            edit(place, f"00{ratings[begin + place]}")
            user, rest = ratings[begin + place + 1].split(mark, 1)
            edit(place + 1, f"{user}{mark}0{rest}")
    if "mixed_separators" in damage:
        for place in (3, 11):
            edit(place, ratings[begin + place].replace(mark, ","))
    if "long_lines" in damage:
        edit(13, ratings[begin + 13] + mark + "more")
    if "nul_bytes" in damage:
        edit(15, ratings[begin + 15] + "\0")
    if "short_lines" in damage:
        edit(5, mark.join(ratings[begin + 5].split(mark)[:2]))
        dropped.append(5)
    if "bad_times" in damage:
        for place, time in ((6, "noon"), (17, "")):
            edit(place, mark.join([*ratings[begin + place].split(mark)[:3], time]))
            dropped.append(place)
    if "duplicate_ratings" in damage:
        ratings.append(ratings[begin + 20])
    if "duplicate_movies" in damage:
        movies.append(movies[-1])
    if "empty_lines" in damage:
        ratings[begin + 25 : begin + 25] = ["", "  "]
    for place in sorted(dropped, reverse=True):
        del tree.ratings[place]

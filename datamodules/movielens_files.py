"""Finds and reads MovieLens' three tables, of 1M and of 100K, as GroupLens or RecBole write them.

GroupLens' files have no header; RecBole's "atomic" ones have names with types (``user_id:token``), and the
year of a movie apart from its title. Whichever lies there is read, and gives the same tables.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.table_checks import one_unit, rows_by_number
from datamodules.table_files import check_text
from datamodules.tables import Report

AGES = (1, 18, 25, 35, 45, 50, 56)
"""Where the age bands of MovieLens-1M begin, which codes them so; ages of 100K fall into the same bands."""
JOBS = (
    *(
        "administrator",
        "artist",
        "doctor",
        "educator",
        "engineer",
        "entertainment",
        "executive",
        "healthcare",
    ),
    *("homemaker", "lawyer", "librarian", "marketing", "none", "other", "programmer", "retired", "salesman"),
    *("scientist", "student", "technician", "writer"),
)
GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *(
        "Fantasy",
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ),
)
"""What the flags of ``u.item`` stand for, in their order."""
CLASSES = {
    "gender": ("F", "M"),
    "age": tuple(map(str, AGES)),
    "occupation": tuple(map(str, range(len(JOBS)))),
}
"""Attribute -> what stands for its classes, in their order; occupations of 100K are the words above."""
NAMELESS = ("unknown", "unkonwn")
"""What the title of 100K's movie 267 is, in GroupLens' file and in RecBole's."""
_MARKS = ("::", "\t", "|", ";", ",")


class Part(NamedTuple):
    """What GroupLens calls one data set's files: ratings, users, movies; and how their lines are made."""

    folder: str
    """Of the archive, and the stem of RecBole's files."""
    files: tuple[str, str, str]
    separators: tuple[str, str, str]
    columns: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


PARTS = {
    "1M": Part(
        "ml-1m",
        ("ratings.dat", "users.dat", "movies.dat"),
        ("::", "::", "::"),
        (
            ("user", "item", "rating", "time"),
            ("user", "gender", "age", "occupation", "zip"),
            ("item", "title", "genres"),
        ),
    ),
    "100K": Part(
        "ml-100k",
        ("u.data", "u.user", "u.item"),
        ("\t", "|", "|"),
        (
            ("user", "item", "rating", "time"),
            ("user", "age", "gender", "occupation", "zip"),
            ("item", "title", "date", "video", "address", *GENRES),
        ),
    ),
}
HEADED = {
    "user": ("user_id",),
    "item": ("item_id",),
    "rating": ("rating",),
    "time": ("timestamp",),
    "age": ("age",),
    "gender": ("gender",),
    "occupation": ("occupation",),
    "title": ("movie_title", "title"),
    "year": ("release_year",),
    "genres": ("class", "genre", "genres"),
}
"""Column -> what RecBole calls it."""
_ATOMIC = (
    ("user", "item", "rating", "time"),
    ("user", "age", "gender", "occupation"),
    ("item", "title", "genres"),
)


class Raw(NamedTuple):
    """What the files hold; names of users and movies are spelt as their own files have them."""

    ratings: pl.DataFrame
    """``user``, ``item`` and ``rating`` as text and ``time`` as whole numbers, in the order of the file."""
    users: pl.DataFrame
    """``user``, and a class of every attribute, null where unknown; one row a user."""
    movies: pl.DataFrame
    """``item``, ``title`` with the year behind it, ``genres`` with commas; one row a movie."""


def find_files(root: Path, part: str, remedy: str) -> list[Path]:
    """Ratings, users and movies, in a folder or in that of the archive within it.

    Raises:
        DataNotFoundError: If one of them is missing.
    """
    names = PARTS[part]
    atomic = tuple(f"{names.folder}.{ending}" for ending in ("inter", "user", "item"))
    places = (root, root / names.folder)
    for place in places:
        for files in (names.files, atomic):
            if all((place / file).is_file() for file in files):
                return [place / file for file in files]
    begun = [
        (place, files) for place in places for files in (names.files, atomic) if (place / files[0]).is_file()
    ]
    place, files = begun[0] if begun else (root, names.files)
    missing = [file for file in files if not (place / file).is_file()]
    there = "no such folder" if not place.is_dir() else f"no {' and no '.join(missing)} there"
    expected = f"{', '.join(names.files)} of MovieLens-{part} (or RecBole's {', '.join(atomic)})"
    raise DataNotFoundError(f"{expected} in {place.absolute()}", there, remedy)


def read_files(paths: Sequence[Path], part: str, report: Report) -> Raw:
    """Reads all three.

    Raises:
        BadTableError: If a file is empty, or half of its lines cannot be read.
    """
    users, movies = read_users(paths[1], part, report), read_movies(paths[2], part, report)
    ratings = _table(paths[0], part, 0, report).select("user", "item", "rating", "time")
    times, units = one_unit(ratings["time"].str.extract(r"^(-?\d+)(?:\.0*)?$").cast(pl.Int64, strict=False))
    unreadable = times.null_count()
    report.count("ratings without a readable time were dropped", unreadable)
    if 2 * unreadable >= len(times):
        found = ratings["time"].filter(times.is_null())[0]
        raise BadTableError(
            f"Expected seconds as the time of a rating in {paths[0]}, found {found!r}. Is the file complete?"
        )
    report.notes += [units] if units else []
    ratings = ratings.with_columns(
        _as_listed(ratings["user"], users["user"], report),
        _as_listed(ratings["item"], movies["item"], report),
        times.alias("time"),
    ).drop_nulls("time")
    return Raw(ratings, users, movies)


def read_users(path: Path, part: str, report: Report) -> pl.DataFrame:
    """The attributes of users as classes."""
    table = _first(_table(path, part, 1, report), "user", report)
    age = table["age"].cast(pl.Float64, strict=False)
    band = np.searchsorted(AGES, age.fill_null(0).to_numpy(), side="right") - 1
    known = age.is_between(AGES[0], 120).fill_null(False)
    if part == "1M":  # codes, not ages: another number is none of them
        known &= age.is_in(list(map(float, AGES)))
    job = table["occupation"].replace(dict(zip(JOBS, CLASSES["occupation"], strict=True)))
    return pl.DataFrame(
        {
            "user": table["user"],
            "gender": _class_of(table["gender"], CLASSES["gender"]),
            "age": pl.Series(band).set(~known, None),
            "occupation": _class_of(job, CLASSES["occupation"]),
        }
    )


def _class_of(values: pl.Series, codes: Sequence[str]) -> pl.Series:
    return values.cast(pl.Enum(codes), strict=False).to_physical().cast(pl.Int64)


def read_movies(path: Path, part: str, report: Report) -> pl.DataFrame:
    """Titles and genres: ``Toy Story (1995)`` and ``Animation, Children's, Comedy``, whatever the form."""
    table = _first(_table(path, part, 2, report), "item", report)
    if "genres" in table.columns:
        genres = pl.col("genres").str.replace_all(r"[| ]+", ", ")
    else:
        flags = [pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in GENRES]
        genres = pl.concat_str(flags, separator=", ", ignore_nulls=True).alias("genres")
    title = pl.col("title")
    if "year" in table.columns:
        year = pl.col("year")
        title = (
            pl.when(year.str.contains(r"^\d{4}$")).then(pl.format("{} ({})", title, year)).otherwise(title)
        )
    movies = table.select("item", title.alias("title"), genres)
    nameless = movies["title"].is_in(NAMELESS)
    report.count("movies are called unknown: they count as without a title", int(nameless.sum()))
    return movies.with_columns(pl.when(~nameless).then(pl.col("title")).alias("title"))


def _first(table: pl.DataFrame, name: str, report: Report) -> pl.DataFrame:
    named = table.filter(pl.col(name) != "")
    first = named.unique(name, keep="first", maintain_order=True)
    report.count(f"lines repeat the {name} of an earlier one and were dropped", len(named) - len(first))
    return first


def _as_listed(names: pl.Series, listed: pl.Series, report: Report) -> pl.Series:
    """Names of ratings as their own file spells them (7 for 007); what it lacks stays as it is."""
    rows, renamed = rows_by_number(names, names.cast(pl.Enum(listed), strict=False).to_physical(), listed)
    report.count(
        f"ratings write the number of their {names.name} otherwise (7 for 007): taken as it", renamed
    )
    return listed.gather(rows).fill_null(names).alias(names.name)


def _table(path: Path, part: str, place: int, report: Report) -> pl.DataFrame:
    """One of the files, all as text.

    Raises:
        BadTableError: If it is empty, a column is missing, or half of its lines cannot be read.
    """
    check_text(path)
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # as released
    # Not splitlines(): it takes some Latin-1 characters for line ends.
    lines = pl.Series("line", text.replace("\0", "").split("\n"), dtype=pl.String).str.strip_chars_end("\r")
    numbered = (
        lines.to_frame().with_row_index("number", offset=1).filter(pl.col("line").str.strip_chars() != "")
    )
    names = PARTS[part]
    if path.name in names.files:
        return _fields(path, numbered, names.separators[place], names.columns[place], report)
    if numbered.is_empty():
        raise _wrong(path, _ATOMIC[place], "\t", "an empty file")
    header = [cell.partition(":")[0].strip().lower() for cell in numbered["line"][0].split("\t")]
    called = {known: column for column, names in HEADED.items() for known in names}
    columns = [called.get(cell, cell) for cell in header]
    if missing := [column for column in _ATOMIC[place] if column not in columns]:
        raise _wrong(path, _ATOMIC[place], "\t", f"no {' and no '.join(missing)} in the header {header}")
    return _fields(path, numbered[1:], "\t", columns, report)


def _fields(
    path: Path, lines: pl.DataFrame, separator: str, columns: Sequence[str], report: Report
) -> pl.DataFrame:
    """Splits lines; one with too few columns is tried with other separators, then dropped and counted.

    Raises:
        BadTableError: If there is no line, or half of them are so.
    """
    width = len(columns)
    split = (
        lines["line"]
        .str.splitn(separator, width + 1)
        .struct.rename_fields([*columns, "_more"])
        .struct.unnest()
    )
    short = split[columns[-1]].is_null()
    places = short.arg_true().to_list()
    rows = [_other(lines["line"][place], width) for place in places]
    bad = sum(row is None for row in rows)
    if len(split) == 0 or 2 * bad >= len(split):
        first = next((place for place, row in zip(places, rows, strict=True) if row is None), None)
        found = "an empty file" if first is None else f"fewer columns in line {lines['number'][first]}"
        raise _wrong(path, columns, separator, found)
    report.count(f"lines of {path.name} had another separator and were read all the same", len(rows) - bad)
    report.count(f"lines of {path.name} had too few columns and were dropped", bad)
    report.count(
        f"lines of {path.name} had more columns: what is beyond was left out", split["_more"].count()
    )
    gaps: list[str | None] = [None] * width
    repaired = list(zip(*(row or gaps for row in rows), strict=True)) or [()] * width
    table = pl.DataFrame(
        {
            column: split[column].scatter(places, pl.Series(cells, dtype=pl.String))
            if places
            else split[column]
            for column, cells in zip(columns, repaired, strict=True)
        }
    )
    return table.drop_nulls(columns[-1]).with_columns(pl.all().str.strip_chars())


def _other(line: str, width: int) -> list[str] | None:
    """The cells of a line that has another separator, None if none gives as many."""
    return next((cells for mark in _MARKS if len(cells := line.split(mark)) == width), None)


def _wrong(path: Path, columns: Sequence[str], separator: str, found: str) -> BadTableError:
    shown = ", ".join(columns[:6]) + (", …" if len(columns) > 6 else "")
    return BadTableError(
        f"Expected {shown} with {separator!r} between them in {path}, found {found}. Is it the file as "
        "released, and complete?"
    )

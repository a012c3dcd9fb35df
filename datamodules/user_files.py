"""Histories of users in a file of one's own: who has what, in which order, whatever the file is."""

from pathlib import Path

import polars as pl

from datamodules import guess
from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.headed_files import find_columns, read_columns, simplified, sniff
from datamodules.tables import Report

HOW = (
    "A file of users has the columns user, item and, if known, time (CSV with a header, Parquet, or JSON "
    "lines; without a time the order of the file counts), or user and items, a list. With the column user "
    "alone it names users of the data set."
)
COLUMNS = ("user", "item", "time")


def read_users(path: str | Path) -> tuple[pl.DataFrame, Report]:
    """Reads who has what.

    Args:
        path: The file.

    Returns:
        Columns ``user`` and ``item``, strings: users in the order of the file, the oldest item first. Where
        the file only names users there is no column ``item``. And what was wrong with its lines.

    Raises:
        DataNotFoundError: There is no such file.
        BadTableError: It cannot be read, or says of no column that it holds users.
    """
    path, report = Path(path).expanduser(), Report()
    if not path.is_file():
        raise DataNotFoundError(f"a file of users, {path.absolute()}", "none", HOW)
    columnar = path.suffix.lower() in (".parquet", *JSON)
    table, there = _columnar(path) if columnar else _delimited(path, report)
    if "user" not in table.columns:
        raise BadTableError(f"Expected a column user in {path}, found {', '.join(table.columns)}. {HOW}")
    try:
        lines = _plain(table, path)
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise BadTableError(f"{path} is not read: {str(error).splitlines()[0]}. {HOW}") from None
    whole = lines.drop_nulls("user").filter(pl.col("user") != "")
    report.count("lines of users read", len(lines), always=True)
    report.count("lines name no user and were dropped", len(lines) - len(whole))
    if "item" not in whole.columns:
        report.notes.append(
            f"No column of {path.name} is one of items (found {', '.join(there)}): its users are taken for "
            "those of the data set."
        )
        return whole.select("user").unique(maintain_order=True), report
    first = whole.select("user").unique(maintain_order=True).with_row_index("place")
    kept = whole.drop_nulls("item").filter(pl.col("item") != "")
    report.count("lines name no item and were dropped", len(whole) - len(kept))
    if "time" in kept.columns:
        kept = kept.sort("time", maintain_order=True, nulls_last=False)
    ordered = kept.join(first, on="user", how="left", maintain_order="left")
    return ordered.sort("place", maintain_order=True).select("user", "item"), report


JSON = (".jsonl", ".ndjson", ".json")


def _plain(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """One item a line, names as strings, times as numbers that sort."""
    lists = [
        name
        for name in ("item", "time")
        if name in table.columns and isinstance(table[name].dtype, pl.List | pl.Array)
    ]
    table = table.explode(lists) if lists else table
    if "time" in table.columns:
        table = table.with_columns(_times(table["time"], path))
    return table.with_columns(_names(table[name]) for name in ("user", "item") if name in table.columns)


def _names(column: pl.Series) -> pl.Series:
    """Names as strings; whole numbers that stand as 7.0, as pandas has them beside missing ones, are 7."""
    if column.dtype.is_nested():
        raise TypeError(f"the column of the {column.name}s holds {column.dtype}, no names")
    if column.dtype.is_float():
        column = column.fill_nan(None)
        if (column.drop_nulls() == column.drop_nulls().round()).all():
            column = column.cast(pl.Int64)
    return column.cast(pl.String).str.strip_chars()


def _delimited(path: Path, report: Report) -> tuple[pl.DataFrame, list[str]]:
    """The columns that are known, and the names of all."""
    layout = sniff(path)
    names = {"user": guess.NAMES["user"], "item": guess.NAMES["item"], "time": guess.NAMES["time"]}
    try:
        places = find_columns(path, layout, names, ("item", "time"))
    except BadTableError as error:
        raise BadTableError(f"{error} {HOW}") from None
    return read_columns(path, layout, places, report), list(layout.first)


def _columnar(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """The columns that are known, and the names of all."""
    try:
        table = (
            pl.read_parquet(path)
            if path.suffix.lower() == ".parquet"
            else pl.read_ndjson(path, infer_schema_length=None)
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadTableError(f"{path} cannot be read: {str(error).splitlines()[0]}. {HOW}") from None
    known = {simplified(name): name for name in reversed(table.columns)}
    found: dict[str, str] = {}
    for role in COLUMNS:
        plural = (f"{role}s", "history") if role == "item" else ()
        name = next((known[n] for n in (*guess.NAMES[role], *plural) if n in known), None)
        if name is not None:
            found[name] = role
    if "user" not in found.values():
        raise BadTableError(f"Expected a column user in {path}, found {', '.join(table.columns)}. {HOW}")
    return table.select(list(found)).rename(found), table.columns


def _times(column: pl.Series, path: Path) -> pl.Series:
    """Times as numbers that sort: numbers and dates are, texts are read as either.

    Raises:
        BadTableError: Most texts are neither.
    """
    if column.dtype != pl.String:
        return column
    numbers = column.cast(pl.Float64, strict=False)
    dates = guess.date_times(column)
    best = min((numbers, dates), key=lambda found: int(found.null_count()))
    if 2 * best.null_count() > len(best):
        raise BadTableError(
            f"Expected numbers or dates in the column time of {path}, found {column[0]!r}. {HOW}"
        )
    return best.alias("time")

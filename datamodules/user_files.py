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
    table = _delimited(path, report) if path.suffix.lower() not in (".parquet", *JSON) else _columnar(path)
    if "user" not in table.columns:
        raise BadTableError(f"Expected a column user in {path}, found {', '.join(table.columns)}. {HOW}")
    if "item" in table.columns and isinstance(table["item"].dtype, pl.List):
        table = table.explode("item")
    if "time" in table.columns:
        table = table.with_columns(_times(table["time"], path))
    lines = table.with_columns(
        pl.col(name).cast(pl.String).str.strip_chars() for name in ("user", "item") if name in table.columns
    )
    whole = lines.drop_nulls("user").filter(pl.col("user") != "")
    report.count("lines of users read", len(lines), always=True)
    report.count("lines name no user and were dropped", len(lines) - len(whole))
    if "item" not in whole.columns:
        return whole.select("user").unique(maintain_order=True), report
    first = whole.select("user").unique(maintain_order=True).with_row_index("place")
    kept = whole.drop_nulls("item").filter(pl.col("item") != "")
    report.count("lines name no item and were dropped", len(whole) - len(kept))
    if "time" in kept.columns:
        kept = kept.sort("time", maintain_order=True, nulls_last=False)
    ordered = kept.join(first, on="user", how="left", maintain_order="left")
    return ordered.sort("place", maintain_order=True).select("user", "item"), report


JSON = (".jsonl", ".ndjson", ".json")


def _delimited(path: Path, report: Report) -> pl.DataFrame:
    layout = sniff(path)
    names = {"user": guess.NAMES["user"], "item": guess.NAMES["item"], "time": guess.NAMES["time"]}
    try:
        places = find_columns(path, layout, names, ("item", "time"))
    except BadTableError as error:
        raise BadTableError(f"{error} {HOW}") from None
    return read_columns(path, layout, places, report)


def _columnar(path: Path) -> pl.DataFrame:
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
    return table.select(list(found)).rename(found)


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

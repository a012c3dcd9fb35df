"""What is odd about interactions, without a loop: times in several units, rows twice, ids written twice.

Each function answers with what it found; ``tables.py`` counts it.
"""

import polars as pl

_UNITS = ((10**8, 10**11, 1), (10**11, 10**14, 10**3), (10**14, 10**17, 10**6))
"""From, to, and how many of it make a second: since 1973 no two units reach the same numbers."""


def one_unit(times: pl.Series) -> tuple[pl.Series, str]:
    """Whole-number times in one unit, where some are seconds and some milliseconds or microseconds.

    Args:
        times: Since 1970; null where unreadable.

    Returns:
        The times, in the finest unit that occurs if there are several, and a sentence on it, else empty.
    """
    size = times.abs()
    within = [(size >= low) & (size < high) for low, high, _ in _UNITS]
    used = [unit for unit, mask in enumerate(within) if mask.any()]
    if len(used) < 2:
        return times, ""
    finest = _UNITS[used[-1]][2]
    scaled = times * finest  # numbers before 1973 can only be seconds
    counts = []
    for unit in used:
        scaled = scaled.zip_with(~within[unit].fill_null(False), times * (finest // _UNITS[unit][2]))
        name = {1: "seconds", 10**3: "milliseconds", 10**6: "microseconds"}[_UNITS[unit][2]]
        counts.append(f"{int(within[unit].sum()):,} in {name}")
    return scaled, f"Times are in several units ({', '.join(counts)}): they were brought to one."


def repeated(frame: pl.DataFrame, by: list[str]) -> pl.Series | None:
    """Which rows have the same item as an earlier one that is equal in all of ``by``; None where none has.

    Args:
        frame: Sorted by these columns; only neighbours that are equal in them are looked at.
        by: Names of columns.
    """
    same = pl.all_horizontal([pl.col(name) == pl.col(name).shift() for name in by]).fill_null(False)
    after = frame.select(same.alias("same"))["same"]
    if not after.any():
        return None
    tied = after | after.shift(-1, fill_value=False)
    part = frame.select(*by, "item").with_row_index("row").filter(tied)
    later = part.filter(~pl.struct(*by, "item").is_first_distinct())["row"]
    if later.is_empty():
        return None
    mask = pl.repeat(False, len(frame), eager=True)
    return mask.scatter(later, True)


def rows_by_number(names: pl.Series, rows: pl.Series, known: pl.Series) -> tuple[pl.Series, int]:
    """Rows also of names that are a known name's number written otherwise: ``7``, ``7.0`` for ``007``.

    One file may have been through a program that took ids for numbers. A number that two known names share
    decides nothing.

    Args:
        names: As one file has them.
        rows: Their rows of the other file, null where unknown.
        known: The names of that file.

    Returns:
        The rows, and how many were found so.
    """
    unknown = names.filter(rows.is_null()).drop_nulls().unique(maintain_order=True)
    wanted = pl.DataFrame({"name": unknown, "number": _number(unknown)}).drop_nulls("number")
    if wanted.is_empty():
        return rows, 0
    numbers = pl.DataFrame({"number": _number(known), "row": pl.int_range(len(known), eager=True)})
    found = wanted.join(numbers.drop_nulls("number").unique("number", keep="none"), on="number")
    if found.is_empty():
        return rows, 0
    added = names.replace_strict(found["name"], found["row"], default=None, return_dtype=rows.dtype)
    completed = rows.zip_with(rows.is_not_null(), added)
    return completed, rows.null_count() - completed.null_count()


def _number(names: pl.Series) -> pl.Series:
    """The whole number that a name writes, without zeros before it or a fraction of zeros; null if none."""
    return names.cast(pl.String).str.strip_chars().str.extract(r"^0*(\d+)(?:\.0+)?$")

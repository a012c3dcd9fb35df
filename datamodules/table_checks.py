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
    counts = unit_counts(times)
    return in_finest(times, counts), unit_note(counts)


def unit_counts(times: pl.Series) -> list[int]:
    """How many times are in seconds, in milliseconds and in microseconds."""
    return [int(mask.sum()) for mask in _within(times)]


def finest_of(counts: list[int]) -> int:
    """How many of the finest unit that occurs make a second; 1 where there are not several."""
    used = [unit for unit, number in enumerate(counts) if number]
    return _UNITS[used[-1]][2] if len(used) > 1 else 1


def in_finest(times: pl.Series, counts: list[int]) -> pl.Series:
    """Times in the finest unit that occurs, if there are several.

    Args:
        times: All of them, or some.
        counts: How many of all are in which unit.
    """
    finest = finest_of(counts)
    if finest == 1:
        return times
    scaled = times * finest  # numbers before 1973 can only be seconds
    for (_, _, unit), mask in zip(_UNITS, _within(times), strict=True):
        if unit <= finest:
            scaled = scaled.zip_with(~mask.fill_null(False), times * (finest // unit))
    return scaled


def unit_note(counts: list[int]) -> str:
    """A sentence on several units, else empty."""
    names = ("seconds", "milliseconds", "microseconds")
    told = [f"{number:,} in {name}" for number, name in zip(counts, names, strict=True) if number]
    return f"Times are in several units ({', '.join(told)}): they were brought to one." if told[1:] else ""


def _within(times: pl.Series) -> list[pl.Series]:
    size = times.abs()
    return [(size >= low) & (size < high) for low, high, _ in _UNITS]


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

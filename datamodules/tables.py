"""The two tables every data set becomes: ordered interactions and items, with a report of what was wrong."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from datamodules.array_files import counts_of, map_array, save_array
from datamodules.cache import write_json
from datamodules.errors import BadTableError
from datamodules.names import factorise
from datamodules.table_checks import one_unit, repeated, rows_by_number


@dataclass
class Report:
    """What reading a data set met: counts by name, in order, and sentences worth a reader's time."""

    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def count(self, what: str, number: int, always: bool = False) -> None:
        """Adds a number, left out if it is zero unless ``always``."""
        if number or always:
            self.counts[what] = self.counts.get(what, 0) + int(number)

    def merged(self, other: "Report") -> "Report":
        """This report followed by another one."""
        return Report({**self.counts, **other.counts}, self.notes + other.notes)

    def lines(self) -> list[str]:
        """One line for each count and each note."""
        return [f"{number:,} {what}" for what, number in self.counts.items()] + self.notes

    def save(self, folder: Path) -> None:
        """Writes ``report.json``."""
        write_json(folder / "report.json", asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads ``report.json``."""
        return cls(**json.loads((folder / "report.json").read_text("utf-8")))


class Tables(NamedTuple):
    """Interactions as compressed rows over lines, one line being one user's history as the file gives it.

    A user name may occur on several lines; which one counts is the split's decision.
    """

    users: pl.Series
    """Line -> user name."""
    offsets: npt.NDArray[np.int64]
    """Line k has the interactions ``offsets[k]:offsets[k + 1]``, oldest first."""
    items_of: npt.NDArray[np.int32]
    """Interaction -> row of ``items``."""
    items: pl.DataFrame
    """Column ``item`` (names, distinct) and the raw texts, in the order of the item file."""
    report: Report
    times_of: npt.NDArray[np.int64] | None = None
    """Interaction -> time as the file counts it, where it has times."""

    def save(self, folder: Path) -> None:
        """Writes the arrays as they are, users and items as Parquet tables, and the report."""
        save_array(folder / "offsets.npy", self.offsets)
        save_array(folder / "items.npy", self.items_of)
        if self.times_of is not None:
            save_array(folder / "times.npy", self.times_of)
        self.users.to_frame("user").write_parquet(folder / "lines.parquet")
        self.items.write_parquet(folder / "items.parquet")
        self.report.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads names and report of what ``save`` wrote; the arrays stay on disk and are mapped."""
        times = folder / "times.npy"
        return cls(
            pl.read_parquet(folder / "lines.parquet")["user"],
            map_array(folder / "offsets.npy"),
            map_array(folder / "items.npy"),
            pl.read_parquet(folder / "items.parquet"),
            Report.load(folder),
            map_array(times) if times.exists() else None,
        )

    def n_taken(self) -> int:
        """Items with an interaction."""
        return int(np.count_nonzero(counts_of(self.items_of, len(self.items))))


def clean_items(items: pl.DataFrame, report: Report) -> pl.DataFrame:
    """Strips names, and drops nameless and repeated items; the first row of a name stands.

    Args:
        items: String columns, ``item`` among them.
        report: Takes the counts.
    """
    named = items.with_columns(pl.col("item").str.strip_chars()).filter(pl.col("item").fill_null("") != "")
    report.count("rows of the item table without an id were dropped", len(items) - len(named))
    distinct = named.unique("item", keep="first", maintain_order=True)
    report.count("rows of the item table repeated an id and were dropped", len(named) - len(distinct))
    return distinct


def complete_items(items: pl.DataFrame, names: pl.Series, report: Report) -> pl.DataFrame:
    """The item table with a row for each item of the interactions that it lacks; its other columns are null.

    For data whose catalogue is what people took, whatever the item table tells of it.

    Args:
        items: String columns, ``item`` among them.
        names: Items of the interactions.
        report: Takes the counts.

    Raises:
        BadTableError: If more than half of the items are unknown.
    """
    items = clean_items(items, report)
    distinct = names.drop_nulls().unique(maintain_order=True)
    rows, _ = _known_rows(distinct, items["item"])
    unknown = distinct.filter(rows.is_null()).str.strip_chars().unique(maintain_order=True)
    unknown = unknown.filter(unknown != "").alias("item")
    # Of 7 and 7.0 in one file the second is the first, from a row that went through another program.
    whole = unknown.str.extract(r"^(\d+)\.0+$")
    unknown = unknown.filter(~whole.is_in(unknown.to_list()).fill_null(False))
    report.count("items are in interactions only: the item table tells nothing of them", len(unknown))
    if 2 * len(unknown) > len(distinct):
        raise _mostly_unknown(unknown, len(items), f"{len(unknown):,} of {len(distinct):,} items")
    return pl.concat([items, unknown.to_frame()], how="diagonal")


def distinct_items(names: pl.Series) -> pl.DataFrame:
    """An item table of nothing but the names in the interactions, in order of first appearance."""
    return names.str.strip_chars().unique(maintain_order=True).alias("item").to_frame()


def tables_from_lines(lines: pl.DataFrame, items: pl.DataFrame, report: Report) -> Tables:
    """Tables from one row a user: columns ``user`` and ``items`` (names and spaces, oldest first)."""
    items = clean_items(items, report)
    lines = lines.with_columns(pl.col("user").str.strip_chars())
    good = lines.filter((pl.col("user").fill_null("") != "") & pl.col("items").is_not_null())
    count_lines(report, len(lines), good["user"])
    events = (
        good.select(pl.col("items").str.split(" "))
        .with_row_index("line")
        .explode("items")
        .select("line", pl.col("items").str.strip_chars().alias("item"))
        .filter(pl.col("item").fill_null("") != "")
    )
    rows = _item_rows(events["item"], items, report)
    known = rows.is_not_null()
    per_line = np.bincount(events["line"].filter(known).to_numpy(), minlength=len(good))
    return Tables(good["user"], offsets_of(per_line), _int32(rows.filter(known)), items, report)


def count_lines(report: Report, n_lines: int, users: pl.Series) -> None:
    """Reports what lines of users were like.

    Args:
        report: Takes the counts.
        n_lines: Lines that are not empty.
        users: Names of the good ones.
    """
    report.count("lines without a user or without a tab were dropped", n_lines - len(users))
    report.count("lines of users read", len(users), always=True)
    report.count("lines repeated a user name: the later line stands", len(users) - users.n_unique())


def tables_from_events(
    events: pl.DataFrame, items: pl.DataFrame, report: Report, drop_repeats: bool = False
) -> Tables:
    """Tables from one row an interaction: strings ``user`` and ``item``, ``time`` a string or whole number.

    Users come in the order of their first interaction in the file. Equal times keep the file's order.

    Args:
        events: In the order of the file.
        items: The item table.
        report: Takes the counts.
        drop_repeats: Leave out what repeats another interaction of the same user, item and time.
    """
    items = clean_items(items, report)
    rows = _item_rows(events["item"], items, report)
    times, unreadable = _times(events["time"])
    report.count("interactions without a readable time were dropped", unreadable)
    times, units = one_unit(times)
    report.notes += [units] if units else []
    report.count("interactions have a time before 1970 and come first", int((times < 0).sum()))
    user_codes, users = factorise(events["user"])
    nameless = int(user_codes.null_count())
    report.count("interactions without a user were dropped", nameless)
    frame = pl.DataFrame({"user": user_codes, "item": rows, "time": times})
    if rows.null_count() or unreadable or nameless:
        frame = frame.drop_nulls()
    frame, again = in_order(frame)
    if again is not None:
        kept = "were dropped" if drop_repeats else "were kept"
        report.count(f"interactions repeat another of the same user, item and time: {kept}", int(again.sum()))
        frame = frame.filter(~again) if drop_repeats else frame
    report.count("users read", len(users), always=True)
    per_user = np.bincount(frame["user"].to_numpy(), minlength=len(users))
    times_of = frame["time"].to_numpy()
    return Tables(users, offsets_of(per_user), _int32(frame["item"]), items, report, times_of)


def in_order(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series | None]:
    """Interactions by user, then by time, ties as they were, and which repeat an earlier one, if any does."""
    frame = _sorted(frame)
    return frame, repeated(frame, ["key"] if "key" in frame.columns else ["user", "time"])


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    """By user, then by time, stable. One 64-bit key sorts several times faster than two columns."""
    if frame.is_empty():
        return frame
    first, last = int(frame["time"].min()), int(frame["time"].max())  # type: ignore[arg-type]
    users = int(frame["user"].max()) + 1  # type: ignore[arg-type]
    if users * (last - first + 1) >= 2**63:
        return frame.sort("user", "time", maintain_order=True)
    span = last - first + 1
    key = pl.col("user").cast(pl.Int64) * span + (pl.col("time") - first)
    in_order = frame.select("user", "item", key.alias("key")).sort("key", maintain_order=True)
    return in_order.with_columns((pl.col("key") % span + first).alias("time"))


def _times(texts: pl.Series) -> tuple[pl.Series, int]:
    """Times as whole numbers (fractions count to the microsecond), and how many texts are none."""
    times = texts.cast(pl.Int64, strict=False)
    if texts.dtype.is_integer():
        return times, times.null_count()
    if times.null_count():
        times = texts.str.strip_chars().cast(pl.Int64, strict=False)
    if times.null_count():
        exact = texts.str.strip_chars().cast(pl.Float64, strict=False)
        if exact.is_finite().sum() > len(times) - times.null_count():
            times = microseconds(exact)
    return times, times.null_count()


def microseconds(seconds: pl.Series) -> pl.Series:
    """Fractional times as whole numbers, null where they are too large or none."""
    return (seconds * 1e6).round().cast(pl.Int64, strict=False)


def _item_rows(names: pl.Series, items: pl.DataFrame, report: Report) -> pl.Series:
    """Rows of the item table, null for unknown names.

    Raises:
        BadTableError: If more than half of the interactions are with unknown items.
    """
    rows, renamed = _known_rows(names, items["item"])
    unknown = rows.null_count()
    count_items(report, len(names), renamed, unknown)
    if 2 * unknown > len(names):
        raise _mostly_unknown(names.filter(rows.is_null()), len(items), f"{unknown:,} of {len(names):,}")
    return rows


def rows_of_names(
    names: pl.Series, counts: npt.NDArray[np.int64], n_events: int, items: pl.DataFrame, report: Report
) -> npt.NDArray[np.int32]:
    """Rows of the item table for the distinct names of interactions, -1 for unknown names.

    Args:
        names: Distinct, in order of first appearance.
        counts: How many interactions have each.
        n_events: All interactions, those without an item's name among them.
        items: The item table.
        report: Takes the counts.

    Raises:
        BadTableError: If more than half of the interactions are with unknown items.
    """
    by_name = names.str.strip_chars().cast(pl.Enum(items["item"]), strict=False).to_physical()
    rows, _ = rows_by_number(names, by_name, items["item"])
    renamed = int(counts[(by_name.is_null() & rows.is_not_null()).to_numpy()].sum())
    unknown = n_events - int(counts[rows.is_not_null().to_numpy()].sum())
    count_items(report, n_events, renamed, unknown)
    if 2 * unknown > n_events:
        raise _mostly_unknown(names.filter(rows.is_null()), len(items), f"{unknown:,} of {n_events:,}")
    return rows.cast(pl.Int32).fill_null(-1).to_numpy()


def count_items(report: Report, n_events: int, renamed: int, unknown: int) -> None:
    """Reports what the items of interactions were like."""
    report.count("interactions read", n_events, always=True)
    report.count("interactions write an item's number otherwise (7 or 7.0 for 007): taken as it", renamed)
    report.count("interactions with an item that the item table lacks were dropped", unknown)


def _known_rows(names: pl.Series, items: pl.Series) -> tuple[pl.Series, int]:
    """Rows of the item table, null for unknown names, and how many are known only by their number."""
    known = pl.Enum(items)
    rows = names.cast(known, strict=False).to_physical()
    if rows.null_count():
        rows = names.str.strip_chars().cast(known, strict=False).to_physical()
    return rows_by_number(names, rows, items) if rows.null_count() else (rows, 0)


def _mostly_unknown(unknown: pl.Series, n_items: int, found: str) -> BadTableError:
    some = unknown.unique(maintain_order=True).head(3).to_list()
    return BadTableError(
        f"Expected interactions with the {n_items:,} items of the item table, found {found} with others, "
        f"such as {', '.join(map(repr, some))}. Are the two files of the same data set and release, and both "
        "complete?"
    )


def offsets_of(lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Where each of the consecutive pieces begins, and where the last ends."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _int32(rows: pl.Series) -> npt.NDArray[np.int32]:
    return rows.cast(pl.Int32).to_numpy()

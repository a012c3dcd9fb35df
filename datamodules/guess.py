"""What the columns of somebody's own tables mean, by their names and else by what is in them.

Nothing is guessed silently: the data set says in its report what it took for what, and how to say otherwise.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self

import polars as pl

from datamodules.event_sources import parquet_columns, parquet_files
from datamodules.headed_files import Layout, cells, simplified

USER = "user userid uid username useridx customer customerid reviewer reviewerid visitor visitorid "
USER += "member memberid account accountid session sessionid person viewer profileid author authorid"
ITEM = (
    "item itemid iid itemidx product productid asin parentasin article articleid movie movieid video videoid "
)
ITEM += (
    "news newsid sku book bookid isbn track trackid song songid artistid business businessid photo photoid "
)
ITEM += "content contentid objectid vid game gameid recipe recipeid post postid"
TIME = "time timestamp ts date datetime createdat created unixreviewtime reviewtime eventtime tdat "
TIME += "unixtime when ratingtimestamp interactiontime playtime utc"
NAMES: dict[str, tuple[str, ...]] = {
    "user": tuple(USER.split()),
    "item": tuple(ITEM.split()),
    "time": tuple(TIME.split()),
    "text": ("title", "name", "itemtitle", "itemname", "prodname", "headline", "text", "description"),
    "caption": ("caption", "captions", "imagecaption", "videocaption"),
    "image": tuple(
        "image imagepath imagefile img imgpath picture photo cover coverpath poster thumbnail".split()
    ),
    "audio": tuple("audio audiopath audiofile sound soundpath wav mp3".split()),
    "video": tuple("video videopath videofile clip clippath mp4 trailer".split()),
}
"""Role -> simplified names of its column; an earlier name is preferred."""
MEDIA_SUFFIXES = {
    "image": (".jpg", ".jpeg", ".png", ".webp", ".gif"),
    "audio": (".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus"),
    "video": (".mp4", ".webm", ".mkv", ".mov", ".avi", ".gif"),
}
INTERACTIONS = ("user", "item", "time")
ITEMS = ("item", "text", "caption", "image", "audio", "video")
DATES = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y",
    "%m %d, %Y",
    "%d/%m/%Y",
)
SAMPLE = 1000
"""Texts by which the format of dates is chosen."""
_LOOKED_AT = 50_000


class Table(NamedTuple):
    """A table before its columns mean anything."""

    path: Path
    layout: Layout
    header: bool
    columns: tuple[str, ...]
    """Names of its columns: those of the header, or ``1``, ``2`` and so on."""
    sample: pl.DataFrame
    """Its first rows as strings; columns by place, ``0``, ``1`` and so on."""


def look(path: Path, layout: Layout, said: Sequence[str] = ()) -> Table:
    """The first rows of a table, and whether it has a header.

    Args:
        path: Its file.
        layout: How its lines are made.
        said: Names of columns that the user gave: a first line with one of these is a header.
    """
    known = {name for names in NAMES.values() for name in names} | {"id"}
    first = {simplified(cell) for cell in layout.first} - {""}
    header = bool(first & (known | {simplified(name) for name in said if not name.isdecimal()}))
    if not header and not any(_is_number(cell) for cell in layout.first):
        header = any(_is_number(cell) for cell in layout.second) and not any(map(str.isdecimal, said))
    places = range(len(layout.first))
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        # Line by line: a quote that is never closed must not hide the rest, and a sample may be a little off.
        lines = (line.replace("\0", "") for line in file if line.strip())
        rows = [cells(line, layout.separator) for line in islice(lines, int(header), _LOOKED_AT)]
    full = [[row[place] if place < len(row) else "" for place in places] for row in rows]
    schema = {str(place): pl.String for place in places}
    columns = layout.first if header else tuple(str(place + 1) for place in places)
    return Table(path, layout, header, columns, pl.DataFrame(full, schema=schema, orient="row"))


def look_parquet(path: Path) -> Table:
    """The first rows of a table in Parquet, a file or a folder of them.

    Raises:
        BadTableError: If it cannot be read.
    """
    file = parquet_files(path)[0]
    columns = tuple(parquet_columns(file))
    rows = pl.scan_parquet(file, glob=False).head(_LOOKED_AT).collect()
    texts = [rows[name].cast(pl.String, strict=False).fill_null("") for name in columns]
    sample = pl.DataFrame({str(place): text for place, text in enumerate(texts)})
    return Table(path, Layout("", columns, (), 0), True, columns, sample)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def by_name(table: Table, roles: Sequence[str]) -> dict[str, int]:
    """Role -> place of the column whose name says so; of several the one whose name is preferred."""
    if not table.header:
        return {}
    places = {simplified(name): place for place, name in reversed(list(enumerate(table.columns)))}
    found: dict[str, int] = {}
    for role in roles:
        # The item table's id may be called just that; a column has one role.
        names = (*NAMES[role], "id") if role == "item" else NAMES[role]
        free = (places[name] for name in names if name in places and places[name] not in found.values())
        if (place := next(free, None)) is not None:
            found[role] = place
    return found


def media_by_value(table: Table, found: Mapping[str, int]) -> dict[str, int]:
    """Places of columns that hold mostly names of pictures, sounds or videos, and are nothing else yet."""
    more: dict[str, int] = {}
    for role, suffixes in MEDIA_SUFFIXES.items():
        if role in found:
            continue
        for place in _free(table, {**found, **more}):
            full = table.sample[str(place)].filter(table.sample[str(place)] != "").str.to_lowercase()
            if len(full) and sum(full.str.ends_with(suffix).sum() for suffix in suffixes) > len(full) / 2:
                more[role] = place
                break
    return more


def text_by_value(table: Table, found: Mapping[str, int]) -> int | None:
    """Place of the first column most of whose cells are several words, and which is nothing else yet."""
    for place in _free(table, found):
        full = table.sample[str(place)].filter(table.sample[str(place)] != "")
        if len(full) and full.str.contains(r"\S\s+\S").sum() > len(full) / 2:
            return place
    return None


def time_by_value(table: Table, found: Mapping[str, int]) -> int | None:
    """Place of a column that holds mostly dates or numbers as large as times since 1970 are."""
    for place in _free(table, found):
        full = table.sample[str(place)].filter(table.sample[str(place)] != "")
        numbers = full.cast(pl.Float64, strict=False)
        times = int(((numbers > 1e8) & (numbers < 1e17)).sum()) + len(full) - date_times(full).null_count()
        if len(full) and times > 0.9 * len(full):
            return place
    return None


def best_overlap(table: Table, found: Mapping[str, int], ids: pl.Series) -> int | None:
    """Place of the column most of whose cells are among the ids, and which is nothing else yet."""
    share = {
        place: int(table.sample[str(place)].is_in(ids.to_list()).sum()) / max(len(table.sample), 1)
        for place in _free(table, found)
    }
    best = max(share, key=lambda place: share[place], default=None)
    return best if best is not None and share[best] > 0.5 else None


def _free(table: Table, found: Mapping[str, int]) -> list[int]:
    return [place for place in range(len(table.columns)) if place not in found.values()]


def date_times(texts: pl.Series) -> pl.Series:
    """Milliseconds since 1970 of texts that are dates, null of others; of several formats that fits most."""
    times, found = Dates.of(texts).read(texts)
    return times if found else pl.repeat(None, len(texts), dtype=pl.Int64, eager=True)


class Dates(NamedTuple):
    """How dates are written, by a sample of them."""

    form: str

    @classmethod
    def of(cls, texts: pl.Series) -> Self:
        """By the first of them; of several formats that which fits most."""
        sample = _plain(texts.head(SAMPLE))
        fits = {form: len(sample) - _parsed(sample, form).null_count() for form in DATES}
        return cls(max(fits, key=lambda form: fits[form]))

    def read(self, texts: pl.Series) -> tuple[pl.Series, int]:
        """Milliseconds since 1970, null where a text is no date, and how many are written as the sample is.

        Where some are, others may be written otherwise; where none is, what another format reads is chance.
        """
        plain = _plain(texts)
        times = _parsed(plain, self.form)
        found = len(times) - times.null_count()
        for form in DATES:
            if times.null_count():
                times = times.zip_with(times.is_not_null(), _parsed(plain, form))
        return times, found


def _plain(texts: pl.Series) -> pl.Series:
    plain = texts.str.strip_chars().str.replace(r"^(\d{4}-\d\d-\d\d)T", "$1 ")
    return plain.str.replace(r"(?:Z|\s*UTC|[+-]00:?00)$", "")


def _parsed(texts: pl.Series, form: str) -> pl.Series:
    return texts.str.to_datetime(form, strict=False, time_unit="ms").cast(pl.Int64)

"""Finds and reads the files of MicroLens as they were released, oddities included."""

from pathlib import Path

import polars as pl

from datamodules.errors import BadTableError
from datamodules.headed_files import find_columns, simplified, sniff
from datamodules.table_files import NEVER, quoted_rows, read_captions, read_plain
from datamodules.tables import Report

NAMES = {
    "50K": ("MicroLens-50k",),
    "100K": ("MicroLens-100k",),
    "1M": ("MicroLens-1M",),
    "full": ("MicroLens", "MicroLens-1B", "MicroLens-full"),
}
"""Part -> what stands for it in the names of its files; the first name is the authors'."""
FILES = {
    "pairs_tsv": ("{}_pairs.tsv",),
    "pairs_csv": ("{}_pairs.csv", "{}_pairs.parquet"),
    "title": ("{}_titles.csv", "{}_title_en.csv", "{}_title.csv", "{}_titles_en.csv", "{}_title_en.tsv"),
    "likes": ("{}_likes_and_views.txt",),
    "comments": ("{}_comment_en.txt", "{}_comments_en.txt"),
    "tag": ("{}_tags_to_summary.csv", "tags_to_summary.csv"),
    "caption": ("{}_captions_en.csv", "{}_caption_en.csv"),
}
"""What it is -> names of the file; case, hyphens and underscores do not count."""
COLUMNS = {
    "user": ("user", "userID"),
    "item": ("item", "videoID"),
    "time": ("timestamp",),
}
"""Column of the pairs -> its names in the newer and the older release."""


def _plain(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    return f"{simplified(stem)}.{suffix.lower()}"


def find_files(folder: Path, subset: str) -> dict[str, Path]:
    """What of a part lies in a folder."""
    if not folder.is_dir():
        return {}
    there = {
        _plain(path.name): path
        for path in sorted(folder.iterdir())
        if path.is_file() or path.suffix.lower() == ".parquet"
    }
    names = {
        kind: [_plain(pattern.format(name)) for pattern in patterns for name in NAMES[subset]]
        for kind, patterns in FILES.items()
    }
    found = {kind: next((there[n] for n in wanted if n in there), None) for kind, wanted in names.items()}
    return {kind: path for kind, path in found.items() if path is not None}


def read_titles(path: Path, report: Report) -> pl.DataFrame:
    """Titles, in one of two forms.

    With the header ``item,title`` cells may be quoted. Without one, as the larger parts have it, quotes do
    not add up: every line is an id, a comma (or a tab) and all the rest a title.

    Returns:
        String columns ``item`` and ``title``.

    Raises:
        BadTableError: If the file is empty, or no line has a separator.
    """
    layout = sniff(path)
    headed = bool(layout.first) and simplified(layout.first[0]) in ("item", "itemid", "id", "videoid")
    table = None
    if headed:
        try:
            table = _quoted_titles(path, layout.separator)
        except BadTableError as error:
            report.notes.append(f"{error} It was read line by line.")
    if table is None:
        table = _plain_titles(path, "\t" if path.suffix == ".tsv" else ",", headed)
    report.count("titles read", len(table), always=True)
    empty = int((table["title"].fill_null("").str.strip_chars() == "").sum())
    report.count("titles are empty", empty)
    return table.with_columns(pl.col("title").fill_null(""))


def _quoted_titles(path: Path, separator: str) -> pl.DataFrame:
    rows = list(quoted_rows(path, "item id and title", separator))[1:]
    return pl.DataFrame(
        {"item": [row[0] for row in rows], "title": [separator.join(row[1:]).strip() for row in rows]},
        schema={"item": pl.String, "title": pl.String},
    )


def _plain_titles(path: Path, separator: str, headed: bool) -> pl.DataFrame:
    lines = read_plain(path, NEVER, ["line"], quote_char=None)["line"].fill_null("")
    lines = lines.str.strip_chars_start("\ufeff").filter(lines.str.strip_chars() != "").slice(int(headed))
    table = (
        lines.str.splitn(separator, 2)
        .struct.rename_fields(["item", "title"])
        .struct.unnest()
        .with_columns(pl.all().str.strip_chars())
    )
    if table["title"].null_count() == len(table):
        raise BadTableError(
            f"Expected lines of item id, {separator!r}, title in {path}, found {lines.head(1).to_list()!r} "
            "at its start. Is it the file as released?"
        )
    # A title that is quoted as a whole loses its quotes; others keep what they have.
    inner = pl.col("title").str.extract(r'^"((?:[^"]|"")*)"$').str.replace_all('""', '"', literal=True)
    return table.with_columns(inner.fill_null(pl.col("title")).alias("title"))


def read_likes(path: Path, report: Report) -> pl.DataFrame:
    """Likes and views: item, likes and views with tabs between them; no header.

    Returns:
        ``item``, and ``likes`` and ``views`` as whole numbers, null where unreadable.

    Raises:
        BadTableError: If the file is empty or has no three columns.
    """
    table = read_plain(path, "\t", ["item", "likes", "views"], quote_char=None)
    numbers = pl.col("likes", "views").str.strip_chars().cast(pl.Int64, strict=False)
    table = table.with_columns(pl.col("item").str.strip_chars(), numbers)
    table = table.filter(pl.col("item").fill_null("") != "").unique("item", keep="first", maintain_order=True)
    unreadable = int((table["likes"].is_null() | table["views"].is_null()).sum())
    report.count("items have no readable number of likes or views", unreadable)
    report.count("items have more likes than views", int((table["likes"] > table["views"]).sum()))
    return table


def read_tags(path: Path) -> pl.DataFrame:
    """Labels, one a video: a header, then id and category.

    Returns:
        String columns ``item`` and ``tag``; the first row of an item stands.

    Raises:
        BadTableError: If the columns are missing or a quote never closes.
    """
    layout = sniff(path)
    places = find_columns(path, layout, {"item": ("id", "item", "video"), "tag": ("category", "tag", "tags")})
    rows = list(quoted_rows(path, "id and category", layout.separator))[1:]
    columns = {
        name: [row[place].strip() if place < len(row) else "" for row in rows]
        for name, place in places.items()
    }
    table = pl.DataFrame(columns, schema={"item": pl.String, "tag": pl.String})
    return table.unique("item", keep="first", maintain_order=True)


def read_comments(path: Path) -> pl.DataFrame:
    """Comments: user, video and text with tabs between them; no header.

    Returns:
        String columns ``user``, ``item`` and ``comment`` in the order of the file; lines of fewer columns are
        left out, and what is beyond the second tab is the comment.

    Raises:
        BadTableError: If the file is empty, or no line has two tabs.
    """
    lines = read_plain(path, NEVER, ["line"], quote_char=None)["line"]
    columns = ["user", "item", "comment"]
    table = lines.str.splitn("\t", 3).struct.rename_fields(columns).struct.unnest()
    table = table.with_columns(pl.all().str.strip_chars()).drop_nulls()
    if table.is_empty():
        raise BadTableError(
            f"Expected user, item and comment with tabs between them in {path}, found no such line. Is it "
            "the file as released?"
        )
    return table


def add_captions(items: pl.DataFrame, path: Path, report: Report) -> pl.DataFrame:
    """The item table with a column ``caption`` of a file of captions: id, a tab, the caption."""
    return _joined(items, read_captions(path), "caption", report)


def add_tags(items: pl.DataFrame, path: Path, report: Report) -> pl.DataFrame:
    """The item table with a column ``tag``."""
    return _joined(items, read_tags(path), "tag", report)


def add_likes(items: pl.DataFrame, path: Path, report: Report) -> pl.DataFrame:
    """The item table with columns ``likes`` and ``views``."""
    return _joined(items, read_likes(path, report), "likes", report)


def _joined(items: pl.DataFrame, told: pl.DataFrame, what: str, report: Report) -> pl.DataFrame:
    """Columns by item; the item table keeps its rows and their order."""
    joined = items.join(told, "item", "left", maintain_order="left")
    having = len(joined) - joined[what].null_count()
    report.count(f"items have a {what}" if what != "likes" else "items have likes and views", having, True)
    return joined

"""Your own folder: a table of interactions, and if there is one a table of items with texts and files."""

from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from datamodules.base import RecDataModule
from datamodules.errors import BadTableError
from datamodules.event_sources import EventSource, ParquetEvents, TextEvents, parquet_files
from datamodules.events import read_events
from datamodules.folder_media import media_content
from datamodules.folder_roles import RoleFinder, Roles, shown_tables
from datamodules.guess import Table
from datamodules.headed_files import read_quoted, simplified
from datamodules.raw_content import RawContent
from datamodules.tables import Report, Tables, complete_items, distinct_items
from datamodules.texts import joined_texts


class Folder(RecDataModule):
    """Interactions of your own, with an item table if there is one.

    Tables and columns are found by their names, and else by what is in them; what was taken for what is in
    the report that the preparation prints. Columns are named as in the header, or by number from 1 where
    there is none. Without a time the order of the file counts. Pictures, sounds and videos are named by
    columns of the item table, or lie as ``images/<item id>.jpg``, ``audio/<item id>.wav``,
    ``videos/<item id>.mp4``.

    Args:
        root: Folder with the tables.
        interactions: File of interactions, in the root or elsewhere; by default it is looked for.
        items: File of items; by default it is looked for, and need not be.
        user_column: Column of users in the interactions.
        item_column: Column of items in the interactions.
        time_column: Column of times: numbers or dates.
        id_column: Column of the item table that holds the ids of ``item_column``.
        text_columns: Columns of the item table that make an item's text, in this order.
        caption_column: Column of the item table with captions, a text of its own.
        image_column: Column of the item table that names pictures.
        audio_column: Column of the item table that names sounds.
        video_column: Column of the item table that names videos.
        media_root: Folder that the names of files start from, and must not lead out of; by default the root.
        drop_repeats: Leave out what repeats the same user, item and time.
        cache_dir: Folder for what is prepared; by default ``.mmzoo`` in the root.
        max_len: History length L.
        min_len: Users with fewer interactions are left out.
        **kwargs: Of ``RecDataModule``.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        root: str = "data/own",
        interactions: str | None = None,
        items: str | None = None,
        user_column: str | None = None,
        item_column: str | None = None,
        time_column: str | None = None,
        id_column: str | None = None,
        text_columns: list[str] | None = None,
        caption_column: str | None = None,
        image_column: str | None = None,
        audio_column: str | None = None,
        video_column: str | None = None,
        media_root: str | None = None,
        drop_repeats: bool = True,
        cache_dir: str | None = None,
        max_len: int = 20,
        min_len: int = 5,
        **kwargs: Any,  # noqa: ANN401 - the base's arguments
    ) -> None:
        super().__init__(root=root, cache_dir=cache_dir, max_len=max_len, min_len=min_len, **kwargs)
        self.interactions = interactions
        self.item_file = items
        self.of_interactions = {"user": user_column, "item": item_column, "time": time_column}
        media = {"image": image_column, "audio": audio_column, "video": video_column}
        self.of_items = {"item": id_column, "caption": caption_column, **media}
        self.text_columns = text_columns
        self.media_root = Path(media_root).expanduser() if media_root else self.root
        self.drop_repeats = drop_repeats

    @property
    def cache_name(self) -> str:
        """The folder's name."""
        return f"folder-{simplified(self.root.absolute().name) or 'root'}"

    def table_options(self) -> list[object]:
        """What else the tables depend on."""
        return [self.of_interactions, self.of_items, self.text_columns, self.drop_repeats]

    def table_files(self) -> list[Path]:
        """Interactions, and items where there are."""
        self.__dict__.pop("roles", None)
        tables = [self.roles.interactions, *([self.roles.items] if self.roles.items else [])]
        return [file for table in tables for file in parquet_files(table.path)]

    def read_tables(self) -> Tables:
        """Reads both tables; the report says what was taken for what."""
        roles, report = self.roles, Report()
        table = roles.interactions
        events = read_events(_source(table, roles), report, self.table_folder, look_for_dates=True)
        report.notes.append(self._told(table, roles.of_interactions, "_column"))
        if "time" not in roles.of_interactions:
            report.notes.append("No column is a time: the order of the file counts (--data.time_column).")
        elif events.first_date:
            report.notes.append(f"Times are dates, such as {events.first_date!r}.")
        if roles.items is None:
            items = distinct_items(events.item_names())
            report.notes.append("There is no table of items: they have no texts.")
        else:
            items = complete_items(self._read_items(roles, report), events.item_names(), report)
        drop = self.drop_repeats and "time" in roles.of_interactions
        return events.tables(items, report, drop)

    def _read_items(self, roles: Roles, report: Report) -> pl.DataFrame:
        table = roles.items
        assert table is not None
        used = {role: place for role, place in roles.of_items.items() if role != "text"}
        texts = {f"text_{place}": place for place in roles.texts}
        taken = {*used, *texts, "text"}
        other = {
            name: place
            for place, name in enumerate(table.columns)
            if table.header and name and name not in taken and place not in {**used, **texts}.values()
        }
        items = _cells(table, {**used, **texts, **other}, report)
        report.count("items read", len(items), always=True)
        shown = {"id" if role == "item" else role: place for role, place in used.items()}
        shown |= {"text": roles.texts[0]} if roles.texts else {}
        report.notes.append(self._told(table, shown, "_column", [table.columns[p] for p in roles.texts]))
        if texts:
            items = items.with_columns(pl.Series("text", joined_texts(items, list(texts)), dtype=pl.String))
        return items.drop(texts)

    def _told(self, table: Table, roles: dict[str, int], option: str, texts: list[str] | None = None) -> str:
        """One sentence on what the columns of a table were taken for."""
        marks = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
        parts = []
        for role, place in roles.items():
            many = role == "text" and texts is not None
            names = ", ".join(map(repr, texts)) if many and texts else repr(table.columns[place])
            parts.append(f"{role} is {names} (--data.{'text_columns' if role == 'text' else role + option})")
        used = {*roles.values(), *(table.columns.index(name) for name in texts or ())}
        rest = [repr(name) for place, name in enumerate(table.columns) if place not in used]
        unused = f"; not read by models: {', '.join(rest)}" if rest else ""
        form = f"with {'a' if table.header else 'no'} header, {marks.get(table.layout.separator)}"
        form = form if table.layout.separator else "Parquet"
        return f"{table.path.name} ({form}): {'; '.join(parts)}{unused}."

    def raw_content(self, modality: str, items: pl.DataFrame) -> RawContent:
        """Texts, captions, or the files that a column names or that are called by item.

        Raises:
            ValueError: If the folder has no such modality; says how it could.
            DataNotFoundError: If no file is where it should be.
        """
        names = ["", *items["item"].to_list()]
        column = [None, *items[modality].to_list()] if modality in items.columns else None
        if modality in ("text", "caption"):
            if column is None:
                there = "no table of items" if self.roles.items is None else shown_tables([self.roles.items])
                option = "text_columns" if modality == "text" else "caption_column"
                raise ValueError(
                    f"Expected a column for the modality {modality} in a table of items, found {there}. Name "
                    f"it with --data.{option}, or leave the modality out (--model.{modality} null)."
                )
            assert self.roles.items is not None
            return RawContent(modality, names, column, None, self.roles.items.path.name)
        file = self.roles.items.path.name if self.roles.items else ""
        return media_content(modality, names, column, self.media_root, file)

    @cached_property
    def roles(self) -> Roles:
        """What is what.

        Raises:
            DataNotFoundError: If there is no table.
            BadTableError: If it is not clear; says which columns there are and which options say it.
        """
        finder = RoleFinder(
            self.root,
            self.interactions,
            self.item_file,
            self.of_interactions,
            self.of_items,
            self.text_columns,
        )
        return finder.find()


def _source(table: Table, roles: Roles) -> EventSource:
    if table.layout.separator:
        return TextEvents(table.path, table.layout, roles.of_interactions, table.header)
    columns = {role: table.columns[place] for role, place in roles.of_interactions.items()}
    return ParquetEvents(parquet_files(table.path), columns)


def _cells(table: Table, places: dict[str, int], report: Report) -> pl.DataFrame:
    """Columns of a table of items as strings; what is missing is empty.

    Raises:
        BadTableError: If a quote never closes, or the files are no Parquet or differ.
    """
    if table.layout.separator:
        columns = read_quoted(table.path, table.layout, places, report, table.header)
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    chosen = [pl.col(table.columns[place]).alias(name) for name, place in places.items()]
    try:
        items = pl.scan_parquet(parquet_files(table.path), glob=False).select(chosen).collect()
        return items.select(pl.all().cast(pl.String).fill_null("").str.strip_chars())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadTableError(
            f"Expected a table of texts and numbers in {table.path}, found a file that is no Parquet, ends "
            f"early or holds something else ({error}). Write or download it again."
        ) from error

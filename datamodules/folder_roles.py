"""Which of the tables in somebody's folder is what, and which of their columns."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from datamodules import guess
from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.guess import Table
from datamodules.headed_files import simplified, sniff

SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".dat", ".inter", ".item")
PARQUET = ".parquet"
"""Of a file, or of a folder of files that make one table."""
_HINTS = ("interaction", "inter", "rating", "event", "click", "behavi", "pairs", "log", "train", "review")
_WHAT = (
    "A table of interactions is text with one line each: user, item and, if known, time (CSV or TSV, with a "
    "header or without), or the same as Parquet."
)


class Roles(NamedTuple):
    """What the tables and their columns were taken for."""

    interactions: Table
    of_interactions: dict[str, int]
    items: Table | None
    of_items: dict[str, int]
    texts: tuple[int, ...]
    """Columns of the item table that make the text."""


@dataclass(frozen=True)
class RoleFinder:
    """Looks at the tables; what options name comes first, then names, then what is in the columns.

    Args:
        root: The folder.
        interactions: Name of a file; None to look for it.
        item_file: The same for items.
        of_interactions: Role -> name of its column in the interactions; None to look for it.
        of_items: The same in the item table.
        text_columns: Columns that make the text; None to look for one.
    """

    root: Path
    interactions: str | None
    item_file: str | None
    of_interactions: dict[str, str | None]
    of_items: dict[str, str | None]
    text_columns: list[str] | None

    def _tables(self) -> list[Table]:
        """All tables of the folder, or those that were named."""
        if not self.root.is_dir():
            found = f"that {self.root} is a file" if self.root.exists() else "no such folder"
            raise DataNotFoundError(f"a folder with tables, {self.root.absolute()}", found, _WHAT)
        said = [name for name in (*self.of_interactions.values(), *self.of_items.values()) if name]
        said += self.text_columns or []
        named = [self._named(name) for name in (self.interactions, self.item_file) if name]
        files = sorted(path for path in self.root.iterdir() if _is_table(path))
        if not files and not named:
            there = ", ".join(sorted(path.name for path in self.root.iterdir())[:8])
            raise DataNotFoundError(
                f"tables ({', '.join(SUFFIXES[:4])}) in {self.root.absolute()}",
                there or "an empty folder",
                _WHAT,
            )
        both = bool(self.interactions and self.item_file)
        paths = dict.fromkeys(named if both else [*named, *(path for path in files if path not in named)])
        return [_look(path, said) for path in paths]

    def _named(self, name: str) -> Path:
        for place in (self.root / name, Path(name).expanduser()):
            if place.is_file() or (place.is_dir() and _is_table(place)):
                return place
        there = ", ".join(sorted(path.name for path in self.root.iterdir() if path.is_file())[:12])
        raise DataNotFoundError(
            f"the file {name} in {self.root.absolute()}", there or "no file", "Correct its name."
        )

    def find(self) -> Roles:
        """What is what.

        Raises:
            DataNotFoundError: If there is no table.
            BadTableError: If it is not clear; says which columns there are and which options say it.
        """
        tables = self._tables()
        ours = self._pick(tables)
        rest = [table for table in tables if table is not ours]
        items = self._pick_items(rest)
        of_items = self._said(items, self.of_items, "id_column") if items else {}
        if items:
            of_items = {**guess.by_name(items, [r for r in guess.ITEMS if r not in of_items]), **of_items}
        found = self._said(ours, self.of_interactions)
        missing = [role for role in guess.INTERACTIONS if role not in found]
        named = guess.by_name(ours, missing)
        found |= {role: place for role, place in named.items() if place not in found.values()}
        found = self._by_value(ours, found, items, of_items)
        if items:
            of_items = self._complete(items, of_items, ours.sample[str(found["item"])])
        texts = self._texts(items, of_items)
        return Roles(ours, found, items, of_items, texts)

    def _pick(self, tables: list[Table]) -> Table:
        if self.interactions:
            path = self._named(self.interactions)
            return next(table for table in tables if table.path == path)
        others = [
            table for table in tables if not self.item_file or table.path != self._named(self.item_file)
        ]
        users = [table for table in others if "user" in guess.by_name(table, ("user",))]
        said = simplified(self.of_interactions["user"] or "")
        users += [table for table in others if said and said in map(simplified, table.columns)]
        hinted = [table for table in others if any(hint in table.path.stem.lower() for hint in _HINTS)]
        for some in (users, hinted, others):
            distinct = list({table.path: table for table in some}.values())
            if len(distinct) > 1:
                distinct = [table for table in distinct if table in hinted] or distinct
            if len(distinct) == 1:
                return distinct[0]
        raise BadTableError(
            f"Expected one table of interactions in {self.root.absolute()}, found {shown_tables(others)}. "
            "Say which it is: --data.interactions FILE."
        )

    def _pick_items(self, rest: list[Table]) -> Table | None:
        if self.item_file:
            path = self._named(self.item_file)
            return next((table for table in rest if table.path == path), None)
        named = [table for table in rest if "user" not in guess.by_name(table, ("user",))]
        hinted = [table for table in named if "item" in table.path.stem.lower()]
        if len(named) > 1 and len(hinted) != 1:
            raise BadTableError(
                f"Expected one table of items in {self.root.absolute()}, found {shown_tables(named)}. Say "
                "which it is: --data.items FILE."
            )
        return next(iter(hinted or named), None)

    def _said(self, table: Table, columns: dict[str, str | None], id_option: str = "") -> dict[str, int]:
        """Places of the columns that options name."""
        places = {simplified(name): place for place, name in reversed(list(enumerate(table.columns)))}
        exact = {name: place for place, name in reversed(list(enumerate(table.columns)))}
        found = {}
        for role, name in columns.items():
            if name is None:
                continue
            place = exact.get(name, places.get(simplified(name)))
            if place is None:
                option = id_option if role == "item" and id_option else f"{role}_column"
                raise BadTableError(
                    f"Expected the column {name!r} (--data.{option}) in {table.path}, found "
                    f"{', '.join(map(repr, table.columns))}."
                )
            found[role] = place
        return found

    def _by_value(
        self, table: Table, found: dict[str, int], items: Table | None, of_items: dict[str, int]
    ) -> dict[str, int]:
        """The interactions' columns that names do not tell."""
        if "time" not in found and (place := guess.time_by_value(table, found)) is not None:
            found["time"] = place
        if "item" not in found and items is not None:
            ids = [of_items["item"]] if "item" in of_items else range(len(items.columns))
            everything = pl.concat([items.sample[str(place)].alias("id") for place in ids]).unique()
            place = guess.best_overlap(table, found, everything.filter(everything != ""))
            found |= {} if place is None else {"item": place}
        left = [place for place in range(len(table.columns)) if place not in found.values()]
        open_roles = [role for role in ("user", "item") if role not in found]
        if open_roles and len(left) == len(open_roles):
            found |= dict(zip(open_roles, left, strict=True))
        elif open_roles:
            options = " and ".join(f"--data.{role}_column" for role in open_roles)
            raise BadTableError(
                f"Expected columns of {' and '.join(f'{role}s' for role in open_roles)} in {table.path}, "
                f"found {', '.join(map(repr, table.columns))}"
                f"{'' if table.header else ' (by number: there is no header)'}, and cannot tell which. Say "
                f"it with {options}."
            )
        return found

    def _complete(self, items: Table, of_items: dict[str, int], taken: pl.Series) -> dict[str, int]:
        """The item table's columns that names do not tell."""
        if "item" not in of_items:
            place = guess.best_overlap(items, of_items, taken.unique())
            if place is None:  # few items are in the first lines of both
                cells = {p: set(items.sample[str(p)]) & set(taken) - {""} for p in range(len(items.columns))}
                place = max(cells, key=lambda p: len(cells[p]))
                if not cells[place]:
                    raise BadTableError(
                        f"Expected a column of item ids in {items.path}, found "
                        f"{', '.join(map(repr, items.columns))}, none with ids of the interactions such as "
                        f"{', '.join(map(repr, taken.unique(maintain_order=True).head(3)))}. Say which it is "
                        "with --data.id_column, or leave the table out of the folder."
                    )
            of_items = {**of_items, "item": place}
        return {**of_items, **guess.media_by_value(items, of_items)}

    def _texts(self, items: Table | None, of_items: dict[str, int]) -> tuple[int, ...]:
        if items is None:
            return ()
        if self.text_columns is not None:
            wanted = dict(zip(map(str, range(len(self.text_columns))), self.text_columns, strict=True))
            return tuple(self._said(items, {**wanted}).values())
        place = of_items.get("text")
        place = guess.text_by_value(items, of_items) if place is None else place
        return () if place is None else (place,)


def _look(path: Path, said: list[str]) -> Table:
    if path.suffix.lower() == PARQUET:
        return guess.look_parquet(path)
    return guess.look(path, sniff(path), said)


def _is_table(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix == PARQUET or (suffix in SUFFIXES and path.is_file())


def shown_tables(tables: list[Table]) -> str:
    """Files with their columns, for messages."""
    parts = [f"{table.path.name} ({', '.join(map(repr, table.columns))[:160]})" for table in tables]
    return "; ".join(parts) or "none"

"""``mmzoo recommend``: the best items for the users of a file, as a table and as a page.

What reads users and new items is of the data side, and given.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import polars as pl
import torch
from lightning.pytorch import LightningDataModule
from PIL import Image

from zoo.base import Recommender
from zoo.experiments.folder import write_atomic
from zoo.factory import load_recommender
from zoo.histories import Histories, Ids, rows_of_names
from zoo.parser import ZooParser
from zoo.recommend import NamedCatalogue, Recommendations, all_names
from zoo.recommend_page import Shown, Shows, page
from zoo.types import ItemSource, ModelNeeds

FORMATS = (".parquet", ".csv", ".jsonl")
FILE = "recommendations.parquet"
SHOWN_HISTORY = 10
SOME = 5

UserReader = Callable[[str], tuple[pl.DataFrame, Any]]
"""Path -> columns user and item, or user alone; and a report with ``lines()``."""
ItemOpener = Callable[[str, ModelNeeds], ItemSource]
"""Path and the model's needs -> new items."""


class RecommendParser(ZooParser):
    """The parser's errors with this command's own help."""

    more = "mmzoo recommend --help shows the command's options, --data.help CLASS those of the data."


class _Windows(Protocol):
    offsets: Ids
    items: Ids


class Asked(NamedTuple):
    """Users to recommend to."""

    names: pl.Series
    histories: Histories | None
    rows: list[int] | None
    """User rows, for models that need them."""


def recommend(
    data: LightningDataModule,
    out: Path,
    read_users: UserReader,
    open_items: ItemOpener,
    ckpt: str,
    users: str,
    k: int = 10,
    new_items: str | None = None,
    hide_history: bool = True,
    other_catalogue: bool = False,
    html: str | None = None,
    html_users: int = 6,
    batch_size: int = 512,
    device: str = "auto",
) -> int:
    """Recommends to the users of a file.

    Args:
        data: The catalogue.
        out: File of the recommendations, or a folder for it.
        read_users: Reads the file of users.
        open_items: Reads new items.
        ckpt: Checkpoint, or the folder of a run, whose best one it is then.
        users: File with the columns user, item and, if known, time; or users of the data set by name.
        k: Items a user.
        new_items: Table of new items, or its folder, to recommend from too; for models of content.
        hide_history: Recommend nothing that a user has.
        other_catalogue: The data is another catalogue than that of training, on purpose.
        html: File for a page of the first users.
        html_users: How many.
        batch_size: Users scored at a time.
        device: Such as cuda:0; by default a GPU if there is one.

    Returns:
        The command's status.
    """
    out = out if out.suffix.lower() in FORMATS else _file_in(out)
    _require_sense(out, html, k, batch_size, html_users)
    asked, report = read_users(users)
    model = load_recommender(ckpt, "--ckpt")
    if new_items is not None:
        model.check_new_items()
    catalogue = open_catalogue(model, data, other_catalogue)
    new = None if new_items is None else open_items(new_items, model.needs())
    names = all_names(catalogue, new) or []
    chosen = choose(model, catalogue, asked, names)
    print("\n  ".join([f"{users}:", *report.lines()]))
    model.to(_device(device)).eval()
    found = model.recommend(
        chosen.histories, k, users=chosen.rows, items=new, hide_history=hide_history, batch_size=batch_size
    )
    nothing = torch.nonzero((found.item_BK == 0).all(1))[:, 0].numpy()
    told("Users for whom no item is left that could be recommended", chosen.names.gather(nothing))
    table = recommendation_table(chosen.names, found, names)
    write_table(out, table)
    print(f"{table.height:,} recommendations to {len(chosen.names):,} users are in {out}.")
    if html is not None:
        write_atomic(Path(html), _page(model, catalogue, new, chosen, found, names, html_users))
        print(f"A page of the first {min(html_users, len(chosen.names))} is {html}.")
    return 0


def _device(asked: str) -> str:
    return asked if asked != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def _require_sense(out: Path, html: str | None, k: int, batch_size: int, html_users: int) -> None:
    """Finds before the work what would fail after it.

    Raises:
        ValueError: A number is below 1, or a file cannot be written where it is to be.
    """
    if k < 1 or batch_size < 1 or html_users < 1:
        found = f"{k}, {batch_size} and {html_users}"
        raise ValueError(f"Expected --k, --batch_size and --html_users of at least 1, found {found}.")
    require_place(out, "--out")
    if html is not None:
        require_place(Path(html), "--html")


def _file_in(out: Path) -> Path:
    if out.suffix:
        raise ValueError(f"--out {out}: expected a file that ends in {', '.join(FORMATS)}, or a folder.")
    return out / FILE


def require_place(path: Path, option: str) -> None:
    """Makes the folder of a file, and looks before anything is computed whether it can be written.

    Raises:
        ValueError: It cannot.
    """
    if path.is_dir():
        raise ValueError(f"{option} {path} is a folder: name a file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(f"{option} {path} cannot be written: {error.strerror}.") from error


def open_catalogue(model: Recommender, data: LightningDataModule, other_catalogue: bool) -> NamedCatalogue:
    """Prepares the data as the model needs it and gives it its catalogue."""
    cast(Any, data).bind(model.needs())
    data.prepare_data()
    data.setup("predict")
    catalogue = cast(NamedCatalogue, data)
    model.bind_catalogue(catalogue, other_catalogue)
    return catalogue


def choose(model: Recommender, data: NamedCatalogue, asked: pl.DataFrame, names: Sequence[str]) -> Asked:
    """Who of the file can be recommended to, and what of their items is known; says what is left out.

    Raises:
        ValueError: Nobody is left.
    """
    lines = asked
    if "item" in asked.columns:
        lines = asked.with_columns(row=pl.Series(rows_of_names(names, asked["item"])))
        unknown = lines.filter(pl.col("row") == 0)["item"].unique(maintain_order=True)
        told("Items of the file that are not in the catalogue; their lines are left out", unknown)
        lines = lines.filter(pl.col("row") > 0)
    users = asked.select("user").unique(maintain_order=True)
    by_name = model.reads_users or "item" not in asked.columns
    if by_name:
        users = users.with_columns(place=pl.Series(rows_of_names(data.user_names, users["user"])))
        told("Users that are not in the data set, left out", users.filter(pl.col("place") == 0)["user"])
        users = users.filter(pl.col("place") > 0)
    histories = None
    if "item" in asked.columns:
        grouped = lines.group_by("user", maintain_order=True).agg("row")
        users = users.join(grouped, on="user", how="left", maintain_order="left")
        if model.reads_history:
            told(
                "Users without an item of the catalogue, left out",
                users.filter(pl.col("row").is_null())["user"],
            )
            users = users.drop_nulls("row")
        lists = users["row"].fill_null([])
        histories = Histories(_offsets(lists.list.len().to_numpy()), lists.explode().drop_nulls().to_numpy())
    elif model.reads_history:
        histories = _windows_of(data, users["place"].to_numpy())
    if users.is_empty():
        raise ValueError(
            "There is nobody to recommend to: see what was left out above. Items and users go by the names "
            f"of the data set, such as item {names[1]} and user {data.user_names[1]}."
        )
    return Asked(users["user"], histories, users["place"].to_list() if model.reads_users else None)


def told(what: str, names: pl.Series) -> None:
    """Says how many are left out, and who for example."""
    if len(names):
        some = ", ".join(names.head(SOME))
        print(f"{what}: {len(names):,} ({some}{', ...' if len(names) > SOME else ''}).")


def _offsets(lengths: Ids) -> Ids:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _windows_of(data: NamedCatalogue, user_R: Ids) -> Histories:
    """Everything that the data set knows of its users.

    Raises:
        ValueError: It knows no histories.
    """
    windows = cast("_Windows | None", getattr(data, "windows", None))
    if windows is None:
        raise ValueError(f"{type(data).__name__} has no histories: give the file of users a column item.")
    return Histories.of_ranges(windows.offsets[user_R], windows.offsets[user_R + 1], windows.items)


def recommendation_table(users: pl.Series, found: Recommendations, names: Sequence[str]) -> pl.DataFrame:
    """One line a user and place: user, rank, item, score; places without a candidate are no lines."""
    places = found.item_BK.shape[1]
    rank_B = np.tile(np.arange(1, places + 1, dtype=np.int32), len(users))
    lines = pl.DataFrame(
        {
            "user": users.gather(np.repeat(np.arange(len(users)), places)),
            "rank": rank_B,
            "row": found.item_BK.flatten().numpy(),
            "score": found.score_BK.flatten().numpy(),
        }
    ).filter(pl.col("row") > 0)
    items = pl.Series(names, dtype=pl.String).gather(lines["row"])
    return lines.select("user", "rank", items.alias("item"), "score")


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Writes Parquet, CSV or JSON lines by the file's ending, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    match path.suffix.lower():
        case ".csv":
            table.write_csv(part)
        case ".jsonl":
            table.write_ndjson(part)
        case _:
            table.write_parquet(part)
    os.replace(part, path)


def _page(
    model: Recommender,
    data: NamedCatalogue,
    new: ItemSource | None,
    asked: Asked,
    found: Recommendations,
    names: Sequence[str],
    count: int,
) -> str:
    n_rows = len(data.item_names)
    of_data, of_new = cast(Any, data), cast(Any, new)
    title: Callable[[int], str] = getattr(data, "raw_title", lambda row: "")
    cover: Callable[[int], Image.Image | None] = getattr(data, "cover", lambda row: None)
    shows = Shows(
        name=lambda row: names[row],
        title=lambda row: title(row) if row < n_rows else of_new.raw_title(row - n_rows + 1),
        cover=lambda row: cover(row) if row < n_rows else of_new.cover(row - n_rows + 1),
        is_new=lambda row: row >= n_rows,
    )
    histories = asked.histories
    if histories is None:
        rows = np.array((asked.rows or [])[:count])
        histories = model.known_of(rows) or Histories.of([[]] * len(rows))
    users = []
    for place, user in enumerate(asked.names.head(count)):
        start, stop = int(histories.offsets[place]), int(histories.offsets[place + 1])
        recent = histories.items[max(start, stop - SHOWN_HISTORY) : stop].tolist()
        best = zip(found.item_BK[place].tolist(), found.score_BK[place].tolist(), strict=True)
        users.append(Shown(user, recent, stop - start - len(recent), [pair for pair in best if pair[0]]))
    about = f"{type(model).__name__}, {n_rows - 1:,} items of {type(of_data).__name__}"
    about += f" and {new.n_items - 1:,} new ones" if new is not None else ""
    return page("Recommendations", about, users, shows)

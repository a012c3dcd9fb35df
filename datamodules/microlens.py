"""MicroLens: micro-videos with titles, covers, sound, clips, captions, tags, likes, views and comments.

Ni et al., "A Content-Driven Micro-Video Recommendation Dataset at Scale", https://arxiv.org/abs/2309.15379.
Please cite it if you use the data.

For research only; nobody but the authors may offer it for download, so it is read from where the user put it.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import polars as pl

from datamodules import microlens_files as files
from datamodules.errors import DataNotFoundError
from datamodules.event_sources import headed_events, parquet_files
from datamodules.events import Events, Lines, read_events, read_lines
from datamodules.headed_files import simplified
from datamodules.media import SUFFIXES
from datamodules.raw_content import RawContent
from datamodules.released import MediaFolder, ReleasedData, Statistics, what_is_in
from datamodules.tables import Report, Tables, complete_items, distinct_items
from datamodules.texts import check_columns, text_content

HOW_TO_GET_IT = (
    "Download it with recursive wget from https://recsys.westlake.edu.cn/MicroLens-50k-Dataset/ or "
    "https://recsys.westlake.edu.cn/MicroLens-100k-Dataset/ (for 1M and the full set see "
    "https://github.com/westlake-repl/MicroLens: the latter only by e-mail to the authors), unpack the "
    "covers, and set --data.root to the folder with these files or the one above it. The data are for "
    "research and may not be offered for download again."
)
Pairs = Literal["auto", "tsv", "csv"]
Clips = Literal["auto", "videos", "frames"]
VIDEOS = (".mp4", ".webm", ".mkv", ".mov")
SOUNDS = (".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus")
_CLIPS = MediaFolder("{subset}_videos", VIDEOS)
_FRAMES = MediaFolder("{subset}_frames_interval_1_number_5", (".jpg", ".jpeg"), "-1")
TEXTS = {"title": "title", "tag": "tag", "caption": "caption"}


class MicroLens(ReleasedData):
    """One of the four sets, from the files as the authors released them.

    The split is that of the authors' VideoRec code: of every user the last L + 3 interactions, the last one
    for the test, the one before for validation; items that nobody took among these are no candidates.

    Args:
        root: Folder with the set's files, or one that holds its folder (``MicroLens-100k`` or
            ``MicroLens-100k-Dataset``).
        subset: ``50K``, ``100K``, ``1M`` or ``full``.
        text: Columns that make an item's text, in this order: of ``title``, ``tag`` and ``caption``. Captions
            are a modality of their own too, ``caption``.
        pairs: ``tsv`` reads one line a user, as all published code does, ``csv`` pairs with their times, also
            as ``.parquet``, a file or a folder of them; ``auto`` the first, or where it is missing the other.
        clips: Where the modality ``video`` comes from: ``videos``, the five ``frames`` that were released, or
            ``auto``, the first folder of these that is there.
        cache_dir: Folder for what is prepared; by default ``.mmzoo`` in the root.
        max_len: History length L.
        min_len: Users with fewer interactions are left out.
        **kwargs: Of ``RecDataModule``.

    Raises:
        UnknownSubsetError: If no set is called ``subset``.
        ValueError: If an option is out of its range.
    """

    subsets: ClassVar[dict[str, Statistics | None]] = {
        "50K": Statistics(50_000, 19_220, 359_708),
        "100K": Statistics(100_000, 19_738, 719_405),
        "1M": Statistics(1_000_000, 91_402, 9_095_620),
        "full": Statistics(34_492_051, 1_142_528, 1_006_528_709),
    }
    names: ClassVar[dict[str, tuple[str, ...]]] = files.NAMES
    media: ClassVar[dict[str, tuple[MediaFolder, ...]]] = {
        "image": (MediaFolder("{subset}_covers", SUFFIXES), MediaFolder("{subset}_cover", SUFFIXES)),
        # A video's own track where there is no folder of sounds.
        "audio": (
            MediaFolder("{subset}_audio", SOUNDS),
            MediaFolder("{subset}_audios", SOUNDS),
            _CLIPS,
        ),
        "video": (_CLIPS, _FRAMES),
    }
    how_to_get_it: ClassVar[str] = HOW_TO_GET_IT

    def __init__(
        self,
        root: str = "data/MicroLens",
        subset: str = "100K",
        text: list[str] = ["title"],  # noqa: B006 - only read
        pairs: Pairs = "auto",
        clips: Clips = "auto",
        cache_dir: str | None = None,
        max_len: int = 10,
        min_len: int = 5,
        **kwargs: Any,  # noqa: ANN401 - the base's arguments
    ) -> None:
        super().__init__(
            root=root,
            subset=subset,
            cache_dir=cache_dir,
            max_len=max_len,
            min_len=min_len,
            **kwargs,
        )
        if pairs not in get_args(Pairs) or clips not in get_args(Clips):
            raise ValueError(
                f"Expected pairs to be one of {', '.join(get_args(Pairs))} and clips one of "
                f"{', '.join(get_args(Clips))}, found {pairs!r} and {clips!r}."
            )
        self.text = check_columns(text, tuple(TEXTS))
        self.pairs: Pairs = pairs
        self.clips: Clips = clips

    @cached_property
    def folder(self) -> Path:
        """The set's folder: the first with its pairs.

        Raises:
            DataNotFoundError: If there is none.
        """
        inner = sorted(path for path in self.root.glob("*") if path.is_dir()) if self.root.is_dir() else []
        own = [path for path in inner if simplified(path.name).startswith(simplified(self.file_name))]
        for place in dict.fromkeys([self.root, *own, *inner]):
            if files.find_files(place, self.subset).keys() & {"pairs_tsv", "pairs_csv"}:
                return place
        raise DataNotFoundError(
            f"{self.file_name}_pairs.tsv or {self.file_name}_pairs.csv in {self.root.absolute()} or a folder "
            "in it",
            what_is_in(self.root),
            self.how_to_get_it,
        )

    def _files(self) -> dict[str, Path]:
        found = files.find_files(self.folder, self.subset)
        chosen = "pairs_csv" if self.pairs == "csv" else "pairs_tsv"
        if self.pairs == "auto" and chosen not in found:
            chosen = "pairs_csv"
        if chosen not in found:
            wanted = files.FILES[chosen][0].format(self.file_name)
            raise DataNotFoundError(
                f"{wanted} in {self.folder}",
                f"only {', '.join(sorted(path.name for path in found.values()))}",
                f"{self.how_to_get_it} Or set --data.pairs auto.",
            )
        return {"pairs": found[chosen], **{kind: path for kind, path in found.items() if "pairs" not in kind}}

    def table_files(self) -> list[Path]:
        """The pairs, and what there is of titles, tags, captions and likes."""
        found = [path for kind, path in sorted(self._files().items()) if kind != "comments"]
        return [file for path in found for file in parquet_files(path)]

    def read_tables(self) -> Tables:
        """Reads all files but the comments and compares their sizes with the published ones."""
        found, report = self._files(), Report()
        items = pl.DataFrame(schema={"item": pl.String})
        if "title" in found:
            items = files.read_titles(found["title"], report)
        taken: Lines | Events
        if found["pairs"].suffix.lower() == ".tsv":
            taken = read_lines(found["pairs"], self.table_folder)
        else:
            taken = read_events(headed_events(found["pairs"], files.COLUMNS), report, self.table_folder)
        if "title" in found:
            items = complete_items(items, taken.item_names(), report)
        else:
            items = distinct_items(taken.item_names())
            report.notes.append("There is no file of titles.")
        for kind, add in (
            ("tag", files.add_tags),
            ("caption", files.add_captions),
            ("likes", files.add_likes),
        ):
            if kind in found:
                items = add(items.with_columns(pl.col("item").str.strip_chars()), found[kind], report)
        report.notes.append(f"Interactions are read from {found['pairs'].name}.")
        tables = taken.tables(items, report)
        self.compare(tables, tables.n_taken())
        return tables

    def raw_content(self, modality: str, items: pl.DataFrame) -> RawContent:
        """Texts, captions, or the files of a modality by item number.

        Raises:
            ValueError: If the data set has no such modality.
            DataNotFoundError: If files are missing.
        """
        if modality in ("text", "caption"):
            columns = self.text if modality == "text" else ("caption",)
            expected = {kind: files.FILES[kind][0].format(self.file_name) for kind in TEXTS}
            file = self._files().get(columns[0]) if len(columns) == 1 else None
            return text_content(modality, items, columns, file, expected)
        return self.media_content(modality, ["", *items["item"].to_list()])

    def media_folders(self, modality: str) -> tuple[MediaFolder, ...]:
        """Folders that may hold the files of a modality, as the option ``clips`` has it."""
        if modality == "video" and self.clips != "auto":
            return (_CLIPS,) if self.clips == "videos" else (_FRAMES,)
        return self.media[modality]

    def comments(self) -> pl.DataFrame:
        """Comments on training interactions; there after ``setup``.

        A comment is what made the interaction: those of held-out interactions would tell what to predict, and
        are left out.

        Returns:
            ``user`` and ``item`` (rows of users and catalogue) and ``comment``, in the order of the file.

        Raises:
            DataNotFoundError: If the file is missing.
        """
        found = self._files()
        if "comments" not in found:
            wanted = files.FILES["comments"][0].format(self.file_name)
            raise DataNotFoundError(f"{wanted} in {self.folder}", "no such file", self.how_to_get_it)
        windows = self.windows
        starts, stops = windows.training()
        users = np.repeat(np.arange(1, windows.n_users), stops - starts)
        place = np.arange(len(users)) - np.searchsorted(users, users) + starts[users - 1]
        trained = pl.DataFrame({"user": users, "item": windows.items[place].astype(np.int64)}).unique()
        rows = {
            "user": pl.Series(self.user_names[1:], dtype=pl.String),
            "item": pl.Series(self.item_names[1:], dtype=pl.String),
        }
        named = files.read_comments(found["comments"]).with_columns(
            (pl.col(column).cast(pl.Enum(names), strict=False).to_physical().cast(pl.Int64) + 1)
            for column, names in rows.items()
        )
        return named.join(trained, ["user", "item"], "semi", maintain_order="left")

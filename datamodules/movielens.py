"""MovieLens-1M and -100K with gender, age and occupation: as histories, and as pairs as FMMRec converts them.

Harper and Konstan, "The MovieLens Datasets: History and Context", TiiS 2015, https://doi.org/10.1145/2827872.
The data may not be redistributed, so they are read from where the user unpacked them.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import polars as pl

from datamodules.attributes import UNKNOWN, Attribute
from datamodules.cache import digest, file_stamp, make_cache, make_folder
from datamodules.errors import EmptyDataError, UnknownSubsetError
from datamodules.features import BadRows
from datamodules.headed_files import simplified
from datamodules.media import SUFFIXES
from datamodules.mmrec import MMRec
from datamodules.mmrec_files import write_layout
from datamodules.movielens_files import CLASSES, PARTS, Raw, find_files, read_files, read_movies, read_users
from datamodules.protocols.labels import cut_labels, cut_text
from datamodules.raw_content import RawContent
from datamodules.released import MediaFolder, ReleasedData, Statistics
from datamodules.splits import Cut, Windowing
from datamodules.tables import Report, Tables, complete_items, tables_from_events
from datamodules.texts import check_columns, text_content

LAYOUT = 2
"""Raised when the same files give another table."""
MIN_RATINGS = 5
TEXTS = ("title", "genres")
HOW_TO_GET_IT = (
    "Download ml-100k.zip from https://grouplens.org/datasets/movielens/100k/, or ml-1m.zip from "
    "https://grouplens.org/datasets/movielens/1m/, unpack it, and set --data.root to the folder ml-100k or "
    "ml-1m. They may not be offered for download again."
)


class MovieLensHistories(ReleasedData):
    """MovieLens as histories: every rating is an interaction, whatever its stars, oldest first.

    Ratings of the same second keep the order of the file, which in 100K is none: many users rated a page of
    movies at once. Attributes: ``gender`` (F 0, M 1), ``age`` (seven bands) and ``occupation`` (21).

    Args:
        root: Folder with the three files, GroupLens' or RecBole's, or the one that holds ``ml-100k``.
        subset: ``100K`` or ``1M``.
        text: Columns that make a movie's text, in this order: of ``title``, with the year behind it, and
            ``genres``.
        cache_dir: Folder for what is prepared; by default ``.mmzoo`` in the root.
        max_len: History length L.
        min_len: Users with fewer interactions are left out; in the released files nobody is.
        windowing: ``chunks`` trains on all of the long histories; ``last`` on the last L + 3 ratings only.
        **kwargs: Of ``RecDataModule``.

    Raises:
        UnknownSubsetError: If no part is called ``subset``.
        ValueError: If an option is out of its range.
    """

    subsets: ClassVar[dict[str, Statistics | None]] = {
        "100K": Statistics(943, 1_682, 100_000),
        "1M": Statistics(6_040, 3_706, 1_000_209),
    }
    names: ClassVar[dict[str, tuple[str, ...]]] = {"100K": ("ml-100k",), "1M": ("ml-1m",)}
    media: ClassVar[dict[str, tuple[MediaFolder, ...]]] = {
        "image": (MediaFolder("posters", SUFFIXES), MediaFolder("images", SUFFIXES))
    }
    how_to_get_it: ClassVar[str] = (
        f"{HOW_TO_GET_IT} There are no pictures in them: put your own as posters/<movie id>.jpg."
    )

    def __init__(
        self,
        root: str = "data/ml-100k",
        subset: str = "100K",
        text: list[str] = ["title"],  # noqa: B006 - only read
        cache_dir: str | None = None,
        max_len: int = 50,
        min_len: int = 5,
        windowing: Windowing = "chunks",
        **kwargs: Any,  # noqa: ANN401 - the base's arguments
    ) -> None:
        super().__init__(
            root=root,
            subset=subset,
            cache_dir=cache_dir,
            max_len=max_len,
            min_len=min_len,
            windowing=windowing,
            **kwargs,
        )
        self.text = check_columns(text, TEXTS)

    @property
    def cache_name(self) -> str:
        """The part, as its archive is called."""
        return self.file_name

    @cached_property
    def folder(self) -> Path:
        """Where the three files lie."""
        return self.table_files()[0].parent

    def table_files(self) -> list[Path]:
        """Ratings, users and movies."""
        return find_files(self.root, self.subset, self.how_to_get_it)

    def table_options(self) -> list[object]:
        """What else the tables depend on."""
        return [LAYOUT]

    def read_tables(self) -> Tables:
        """Reads the files; a movie that is rated and not listed stays, without a text."""
        report = Report()
        raw = read_files(self.table_files(), self.subset, report)
        items = complete_items(raw.movies, raw.ratings["item"], report)
        tables = tables_from_events(raw.ratings, items, report, drop_repeats=True)
        self.compare(tables, tables.items["item"].gather(tables.items_of).n_unique())
        return tables

    def user_attributes(self, users: pl.Series) -> dict[str, Attribute]:
        """Gender, age band and occupation; unknown where the user file lacks them or has another code."""
        classes = _attributes(read_users(self.table_files()[1], self.subset, Report()), users)
        return {
            name: Attribute(np.concatenate([[UNKNOWN], classes[f"u_{name}"].fill_null(UNKNOWN)]), len(codes))
            for name, codes in CLASSES.items()
        }

    def raw_content(self, modality: str, items: pl.DataFrame) -> RawContent:
        """Titles or genres, or your own posters.

        Raises:
            ValueError: If the data set has no such modality.
            DataNotFoundError: If there are no posters.
        """
        if modality == "text":
            movies = self.table_files()[2]
            return text_content(modality, items, self.text, movies, dict.fromkeys(self.text, movies.name))
        return self.media_content(modality, ["", *items["item"].to_list()])


class MovieLens(MMRec):
    """MovieLens as pairs: every rating is an interaction, whatever its stars.

    Users and movies are numbered by first appearance in the rating file; users with fewer than five ratings
    are left out (in the released files nobody is). Attributes: ``gender`` (F 0, M 1), ``age`` (seven bands)
    and ``occupation`` (21). The files hold no content: feature matrices, one row a movie in that order, are
    read from ``image_feat.npy``, ``text_feat.npy`` and ``audio_feat.npy`` beside them where they are.

    FMMRec's own split of 1M was drawn without a seed; it is in their release, a set for ``mmrec``.

    Args:
        root: Folder with the three files, GroupLens' or RecBole's, or the one that holds ``ml-1m``.
        subset: ``1M`` or ``100K``.
        cut: About 8 : 1 : 1: within each user at ``random`` or by ``time``, or by ``global_time``.
        cut_seed: Of the random cut.
        cache_dir: Folder for the converted table; by default ``.mmzoo`` in the root.
        batch_size: Training pairs in a batch of one process.
        eval_batch_size: Users in an evaluation batch of one process.
        hide_validation: Hide validation items in the test.
        bad_features: What becomes of feature rows that are not finite: ``refuse`` them, or make them the
            ``mean`` of the good ones.
        num_workers: Processes that make training batches; with 0 the trainer's own does.
        seed: Of order and negatives; by default that of ``seed_everything``, or else 0.

    Raises:
        UnknownSubsetError: If no part is called ``subset``.
        ValueError: If an option is unknown or out of its range.
    """

    how_to_get_it: ClassVar[str] = HOW_TO_GET_IT

    def __init__(
        self,
        root: str = "data/ml-1m",
        subset: str = "1M",
        cut: Cut = "random",
        cut_seed: int = 0,
        cache_dir: str | None = None,
        batch_size: int = 2048,
        eval_batch_size: int = 1024,
        hide_validation: bool = False,
        bad_features: BadRows = "refuse",
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        parts = {simplified(known): part for part, names in PARTS.items() for known in (part, names.folder)}
        if simplified(subset) not in parts:
            raise UnknownSubsetError(subset, PARTS)
        self.subset = parts[simplified(subset)]
        super().__init__(
            root=root,
            name=simplified(PARTS[self.subset].folder),
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            hide_validation=hide_validation,
            bad_features=bad_features,
            num_workers=num_workers,
            seed=seed,
        )
        if cut not in get_args(Cut) or cut_seed < 0:
            raise ValueError(
                f"Expected cut to be one of {', '.join(get_args(Cut))} and cut_seed >= 0, found {cut!r} and "
                f"{cut_seed}."
            )
        self.cut: Cut = cut
        self.cut_seed = cut_seed
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else self.root / ".mmzoo"

    @property
    def feature_root(self) -> Path:
        """The folder with the raw files.

        Raises:
            DataNotFoundError: If one of them is missing.
        """
        return self._raw_files()[0].parent

    def _raw_files(self) -> list[Path]:
        return find_files(self.root, self.subset, self.how_to_get_it)

    @cached_property
    def folder(self) -> Path:
        """Where the converted table comes to lie: named by the raw files and how they are cut."""
        made_of = [LAYOUT, *map(file_stamp, self._raw_files()), self.cut]
        seed = self.cut_seed if self.cut == "random" else ""
        return self.cache_dir / f"{self.name}-{digest([*made_of, seed])}"

    def prepare_data(self) -> None:
        """Converts the raw files if that is not done, then reads the result.

        Raises:
            DataNotFoundError: If a raw file, or features that the model reads, are missing.
            BadTableError: If a file cannot be understood.
        """
        self.__dict__.pop("folder", None)
        make_cache(self.cache_dir)
        needed = 2 * self._raw_files()[0].stat().st_size
        make_folder(self.folder, needed, self._convert)
        super().prepare_data()

    def _convert(self, folder: Path) -> None:
        """Writes the table in MMRec's layout, and what was met on the way."""
        paths, report = self._raw_files(), Report()
        raw = read_files(paths, self.subset, report)
        ratings = _five_core(raw, paths[0], report)
        unlisted = len(set(ratings["item"]) - set(raw.movies["item"]))
        report.count(f"rated movies are not in {paths[2].name}", unlisted)
        user_R, user_names = _numbered(ratings["user"])
        item_R, item_names = _numbered(ratings["item"])
        times = ratings["time"]
        label_R = cut_labels(self.cut, self.cut_seed, user_R, times.to_numpy())
        table = pl.DataFrame(
            {
                "userID": user_R,
                "itemID": item_R,
                "rating": ratings["rating"],
                "timestamp": times,
                "x_label": label_R,
            }
        )
        attributes = _attributes(raw.users, user_names)[user_R]
        write_layout(
            folder,
            self.name,
            table.hstack(attributes).sort("userID", "timestamp", maintain_order=True),
            names={
                "i_id_mapping.csv": pl.DataFrame({"movie": item_names, "itemID": np.arange(len(item_names))}),
                "u_id_mapping.csv": pl.DataFrame({"user": user_names, "userID": np.arange(len(user_names))}),
            },
        )
        report.save(folder)

    @property
    def split_text(self) -> str:
        """How the pairs are cut, in a few words."""
        return cut_text(self.cut, self.cut_seed)

    @cached_property
    def _titles(self) -> dict[str, str]:
        movies = read_movies(self._raw_files()[2], self.subset, Report())
        return dict(zip(movies["item"].to_list(), movies["title"].fill_null("").to_list(), strict=True))

    def raw_title(self, row: int) -> str:
        """The title of a movie as the data has it; empty if there is none."""
        return self._titles.get(self.item_names[row], "")

    def report(self) -> str:
        """What was read, left out and found bad, in a few lines."""
        return "\n  ".join([super().report(), *Report.load(self.folder).lines()])


def _five_core(raw: Raw, path: Path, report: Report) -> pl.DataFrame:
    """The ratings of users with enough of them, every pair once.

    Raises:
        EmptyDataError: If no user has enough.
    """
    ratings = raw.ratings.unique(["user", "item"], keep="first", maintain_order=True)
    report.count("ratings of a pair that an earlier line rates were dropped", len(raw.ratings) - len(ratings))
    kept = ratings.filter(pl.len().over("user") >= MIN_RATINGS)
    report.count(
        f"users with fewer than {MIN_RATINGS} ratings were left out",
        ratings["user"].n_unique() - kept["user"].n_unique(),
    )
    if kept.is_empty():
        raise EmptyDataError(
            f"Expected a user with {MIN_RATINGS} ratings in {path}, found none among {len(ratings):,} "
            "ratings. Is the file complete?"
        )
    return kept


def _numbered(names: pl.Series) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], pl.Series]:
    """Numbers from 0 in order of first appearance, and the names they stand for."""
    distinct = names.unique(maintain_order=True)
    return names.cast(pl.Enum(distinct)).to_physical().cast(pl.Int64).to_numpy(), distinct


def _attributes(users: pl.DataFrame, names: pl.Series) -> pl.DataFrame:
    """Classes of the named users; empty where the user file lacks them or has another code."""
    place = names.cast(pl.Enum(users["user"]), strict=False).to_physical()
    return pl.DataFrame({f"u_{name}": users[name].gather(place) for name in CLASSES})

"""MovieLens-1M as user-item pairs with gender, age and occupation, converted as FMMRec does.

Harper and Konstan, "The MovieLens Datasets: History and Context", TiiS 2015, https://doi.org/10.1145/2827872.
The data may not be redistributed, so they are read from where the user unpacked them.
"""

from functools import cached_property
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np
import polars as pl

from datamodules.cache import digest, file_stamp, make_cache, make_folder
from datamodules.errors import BadTableError, DataNotFoundError, EmptyDataError
from datamodules.features import BadRows
from datamodules.mmrec import MMRec
from datamodules.mmrec_files import write_layout
from datamodules.splits import Cut, label_per_user
from datamodules.tables import Report

LAYOUT = 1
"""Raised when the same files give another table."""
NAME = "ml1m"
FILES = ("ratings.dat", "users.dat", "movies.dat")
AGES = ("1", "18", "25", "35", "45", "50", "56")
"""Codes of the age bands, in the order of their classes."""
OCCUPATIONS = tuple(map(str, range(21)))
CLASSES = {"gender": ("F", "M"), "age": AGES, "occupation": OCCUPATIONS}
"""Attribute -> what the user file may hold, in the order of the classes."""
MIN_RATINGS = 5


class MovieLens(MMRec):
    """MovieLens-1M from its three files: every rating is an interaction, whatever its stars.

    Users and movies are numbered by first appearance in the rating file; users with fewer than five ratings
    are left out (in the released file nobody is). Attributes: ``gender`` (F 0, M 1), ``age`` (seven bands)
    and ``occupation`` (21). The files hold no content: feature matrices, one row a movie in that order, are
    read from ``image_feat.npy``, ``text_feat.npy`` and ``audio_feat.npy`` beside them where they are.

    FMMRec's own split was drawn without a seed; it is in their release, a set for ``mmrec``.

    Args:
        root: Folder with ``ratings.dat``, ``users.dat`` and ``movies.dat``, or the one that holds ``ml-1m``.
        cut: About 8 : 1 : 1 within each user, at ``random``, or by ``time``.
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
        ValueError: If an option is unknown or out of its range.
    """

    how_to_get_it: ClassVar[str] = (
        "Download ml-1m.zip from https://grouplens.org/datasets/movielens/1m/, unpack it, and set "
        "--data.root to the folder ml-1m. It may not be offered for download again."
    )

    def __init__(
        self,
        root: str = "data/ml-1m",
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
        super().__init__(
            root=root,
            name=NAME,
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
        places = (self.root, self.root / "ml-1m")
        place = next((place for place in places if (place / FILES[0]).is_file()), self.root)
        if missing := [file for file in FILES if not (place / file).is_file()]:
            there = "no such folder" if not place.is_dir() else f"no {' and no '.join(missing)} there"
            expected = f"{', '.join(FILES)} of MovieLens-1M in {place.absolute()}"
            raise DataNotFoundError(expected, there, self.how_to_get_it)
        return place

    @cached_property
    def folder(self) -> Path:
        """Where the converted table comes to lie: named by the raw files and how they are cut."""
        raw = self.feature_root
        made_of = [LAYOUT, *(file_stamp(raw / file) for file in FILES), self.cut]
        seed = self.cut_seed if self.cut == "random" else ""
        return self.cache_dir / f"{NAME}-{digest([*made_of, seed])}"

    def prepare_data(self) -> None:
        """Converts the raw files if that is not done, then reads the result.

        Raises:
            DataNotFoundError: If a raw file, or features that the model reads, are missing.
            BadTableError: If a file cannot be understood.
        """
        self.__dict__.pop("folder", None)
        make_cache(self.cache_dir)
        needed = 2 * (self.feature_root / FILES[0]).stat().st_size
        make_folder(self.folder, needed, self._convert)
        super().prepare_data()

    def _convert(self, folder: Path) -> None:
        """Writes the table in MMRec's layout, and what was met on the way."""
        raw, report = self.feature_root, Report()
        ratings = _fields(raw / FILES[0], ["user", "item", "rating", "time"])
        users = _fields(raw / FILES[1], ["user", "gender", "age", "occupation", "zip"])
        movies = _fields(raw / FILES[2], ["item", "title", "genres"])
        ratings = _five_core(ratings, raw / FILES[0], report)
        unlisted = len(set(ratings["item"]) - set(movies["item"]))
        report.count(f"rated movies are not in {FILES[2]}", unlisted)
        user_R, user_names = _numbered(ratings["user"])
        item_R, item_names = _numbered(ratings["item"])
        times = ratings["time"].cast(pl.Int64)
        random_R = np.random.default_rng(self.cut_seed).permutation(len(ratings))
        label_R = label_per_user(user_R, random_R if self.cut == "random" else times.to_numpy())
        table = pl.DataFrame(
            {
                "userID": user_R,
                "itemID": item_R,
                "rating": ratings["rating"],
                "timestamp": times,
                "x_label": label_R,
            }
        )
        attributes = _attributes(users, user_names)[user_R]
        write_layout(
            folder,
            NAME,
            table.hstack(attributes).sort("userID", "timestamp", maintain_order=True),
            names={
                "i_id_mapping.csv": pl.DataFrame({"movie": item_names, "itemID": np.arange(len(item_names))}),
                "u_id_mapping.csv": pl.DataFrame({"user": user_names, "userID": np.arange(len(user_names))}),
            },
        )
        report.save(folder)

    @cached_property
    def _titles(self) -> dict[str, str]:
        movies = _fields(self.feature_root / FILES[2], ["item", "title", "genres"])
        return dict(zip(movies["item"].to_list(), movies["title"].to_list(), strict=True))

    def raw_title(self, row: int) -> str:
        """The title of a movie as the data has it; empty if there is none."""
        return self._titles.get(self.item_names[row], "")

    def report(self) -> str:
        """What was read, left out and found bad, in a few lines."""
        return "\n  ".join([super().report(), *Report.load(self.folder).lines()])


def _fields(path: Path, columns: list[str]) -> pl.DataFrame:
    """A table with ``::`` between its columns, in Latin-1, all as text; empty lines are no rows.

    Raises:
        BadTableError: If a line has too few columns; names it.
    """
    # Not splitlines(): it takes some Latin-1 characters for line ends.
    lines = pl.Series("line", path.read_bytes().decode("latin-1").split("\n"), dtype=pl.String)
    table = (
        lines.str.strip_chars_end("\r")
        .to_frame()
        .with_row_index("number", offset=1)
        .filter(pl.col("line") != "")
        .with_columns(pl.col("line").str.splitn("::", len(columns)).struct.rename_fields(columns))
        .unnest("line")
    )
    short = table.filter(pl.col(columns[-1]).is_null())
    if table.is_empty() or len(short):
        where = f"line {short['number'][0]} of {path}" if len(short) else str(path)
        raise BadTableError(
            f"Expected {', '.join(columns)} with '::' between them in {where}, found "
            f"{'fewer columns' if len(short) else 'an empty file'}. Is it the file as released, and complete?"
        )
    return table.drop("number")


def _five_core(ratings: pl.DataFrame, path: Path, report: Report) -> pl.DataFrame:
    """The ratings of users with enough of them.

    Raises:
        BadTableError: If a time is no number.
        EmptyDataError: If no user has enough.
    """
    if (times := ratings["time"].cast(pl.Int64, strict=False)).null_count():
        found = ratings["time"].filter(times.is_null())[0]
        raise BadTableError(
            f"Expected seconds as the last column of {path}, found {found!r}. Is the file complete?"
        )
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
    first = users.unique("user", keep="first", maintain_order=True)
    place = names.cast(pl.Enum(first["user"]), strict=False).to_physical()
    return pl.DataFrame(
        {
            f"u_{name}": first[name].cast(pl.Enum(codes), strict=False).to_physical().gather(place)
            for name, codes in CLASSES.items()
        }
    )

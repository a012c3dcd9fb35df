"""Which data sets may be downloaded directly, and from where: only where their owners offer that."""

from collections.abc import Sequence
from typing import NamedTuple

from datamodules.amazon import Amazon
from datamodules.module import DataModule
from datamodules.movielens import MovieLens, MovieLensHistories
from datamodules.movielens_files import PARTS

_MB, _GB = 10**6, 10**9


class Source(NamedTuple):
    """One file of a data set on its owner's server."""

    base: str
    """Address that ``--base_url`` replaces; ends in a slash."""
    path: str
    known: str = ""
    """Checksum that the owner publishes."""
    max_bytes: int = 100 * _GB
    unpacked: int = 0
    """The most that its files come to; 0 where it is read as it is."""

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.path.rpartition("/")[2]


class Offer(NamedTuple):
    """What may be downloaded of a data set."""

    sources: Sequence[Source]
    terms: str
    """What the owner asks for, and where it stands."""
    rest: str = ""
    """What has to be fetched by hand; empty if nothing."""


GROUPLENS = "https://files.grouplens.org/datasets/movielens/"
MCAULEY = "https://mcauleylab.ucsd.edu/public_datasets/data/"
MOVIELENS_SUMS = {
    "100K": "md5:0e33842e24a9c977be4e0107933c0723",
    "1M": "md5:c4d9eecfca2ab87c1945afe126590906",
}


def offer_of(data: DataModule) -> Offer | None:
    """What the owners of a data set let anyone download; None where they do not, or ask for an agreement."""
    if isinstance(data, MovieLens | MovieLensHistories):
        folder = PARTS[data.subset].folder
        source = Source(GROUPLENS, f"{folder}.zip", MOVIELENS_SUMS[data.subset], 50 * _MB, 200 * _MB)
        return Offer(
            [source],
            "MovieLens is GroupLens': for research, to be cited, not to be passed on. The terms are in the "
            f"README of {folder}.zip.",
        )
    if isinstance(data, Amazon) and data.release in ("2018", "2023"):
        category = data.subset.partition(" ")[2]
        return _reviews_2018(category) if data.release == "2018" else _reviews_2023(category)
    return None


def _reviews_2018(category: str) -> Offer:
    file = f"{category}.json.gz" if category.endswith("_5") else f"{category}.csv"
    whole = category.removesuffix("_5")
    return Offer(
        [Source(MCAULEY, f"amazon_v2/categoryFilesSmall/{file}")],
        "Amazon's reviews of 2018 are for research: cite Ni et al., EMNLP 2019.",
        f"The metadata (meta_{whole}.json.gz: titles), and all reviews of a category, are behind a form at "
        "https://nijianmo.github.io/amazon.",
    )


def _reviews_2023(category: str) -> Offer:
    return Offer(
        [
            Source(MCAULEY, f"amazon_2023/raw/review_categories/{category}.jsonl.gz"),
            Source(MCAULEY, f"amazon_2023/raw/meta_categories/meta_{category}.jsonl.gz"),
        ],
        "Amazon's reviews of 2023 are for research: cite Hou et al., https://arxiv.org/abs/2403.03952.",
    )

"""Synthetic interactions with the sizes and history lengths of known data sets, as a data module."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from datamodules.base import RecDataModule
from datamodules.raw_content import RawContent
from datamodules.tables import Report, Tables

LONGEST = 200
"""Older interactions lie before every window and are not made."""
FLATTENING = 100
"""Popularity falls as 1 / (rank + 100): the first item has about 0.2 to 0.3 % of all interactions."""


class Shape(NamedTuple):
    """Sizes of a data set."""

    users: int
    items: int
    shortest: int
    mean: float
    """Mean length of a history, its last two interactions included."""
    sigma: float
    """Of the logarithm of the lengths; 0 for geometric lengths above the shortest."""


SHAPES = {
    "ml1m": Shape(users=6_040, items=3_416, shortest=20, mean=165.6, sigma=1.0),
    "beauty": Shape(users=22_363, items=12_034, shortest=5, mean=11.0, sigma=0.0),
    "scientific": Shape(users=12_076, items=20_314, shortest=5, mean=6.77, sigma=0.0),
    "mini": Shape(users=400, items=300, shortest=5, mean=11.0, sigma=0.0),
}
"""ML-1M-like, Beauty-like (lengths such that peers' 16 % of 50 slots are filled), Amazon-Scientific-like."""


def lengths(shape: Shape, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Length of every history, long ones cut."""
    if shape.sigma:
        middle = np.log(shape.mean) - shape.sigma**2 / 2
        drawn = rng.lognormal(middle, shape.sigma, shape.users).astype(np.int64)
    else:
        drawn = rng.geometric(1 / (shape.mean - shape.shortest + 1), shape.users) - 1 + shape.shortest
    return np.clip(drawn, shape.shortest, min(LONGEST, shape.items // 3))


def make_histories(shape: Shape, seed: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Histories without repetitions, as compressed rows: offsets (U + 1) and item rows from 0."""
    rng = np.random.default_rng(seed)
    wanted = lengths(shape, rng)
    share = 1 / (np.arange(shape.items) + FLATTENING)
    limit = np.cumsum(share / share.sum())
    # Twice as many draws as wanted; of repeated ones the first stands.
    user = np.repeat(np.arange(shape.users), 2 * wanted)
    item = np.minimum(np.searchsorted(limit, rng.random(len(user))), shape.items - 1)
    first = np.sort(np.unique(user * shape.items + item, return_index=True)[1])
    user, item = user[first], item[first]
    place = np.arange(len(user)) - np.searchsorted(user, user)
    kept = place < wanted[user]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(user[kept], minlength=shape.users))])
    return offsets.astype(np.int64), rng.permutation(shape.items)[item[kept]].astype(np.int32)


def number_tables(offsets: npt.NDArray[np.int64], items: npt.NDArray[np.int32], n_items: int) -> Tables:
    """Tables of histories as compressed rows, whose users and items are numbers from 0 and named by them."""
    users = pl.Series("user", np.arange(len(offsets) - 1)).cast(pl.String)
    names = pl.DataFrame({"item": np.arange(n_items)}).cast(pl.String)
    return Tables(users, offsets, items, names, Report())


class ShapeData(RecDataModule):
    """Ids without content.

    Args:
        root: Folder for the generated file.
        shape: Name of a shape.
        cache_dir: Folder for what is prepared; by default ``.mmzoo`` in the root.
        max_len: History length L.
        min_len: Users with fewer interactions are left out.
        batch_size: Users in a training batch.
        eval_batch_size: Users in an evaluation batch.
        num_workers: Processes that make training batches.
        seed: Of order and negatives.
    """

    def __init__(
        self,
        root: str,
        shape: str = "beauty",
        cache_dir: str | None = None,
        max_len: int = 50,
        min_len: int = 5,
        batch_size: int = 128,
        eval_batch_size: int = 512,
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__(root, cache_dir, max_len, min_len, batch_size, eval_batch_size, num_workers, seed)
        self.shape = shape

    @property
    def cache_name(self) -> str:
        """The shape's name."""
        return f"shape-{self.shape}"

    @property
    def file(self) -> Path:
        """Where the histories lie."""
        return self.root / f"{self.shape}.npz"

    def prepare_data(self) -> None:
        """Makes the histories if they are missing."""
        if not self.file.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            offsets, items = make_histories(SHAPES[self.shape])
            np.savez(self.file, offsets=offsets, items=items)
        super().prepare_data()

    def table_files(self) -> list[Path]:
        """The one file."""
        return [self.file]

    def read_tables(self) -> Tables:
        """Numbers as names."""
        with np.load(self.file, allow_pickle=False) as stored:
            return number_tables(stored["offsets"], stored["items"], SHAPES[self.shape].items)

    def raw_content(self, modality: str, items: pl.DataFrame) -> RawContent:
        """There is none.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"Synthetic histories have no content, but the model wants {modality!r}.")

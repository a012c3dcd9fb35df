"""The catalogue's vectors, encoded chunk by chunk into one table, by one process or by all, a block each."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Share(NamedTuple):
    """What one of several processes encodes of the catalogue: contiguous rows, in whole chunks.

    Chunks begin where those of a single process do: products of other sizes may round differently.
    """

    n_items: int
    """Catalogue rows, the padding row included."""
    chunk: int
    """Rows encoded at a time."""
    rank: int = 0
    ranks: int = 1

    @property
    def rows(self) -> int:
        """Rows that every process has room for, the last ones more than there are.

        >>> Share(n_items=8, chunk=2, ranks=2).rows, Share(n_items=6, chunk=512, ranks=2).rows
        (4, 512)
        """
        return math.ceil(math.ceil((self.n_items - 1) / self.chunk) / self.ranks) * self.chunk

    @property
    def first(self) -> int:
        """Where this process's rows begin in the table; maybe beyond the catalogue's end."""
        return 1 + self.rank * self.rows

    def starts(self) -> range:
        """First rows of the chunks to encode: where nothing is left for a process, the catalogue's first.

        >>> [list(Share(8, 2, rank, 3).starts()) for rank in range(3)]
        [[1, 3], [5, 7], [1]]
        """
        own = range(self.first, min(self.first + self.rows, self.n_items), self.chunk)
        return own or range(1, min(2, self.n_items))


def whole_table(chunks: Iterable[Tensor], share: Share) -> Tensor:
    """The table of all items in float32, the same to the last bit on every process and on one alone.

    Every vector is written where it stays, so that no second table is needed. With several processes all of
    them have to call this.

    Args:
        chunks: Vectors (N, D) of the chunks of ``share.starts()``.
        share: Of this process.

    Returns:
        (I, D); row 0, the padding item, is zero.
    """
    table_ID: Tensor | None = None
    row = share.first
    for part_ND in chunks:
        if table_ID is None:
            rows = share.n_items if share.ranks == 1 else 1 + share.ranks * share.rows
            table_ID = torch.zeros(rows, part_ND.shape[1], device=part_ND.device)
        table_ID[row : row + len(part_ND)] = part_ND
        row += len(part_ND)
    if table_ID is None:
        raise ValueError(f"A catalogue of {share.n_items} rows, padding included, has nothing to encode.")
    if share.ranks > 1:
        own_ND = table_ID[share.first : share.first + share.rows].clone()
        dist.all_gather_into_tensor(table_ID[1:], own_ND)
    return table_ID[: share.n_items]

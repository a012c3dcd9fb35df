"""The item-id embedding table, used where content towers are used."""

import torch
from torch import Tensor, nn


class ItemId(nn.Module):
    """A trained vector per catalogue row; row 0, the padding item, is zero and never trained.

    The whole table is drawn by Xavier's rule, as in MoRec's official code, whose padding row is left random;
    here it is zeroed (no score or state depends on it).

    Args:
        n_items: Catalogue rows, the padding row included.
        width: Width of the vectors.
        sparse: Give gradients of the rows that were read, not of the table.

    >>> ItemId(3, 2)(torch.tensor([0])).tolist()
    [[0.0, 0.0]]
    """

    def __init__(self, n_items: int, width: int, sparse: bool = False) -> None:
        super().__init__()
        if n_items < 2:
            raise ValueError(f"n_items={n_items}: expected the padding row and at least one item.")
        self.width = width
        self.table = nn.Embedding(n_items, width, padding_idx=0, sparse=sparse)
        nn.init.xavier_normal_(self.table.weight)
        with torch.no_grad():
            self.table.weight[0].zero_()

    def forward(self, ids_N: Tensor) -> Tensor:
        """Vectors (N, D) of catalogue rows."""
        vectors_ND: Tensor = self.table(ids_N)
        return vectors_ND

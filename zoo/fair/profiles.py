"""Means over what each user has consumed: the rows of the training matrix, each divided by its sum."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Profiles(nn.Module):
    """The training pairs as a mean over each user's items; sparse, and without a wait for the device.

    Args:
        n_users: Users U, without a padding row.
        n_edges: Distinct training pairs E.
    """

    def __init__(self, n_users: int, n_edges: int) -> None:
        super().__init__()
        self.register_buffer("item_E", torch.zeros(n_edges, dtype=torch.int64))
        self.register_buffer("start_U", torch.zeros(n_users, dtype=torch.int64))
        self.item_E: Tensor
        self.start_U: Tensor

    def fill(self, user_E: Tensor, item_E: Tensor) -> None:
        """Takes the pairs, in any order; rows count from 0."""
        order_E = torch.argsort(user_E, stable=True)
        counts_U = torch.bincount(user_E, minlength=len(self.start_U))
        self.item_E.copy_(item_E[order_E])
        self.start_U.copy_(counts_U.cumsum(0) - counts_U)

    def forward(self, vector_ID: Tensor) -> Tensor:
        """Mean item vector (U, D) of each user; zero for a user without a training pair."""
        # The kernel has no half precision on every device; a mean of many is better in full precision anyway.
        with torch.autocast(vector_ID.device.type, enabled=False):
            return F.embedding_bag(self.item_E, vector_ID.float(), self.start_U, mode="mean")

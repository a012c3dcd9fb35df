"""FMMRec's filters: small networks that take an attribute out of a vector, told by a prompt whose it is."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Mode = Literal["shared", "independent", "user-only"]
"""One set of filters for users and items, one for each, or users alone (items stay as they are)."""
Prompt = Literal["concat", "add", "none"]
"""How the learned vector of a role, user or item, joins what is filtered."""
ITEM, USER = 0, 1
"""Rows of the prompts."""


class AttributeFilters(nn.Module):
    """A filter for every attribute; what they make is averaged.

    Args:
        width: Width D of the vectors.
        attributes: Their names, K of them.
        mode: Whose vectors are filtered, by which filters.
        prompt: How the role is told.
    """

    def __init__(
        self, width: int, attributes: Sequence[str], mode: Mode = "shared", prompt: Prompt = "concat"
    ) -> None:
        super().__init__()
        self.mode = mode
        self.prompt = prompt
        if prompt != "none":
            self.prompts = nn.Embedding(2, width)
        n_in = 2 * width if prompt == "concat" else width
        self.user_filters = nn.ModuleList(network(n_in, width) for _ in attributes)
        if mode == "independent":
            self.item_filters = nn.ModuleList(network(n_in, width) for _ in attributes)

    @property
    def filters_items(self) -> bool:
        """Whether items are filtered too."""
        return self.mode != "user-only"

    def users(self, vector_ND: Tensor) -> Tensor:
        """Filtered user vectors (..., D)."""
        return self._filtered(self.user_filters, vector_ND, USER)

    def items(self, vector_ND: Tensor) -> Tensor:
        """Filtered item vectors (..., D)."""
        if not self.filters_items:
            return vector_ND
        filters = self.item_filters if self.mode == "independent" else self.user_filters
        return self._filtered(filters, vector_ND, ITEM)

    def _filtered(self, filters: nn.ModuleList, vector_ND: Tensor, role: int) -> Tensor:
        if self.prompt == "add":
            vector_ND = vector_ND + self.prompts.weight[role]
        elif self.prompt == "concat":
            prompt_ND = self.prompts.weight[role].to(vector_ND.dtype).expand_as(vector_ND)
            vector_ND = torch.cat([prompt_ND, vector_ND], dim=-1)
        return torch.stack([each(vector_ND) for each in filters]).mean(0)


def network(n_in: int, width: int) -> nn.Sequential:
    """One filter, with weights drawn as the authors do."""
    made = nn.Sequential(nn.Linear(n_in, width), nn.LeakyReLU(0.2), nn.Linear(width, width))
    for layer in (made[0], made[2]):
        assert isinstance(layer, nn.Linear)
        nn.init.xavier_uniform_(layer.weight)
    return made

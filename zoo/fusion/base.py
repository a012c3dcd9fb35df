"""What every fusion of modalities looks like."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from zoo.encoders.base import Encoded


class Fusion(nn.Module, ABC):
    """Makes one vector of the M parts an item has: one a modality, and its id's where the model has one.

    Parts come projected to one width D, always in the same order.
    """

    needs_tokens: ClassVar[bool] = False
    """Whether the modalities' tokens are read, and not only their pooled vectors."""

    @abstractmethod
    def forward(self, parts: list[Encoded]) -> Tensor:
        """Fuses the parts of N items.

        Args:
            parts: M parts, each with ``pooled_ND`` (N, D). A fusion that needs tokens finds ``tokens_NTD``
                (N, T, D) and ``mask_NT``, None where every token is real; an item id has no tokens and counts
                as one.

        Returns:
            (N, D) item vectors.
        """

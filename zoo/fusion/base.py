"""What every fusion of modalities looks like."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Fusion(nn.Module, ABC):
    """Makes one vector of the M vectors an item has: one a modality, and its id's where the model has one."""

    @abstractmethod
    def forward(self, parts: list[Tensor]) -> Tensor:
        """Fuses the parts of N items.

        Args:
            parts: M tensors (N, D), always in the same order.

        Returns:
            (N, D) item vectors.
        """

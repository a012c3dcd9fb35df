"""What backbones without an attention mask do about padded slots.

A GRU and a convolution read whatever stands before the first item. NineRec's code, https://arxiv.org/abs/2309.07705,
lets them read the padding item's vector, as many times as a history is short of the length L.
"""

import torch
from torch import Tensor, nn

from zoo.sequence.base import Padding, one_of, too_long


class PaddedSlots(nn.Module):
    """Puts zeros, or one constant vector, at the padded slots.

    Args:
        padding: ``skip``: padded slots are zero and the backbone keeps them without effect, as if they were
            not there. ``vector``: as in the papers, one constant vector stands there, in a history always
            filled up to ``max_len``, so that a trimmed batch gives the same states. It is drawn once, is not
            trained, and is saved with the model; in the papers it is what each item encoder makes of the
            padding item, which for ids is a row of the table that no gradient reaches.
        width: Width D of item vectors.
        max_len: History length L that ``vector`` fills up to.
        owner: Name of the backbone, for errors.

    Raises:
        ValueError: An unknown ``padding``.
    """

    pad_D: Tensor

    def __init__(self, padding: Padding, width: int, max_len: int, owner: str) -> None:
        super().__init__()
        one_of(owner, "padding", padding, ("skip", "vector"))
        self.skip = padding == "skip"
        self.max_len = max_len
        self.owner = owner
        if not self.skip:
            self.register_buffer("pad_D", torch.randn(width) * (2 / (width + max_len)) ** 0.5)

    def forward(self, item_BLD: Tensor, real_BL: Tensor) -> Tensor:
        """Item vectors with the padded slots replaced: (B, L, D), or (B, ``max_len``, D) for ``vector``.

        Raises:
            ValueError: The histories are longer than ``max_len``.
        """
        length = item_BLD.shape[1]
        if length > self.max_len:
            raise too_long(self.owner, self.max_len, length)
        if self.skip:
            return self.clear(item_BLD, real_BL)
        pad_D = self.pad_D.to(item_BLD.dtype)
        filled_BLD = torch.where(real_BL[..., None], item_BLD, pad_D)
        before_BXD = pad_D.expand(len(item_BLD), self.max_len - length, -1)
        return torch.cat([before_BXD, filled_BLD], dim=1)

    def clear(self, hidden_BLD: Tensor, real_BL: Tensor) -> Tensor:
        """States with zeros at the padded slots for ``skip``; for ``vector`` as they are."""
        # Not a product: padded slots may hold anything, and zero times infinity is no zero.
        return hidden_BLD.masked_fill(~real_BL[..., None], 0) if self.skip else hidden_BLD

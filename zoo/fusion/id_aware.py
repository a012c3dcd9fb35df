"""ODMT's ID-aware multi-modal transformer: an item's id and the tokens of its modalities read each other.

"Online Distillation-enhanced Multi-modal Transformer for Sequential Recommendation", ACM MM 2023,
https://arxiv.org/abs/2308.04067, official code https://github.com/xyliugo/ODMT (``model/modules.py``).

The blocks are those of SASRec with PyTorch's own initial weights; tokens get neither positions nor types, so
the order of the parts means nothing.
"""

from typing import Literal, cast

import torch
from torch import Tensor, nn

from zoo.encoders.base import Encoded
from zoo.fusion.base import Fusion
from zoo.fusion.parts import part_tokens, require_parts, side_by_side
from zoo.sequence.block import SASRecBlock

Version = Literal["v1", "v3"]
"""``v1``: the id reads the modalities, and they do not read the id. ``v3``: all read all."""
TITLE = "id_aware"


class IdAwareBlock(SASRecBlock):
    """SASRec's block with PyTorch's initial weights, for all tokens or for chosen ones as queries."""

    def reset_parameters(self) -> None:
        """PyTorch's default; one product for three projections has their spread, which follows the input."""
        for layer in (self.query_key_value, self.output, self.feed_in, self.feed_out):
            layer.reset_parameters()


class IdAwareTransformer(nn.Module):
    """Tokens of all modalities and the id as one set, and a view of the item through each part of it.

    A view is the state of a part's first token (an encoder's class token) after the last block, or of the id.
    The last block computes nothing but the views. There are ``n_layers * (12 D^2 + 9 D)`` parameters; the
    official code makes 4 D more, of a layer norm and a type table that nothing reads.

    Args:
        width: Width D of tokens and views.
        n_layers: Blocks (``merged_att_layers``).
        n_heads: Attention heads; the official code ties them to ``n_layers``.
        dropout: Rate on the tokens, the attention weights and the outputs of both layers of a block.
        version: Who reads the id: nobody but itself (``v1``), or all (``v3``).

    Raises:
        ValueError: No block, or the heads do not divide the width.
    """

    def __init__(
        self, width: int, n_layers: int = 2, n_heads: int = 2, dropout: float = 0.1, version: Version = "v1"
    ) -> None:
        super().__init__()
        if n_layers < 1:
            raise ValueError(f"The fusion {TITLE!r}: n_layers must be at least 1; found {n_layers}.")
        if n_heads < 1 or width % n_heads:
            raise ValueError(
                f"The fusion {TITLE!r}: n_heads={n_heads} does not divide width={width}; change one of them."
            )
        self.version = version
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(IdAwareBlock(width, n_heads, dropout) for _ in range(n_layers))

    def forward(self, parts: list[Encoded]) -> Tensor:
        """The views of N items.

        Args:
            parts: M parts of width D: tokens and their mask of each modality, one vector of the id.

        Returns:
            (N, M, D) views, in the order of the parts.

        Raises:
            ValueError: Not exactly one part, the id's, has no tokens.
        """
        place = id_place(parts)
        lengths = [part_tokens(part).shape[1] for part in parts]
        first_M = [sum(lengths[:i]) for i in range(len(parts))]
        token_NTD, real_NT = side_by_side(parts)
        token_NTD = self.dropout(token_NTD)
        allowed_N1TT = self.allowed(token_NTD, real_NT, first_M[place])
        *lower, last = self.blocks
        for block in lower:
            token_NTD = block(token_NTD, allowed_N1TT)
        # Slices, not an index tensor: the host would have to send that one to the device.
        view_NMD = torch.stack([token_NTD[:, i] for i in first_M], dim=1)
        allowed_N1MT = torch.stack([allowed_N1TT[:, :, i] for i in first_M], dim=2)
        return cast(IdAwareBlock, last).read(view_NMD, token_NTD, allowed_N1MT)

    def allowed(self, token_NTD: Tensor, real_NT: Tensor | None, id_at: int) -> Tensor:
        """Which key each query may look at, (N, 1, T, T) or, for all items alike, (1, 1, T, T).

        Where the official code lowers a logit by 10,000, its share is zero to the last bit; here it has none.
        """
        length = token_NTD.shape[1]
        allowed_TT = torch.ones(length, length, dtype=torch.bool, device=token_NTD.device)
        if self.version == "v1":
            allowed_TT[:, id_at] = False
            allowed_TT[id_at, id_at] = True
        if real_NT is None:
            return allowed_TT[None, None]
        return allowed_TT & real_NT[:, None, None]


class IdAware(Fusion):
    """The transformer as a fusion: the item vector is the id's view, which has read all modalities.

    Args:
        n_parts: Parts M: the modalities, with tokens, and the item id.
        width: Width D of each part and of the result.
        dropout: Dropout rate, see ``IdAwareTransformer``.
        n_layers: Blocks.
        n_heads: Attention heads.
        version: ``v1`` or ``v3``; makes a difference from two blocks on.

    Raises:
        ValueError: There is only one part, no block, or the heads do not divide the width.
    """

    needs_tokens = True

    def __init__(
        self,
        n_parts: int,
        width: int,
        dropout: float = 0.1,
        n_layers: int = 2,
        n_heads: int = 2,
        version: Version = "v1",
    ) -> None:
        super().__init__()
        if n_parts < 2:
            raise ValueError(
                f"The fusion {TITLE!r} fuses modalities into an item id, but the model has {n_parts} part. "
                "Give it item_id: true and at least one modality."
            )
        self.n_parts = n_parts
        self.transformer = IdAwareTransformer(width, n_layers, n_heads, dropout, version)

    def forward(self, parts: list[Encoded]) -> Tensor:
        """The id's view of N items, (N, D).

        Raises:
            ValueError: There are more or fewer parts than the fusion was made for, or no id.
        """
        require_parts(TITLE, self.n_parts, parts)
        view_NMD: Tensor = self.transformer(parts)
        return view_NMD[:, id_place(parts)]


def id_place(parts: list[Encoded]) -> int:
    """Where the id stands among the parts: it is the one without tokens.

    Raises:
        ValueError: There is not exactly one such part.

    >>> id_place([Encoded(torch.zeros(1, 2)), Encoded(torch.zeros(1, 2), torch.zeros(1, 3, 2))])
    0
    """
    places = [i for i, part in enumerate(parts) if part.tokens_NTD is None]
    if len(places) != 1:
        raise ValueError(
            f"The fusion {TITLE!r} needs tokens of every modality and one item id, but {len(places)} of "
            f"{len(parts)} parts have no tokens. Set item_id: true, and take encoders that give tokens."
        )
    return places[0]

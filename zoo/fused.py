"""Sequential models whose parts are projected to one width and fused by a fusion of any name."""

from typing import Any

from torch import Tensor, nn

from zoo.encoders.base import Encoded
from zoo.fusion.create import check_fusion, create_fusion, fusion_needs_tokens
from zoo.fusion.project import projection
from zoo.sequential import SequentialRecommender
from zoo.types import CatalogSpec


class FusedRecommender(SequentialRecommender):
    """Base of MMSR and PMMRec: a linear layer a modality, then the fusion; a single part needs none.

    Args:
        fusion: How the parts of an item become one vector: a name of ``zoo.fusion.create.FUSIONS``. A model
            with a single part makes none.
        fusion_args: Further arguments of the fusion.
        **kwargs: Arguments of the sequential base, see ``zoo.sequential.SequentialRecommender``.

    Raises:
        ValueError: The fusion does not exist, or not with these arguments.
    """

    def __init__(
        self,
        fusion: str = "merge_attn",
        fusion_args: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        self.fusion_name = fusion
        self.fusion_args = dict(fusion_args or {})
        # With one part no fusion is made, but what is written about it must still be right.
        check_fusion(fusion, max(self.n_parts, 2), self.width, **self.fusion_args)

    @property
    def uses_tokens(self) -> bool:
        """Whether the fusion reads tokens; of a single part the mean is enough, projections being linear."""
        return self.n_parts > 1 and fusion_needs_tokens(self.fusion_name)

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the projections and the fusion."""
        super().build_parts(spec)
        self.heads = nn.ModuleDict(
            {m: projection(self.encoder(m), self.width, self.uses_tokens) for m in self.specs}
        )
        if self.n_parts > 1:
            self.fusion = create_fusion(
                self.fusion_name, self.n_parts, self.width, self.dropout, **self.fusion_args
            )

    def fuse(self, parts: dict[str, Encoded]) -> Tensor:
        """One vector an item (N, D): modalities in their order, then the id."""
        return self.mix(self.project(parts))

    def project(self, parts: dict[str, Encoded]) -> dict[str, Encoded]:
        """The parts at the width of the model."""
        return parts | {m: self.heads[m](parts[m]) for m in self.specs}

    def mix(self, parts: dict[str, Encoded]) -> Tensor:
        """One vector an item (N, D) from its projected parts."""
        if self.n_parts == 1:
            return next(iter(parts.values())).pooled_ND
        item_ND: Tensor = self.fusion(list(parts.values()))
        return item_ND

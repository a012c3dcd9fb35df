"""MoRec: "Where to Go Next for Recommender Systems? ID- vs. Modality-based Recommender Models Revisited".

Yuan et al., SIGIR 2023, https://arxiv.org/abs/2303.13835; official code westlake-repl/IDvs.MoRec (ce372cf).

The item-id table of a recommender is swapped for a text or image encoder trained with it; all else stays.
Section, table and quirk numbers below are those of the paper and of its code.
"""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.encoders.base import Encoded
from zoo.encoders.tower import mean_tokens
from zoo.fusion.create import create_fusion, fusion_needs_tokens
from zoo.losses.sampled import bce_pairs
from zoo.sequential import SequentialRecommender
from zoo.types import CatalogSpec, EvalBatch, ModelNeeds, PairBatch

XAVIER_HEADS = frozenset({"image"})
"""Heads the official code initialises by Xavier; a text head keeps PyTorch's default (``encoders.py``)."""


class Head(nn.Module):
    """From an encoder's vector to the item vector: Linear, GELU, then n times Dropout, Linear, GELU.

    Args:
        n_in: Width of the encoder.
        width: Width D of item vectors.
        layers: Further layers; two-stage training (TS-DNN) uses 8, end-to-end training none.
        dropout: Dropout rate before each further layer.
        xavier: Xavier-normal weights and zero biases instead of PyTorch's default.
        normalize: Scale the vector to unit length, so that no modality outweighs another.
    """

    def __init__(
        self, n_in: int, width: int, layers: int, dropout: float, *, xavier: bool, normalize: bool
    ) -> None:
        super().__init__()
        self.project = nn.Linear(n_in, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Dropout(dropout), nn.Linear(width, width), nn.GELU()) for _ in range(layers)
        )
        self.normalize = normalize
        if xavier or layers:
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    nn.init.xavier_normal_(module.weight)
                    nn.init.zeros_(module.bias)

    def forward(self, pooled_ND: Tensor) -> Tensor:
        """Projects pooled vectors (N, encoder width) to (N, D)."""
        x_ND = F.gelu(self.project(pooled_ND))
        for layer in self.layers:
            x_ND = layer(x_ND)
        return F.normalize(x_ND, dim=-1) if self.normalize else x_ND


class MoRec(SequentialRecommender):
    """MoRec and IDRec on SASRec, end to end or two-stage, one modality or several, with or without ids.

    Args:
        fusion: How several item vectors become one: ``add`` (ADD), ``cat`` (CAT), ``cat_3`` (CAT with three
            blocks), ``cat_linear`` (CAT without dropout and GELU, as in IISAN's comparisons), or another name
            of ``zoo.fusion.create.FUSIONS``.
        head_layers: Layers after the projection of an encoder's output (``dnn_layer``; 8 for TS-DNN).
        fused_layers: Layers after the fusion (``dnn_layers`` of ID+TS).
        normalize: Scale each modality's vector to unit length before the fusion; not in the paper.
        **kwargs: Arguments of the sequential base, see ``zoo.sequential.SequentialRecommender``.
    """

    def __init__(
        self,
        fusion: str = "add",
        head_layers: int = 0,
        fused_layers: int = 0,
        normalize: bool = False,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(**kwargs)
        self.fusion_name = fusion
        self.head_layers = head_layers
        self.fused_layers = fused_layers
        self.normalize = normalize

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the heads (the DT-layer of the paper), the fusion and SASRec."""
        super().build_parts(spec)
        self.heads = nn.ModuleDict(
            {
                m: Head(
                    self.encoder(m).token_width if self.uses_tokens else self.encoder(m).width,
                    self.width,
                    self.head_layers,
                    self.dropout,
                    xavier=m in XAVIER_HEADS or self.specs[m].cached,
                    normalize=self.normalize,
                )
                for m in self.specs
            }
        )
        if self.n_parts > 1:
            self.fusion = create_fusion(self.fusion_name, self.n_parts, self.width, self.dropout)
        self.after = nn.ModuleList(
            nn.Sequential(nn.Dropout(self.dropout), nn.Linear(self.width, self.width), nn.GELU())
            for _ in range(self.fused_layers)
        )

    @property
    def uses_tokens(self) -> bool:
        """Whether the fusion reads tokens; a single modality never does."""
        return self.n_parts > 1 and fusion_needs_tokens(self.fusion_name)

    def head(self, modality: str, part: Encoded) -> Encoded:
        """One modality at the width of the model."""
        head = self.heads[modality]
        if not self.uses_tokens:
            return Encoded(head(part.pooled_ND))
        tokens_NTD = head(part.tokens_NTD)
        return Encoded(mean_tokens(tokens_NTD, part.mask_NT), tokens_NTD, part.mask_NT)

    def fuse(self, parts: dict[str, Encoded]) -> Tensor:
        """ADD or CAT of the id vector, which comes first, and the modality vectors (id_plus_mo-end2end)."""
        heads = [self.head(m, parts[m]) for m in self.specs]
        if self.item_id:
            id_ND = parts["item_id"].pooled_ND
            heads.insert(0, Encoded(F.normalize(id_ND, dim=-1) if self.normalize else id_ND))
        item_ND = heads[0].pooled_ND if len(heads) == 1 else self.fusion(heads)
        for layer in self.after:
            item_ND = layer(item_ND)
        return item_ND


class MoRecDSSM(MoRec):
    """The DSSM variant: a user-id tower and an item tower, inner product, BCE over pairs (section 5.3).

    Args:
        mlp_layers: Layers after the user embedding, and after the item embedding of IDRec; the paper's best
            is 0.
        **kwargs: Arguments of ``MoRec``; the backbone's ones and ``loss`` have no effect.
    """

    catalogue_bound: ClassVar[bool] = True
    reads_history: ClassVar[bool] = False
    reads_users: ClassVar[bool] = True

    def __init__(self, mlp_layers: int = 0, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        self.mlp_layers = mlp_layers

    def needs(self) -> ModelNeeds:
        """Pairs with one negative each."""
        return super().needs()._replace(batch="pair")

    def components(self) -> dict[str, tuple[str, ...]]:
        """Users are their table and the layers over it; layers over the item table go with the fusion."""
        parts = super().components()
        return {**parts, "fusion": (*parts["fusion"], "item_mlp"), "user": ("users", "user_mlp")}

    def catalogue_rows(self) -> tuple[str, ...]:
        """Ids of items and users."""
        return (*super().catalogue_rows(), "users")

    def _mlp(self) -> nn.Sequential:
        return nn.Sequential(
            *(
                nn.Sequential(nn.Dropout(self.dropout), nn.Linear(self.width, self.width), nn.GELU())
                for _ in range(self.mlp_layers)
            )
        )

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the user tower."""
        super().build_parts(spec)
        del self.sequence
        self.users = nn.Embedding(spec.n_users, self.width)
        nn.init.xavier_normal_(self.users.weight)
        self.user_mlp = self._mlp()
        self.item_mlp = self._mlp() if not self.specs else nn.Sequential()

    def fuse(self, parts: dict[str, Encoded]) -> Tensor:
        """The item tower: ids get the same MLP as users, an encoder's output gets none."""
        item_ND: Tensor = self.item_mlp(super().fuse(parts))
        return item_ND

    def training_loss(self, batch: PairBatch) -> dict[str, Tensor]:  # type: ignore[override]
        """One mean over positive and negative logits."""
        item_ND = self.encode_items(batch.unique_N, batch.content)
        user_BD = self.user_mlp(self.users(batch.user_B))
        return {"bce": bce_pairs(user_BD, item_ND[batch.item_slots_B], item_ND[batch.negative_slots_B])}

    def user_vectors(self, batch: EvalBatch, table_ID: Tensor) -> Tensor:
        """The user tower; the history is not read."""
        user_BD: Tensor = self.user_mlp(self.users(batch.user_B))
        return user_BD.float()

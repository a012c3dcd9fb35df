"""A teacher for models of histories: SASRec on ids, its positions weighed by how items' modalities agree.

Our extension of GUIDER; what a user's vector is there, is here the state before an interaction, so that no
interaction is judged by a state that has seen it.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.denoise.agreement import (
    RowWeights,
    cosine_agreement,
    hash_agreement,
    margin_contrast,
    modal_distance,
    row_weights,
    sign_codes,
)
from zoo.encoders.item_id import ItemId
from zoo.losses.rows import mean_of
from zoo.sequence.create import create_backbone


class SequenceTeacher(nn.Module):
    """A vector an item, a SASRec, and projections of the student's content vectors.

    Args:
        n_items: Catalogue rows.
        max_len: Longest history.
        widths: Modality -> width of the student's content vectors; with fewer than two, nothing is weighed.
        width: Width D.
        n_blocks: Blocks of the backbone.
        n_heads: Its attention heads.
        dropout: Its dropout rate.
        fix: Weigh noisy positions by cosines, with projections that are trained, instead of clean ones by
            hashes, with projections that stay as they begin.
        bits: Bits of the hashes.
        noisy_from: Relative distance of an item's modalities from which its interactions are called noisy.
    """

    def __init__(
        self,
        n_items: int,
        max_len: int,
        widths: Mapping[str, int],
        width: int,
        n_blocks: int,
        n_heads: int,
        dropout: float,
        fix: bool,
        bits: int,
        noisy_from: float,
    ) -> None:
        super().__init__()
        self.fix = fix
        self.noisy_from = noisy_from
        self.items = ItemId(n_items, width)
        self.sequence = create_backbone("sasrec", width, max_len, n_blocks, n_heads, dropout)
        self.modalities = tuple(widths) if len(widths) > 1 else ()
        self.projections = nn.ModuleDict({m: nn.Linear(widths[m], width) for m in self.modalities})
        hashed = () if fix or not self.modalities else (*self.modalities, "user")
        self.hashes = nn.ModuleDict({name: nn.Linear(width, bits) for name in hashed})
        if not fix:
            for frozen in (self.projections, self.hashes):
                frozen.requires_grad_(False)

    def states(self, items_BL: Tensor) -> Tensor:
        """States (B, L, D) after each item of left-padded histories."""
        state_BLD: Tensor = self.sequence(self.items(items_BL), items_BL != 0)
        return state_BLD

    def projected(self, content: Mapping[str, Tensor]) -> list[Tensor]:
        """The student's content vectors in this teacher's width."""
        return [self.projections[m](content[m].detach().float()) for m in self.modalities]

    def row_weights(
        self, state_PD: Tensor, parts: Sequence[Tensor], row_P: Tensor, known_N: Tensor
    ) -> RowWeights:
        """What positions count, compared with each other.

        Args:
            state_PD: States before the items.
            parts: Projected content (N, D) of distinct items.
            row_P: Row of each position's item among them.
            known_N: False where an item lacks a modality: nothing is known of its agreement, it counts fully.
        """
        known_P = known_N[row_P]
        distance_P = modal_distance(parts)[row_P]
        least = torch.where(known_P, distance_P, torch.inf).amin()
        distance_P = torch.where(known_P, distance_P, torch.where(torch.isinf(least), 0.0, least))
        if self.fix:
            agreement_P = cosine_agreement(state_PD, [part[row_P] for part in parts])
        else:
            codes = [
                sign_codes(self.hashes[m], part)[row_P]
                for m, part in zip(self.modalities, parts, strict=True)
            ]
            agreement_P = hash_agreement(sign_codes(self.hashes["user"], state_PD), codes)
        agreement_P = torch.where(known_P, agreement_P, 1.0)
        return row_weights(distance_P, agreement_P, self.fix, self.noisy_from)

    def ranking(self, state_PD: Tensor, item_P: Tensor, negative_P: Tensor) -> Tensor:
        """Losses (P,) of ranking each position's item above a sampled one."""
        return -F.logsigmoid((state_PD * (self.items(item_P) - self.items(negative_P))).sum(1))

    def contrast(self, state_PD: Tensor, parts: Sequence[Tensor], row_P: Tensor, weight_P: Tensor) -> Tensor:
        """Draws states to the content of their items and away from that of other items of the batch."""
        losses = []
        for part_ND in parts:
            other_P = torch.randint(len(part_ND), row_P.shape, device=row_P.device)
            losses.append(
                mean_of(
                    margin_contrast(state_PD, F.embedding(row_P, part_ND), F.embedding(other_P, part_ND)),
                    weight_P,
                )
            )
        return torch.stack(losses).sum()

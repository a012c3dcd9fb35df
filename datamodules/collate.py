"""From rows of ids to the batches of ``zoo.types``: distinct items, their content, where the labels are."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from datamodules.histories import EvalRows, Ids, TrainRows
from datamodules.pairs import PairRows
from zoo.types import Content, EvalBatch, ItemSource, LengthGroups, PairBatch, SequenceBatch


def log_popularity(counts_I: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Log share of each item in the training interactions; 0 for padding and for what is never trained on.

    From "Sampling-bias-corrected neural modeling for large corpus item recommendations" (RecSys 2019), as
    MoRec applies it.
    """
    total = max(int(counts_I.sum()), 1)
    shares_I = np.where(counts_I > 0, counts_I / total, 1.0)
    return np.log(shares_I).astype(np.float32)


def distinct(*ids: Ids) -> tuple[Ids, list[Ids]]:
    """Sorted distinct ids of all arrays, starting with 0, and where each id of each array is among them."""
    flat = np.concatenate([np.zeros(1, dtype=np.int64), *(part.ravel() for part in ids)])
    unique_N, inverse = np.unique(flat, return_inverse=True)
    stops = np.cumsum([1] + [part.size for part in ids])
    slots = [
        inverse[start:stop].reshape(part.shape)
        for part, start, stop in zip(ids, stops[:-1], stops[1:], strict=True)
    ]
    return unique_N, slots


TOKEN_STEP = 4


def trimmed(content: dict[str, Content]) -> dict[str, Content]:
    """Cuts tokens to the longest of the batch, which changes no vector: what is cut is padding.

    To a multiple of ``TOKEN_STEP``, so that there are few shapes.

    >>> tokens_NT = torch.full((2, 30), -1)
    >>> tokens_NT[1, :9] = 5
    >>> trimmed({"text": {"tokens": tokens_NT}})["text"]["tokens"].shape
    torch.Size([2, 12])
    """
    for modality, part in content.items():
        tokens_NT = part.get("tokens")
        if tokens_NT is not None and len(tokens_NT):
            longest = int(np.flatnonzero(np.any(tokens_NT.numpy() >= 0, axis=0)).max(initial=0)) + 1
            kept = -(-longest // TOKEN_STEP) * TOKEN_STEP
            content = {**content, modality: {**part, "tokens": tokens_NT[:, :kept]}}
    return content


class SequenceCollate:
    """Makes a ``SequenceBatch``.

    Args:
        items: The catalogue.
        modalities: Whose content the model wants; none for models of ids.
    """

    def __init__(self, items: ItemSource, modalities: Sequence[str]) -> None:
        self.items = items
        self.modalities = tuple(modalities)
        self.log_pop_I = log_popularity(items.counts_I)

    def __call__(self, rows: TrainRows) -> SequenceBatch:
        """Adds to the rows what the step needs."""
        wanted = [rows.items_BS] if rows.negatives_BL is None else [rows.items_BS, rows.negatives_BL]
        unique_N, slots = distinct(*wanted)
        return SequenceBatch(
            user_B=torch.from_numpy(rows.user_B),
            items_BS=torch.from_numpy(rows.items_BS),
            negatives_BL=None if rows.negatives_BL is None else torch.from_numpy(rows.negatives_BL),
            unique_N=torch.from_numpy(unique_N),
            slots_BS=torch.from_numpy(slots[0]),
            negative_slots_BL=None if rows.negatives_BL is None else torch.from_numpy(slots[1]),
            content=trimmed(self.items.content(unique_N, self.modalities)),
            log_pop_BS=torch.from_numpy(self.log_pop_I[rows.items_BS]),
            positions_P=torch.from_numpy(np.flatnonzero(rows.items_BS[:, :-1])),
            groups=LengthGroups.of(np.count_nonzero(rows.items_BS[:, :-1], axis=1)),
        )


class PairCollate:
    """Makes a ``PairBatch``.

    Args:
        items: The catalogue.
        modalities: Whose content the model wants.
    """

    def __init__(self, items: ItemSource, modalities: Sequence[str]) -> None:
        self.items = items
        self.modalities = tuple(modalities)

    def __call__(self, rows: PairRows) -> PairBatch:
        """Adds to the rows what the step needs."""
        unique_N, (item_slots_B, negative_slots_B) = distinct(rows.item_B, rows.negative_B)
        return PairBatch(
            user_B=torch.from_numpy(rows.user_B),
            item_B=torch.from_numpy(rows.item_B),
            negative_B=torch.from_numpy(rows.negative_B),
            attributes_BA=None,
            unique_N=torch.from_numpy(unique_N),
            item_slots_B=torch.from_numpy(item_slots_B),
            negative_slots_B=torch.from_numpy(negative_slots_B),
            content=trimmed(self.items.content(unique_N, self.modalities)),
        )


def eval_collate(rows: EvalRows) -> EvalBatch:
    """Makes an ``EvalBatch``: ids only, for the catalogue is encoded once an evaluation."""
    return EvalBatch(*(torch.from_numpy(np.ascontiguousarray(part)) for part in rows))

"""What frozen towers give for the whole catalogue, computed once and kept beside the prepared content.

Pooled vectors of a catalogue are small. Tokens are not (ODMT's features of H&M take 14 GB in each process of
its code): they are kept in half precision, memory-mapped, and only a batch's rows reach the device.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from zoo.encoders.base import Encoded, Encoder

ON_DEVICE_BYTES = 2**30
"""Features up to this size live on the model's device; larger ones stay on the host."""


Kind = Literal["pooled", "tokens", "states"]
"""What a model reads of its encoders."""


class Features(NamedTuple):
    """Frozen features of one modality for all catalogue rows; row 0 is padding."""

    kind: Kind
    values_I: Tensor
    """Pooled vectors (I, D), tokens (I, T, D) or layer states (I, K, D)."""
    mask_IT: Tensor | None
    """Real tokens; None where every token is real, and where there are none."""
    present_I: Tensor
    first_D: Tensor | None = None
    """A first layer state that all items share, kept once; ``values_I`` then lacks it."""

    @classmethod
    def of(cls, kind: Kind, found: Mapping[str, Tensor]) -> "Features":
        """From the fields of a store."""
        return cls(kind, found["values"], found.get("mask"), found["present"], found.get("first"))

    def gather(self, ids_N: Tensor) -> Encoded:
        """Features of the given items as an encoder would give them; only they travel to the ids' device.

        Of tokens and states the first stands as the pooled vector.
        """
        rows, device = ids_N.to(self.values_I.device), ids_N.device
        values = self.values_I[rows]
        if self.first_D is not None:
            values = torch.cat([self.first_D.expand(len(rows), 1, -1), values], dim=1)
        values = values.to(device).float()
        return Encoded(
            pooled_ND=values if self.kind == "pooled" else values[:, 0],
            tokens_NTD=values if self.kind == "tokens" else None,
            mask_NT=None if self.mask_IT is None else self.mask_IT[rows].to(device),
            states_NKD=values if self.kind == "states" else None,
            present_N=self.present_I[rows].to(device),
        )

    def settled(self, device: torch.device) -> "Features":
        """On the device if they are small enough for it."""
        if self.values_I.nbytes > ON_DEVICE_BYTES:
            return self
        tensors = (None if t is None else t.to(device) for t in self[1:])
        return Features(self.kind, *tensors)  # type: ignore[arg-type]  # values and present are not None


def kept_part(encoded: Encoded, kind: Kind) -> dict[str, Tensor]:
    """What is kept of an encoder's output, by field."""
    assert encoded.present_N is not None
    kept = {"present": encoded.present_N}
    if kind == "pooled":
        return {**kept, "values": encoded.pooled_ND.float()}
    values = encoded.tokens_NTD if kind == "tokens" else encoded.states_NKD
    assert values is not None
    kept["values"] = values.half()
    return kept if kind == "states" or encoded.mask_NT is None else {**kept, "mask": encoded.mask_NT}


def tower_digest(encoder: Encoder) -> str:
    """A key of a tower's architecture and weights: equal towers give equal features."""
    hasher = hashlib.sha256(json.dumps(encoder.config(), sort_keys=True, default=str).encode())
    for name, tensor in encoder.state_dict().items():
        hasher.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        hasher.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()[:24]


def joined(parts: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Consecutive rows as one; for a catalogue that has no place on disk."""
    columns: dict[str, list[Tensor]] = {}
    for part in parts:
        for field, tensor in part.items():
            columns.setdefault(field, []).append(tensor)
    return {field: torch.cat(tensors) for field, tensors in columns.items()}

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

from zoo.encoders.base import Encoded, Encoder, EncoderSpec
from zoo.feature_files import bytes_text
from zoo.types import Content

DEVICE_SHARE = 0.5
"""Features up to this share of a device's free memory live there; the rest is left for training."""
UNKNOWN_FREE = 2 * 2**30
"""What counts as free on a device that does not tell."""
LAYOUT = "2"
"""Raised when stored features change their meaning, so that older ones are not read."""

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
    staged: bool = False
    """Whether the values stay on the host and a batch's rows are sent to the device with it."""

    @classmethod
    def of(cls, kind: Kind, found: Mapping[str, Tensor]) -> "Features":
        """From the fields of a store."""
        return cls(kind, found["values"], found.get("mask"), found["present"], found.get("first"))

    @property
    def nbytes(self) -> int:
        """Bytes of everything."""
        return sum(t.nbytes for t in self[1:5] if isinstance(t, Tensor))

    def rows(self, ids_N: Tensor) -> Content:
        """Rows of the given items, in page-locked memory if they are to be sent to a GPU.

        Args:
            ids_N: Where the features are.
        """
        found = {"values": _rows(self.values_I, ids_N, self.staged)}
        if self.mask_IT is not None:
            found["mask"] = _rows(self.mask_IT, ids_N, self.staged)
        return found

    def encoded(self, rows: Content, ids_N: Tensor) -> Encoded:
        """What an encoder would give for items whose rows are on their device.

        Of tokens and states the first stands as the pooled vector.
        """
        values = rows["values"]
        if self.first_D is None:
            values = values.float()
        else:
            n_items, n_states, width = values.shape
            whole = torch.empty(n_items, n_states + 1, width, device=values.device)
            whole[:, 0], whole[:, 1:] = self.first_D.to(values.device), values
            values = whole
        return Encoded(
            pooled_ND=values if self.kind == "pooled" else values[:, 0],
            tokens_NTD=values if self.kind == "tokens" else None,
            mask_NT=rows.get("mask"),
            states_NKD=values if self.kind == "states" else None,
            present_N=self.present_I[ids_N.to(self.present_I.device)].to(ids_N.device),
        )

    def gather(self, ids_N: Tensor) -> Encoded:
        """Features of the given items as an encoder would give them; only they travel to the ids' device."""
        rows = self.rows(ids_N.to(self.values_I.device))
        return self.encoded({f: t.to(ids_N.device, non_blocking=True) for f, t in rows.items()}, ids_N)

    def placed(self, device: torch.device, free: int) -> "Features":
        """On the device if they fit into its share of the free memory; otherwise staged.

        Args:
            device: The model's.
            free: Bytes free there.
        """
        if device.type == "cpu":
            return self  # memory-mapped: the system keeps in memory what is read, and shares it
        if self.nbytes <= DEVICE_SHARE * free:
            tensors = (None if t is None else t.to(device) for t in self[1:5])
            return Features(self.kind, *tensors)  # type: ignore[arg-type]  # values and present are not None
        first_D = None if self.first_D is None else self.first_D.to(device)
        return self._replace(present_I=self.present_I.to(device), first_D=first_D, staged=True)


def _rows(values: Tensor, ids_N: Tensor, staged: bool) -> Tensor:
    """Rows, copied one by one: indexing would go number by number."""
    if not (staged and torch.cuda.is_available()):
        return values.index_select(0, ids_N)
    # PyTorch keeps page-locked blocks, and gives none out again before its copy to the device is done.
    buffer = torch.empty(len(ids_N), *values.shape[1:], dtype=values.dtype, pin_memory=True)
    return torch.index_select(values, 0, ids_N, out=buffer)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type != "cuda":
        return UNKNOWN_FREE
    torch.cuda.empty_cache()  # what PyTorch holds back counts as taken
    return int(torch.cuda.mem_get_info(device)[0])


def where_text(found: Mapping[str, Features], device: torch.device, free: int) -> str:
    """One sentence on where features lie, and why.

    Args:
        found: Modality -> its placed features.
        device: The model's.
        free: Bytes that were free there.
    """
    kind = next(iter(found.values())).kind

    def of(staged: bool) -> str:
        parts = {m: f for m, f in found.items() if f.staged is staged}
        size = bytes_text(sum(f.nbytes for f in parts.values()))
        return f"Frozen {kind} of {' and '.join(parts)} ({size})" if parts else ""

    if device.type == "cpu":
        return f"{of(False)} are memory-mapped: the model is on the CPU."
    share = f"{DEVICE_SHARE:.0%} of the {bytes_text(free)} free there"
    sentences = []
    if here := of(False):
        sentences.append(f"{here} live on {device}: they fit into {share}.")
    if there := of(True):
        sentences.append(
            f"{there} stay on the host, memory-mapped: they do not fit into {share}. A batch's rows go to "
            f"{device} through page-locked memory."
        )
    return " ".join(sentences)


def kept_part(encoded: Encoded, kind: Kind, stored: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """What is kept of an encoder's output, by field.

    Raises:
        ValueError: Numbers are too large for the format, or none to begin with.
    """
    assert encoded.present_N is not None
    kept = {"present": encoded.present_N}
    if kind == "pooled":
        return {**kept, "values": encoded.pooled_ND.float()}
    values = encoded.tokens_NTD if kind == "tokens" else encoded.states_NKD
    assert values is not None
    kept["values"] = values.to(stored)
    lost_N = ~kept["values"].isfinite().flatten(1).all(dim=1) & encoded.present_N
    if bool(lost_N.any()):
        largest = float(values[lost_N].abs().max())
        raise ValueError(
            f"Features of {int(lost_N.sum())} items do not go into {stored}: the largest number is "
            f"{largest:,.0f}. Set stored: bfloat16 for this encoder, whose range is that of float32; if the "
            "number is none (nan, inf), the tower itself gives it."
        )
    return kept if kind == "states" or encoded.mask_NT is None else {**kept, "mask": encoded.mask_NT}


def makers(kind: Kind, spec: EncoderSpec, encoder: Encoder) -> dict[str, str]:
    """Everything that features are made by, in plain words: name of the thing -> which one it is."""
    return {
        "layout": LAYOUT,
        "kind": kind,
        "encoder": spec.name,
        "states": str(spec.states),
        "pool": spec.pool,
        "format": "float32" if kind == "pooled" else spec.stored,
        "weights": tower_digest(encoder),
    }


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

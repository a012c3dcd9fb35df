"""What a transfer tells: a table of what was loaded, and where source and target differ."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoo.checkpoints import Stamp

MODALITIES = ("text", "image", "audio", "video", "caption")
BACKBONE = ("width", "n_blocks", "n_heads", "backbone", "backbone_args")
"""Options that make a user encoder."""
HOW_TO_TRAIN = frozenset(
    {
        *("lr", "encoder_lr", "weight_decay", "encoder_weight_decay", "decay_norms_and_biases", "schedule"),
        *("warmup_steps", "compile", "top_k", "item_chunk", "seed", "dropout", "loss", "tune", "weights"),
        *("init_from", "transfer", "freeze", "transfer_optimizer", "cached", "states", "checkpointing"),
    }
)
"""Options that change no tensor's shape or meaning; nor do a library's notes, and rates of dropout."""


class Side(NamedTuple):
    """What source or target say of themselves."""

    stamp: Stamp
    hparams: Mapping[str, Any]


class Part(NamedTuple):
    """What became of a component."""

    component: str
    loaded: list[str]
    """Names of tensors."""
    parameters: int
    """Numbers in them."""
    left: dict[str, str]
    """Tensor that was not loaded -> why."""


class TransferReport(NamedTuple):
    """What was loaded, what was not and why."""

    source: str
    class_path: str
    transfer: list[str]
    parts: list[Part]
    notes: list[str]
    """Where source and target differ although every tensor fits."""

    @property
    def loaded(self) -> set[str]:
        """Names of all tensors that were loaded."""
        return {name for part in self.parts for name in part.loaded}

    def table(self) -> str:
        """One row a component."""
        cells = [["component", "loaded", "not loaded"]]
        for part in self.parts:
            loaded = f"{len(part.loaded)} tensors, {part.parameters:,} parameters" if part.loaded else "-"
            why = "; ".join(f"{n} tensors: {reason}" for reason, n in Counter(part.left.values()).items())
            cells.append([part.component, loaded, why or "-"])
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        notes = [f"Differs although it fits: {note}" for note in self.notes]
        return "\n".join([f"Transferred from {self.source} ({self.class_path}):", *lines, *notes])

    def write(self, path: Path) -> None:
        """Writes everything as JSON, all or nothing."""
        content = {**self._asdict(), "parts": [part._asdict() for part in self.parts]}
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.part")
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, path)


def different(source: Side, target: Side, component: str, shape: bool = False) -> list[str]:
    """Options of a component that differ, as the user types them with the source's value.

    Args:
        source: One side.
        target: The other.
        component: Its name.
        shape: For tensors that do not fit; otherwise what fits and means something else.
    """
    there, here = dict(_settings(source, component)), dict(_settings(target, component))
    found = [
        f"--model.{key} {_value(there[key])} (here {_value(here[key])})"
        for key in there
        if key in here and there[key] != here[key]
    ]
    lengths = [side.stamp.spec.max_len for side in (source, target)]
    if shape and lengths[0] != lengths[1]:
        found.append(f"--data.max_len {lengths[0]} (here {lengths[1]})")
    if component not in (*MODALITIES, "user") and not shape:
        return []  # any option may belong to it, and if all its tensors fit none is known to matter
    return found


def in_words(differences: Sequence[str]) -> str:
    """What to change."""
    if not differences:
        return "The two models build this part in different ways: leave it out of --model.transfer."
    return (
        f"The source has {' and '.join(differences[:4])}: give the same, or leave the component out of "
        "--model.transfer."
    )


def _settings(side: Side, component: str) -> Iterator[tuple[str, Any]]:
    """Options that make a component, nested ones under dotted names."""
    if component in MODALITIES:
        given = side.hparams.get(component)
        wanted: dict[str, Any] = {"width": side.hparams.get("width")}
        if isinstance(given, Mapping):
            wanted[component] = {**given, "config": side.stamp.towers.get(component) or given.get("config")}
    elif component == "user":
        wanted = {key: side.hparams[key] for key in BACKBONE if key in side.hparams}
    else:
        wanted = {key: value for key, value in side.hparams.items() if key not in MODALITIES}
    yield from _flat(wanted)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if key in HOW_TO_TRAIN or key.startswith("_") or "drop" in key:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _value(value: Any) -> str:  # noqa: ANN401
    return value if isinstance(value, str) else json.dumps(value, default=str)

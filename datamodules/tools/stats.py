"""``mmzoo data stats``: a data set in numbers and in one picture."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datamodules.base import RecDataModule
from datamodules.cache import write_json
from datamodules.errors import EmptyDataError
from datamodules.mmrec import MMRec
from datamodules.module import DataModule
from datamodules.tools.counted import Counted, count_histories, count_layout
from datamodules.tools.histograms import (
    Panel,
    date,
    over_time,
    per_second,
    popularity,
    summary,
    whole_numbers,
)
from datamodules.tools.raw import known_kind, open_contents
from zoo.types import LabelBatch

Draw = Callable[[Sequence[Panel]], Image.Image]


def stats(data: DataModule, out: Path, draw: Draw) -> int:
    """Counts what a data set is made of; writes ``stats.json`` and ``stats.png``.

    Args:
        data: The data set; its tables and windows are prepared if they are not.
        out: Folder for both files.
        draw: Draws the panels.

    Returns:
        0.
    """
    data = known_kind(data)
    data.prepare_data()
    data.setup()
    counted = count_layout(data) if isinstance(data, MMRec) else count_histories(data)
    numbers: dict[str, Any] = {"data": counted.name, "tables": _tables(counted)}
    quantiles = {
        "interactions of a user": summary(counted.lengths_U),
        "interactions of an item": summary(counted.counts_I),
    }
    numbers["quantiles"] = quantiles
    numbers["time"] = _span(counted)
    numbers["protocol"] = _protocol(data)
    panels = [
        whole_numbers(counted.lengths_U, "History lengths", "interactions of a user", "users"),
        popularity(counted.counts_I),
    ]
    if counted.times is not None and len(counted.times):
        panels.append(over_time(counted.times))
    if isinstance(data, RecDataModule):
        content, titles = _content(data)
        numbers["content"] = content
        if len(titles):
            quantiles["letters of a title"] = summary(titles)
            panels.append(whole_numbers(titles, "Title lengths", "letters", "items"))
    else:
        numbers["features"] = {modality: {"width": file.width} for modality, file in data.items.files.items()}
    numbers["attributes"] = _attributes(data)
    print("\n".join(lines(numbers)))
    out.mkdir(parents=True, exist_ok=True)
    histograms = [panel._asdict() for panel in panels]
    write_json(out / "stats.json", {**numbers, "histograms": histograms})
    draw(panels).save(out / "stats.png")
    print(f"{out / 'stats.json'} and {out / 'stats.png'}")
    return 0


def _tables(counted: Counted) -> dict[str, float | int]:
    users, items = len(counted.lengths_U), len(counted.counts_I)
    total = int(counted.lengths_U.sum())
    return {
        "users": users,
        "items": items,
        "interactions": total,
        "density": round(total / max(users * items, 1), 8),
        "repeats of a pair": counted.repeats,
        "items without an interaction": int((counted.counts_I == 0).sum()),
    }


def _span(counted: Counted) -> dict[str, Any]:
    if counted.times is None or not len(counted.times):
        return {}
    first, last = int(counted.times.min()), int(counted.times.max())
    parts = per_second(counted.times)
    if parts is None:
        return {"first": first, "last": last}
    try:
        moments = {"first": date(first / parts), "last": date(last / parts)}
    except (OverflowError, ValueError, OSError):  # a time that no calendar has
        moments = {"first": str(first), "last": str(last)}
    return {**moments, "days": round((last - first) / parts / 86_400, 2)}


def _protocol(data: RecDataModule | MMRec) -> dict[str, Any]:
    """What is trained on and evaluated, as the data module cuts it."""
    counts_I = np.asarray(data.items.counts_I)
    found: dict[str, Any] = {
        "text": data.protocol_text,
        "users": data.spec.n_users - 1,
        "items": data.spec.n_items - 1,
        "training interactions": int(counts_I.sum()),
        "items never in training": int((counts_I[1:] == 0).sum()),
    }
    for name, loader in (("validation", data.val_dataloader), ("test", data.test_dataloader)):
        try:
            found[name] = _targets(loader(), counts_I)
        except EmptyDataError:
            found[name] = {"users": 0, "targets": 0}
    return found


def _targets(batches: Any, counts_I: np.ndarray[Any, np.dtype[Any]]) -> dict[str, int]:  # noqa: ANN401
    """Users, targets, and how many of these are among the user's hidden items or were never trained on."""
    users = targets = repeats = cold = 0
    for batch in batches:
        several = isinstance(batch, LabelBatch)
        target_BP = (batch.target_BP if several else batch.target_B[:, None]).numpy()
        hidden_BH = batch.hidden_BH.numpy()
        n_items = len(counts_I)
        row_B1 = np.arange(len(target_BP))[:, None]
        real_BP = target_BP > 0
        key_T = (row_B1 * n_items + target_BP)[real_BP]
        users += len(target_BP)
        targets += len(key_T)
        repeats += int(np.isin(key_T, row_B1 * n_items + hidden_BH).sum())
        cold += int((counts_I[target_BP[real_BP]] == 0).sum())
    return {"users": users, "targets": targets, "repeat targets": repeats, "targets never in training": cold}


def _content(data: RecDataModule) -> tuple[dict[str, Any], np.ndarray[Any, np.dtype[Any]]]:
    """Missing content of the catalogue by modality, without opening files; and the lengths of titles."""
    contents = open_contents(data, data.item_table)
    found: dict[str, Any] = {}
    titles: list[int] = []
    for modality, raw in contents.raw.items():
        values = raw.values[1:]
        there = [value for value in values if value is not None and (raw.folder or value.strip())]
        found[modality] = {"items": len(there), "missing": len(values) - len(there)}
        if modality == "text":
            titles = [len(value.strip()) for value in there]
    found |= {modality: {"items": 0, "missing": data.spec.n_items - 1} for modality in contents.absent}
    return found, np.array(titles, dtype=np.int64)


def _attributes(data: RecDataModule | MMRec) -> dict[str, dict[str, int]]:
    """Users of every class of every attribute."""
    found = {}
    for name, class_U in data.items.attributes.items():
        classes = np.asarray(class_U)[1:]
        counts = np.bincount(classes[classes >= 0], minlength=data.spec.n_classes[name])
        found[name] = {str(code): int(count) for code, count in enumerate(counts)}
        found[name]["unknown"] = int((classes < 0).sum())
    return found


def lines(numbers: dict[str, Any], depth: int = 0) -> list[str]:
    """Nested numbers as lines for people; what is empty is left out.

    >>> lines({"data": "QB", "tables": {"users": 17722}, "time": {}})
    ['data: QB', 'tables:', '  users: 17,722']
    """
    text = []
    for name, value in numbers.items():
        if isinstance(value, dict):
            flat = not any(isinstance(inner, dict) for inner in value.values())
            if flat and depth:
                text.append(
                    "  " * depth + f"{name}: " + ", ".join(f"{k} {_number(v)}" for k, v in value.items())
                )
            elif value:
                text += ["  " * depth + f"{name}:", *lines(value, depth + 1)]
        else:
            text.append("  " * depth + f"{name}: {_number(value)}")
    return text


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value == round(value) else f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)

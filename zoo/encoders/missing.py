"""What to say of an encoder's name that leads nowhere: which lists were asked, and what is near in each."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from zoo.encoders.names import HUB_NAMES

Side = Literal["text", "vision", "audio", "video"]


def elsewhere(name: str, side: Side) -> str:
    """What the other libraries' lists say to a name that is neither a folder nor on the hub; one sentence.

    The lists are asked here only: importing their libraries takes seconds.
    """
    lists: dict[str, list[str]] = {}
    if side in ("text", "vision"):
        from zoo.encoders.clip import near_clip

        lists = {"open_clip's list": near_clip(name)}
    if side == "vision":
        from zoo.encoders.image_timm import near_timm

        lists = {"timm's list": near_timm(name), **lists}
    if side == "video":
        from zoo.encoders.video_torchvision import near_torchvision

        lists = {"torchvision's list": near_torchvision(name)}
    side_of = {"vision": "image"}.get(side, side)
    known = [hub for _, hub, modality in HUB_NAMES if modality == side_of]
    lists["names on the hub"] = near_names(name, known)
    found = "; ".join(f"{title} has {', '.join(near) or 'nothing near'}" for title, near in lists.items())
    return f"Also asked: {found}."


def near_names(name: str, known: Iterable[str], n: int = 3) -> list[str]:
    """Known names whose last part resembles that of a name, best first.

    >>> near_names("bert-base-uncase", ["roberta-base", "google-bert/bert-base-uncased"], n=1)
    ['google-bert/bert-base-uncased']
    """
    by_plain: dict[str, str] = {}
    for candidate in known:
        by_plain.setdefault(_plain(candidate), candidate)
    return [by_plain[hit] for hit in difflib.get_close_matches(_plain(name), by_plain, n=n)]


def near_paths(name: str) -> str:
    """Says which folders beside a path that does not exist resemble it; empty when none.

    >>> near_paths("/no/such/folder")
    ''
    """
    parent = Path(name).expanduser().parent
    beside = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
    near = difflib.get_close_matches(Path(name).name, beside, n=3)
    return f" (near: {', '.join(str(parent / entry) for entry in near)})" if near else ""


def _plain(name: str) -> str:
    """The last part of a name, without case and separators."""
    return name.rsplit("/", 1)[-1].lower().replace("-", "").replace("_", "")

"""Writes small folders in MMRec's layout, whole or damaged."""

import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

Damage = Literal["crlf", "duplicates", "other_labels", "cold_users", "unordered", "missing_attributes"]
"""What a reader must live with."""
EVERY_DAMAGE: tuple[Damage, ...] = get_args(Damage)
WIDTHS = {"image": 6, "text": 5, "audio": 3}


class Line(NamedTuple):
    """One line of the table, in numbers that count from 0."""

    user: int
    item: int
    label: int


class Folder(NamedTuple):
    """What was written."""

    root: Path
    name: str
    n_users: int
    n_items: int
    lines: list[Line]
    attributes: dict[str, list[int]]
    """Attribute -> class of each user, -1 where the table does not tell."""

    @property
    def path(self) -> Path:
        """The data set's folder."""
        return self.root / self.name

    def split(self, label: int) -> dict[int, set[int]]:
        """User -> items of one label, as a plain reader of the whole table sees them."""
        found: dict[int, set[int]] = {}
        for line in self.lines:
            if line.label == label:
                found.setdefault(line.user, set()).add(line.item)
        return found


def make_mmrec(
    root: Path,
    name: str = "baby",
    n_users: int = 30,
    n_items: int = 20,
    seed: int = 0,
    damage: Collection[Damage] = (),
    modalities: Collection[str] = ("image", "text"),
    attributes: bool = False,
    mappings: bool = False,
) -> Folder:
    """Writes ``root/<name>/``.

    Every user has five to nine items, one of each in validation and test. The last item is only tested.

    Args:
        root: Made if absent.
        name: Of the data set.
        n_users: Users.
        n_items: Items.
        seed: Same seed, same folder.
        damage: What is wrong with it.
        modalities: Which feature files there are.
        attributes: Whether there are ``u_gender`` and ``u_age``.
        mappings: Whether raw names are there.
    """
    rng = np.random.default_rng(seed)
    folder = root / name
    folder.mkdir(parents=True)
    lines = []
    for user in range(n_users):
        items = rng.permutation(n_items - 1)[: rng.integers(5, 10)].tolist()
        labels = [*[0] * (len(items) - 2), 1, 2]
        lines += [Line(user, item, label) for item, label in zip(items, labels, strict=True)]
        if user % 10 == 3:
            lines.append(Line(user, n_items - 1, 2))
    if "cold_users" in damage:
        lines = [line for line in lines if line.user % 7 or line.label]
    if "duplicates" in damage:
        lines += lines[:: len(lines) // 9]
    if "other_labels" in damage:
        lines += [Line(1, 2, 3), Line(2, 2, -1)]
    if "unordered" in damage:
        lines = [lines[place] for place in rng.permutation(len(lines))]
    known = {"gender": (np.arange(n_users) % 2).tolist(), "age": (np.arange(n_users) // 2 % 4).tolist()}
    if "missing_attributes" in damage:
        known["age"][4] = known["age"][9] = -1
    _write_table(folder / f"{name}.inter", lines, known if attributes else {}, "crlf" in damage, rng)
    for modality in modalities:
        np.save(folder / f"{modality}_feat.npy", rng.normal(size=(n_items, WIDTHS[modality])))
    if mappings:
        for file, column, raw, count in (("i", "itemID", "asin", n_items), ("u", "userID", "user", n_users)):
            rows = [f"{raw}\t{column}", *(f"{raw[0].upper()}{number}\t{number}" for number in range(count))]
            (folder / f"{file}_id_mapping.csv").write_text("\n".join(rows) + "\n")
    return Folder(root, name, n_users, n_items, lines, known if attributes else {})


def _write_table(
    path: Path, lines: list[Line], attributes: dict[str, list[int]], crlf: bool, rng: np.random.Generator
) -> None:
    header = ["userID", "itemID", "rating", "timestamp", "x_label", *(f"u_{name}" for name in attributes)]
    rows = ["\t".join(header)]
    for line in lines:
        stamp = 1_300_000_000 + int(rng.integers(10**6))
        own = [values[line.user] for values in attributes.values()]
        told = ["" if value < 0 else str(value) for value in own]
        rows.append("\t".join([str(line.user), str(line.item), "5.0", str(stamp), str(line.label), *told]))
    path.write_bytes(("\r\n" if crlf else "\n").join([*rows, ""]).encode())


class Planted:
    """What would write a file if anybody unpickled it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def save_objects(path: Path, trap: Path) -> None:
    """An object array whose pickle makes the file ``trap`` when it is loaded."""
    array = np.array([Planted(trap)], dtype=object)
    with open(path, "wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump(array, file)

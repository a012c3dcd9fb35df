"""Axes of an experiment, and the combinations of their values that are run."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Literal, NamedTuple

import yaml

from zoo.options import flatten, option_names

Mode = Literal["one", "grid"]
"""One axis at a time, the others at their first values; or every combination."""
LONGEST = 120
"""Characters of a folder's name."""


class Axis(NamedTuple):
    """What is varied: labelled bundles of options."""

    name: str
    values: dict[str, list[str]]
    """Label -> words of the command line; the first one is the axis's default."""

    @classmethod
    def of(cls, name: str, given: object) -> "Axis":
        """An axis as a study writes it.

        Args:
            name: Title of its column.
            given: Label -> options (nested or dotted, and null for none), or ``option`` and ``values`` of a
                single one.

        Raises:
            ValueError: It is neither.

        >>> Axis.of("fusion", {"option": "model.fusion", "values": ["sum", "film"]}).values["film"]
        ['--model.fusion=film']
        """
        if not isinstance(given, Mapping) or not given:
            raise ValueError(
                f"Axis '{name}': expected labels with their options, or an option and its values, "
                f"found {given!r}."
            )
        if given.keys() == {"option", "values"}:
            values = given["values"]
            if not isinstance(values, list) or not values:
                raise ValueError(f"Axis '{name}': expected a list of values, found {values!r}.")
            return cls(name, {label_of(v): list(flatten({str(given["option"]): v})) for v in values})
        for label, options in given.items():
            if not isinstance(options, Mapping | None):
                raise ValueError(f"Axis '{name}', {label}: expected options and values, found {options!r}.")
        return cls(name, {label_of(label): list(flatten(options or {})) for label, options in given.items()})

    @classmethod
    def parse(cls, text: str, flag: str = "--vary") -> "Axis":
        """An axis as the command line writes it after a flag.

        Raises:
            ValueError: It is not an option, an equals sign and values.

        >>> Axis.parse("model.states=[0, 6],none").values
        {'[0, 6]': ['--model.states=[0, 6]'], 'none': ['--model.states=none']}
        """
        option, equals, listed = text.removeprefix("--").partition("=")
        try:
            values = yaml.safe_load(f"[{listed}]")
        except yaml.YAMLError:
            values = []
        if not option or not equals or not values:
            raise ValueError(f"{flag}: expected OPTION=VALUE,VALUE,..., found '{text}'.")
        if len({label_of(value) for value in values}) < len(values):
            raise ValueError(f"{flag}: a value is given twice in '{text}'.")
        return cls.of(option, {"option": option, "values": values})

    def option_names(self) -> set[str]:
        """Names of the options that any of its values sets."""
        return {name for words in self.values.values() for name in option_names(words)}


class Combination(NamedTuple):
    """One value of every axis."""

    labels: dict[str, str]
    """Axis -> label."""
    options: list[str]

    @property
    def name(self) -> str:
        """A folder's name: readable, and different for different combinations."""
        return folder_name(",".join(f"{axis}={label}" for axis, label in self.labels.items()))


def folder_name(text: str) -> str:
    """A name that any file system takes, and that no other text has.

    >>> folder_name("fusion=film"), folder_name("lr=1/3")
    ('fusion=film', 'lr=1_3-db88479e')
    """
    name = re.sub(r"[^\w.,=+-]+", "_", text)
    if name == text and len(name) <= LONGEST and name not in (".", ".."):
        return name
    return f"{name[:LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def label_of(value: object) -> str:
    """How a value is shown."""
    return value if isinstance(value, str) else json.dumps(value)


def combinations(axes: Sequence[Axis], mode: Mode) -> list[Combination]:
    """What is run, the combination of the first values in front.

    Args:
        axes: With different names.
        mode: ``grid`` for the product of all axes, ``one`` for one axis at a time around the first values.

    >>> a, b = Axis("a", {"1": [], "2": []}), Axis("b", {"x": [], "y": []})
    >>> [c.name for c in combinations([a, b], "one")]
    ['a=1,b=x', 'a=2,b=x', 'a=1,b=y']
    >>> len(combinations([a, b], "grid"))
    4
    """
    if mode == "grid":
        chosen = list(product(*(axis.values for axis in axes)))
    else:
        first = tuple(next(iter(axis.values)) for axis in axes)
        others = [(at, label) for at, axis in enumerate(axes) for label in list(axis.values)[1:]]
        chosen = [first, *((*first[:at], label, *first[at + 1 :]) for at, label in others)]
    return [
        Combination(
            {axis.name: label for axis, label in zip(axes, labels, strict=True)},
            [word for axis, label in zip(axes, labels, strict=True) for word in axis.values[label]],
        )
        for labels in chosen
    ]


def require_apart(axes: Sequence[Axis], options: Sequence[str]) -> None:
    """Refuses axes that overwrite each other, and typed options that an axis sets.

    Raises:
        ValueError: They do.
    """
    owners: dict[str, str] = {}
    for axis in axes:
        for name in axis.option_names():
            if name in owners:
                raise ValueError(f"--{name} is set by the axis '{owners[name]}' and by '{axis.name}'.")
            owners[name] = axis.name
    for name in option_names(options):
        if name in owners:
            raise ValueError(f"--{name} is what the axis '{owners[name]}' varies: leave it out.")

"""The sensitive attributes of the users of a catalogue, as a model and its attackers need them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from zoo.fair.probes import UNKNOWN
from zoo.names import near
from zoo.types import CatalogSpec


class Labels(NamedTuple):
    """Some attributes of all users; rows of users count from 0, without a padding row."""

    names: tuple[str, ...]
    n_classes: tuple[int, ...]
    class_KU: Tensor
    """Class of each attribute and user, ``UNKNOWN`` where the data does not say."""


def require_attributes(asked: Sequence[str], spec: CatalogSpec) -> tuple[int, ...]:
    """Classes of each attribute.

    Raises:
        ValueError: None is asked for, one twice, or one that the data has not.
    """
    known = list(spec.n_classes)
    there = f"The data has {', '.join(known)}." if known else "The data has no user attributes."
    if not asked or len(set(asked)) < len(asked):
        raise ValueError(
            f"Expected different names of user attributes, found {', '.join(asked) or 'none'}. {there}"
        )
    for name in asked:
        if name not in known:
            close = near(name, known)
            hint = f"Did you mean {' or '.join(close)}? " if close else ""
            raise ValueError(f"There is no user attribute '{name}'. {hint}{there}")
    return tuple(spec.n_classes[name] for name in asked)


def labels_of(items: object, asked: Sequence[str], spec: CatalogSpec) -> Labels:
    """Looks attributes up in a catalogue.

    Args:
        items: The catalogue; its ``attributes`` map names to classes of the user rows, padding row first.
        asked: Names.
        spec: Sizes of the catalogue.

    Raises:
        ValueError: An attribute is not there, or a class of it is nobody's.
    """
    n_classes = require_attributes(asked, spec)
    attributes: Mapping[str, npt.NDArray[np.int64]] = getattr(items, "attributes", {})
    rows = [torch.from_numpy(np.asarray(attributes[name][1:], np.int64)) for name in asked]
    for name, class_U, classes in zip(asked, rows, n_classes, strict=True):
        if classes < 2:
            raise ValueError(f"The user attribute '{name}' has one class only: it tells nobody apart.")
        counts_C = torch.bincount(class_U[class_U != UNKNOWN], minlength=classes)
        if absent := (counts_C == 0).nonzero().flatten().tolist():
            raise ValueError(
                f"The user attribute '{name}' has {classes} classes, but no user is of class "
                f"{', '.join(map(str, absent))}. Number the classes that occur from 0 without gaps, or leave "
                "the attribute out."
            )
    return Labels(tuple(asked), n_classes, torch.stack(rows))

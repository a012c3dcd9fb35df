"""The toy set of the golden values of MMRec's recommenders: 4 users, 5 items, 9 pairs, width 4.

Element j of a tensor, row by row, is a * sin(0.7 j + phase).
"""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from zoo.collaborative import CollaborativeRecommender
from zoo.types import CatalogSpec, Content, InteractionBatch, InteractionSource

Model = TypeVar("Model", bound=CollaborativeRecommender)

N_USERS, N_ITEMS, WIDTH = 4, 5, 4
PAIRS = ((0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 4), (3, 0))
"""(user, item), from 0."""
PHASES = {"image": (3, 0.2), "text": (4, 0.9), "audio": (2, 1.6)}
"""Modality -> width and phase of its features."""
BATCH = InteractionBatch(
    user_B=torch.tensor([0, 1, 2, 3]) + 1,
    item_B=torch.tensor([1, 2, 3, 0]) + 1,
    negative_B=torch.tensor([3, 4, 0, 1]) + 1,
)


def fill(shape: Sequence[int], phase: float, a: float = 0.1) -> Tensor:
    """A tensor by the rule above."""
    values = [a * math.sin(0.7 * j + phase) for j in range(math.prod(shape))]
    return torch.tensor(values, dtype=torch.float64).reshape(tuple(shape)).float()


class ToySource:
    """The toy set as a data module gives it: ids from 1."""

    n_items = N_ITEMS + 1
    n_users = N_USERS + 1
    noise_E: npt.NDArray[np.bool_] | None = None

    def __init__(self, modalities: Sequence[str] = ("image", "text")) -> None:
        self.user_E, self.item_E = np.array(sorted(PAIRS), dtype=np.int64).T + 1
        self.counts_I = np.bincount(self.item_E, minlength=self.n_items).astype(np.int64)
        self.attributes: Mapping[str, npt.NDArray[np.int64]] = {}
        self.modalities = tuple(modalities)

    def features(self, modality: str) -> npt.NDArray[np.float32]:
        """The features by the rule above, amplitude 1."""
        width, phase = PHASES[modality]
        found: npt.NDArray[np.float32] = np.zeros((self.n_items, width), dtype=np.float32)
        found[1:] = fill((N_ITEMS, width), phase, a=1.0).numpy()
        return found

    def content(self, ids_N: npt.NDArray[np.int64], modalities: Sequence[str]) -> dict[str, Content]:
        """None."""
        return {}

    def feature_folder(self, modality: str, key: str) -> str | None:
        """None."""
        return None

    def spec(self) -> CatalogSpec:
        """The sizes."""
        return CatalogSpec(
            self.n_items,
            self.n_users,
            {},
            {},
            fingerprint="toy",
            n_edges=len(self.user_E),
            feature_widths={m: PHASES[m][0] for m in self.modalities},
        )


def on_toy_set(
    model: Model,
    phases: Mapping[str, float],
    modalities: Sequence[str] = ("image", "text"),
    amplitudes: Mapping[str, float] | None = None,
) -> Model:
    """Builds a model on the toy set and fills its parameters.

    Args:
        model: Of width 4, not built yet.
        phases: Name of a parameter -> phase; feature vectors keep their values.
        modalities: What the data has.
        amplitudes: Name of a parameter -> amplitude, where it is not 0.1.

    Raises:
        AssertionError: A parameter has no phase.
    """
    source = ToySource(modalities)
    assert isinstance(source, InteractionSource)
    model.attach(source.spec(), source)
    names = {name for name, _ in model.named_parameters() if not name.startswith("features.")}
    assert names == set(phases), f"without a phase: {names - set(phases)}, not there: {set(phases) - names}"
    with torch.no_grad():
        for name, phase in phases.items():
            parameter = model.get_parameter(name)
            parameter.copy_(fill(parameter.shape, phase, (amplitudes or {}).get(name, 0.1)))
    return model


def toy_loss(model: CollaborativeRecommender) -> float:
    """The loss of the toy batch, after the draws of an epoch."""
    model.train()
    model.begin_epoch()
    return torch.stack(list(model.training_loss(BATCH).values())).sum().item()


def toy_scores(model: CollaborativeRecommender, user: int = 0) -> list[float]:
    """Scores of the five items for a user (from 0)."""
    user_UD, item_ID = model.tables()
    scores: list[float] = (user_UD[user + 1] @ item_ID[1:].T).tolist()
    return scores

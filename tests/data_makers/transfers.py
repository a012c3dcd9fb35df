"""Models with distinct parameters, and the checkpoints of sources, for tests of transfers."""

from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.miniature import IMAGE, TEXT
from zoo.base import Recommender
from zoo.checkpoints import CheckpointMismatchError
from zoo.models.morec import MoRec
from zoo.transfer import read_source
from zoo.types import CatalogSpec, Content

SOURCE = CatalogSpec(12, 7, {}, {}, max_len=6, fingerprint="source")
TARGET = CatalogSpec(9, 5, {}, {}, max_len=6, fingerprint="target")
BOTH: dict[str, Any] = {"text": TEXT, "image": IMAGE}


class Items:
    """A catalogue whose content nobody asks for."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items
        self.counts_I = np.ones(n_items, dtype=np.int64)

    def feature_folder(self, modality: str, key: str) -> None:
        """No disk."""

    def content(self, ids_N: Any, modalities: Any) -> dict[str, Content]:  # noqa: ANN401
        """Not here."""
        raise NotImplementedError


def built(model: Recommender, spec: CatalogSpec = TARGET, seed: int = 1) -> Recommender:
    """With parameters that are nowhere constant, so that no tensor equals another by accident."""
    torch.manual_seed(seed)
    model.attach(spec, Items(spec.n_items))
    model.begin()
    if model.transferred is None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
    return model


def saved(model: Recommender, path: Path) -> str:
    """The checkpoint that a trainer would write, without its progress."""
    checkpoint: dict[str, Any] = {
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
    }
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)
    return str(path)


def morec(**options: Any) -> MoRec:  # noqa: ANN401
    return MoRec(**{"width": 16, **BOTH, **options})


def source(folder: Path, spec: CatalogSpec = SOURCE, **options: Any) -> str:  # noqa: ANN401
    return saved(built(morec(**options), spec, seed=0), folder / "source.ckpt")


def started(init_from: str, spec: CatalogSpec = TARGET, **options: Any) -> Recommender:  # noqa: ANN401
    """A model that starts from a source."""
    return built(morec(init_from=init_from, **options), spec)


def moved(model: Recommender, init_from: str) -> set[str]:
    """Names of the tensors that equal the source's."""
    stored = read_source(init_from).tensors
    state = model.state_dict()
    return {n for n, t in state.items() if n in stored and t.shape == stored[n].shape and same(t, stored[n])}


def same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one, other) and one.numel() > 0


def refusal(init_from: str, **options: Any) -> str:  # noqa: ANN401
    with pytest.raises(CheckpointMismatchError) as error:
        started(init_from, **options)
    return str(error.value)

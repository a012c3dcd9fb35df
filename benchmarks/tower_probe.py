"""What layer states of the demo's miniature towers tell of an item: linear probes, random against shipped.

A ridge regression on two thirds of the items reads each attribute from one state, and is judged on the rest.
The second table says how far items lie apart in the last state, which a side network reads as it is.

    python -m benchmarks.tower_probe --root data/demo
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datamodules.demo import Demo
from datamodules.demo_rules import LAWS
from zoo.factory import create
from zoo.models.crossan import CROSSAN

TELLS = {
    "text": ("topic",),
    "image": ("colour", "shape", "texture"),
    "audio": ("sound",),
    "video": ("motion",),
}
"""Modality -> the attributes its content shows."""
RIDGE = 10.0
Floats = npt.NDArray[np.floating[Any]]


def probe(state_ND: Floats, value_N: npt.NDArray[np.int64]) -> float:
    """Accuracy of a linear probe of one attribute on the last third of the items.

    >>> state_ND = np.eye(3)[np.arange(30) % 3]
    >>> probe(state_ND, np.arange(30) % 3)
    1.0
    """
    scaled_ND = (state_ND - state_ND.mean(0)) / (state_ND.std(0) + 1e-6)
    input_ND = np.concatenate([scaled_ND, np.ones((len(scaled_ND), 1))], axis=1)
    seen = slice(0, len(input_ND) * 2 // 3)
    unseen = slice(seen.stop, None)
    label_NV = np.eye(int(value_N.max()) + 1)[value_N]
    gram_DD = input_ND[seen].T @ input_ND[seen] + RIDGE * np.eye(input_ND.shape[1])
    weight_DV = np.linalg.solve(gram_DD, input_ND[seen].T @ label_NV[seen])
    return float(((input_ND[unseen] @ weight_DV).argmax(1) == value_N[unseen]).mean())


def states(data: Demo, shipped: bool) -> dict[str, Floats]:
    """Modality -> states (N, K, D) of all items."""
    weights = {} if shipped else {modality: {"weights": None} for modality in TELLS}
    model = create("crossan", **weights)
    assert isinstance(model, CROSSAN)
    data.bind(model.needs())
    data.prepare_data()
    data.setup("fit")
    torch.manual_seed(0)
    model.attach(data.spec, data.items)
    model.cache_features()
    ids_N = torch.arange(1, data.spec.n_items)
    found = {}
    for modality, features in model.features.items():
        states_NKD = features.gather(ids_N).states_NKD
        assert states_NKD is not None
        found[modality] = states_NKD.double().numpy()
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("data/demo"), help="where demo catalogues lie")
    options = parser.parse_args()
    data = Demo(root=str(options.root))
    towers = {"random": states(data, shipped=False), "shipped": states(data, shipped=True)}
    value = data.latents().attributes
    print("\n| accuracy from the best state | chance | random towers | shipped towers |\n|---|---|---|---|")
    for modality, attributes in TELLS.items():
        for name in attributes:
            best = [
                max(probe(found[modality][:, k], value[name]) for k in range(found[modality].shape[1]))
                for found in towers.values()
            ]
            chance = 1 / LAWS[name].values
            print(f"| {name} ({modality}) | {chance:.2f} | {best[0]:.2f} | {best[1]:.2f} |")
    print("\n| spread of items in the last state | random towers | shipped towers |\n|---|---|---|")
    for modality in TELLS:
        spread = [float(found[modality][:, -1].std(0).mean()) for found in towers.values()]
        print(f"| {modality} | {spread[0]:.3f} | {spread[1]:.3f} |")


if __name__ == "__main__":
    main()

"""Frozen layer states: the store against one file an item, alone and in the training of IISAN.

IISAN's released code (https://github.com/GAIR-Lab/IISAN) keeps one file an item and a modality, all layers in
float32, and every slot of every user's history opens its own. Nothing here executes a pickle, which theirs
are: plain arrays are read in their place, which is less work.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from benchmarks.measure import Row, in_turns, require
from benchmarks.plain_loop import PlainLoop, PlainLoss
from benchmarks.shapes import ShapeData
from datamodules.raw_content import RawContent
from datamodules.splits import Windows
from zoo.feature_build import FeatureBuild, Team
from zoo.feature_store import FeatureStore, Part
from zoo.features import Features
from zoo.models.iisan_versa import IISANVersa
from zoo.sequential import SequentialRecommender
from zoo.types import Content

WIDTH = 768
LAYERS = 12
"""Blocks of the base towers; a file has their states and that of the embedding."""
KEPT = (0, 2, 4, 6, 8, 10, 12)
BATCH_ROWS = 300
"""Distinct items of a batch, about as many as 64 histories of Amazon Scientific have."""


def random_states(n_items: int, n_states: int, seed: int) -> Part:
    """States without meaning, of rows that are all there."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n_items, n_states, WIDTH, generator=generator).half()
    return {"present": torch.ones(n_items, dtype=torch.bool), "values": values}


def file_of(folder: Path, modality: str, row: int) -> Path:
    """Where the states of one item lie."""
    return folder / f"{modality}-{row}.npy"


def store_row(root: Path, n_items: int, n_states: int, steps: int) -> Row:
    """Rows of a batch, as the model takes them: from the store, and from one file each."""
    store = FeatureStore(root / f"states-{n_states}", n_items, 512)
    FeatureBuild(store, "states", Team()).run(
        lambda start, stop: random_states(stop - start, n_states, start)
    )
    features = Features.of("states", store.read())
    for row, state_KD in enumerate(features.values_I):
        np.save(file_of(root, f"of-{n_states}", row), state_KD.float().numpy(), allow_pickle=False)
    rng = np.random.default_rng(1)

    def ours(ids_N: Tensor) -> Tensor:
        states_NKD = features.gather(ids_N).states_NKD
        assert states_NKD is not None
        return states_NKD

    def files(ids_N: Tensor) -> Tensor:
        read = (np.load(file_of(root, f"of-{n_states}", row), allow_pickle=False) for row in ids_N.tolist())
        return torch.stack([torch.from_numpy(state_KD) for state_KD in read])

    def batch() -> Tensor:
        return torch.from_numpy(np.sort(rng.choice(n_items, BATCH_ROWS, replace=False)))

    require(torch.equal(ours(ids := batch()), files(ids)), "states of the store and of the files")
    rates = in_turns(
        {"ours": lambda: len(ours(batch())), "a file an item": lambda: len(files(batch()))}, steps
    )
    return Row(
        kind="frozen",
        case=f"states {n_states} x {WIDTH}",
        unit="rows per CPU-s",
        shape={"items": n_items, "batch": BATCH_ROWS, "states": n_states, "width": WIDTH},
        rates=rates,
        check="every number equal to the last bit",
        notes={"bytes_per_item": n_states * WIDTH * 2, "bytes_per_file": n_states * WIDTH * 4 + 128},
    )


class StateData(ShapeData):
    """Histories of a shape whose items have two texts, which nobody reads: their states are planted."""

    def raw_content(self, modality: str, items: pl.DataFrame) -> RawContent:
        """One word an item."""
        names = ["", *items["item"].to_list()]
        return RawContent(modality, names, names, None, "generated")


class PlantedIISAN(IISANVersa):
    """IISAN whose towers give random states, so that none of their time is needed."""

    def frozen_part(self, modality: str, content: Content) -> Part:
        """States of as many rows; the first row tells which ones."""
        first = int(content["tokens"][0].clamp(min=0).sum())
        return random_states(len(content["present"]), len(KEPT), first)


def planted_command(root: Path, shape: str) -> tuple[str, ...]:
    """``mmzoo fit`` of IISAN at its published sizes, on planted states."""
    tower = (
        "{name: bert, tokenizer: words, max_tokens: 4, tune: none, cached: true, config: {vocab_size: 512, "
        f"hidden_size: {WIDTH}, num_hidden_layers: {LAYERS}, num_attention_heads: 12, intermediate_size: 64, "
        "max_position_embeddings: 8}}"
    )
    return (
        *("--model", "benchmarks.frozen.PlantedIISAN", f"--model.text={tower}", f"--model.caption={tower}"),
        *(
            "--model.width=64",
            "--model.groups=6",
            "--model.heads=iisan",
            "--data=benchmarks.frozen.StateData",
        ),
        *(f"--data.root={root}", f"--data.shape={shape}", "--data.max_len=10", "--data.batch_size=64"),
    )


class FilePerItem(PlainLoop):
    """The plain loop on states that every slot reads from a file of its own, padding being zeros.

    Args:
        model: With features, which are written to files.
        windows: Histories of all users.
        loss: ``in_batch``.
        folder: For the files.
    """

    def __init__(self, model: SequentialRecommender, windows: Windows, loss: PlainLoss, folder: Path) -> None:
        features, model.features = model.features, {}
        super().__init__(model, windows, loss)
        model.features = self.model.features = features
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for modality, kept in features.items():
            write_files(folder, modality, kept)

    def content(self, ids_N: Sequence[int]) -> dict[str, dict[str, Tensor]]:
        """States of all slots, read one by one."""
        return {
            modality: {"values": torch.stack([self._state(modality, row) for row in ids_N])}
            for modality in self.model.features
        }

    def _state(self, modality: str, row: int) -> Tensor:
        if row == 0:
            return torch.zeros(len(KEPT), WIDTH)
        whole = np.load(file_of(self.folder, modality, row), allow_pickle=False)
        return torch.from_numpy(whole[list(KEPT)])


def write_files(folder: Path, modality: str, features: Features) -> None:
    """A file an item, with all layers in float32; those that are not kept are zeros."""
    for row, state_KD in enumerate(features.values_I):
        whole = np.zeros((LAYERS + 1, WIDTH), dtype=np.float32)
        whole[list(KEPT)] = state_KD.float().numpy()
        np.save(file_of(folder, modality, row), whole, allow_pickle=False)


def store_rows(root: Path, n_items: int, steps: int) -> Iterator[Row]:
    """All states of base towers, and those that IISAN keeps; in a folder that is removed afterwards."""
    for n_states in (LAYERS + 1, len(KEPT)):
        root.mkdir(parents=True)
        yield store_row(root, n_items, n_states, steps)
        shutil.rmtree(root)

"""The files of frozen features: damaged, too large for the disk, or at odds with each other."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from tests.zoo.test_features import build
from zoo.feature_store import FeatureStore, FeatureStoreError


def rows(start: int, stop: int) -> dict[str, Tensor]:
    """Rows of 25 bytes."""
    numbers = torch.arange(start, stop)
    return {"present": numbers % 7 > 0, "values": numbers[:, None, None].expand(-1, 3, 4).half()}


@pytest.mark.parametrize("damage", ["flipped", "truncated", "swapped"])
def test_a_damaged_store_is_named(tmp_path: Path, damage: str) -> None:
    store = FeatureStore(tmp_path / "store", 120, 50)
    build(store, rows)
    path = tmp_path / "store" / "values.npy"
    content = bytearray(path.read_bytes())
    match damage:
        case "flipped":
            content[-5] ^= 1
        case "truncated":
            content = content[:-100]
        case "swapped":
            content = bytearray((tmp_path / "store" / "present.npy").read_bytes())
    path.write_bytes(content)
    with pytest.raises(FeatureStoreError, match=r"damaged: values\.npy .*Delete that folder"):
        store.read()


def test_no_room_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(FeatureStoreError, match=r"no room for 2\.9 KiB .* 1\.0 KiB are free"):
        build(FeatureStore(tmp_path / "store", 120, 50), rows)
    assert [path.name for path in tmp_path.iterdir()] == ["store.lock"]


def test_a_first_state_that_turns_out_to_differ_is_refused(tmp_path: Path) -> None:
    def make(start: int, stop: int) -> dict[str, Tensor]:
        values = torch.ones(stop - start, 3, 4).half()
        values[:, 0] += (torch.arange(start, stop) // 20)[:, None]
        return {"present": torch.ones(stop - start, dtype=torch.bool), "values": values}

    with pytest.raises(
        FeatureStoreError, match=r"rows 20 to 40 differs .* Set --model\.item_chunk to more than 20"
    ):
        build(FeatureStore(tmp_path / "store", 50, 20), make)
    build(FeatureStore(tmp_path / "store", 50, 50), make)
    found = FeatureStore(tmp_path / "store", 50, 50).read()
    assert found["values"].shape == (50, 3, 4)
    assert found["values"][[0, 20, 40], 0, 0].tolist() == [1, 2, 3]

import pytest

from zoo.checkpoints import (
    KEY,
    CheckpointMismatchError,
    read_stamp,
    require_same_catalogue,
    require_same_length,
    stamp,
)
from zoo.models.morec import MoRec, MoRecDSSM
from zoo.types import CatalogSpec

SPEC = CatalogSpec(10, 4, {"text": [1, 8]}, {}, max_len=5, fingerprint="a")


def test_stamp_comes_back() -> None:
    towers = {"text": {"hidden_size": 8}}
    found = read_stamp({KEY: stamp(MoRec, SPEC, towers)}, MoRec)
    assert found == ("zoo.models.morec.MoRec", SPEC, towers)


def test_another_model_is_refused() -> None:
    with pytest.raises(CheckpointMismatchError, match=r"holds a zoo\.models\.morec\.MoRec, .*MoRecDSSM"):
        read_stamp({KEY: stamp(MoRec, SPEC, {})}, MoRecDSSM)


def test_a_foreign_file_is_refused() -> None:
    with pytest.raises(CheckpointMismatchError, match="no 'mmzoo' entry"):
        read_stamp({"state_dict": {}}, MoRec)


def test_another_catalogue_or_length_is_refused() -> None:
    with pytest.raises(CheckpointMismatchError, match="fingerprint a"):
        require_same_catalogue(SPEC, SPEC._replace(fingerprint="b"))
    with pytest.raises(CheckpointMismatchError, match=r"--data\.max_len 5"):
        require_same_length(SPEC, SPEC._replace(max_len=6))
    require_same_catalogue(SPEC, SPEC)
    require_same_length(SPEC, SPEC)

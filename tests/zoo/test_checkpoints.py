import warnings

import pytest

from zoo.checkpoints import (
    KEY,
    CheckpointMismatchError,
    Stamp,
    plain_stamp,
    read_stamp,
    require_same_catalogue,
    require_same_length,
    warn_of_other_protocol,
)
from zoo.models.morec import MoRec, MoRecDSSM
from zoo.types import CatalogSpec

PARTS: dict[str, tuple[str, ...]] = {"text": ("encoders.text", "heads.text")}
SPEC = CatalogSpec(10, 4, {"text": [1, 8]}, {}, max_len=5, fingerprint="a")


def test_stamp_comes_back() -> None:
    towers = {"text": {"hidden_size": 8}}
    found = read_stamp({KEY: plain_stamp(Stamp("zoo.models.morec.MoRec", SPEC, towers, PARTS))}, MoRec)
    assert found == ("zoo.models.morec.MoRec", SPEC, towers, PARTS)


def test_another_model_is_refused() -> None:
    with pytest.raises(CheckpointMismatchError, match=r"holds a zoo\.models\.morec\.MoRec, .*MoRecDSSM"):
        read_stamp({KEY: plain_stamp(Stamp("zoo.models.morec.MoRec", SPEC, {}, PARTS))}, MoRecDSSM)


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


def test_another_protocol_is_told() -> None:
    trained = SPEC._replace(protocol="leave two out")
    with pytest.warns(UserWarning, match="trained under the protocol 'leave two out'.* under 'global time'"):
        warn_of_other_protocol(trained, SPEC._replace(protocol="global time"))
    with pytest.warns(UserWarning, match="under 'unknown'"):
        warn_of_other_protocol(trained, SPEC)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_other_protocol(trained, trained)
        warn_of_other_protocol(SPEC, trained)  # an older checkpoint says nothing

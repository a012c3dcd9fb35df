"""What is refused of data in MMRec's layout, in which words, and that nothing in it is executed."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.attributes import UnknownAttributeError
from datamodules.errors import BadTableError, DataNotFoundError, EmptyDataError
from datamodules.mmrec import MMRec
from datamodules.ninerec import NineRec
from tests.data_makers.mmrec import make_mmrec, save_objects
from tests.data_makers.ninerec import make_ninerec
from tests.data_makers.transforms import LetterTransform
from zoo.types import ModelNeeds

FEATURES = ModelNeeds({}, batch="interaction", features=frozenset({"image", "text"}))


def table(root: Path, *lines: str) -> MMRec:
    (root / "set").mkdir()
    (root / "set" / "set.inter").write_text("\n".join(lines))
    return MMRec(str(root), "set")


def with_features(root: Path, needs: ModelNeeds = FEATURES, **options: str) -> MMRec:
    data = MMRec(str(root), "baby", **options)  # type: ignore[arg-type]
    data.bind(needs)
    return data


def test_object_arrays_are_refused_and_never_executed(tmp_path: Path) -> None:
    written = make_mmrec(tmp_path)
    trap = tmp_path / "executed"
    save_objects(written.path / "image_feat.npy", trap)
    with pytest.raises(
        BadTableError, match=r"image_feat\.npy, found an array of Python objects.*numpy\.save"
    ):
        with_features(tmp_path).prepare_data()
    np.load(written.path / "image_feat.npy", allow_pickle=True)
    assert trap.exists()  # the trap is one


def test_a_bad_file_nobody_reads_is_only_reported(tmp_path: Path) -> None:
    written = make_mmrec(tmp_path)
    save_objects(written.path / "image_feat.npy", tmp_path / "executed")
    data = with_features(tmp_path, FEATURES._replace(features=frozenset({"text"})))
    data.prepare_data()
    data.setup()
    assert "image features are not used: Expected a matrix" in data.report()
    assert set(data.spec.feature_widths) == {"text"}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (np.zeros((19, 4)), r"20 items of baby in .*image_feat\.npy, found 19 rows"),
        (np.zeros((21, 4)), "found 21 rows"),
        (np.zeros(20), r"found float64 of shape \(20,\)"),
        (np.zeros((20, 2, 2)), "two dimensions"),
        (np.full((20, 1), "x"), "found <U1"),
        (np.zeros((20, 3), dtype=complex), "found complex128"),
        (np.zeros(20, dtype=[("é", "f4")]), "named fields|found"),
    ],
)
def test_matrices_that_do_not_fit(tmp_path: Path, content: np.ndarray, found: str) -> None:
    written = make_mmrec(tmp_path)
    np.save(written.path / "image_feat.npy", content)
    with pytest.raises(BadTableError, match=found):
        with_features(tmp_path).prepare_data()


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"PK\x03\x04 an archive", b"\x93NUMPY\x01\x00\x10\x00{bad"]
)
def test_files_that_are_no_matrices(tmp_path: Path, content: bytes) -> None:
    written = make_mmrec(tmp_path)
    (written.path / "image_feat.npy").write_bytes(content)
    with pytest.raises(BadTableError, match="Is the file complete"):
        with_features(tmp_path).prepare_data()


def test_a_cut_file(tmp_path: Path) -> None:
    written = make_mmrec(tmp_path)
    path = written.path / "image_feat.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BadTableError, match="cut short"):
        with_features(tmp_path).prepare_data()


def test_rows_that_are_not_finite(tmp_path: Path) -> None:
    written = make_mmrec(tmp_path)
    path = written.path / "image_feat.npy"
    rows = np.load(path, allow_pickle=False)
    rows[[3, 17], 1] = np.nan, np.inf
    np.save(path, rows)
    with pytest.raises(BadTableError, match=r"2 of 20 rows of .* hold NaN or infinity: 3, 17 .*bad_features"):
        with_features(tmp_path).prepare_data()
    data = with_features(tmp_path, bad_features="mean")
    with pytest.warns(UserWarning, match="became the mean"):
        data.prepare_data()
    data.setup()
    features_ID = data.items.features("image")
    good = np.delete(rows, [3, 17], axis=0)
    assert features_ID[4] == pytest.approx(good.mean(axis=0), abs=1e-6)
    assert np.array_equal(features_ID[4], features_ID[18])
    assert np.array_equal(np.delete(features_ID, [0, 4, 18], axis=0), good.astype(np.float32))
    np.save(path, np.full_like(rows, np.nan))
    with pytest.raises(BadTableError, match="20 of 20"):
        with_features(tmp_path, bad_features="mean").prepare_data()
    with pytest.raises(ValueError, match="'refuse' or 'mean'"):
        with_features(tmp_path, bad_features="zero")


def test_a_modality_that_is_not_there(tmp_path: Path) -> None:
    make_mmrec(tmp_path)
    asked = FEATURES._replace(features=frozenset({"image", "audio"}))
    with pytest.raises(
        DataNotFoundError, match=r"audio_feat\.npy in .*only image_feat\.npy and text_feat\.npy"
    ):
        with_features(tmp_path, asked).prepare_data()


def test_attributes_that_are_not_there(tmp_path: Path) -> None:
    make_mmrec(tmp_path, attributes=True)
    for asked, found in (
        ("u_gendre", "Did you mean 'gender'.*gender, age"),
        ("income", "There are: gender, age"),
    ):
        with pytest.raises(UnknownAttributeError, match=found):
            with_features(tmp_path, FEATURES._replace(attributes=(asked,))).prepare_data()
    make_mmrec(tmp_path / "none")
    with pytest.raises(UnknownAttributeError, match="It has none"):
        with_features(tmp_path / "none", FEATURES._replace(attributes=("age",))).prepare_data()


def test_classes_that_nobody_has(tmp_path: Path) -> None:
    lines = [
        "userID\titemID\tx_label\tu_age",
        "0\t0\t0\t0",
        "1\t1\t0\t2",
        "1\t0\t1\t2",
        "2\t1\t0\t1",
        "3\t0\t1\t3",
    ]
    data = table(tmp_path, *lines)
    data.bind(ModelNeeds({}, batch="interaction", attributes=("age",)))
    with pytest.raises(BadTableError, match=r"each of the 4 classes of age .* found none of 3"):
        data.prepare_data()
    (tmp_path / "set" / "set.inter").write_text("\n".join(lines[:-1]))
    with pytest.warns(UserWarning, match="No user with validation rows has age 0, 1"):
        data.prepare_data()


def test_attributes_as_text_and_in_conflict(tmp_path: Path) -> None:
    data = table(
        tmp_path,
        "userID\titemID\tx_label\tu_gender\tu_age\tu_city",
        *("0\t0\t0\tF\t1.0\t", "0\t1\t0\tM\t\t", "1\t1\t0\tM\t-1\t", "2\t1\t0\t\t0\t"),
    )
    data.prepare_data()
    data.setup()
    assert data.items.attributes["gender"].tolist() == [-1, 0, 1, -1]
    assert data.items.attributes["age"].tolist() == [-1, 1, -1, 0]
    assert "city" not in data.items.attributes
    for line in ("F = 0, M = 1", "1 other values of gender", "1 users have no age", "u_city is empty"):
        assert line in data.report()


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ((), "an empty file"),
        (("userID,itemID,x_label", "0,0,0"), "found 'userID,itemID,x_label'"),
        (("userID\titemID\trating", "0\t0\t5"), "x_label missing"),
        (("userID\titemID\tx_label", "0\tB001\t0"), "'B001' in line 2"),
        (("userID\titemID\tx_label", "0\t0\t0", "-1\t0\t0"), "'-1' in line 3"),
        (("userID\titemID\tx_label", "0\t0\t"), "x_label of .*None in line 2"),
        (("userID\titemID\tx_label", "0\t900000000\t0"), "count from 0 in the column itemID"),
        (("userID\titemID\tx_label\tu_zip", "0\t0\t0\t48067"), "Group the values into classes"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, lines: tuple[str, ...], found: str) -> None:
    with pytest.raises(BadTableError, match=found):
        table(tmp_path, *lines).prepare_data()


@pytest.mark.parametrize("lines", [(), ("0\t0\t1", "0\t1\t2")])
def test_tables_without_training_lines(tmp_path: Path, lines: tuple[str, ...]) -> None:
    with pytest.raises(EmptyDataError):
        table(tmp_path, "userID\titemID\tx_label", *lines).prepare_data()


def test_splits_that_are_empty(tmp_path: Path) -> None:
    data = table(tmp_path, "userID\titemID\tx_label", "0\t0\t0", "1\t1\t0", "1\t0\t2")
    data.prepare_data()
    data.setup()
    with pytest.raises(EmptyDataError, match="Expected validation pairs in set"):
        data.val_dataloader()
    assert len(list(data.test_dataloader())) == 1


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="no such folder"):
        MMRec(str(tmp_path / "nowhere")).prepare_data()
    make_mmrec(tmp_path, "sports")
    with pytest.raises(DataNotFoundError, match=r"baby\.inter, found these data sets there: sports"):
        MMRec(str(tmp_path)).prepare_data()
    MMRec(str(tmp_path / "sports"), "sports").prepare_data()


def test_a_truth_file_of_another_table(tmp_path: Path) -> None:
    written = make_mmrec(tmp_path)
    np.savez(written.path / "baby_truth.npz", noise=np.zeros(3, dtype=bool))
    with pytest.raises(BadTableError, match="found 3"):
        MMRec(str(tmp_path)).prepare_data()


def test_a_mapping_of_something_else(tmp_path: Path) -> None:
    written = make_mmrec(tmp_path)
    (written.path / "i_id_mapping.csv").write_text("asin,itemID\nB0,0\n")
    data = MMRec(str(tmp_path))
    data.prepare_data()
    with pytest.raises(BadTableError, match=r"i_id_mapping\.csv, itemID"):
        data.setup()


def test_models_of_the_other_family_are_told(tmp_path: Path) -> None:
    make_mmrec(tmp_path / "pairs")
    with pytest.raises(ValueError, match="Take a collaborative model"):
        with_features(tmp_path / "pairs", ModelNeeds({"text": LetterTransform()})).prepare_data()
    make_ninerec(tmp_path / "histories", "QB", n_users=10)
    data = NineRec(str(tmp_path / "histories"))
    data.bind(FEATURES)
    with pytest.raises(ValueError, match="--data mmrec"):
        data.prepare_data()

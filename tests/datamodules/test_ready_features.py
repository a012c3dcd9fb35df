"""Vectors that come with a data set in the place of pictures or texts, whole, damaged and hostile."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cli
from datamodules import ready_features
from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.microlens import MicroLens
from datamodules.pixelrec import PixelRec
from tests.data_makers.microlens import make_microlens
from tests.data_makers.mmrec import save_objects
from tests.data_makers.pixelrec import make_pixelrec
from zoo.encoders.base import EncoderSpec
from zoo.encoders.ready import VectorTransform
from zoo.types import ModelNeeds

pytestmark = pytest.mark.filterwarnings("ignore:Not the published size", "ignore:Bad ")
NEEDS = ModelNeeds({"image": VectorTransform(5)})
RNG = np.random.default_rng(0)


def microlens(root: Path, file: str, needs: ModelNeeds = NEEDS) -> MicroLens:
    data = MicroLens(str(root), features={"image": file})
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


def vectors_of(data: Any) -> dict[str, Any]:  # noqa: ANN401 - either data set
    content = data.items.content(np.arange(data.spec.n_items), ["image"])["image"]
    return {
        name: vector.numpy() if present else None
        for name, vector, present in zip(data.item_names, content["vector"], content["present"], strict=True)
    }


def test_a_matrix_whose_rows_are_numbered_from_one(tmp_path: Path) -> None:
    make_microlens(tmp_path)
    matrix = RNG.normal(size=(20, 5)).astype(np.float32)  # of 30 items
    matrix[3, 2] = np.nan
    np.save(tmp_path / "image_features.npy", matrix)
    found = vectors_of(microlens(tmp_path, "image_features.npy"))
    for name, vector in found.items():
        row = int(name) - 1 if name else -1
        if name and row < 20 and row != 3:
            assert np.array_equal(vector, matrix[row])
        else:
            assert vector is None
    assert "image of 1" in microlens(tmp_path, "image_features.npy").report()


def test_json_by_item_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_pixelrec(tmp_path)
    vectors = {
        item: RNG.normal(size=5).astype(np.float32).tolist() for item in [*tree.items[2:], 'odd "name"']
    }
    (tmp_path / "image_feature.json").write_text(json.dumps(vectors))
    monkeypatch.setattr(ready_features, "_PIECE", 100)
    data = PixelRec(str(tmp_path), features={"image": str(tmp_path / "image_feature.json")})
    data.bind(NEEDS)
    data.prepare_data()
    data.setup()
    found = vectors_of(data)
    for name in data.item_names[1:]:
        if name in vectors:
            assert np.allclose(found[name], np.array(vectors[name], dtype=np.float32))
        else:
            assert found[name] is None
    assert sum(vector is not None for vector in found.values()) >= 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"1": [1, 2, 3, 4, 5], "2": [1, 2, 3', "behind its last entry. Is it complete"),
        (
            '{"1": [1, 2, 3, 4, 5], "2": [1, 2, 3]}',
            "Expected 5 numbers for every item.*found '1, 2, 3' … .3.",
        ),
        ('{"1": [1, 2, "x", 4, 5]}', "found '1, 2, .x., 4, 5' … .5. for '1'"),
        ("[[1, 2]]", "no such entry"),
        ("", "no such entry"),
        ('{"nobody": [1, 2, 3, 4, 5]}', "a vector of at least one item"),
    ],
)
@pytest.mark.filterwarnings("ignore:string or file could not be read")
def test_json_of_another_form(tmp_path: Path, content: str, message: str) -> None:
    make_microlens(tmp_path)
    (tmp_path / "f.json").write_text(content)
    with pytest.raises((BadTableError, DataNotFoundError), match=message):
        microlens(tmp_path, "f.json")
    assert not list(tmp_path.rglob("rows.bin"))


def test_files_that_are_missing_hostile_or_of_another_width(tmp_path: Path) -> None:
    make_microlens(tmp_path)
    with pytest.raises(DataNotFoundError, match=r"--data\.features"):
        microlens(tmp_path, "nowhere.npy")
    save_objects(tmp_path / "objects.npy", tmp_path / "executed")
    with pytest.raises(BadTableError, match="Python objects"):
        microlens(tmp_path, "objects.npy")
    assert not (tmp_path / "executed").exists()
    np.save(tmp_path / "wide.npy", np.ones((30, 7)))
    with pytest.raises(ValueError, match=r"Expected vectors of width 5 .*found shapes \[\(7,\)\]"):
        microlens(tmp_path, "wide.npy")
    with pytest.raises(ValueError, match="no file of them is named"):
        microlens(tmp_path, "wide.npy", ModelNeeds({"text": VectorTransform(5)}))
    with pytest.raises(ValueError, match=r"--model\.image\.config\.width"):
        VectorTransform.of(EncoderSpec("features"))


@pytest.mark.slow
def test_a_model_is_trained_on_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_microlens(tmp_path / "raw", n_users=24)
    np.save(tmp_path / "raw" / "image.npy", RNG.normal(size=(30, 5)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # taken back afterwards, whatever the run sets
    line = ["--data", "microlens", "--data.root", "raw", "--data.features", '{"image": "image.npy"}']
    model = ["--model", "sasrec_image", "--model.image", '{"name": "features", "config": {"width": 5}}']
    quiet = [
        "--trainer.max_epochs",
        "1",
        "--trainer.accelerator",
        "cpu",
        "--trainer.enable_progress_bar",
        "false",
    ]
    cli.main(["fit", *model, *line, *quiet, "--run_dir", "run"])
    assert json.loads((tmp_path / "run" / "results.json").read_text())
    cli.main(["test", *model, *line, *quiet, "--run_dir", "run", "--ckpt_path", "best"])

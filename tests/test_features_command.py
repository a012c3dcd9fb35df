"""Frozen features through the real command: made ahead, found, gone on with, and refused with what to do."""

import errno
import json
import logging
import multiprocessing as mp
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import cli
from datamodules.demo import write_demo
from tests.data_makers.killer import command
from tests.data_makers.killing import files_of
from tests.miniature import STATES, TEXT
from zoo.encoders.base import EncoderSpec
from zoo.encoders.create import create_encoder
from zoo.feature_files import Array, write_rows

TOWER = {**TEXT, "weights": None, "cached": True, "tune": "none", "states": "all"}
MODEL = ("--model", "iisan", "--model.text", json.dumps(TOWER))
PICTURES = json.dumps({**STATES, "weights": None, "cached": True, "tune": "none", "states": "all"})
QUIET = ("--trainer.accelerator", "cpu", "--threads", "1")
AUDIO = {
    "name": "wav2vec2",
    "config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "conv_dim": [8],
        "conv_stride": [160],
        "conv_kernel": [400],
        "num_feat_extract_layers": 1,
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
    },
}
VIDEO = {
    "name": "timesformer",
    "n_frames": 2,
    "frame_rule": "middle",
    "image_size": 16,
    "config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": 16,
        "patch_size": 16,
        "num_frames": 2,
    },
}


class Catalogue:
    """A tiny catalogue without features, and the command on it."""

    def __init__(self, root: Path, said: list[str]) -> None:
        self.root = root
        self.said = said
        self.cache = self.root / "tiny-0" / ".mmzoo" / "demo-tiny-0"
        delete_features(self.cache)

    def data(self) -> tuple[str, ...]:
        return ("--data", "demo", "--data.size", "tiny", "--data.root", str(self.root))

    def run(self, name: str, *more: str, model: tuple[str, ...] = MODEL) -> str:
        """What the command says about features."""
        self.said.clear()
        cli.main(
            [name, *model, "--model.image", "null", "--model.mode", "intra", *self.data(), *QUIET, *more]
        )
        return "\n".join(line for line in self.said if "rozen" in line)

    def fails(self, *more: str) -> str:
        """The last words of a ``predict`` that is refused."""
        with pytest.raises(SystemExit) as stop:
            self.run("predict", *more)
        assert isinstance(stop.value.code, str)
        return stop.value.code.partition("\n")[0]

    def stores(self) -> list[Path]:
        return sorted(path for path in self.cache.glob("features-*-*") if path.is_dir())

    def store(self) -> Path:
        (found,) = self.stores()
        return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a catalogue that is written and prepared once."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture
def here(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalogue]:
    """A catalogue; afterwards the process is as it was."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addHandler(handler)
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")
    yield Catalogue(root, said)
    logger.removeHandler(handler)
    torch.set_num_threads(threads)


def test_made_ahead_and_found_by_a_fit(here: Catalogue) -> None:
    said = here.run("predict")
    assert "Frozen states of text, 147 items: 18." in said
    assert "about 1 s by the first chunk's" in said
    assert not list(Path().rglob("*.ckpt"))
    assert not Path("runs").exists(), "nothing was trained"
    before = files_of(here.store())
    assert "there already" in here.run("predict")
    said = here.run("fit", "--trainer.max_epochs", "0")
    assert said == "Frozen states of text (18.6 KiB) are memory-mapped: the model is on the CPU."
    assert files_of(here.store()) == before


def test_a_limit_leaves_a_rest_for_the_next_time(here: Catalogue) -> None:
    chunks = ("--model.item_chunk", "50")
    said = here.fails(*chunks, "--trainer.limit_predict_batches", "1")
    assert "1 of 3 chunks are not made" in said
    assert "100 rows are there already" in here.run("predict", *chunks)


def test_a_model_without_frozen_towers_needs_a_checkpoint(here: Catalogue) -> None:
    assert here.fails("--model.text.cached", "false") == (
        "mmzoo: predict needs a trained model: give --ckpt_path best, last, or a file. Without one it makes "
        "the features of frozen towers ahead, but IISANVersa has none here: no encoder is cached "
        "(--model.text.cached true)."
    )


def test_damage_is_named_and_deleting_helps(here: Catalogue) -> None:
    here.run("predict")
    values = here.store() / "values.npy"
    whole = values.read_bytes()
    fit = ("--trainer.max_epochs", "0")
    for content, what in (
        (whole[:-3] + b"\x3c\x3c\x3c", "values.npy differs from its checksum near row 0"),
        (whole[:-40], "values.npy cannot be read"),
    ):
        values.write_bytes(content)
        with pytest.raises(SystemExit, match=f"are damaged: {what}.*Delete that folder"):
            here.run("fit", *fit)
    manifest = here.store() / "manifest.json"
    manifest.write_text(manifest.read_text()[:50])
    assert "manifest.json cannot be read" in here.fails()
    shutil.rmtree(here.store())
    assert ": made, " in here.run("predict")
    assert values.read_bytes() == whole


def test_features_of_another_encoder_are_made_anew(here: Catalogue) -> None:
    here.run("predict")
    first = here.store()
    said = here.run("predict", "--model.text.pool", "cls")
    assert f"are made anew: those in {first} are made otherwise: pool (mean there, cls here)" in said
    second = next(path for path in here.stores() if path != first)
    content = files_of(second)
    shutil.rmtree(second)
    first.rename(second)  # by hand, under a name that promises something else
    said = here.run("predict", "--model.text.pool", "cls")
    assert f"those in {second} are made otherwise" in said
    assert files_of(second) == content


def test_features_of_another_catalogue_are_refused(here: Catalogue) -> None:
    here.run("predict")
    manifest = here.store() / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"items": 148', '"items": 150'))
    said = here.fails()
    assert (
        "are of 149 items, the catalogue has 147: they were made for another one. Delete that folder" in said
    )


def test_a_changed_file_of_weights_makes_other_features(here: Catalogue, tmp_path: Path) -> None:
    file = tmp_path / "tower.safetensors"
    tower = create_encoder("text", EncoderSpec(**TEXT))
    save_file({k.removeprefix("network."): v for k, v in tower.state_dict().items()}, file)
    line = ("--model.text.weights", str(file))
    here.run("predict", *line)
    assert "there already" in here.run("predict", *line)
    weights = load_file(file)
    name = sorted(weights)[0]
    save_file({**weights, name: weights[name] + 0.01}, file)
    said = here.run("predict", *line)
    assert "are made otherwise: weights (" in said
    assert len(here.stores()) == 2


def test_layers_that_an_encoder_has_not_are_named(here: Catalogue) -> None:
    assert "[7] do not exist. This tower has states 0 (embedding output) to 1" in here.fails(
        "--model.text.states", "[0, 7]"
    )


def test_numbers_beyond_half_precision_are_refused(here: Catalogue, tmp_path: Path) -> None:
    tower = create_encoder("text", EncoderSpec(**TEXT))
    weights = {k.removeprefix("network."): v for k, v in tower.state_dict().items()}
    norm = next(name for name in weights if name.endswith("layer.0.output.LayerNorm.weight"))
    save_file({**weights, norm: weights[norm] * 1e6}, tmp_path / "large.safetensors")
    line = ("--model.text.weights", str(tmp_path / "large.safetensors"))
    said = here.fails(*line)
    assert "mmzoo: text: Features of " in said
    assert "Set stored: bfloat16" in said
    here.run("predict", *line, "--model.text.stored", "bfloat16")
    here.run("fit", *line, "--model.text.stored", "bfloat16", "--trainer.max_epochs", "0")


def test_a_full_disk_is_said_before_and_during_the_work(
    here: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.run("predict")
    whole = files_of(here.store())
    shutil.rmtree(here.store())
    usage = SimpleNamespace(total=10**9, used=10**9 - 1000, free=1000)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: usage)
        assert "no room for 18." in here.fails()
    assert not here.stores()
    written = []

    def full(path: Path, start: int, rows: Array) -> None:
        written.append(start)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path, start, rows)

    original = write_rows
    with monkeypatch.context() as patch:
        patch.setattr("zoo.feature_store.write_rows", full)
        said = here.fails("--model.item_chunk", "50")
    assert "The disk is full: 2 of 3 chunks" in said
    assert "run the same command again: what is done is kept" in said
    assert "50 rows are there already" in here.run("predict", "--model.item_chunk", "50")
    found = files_of(here.store())
    assert found["values.npy"] == whole["values.npy"]


def test_broken_sounds_and_clips_are_absent_and_nothing_else_is(here: Catalogue, tmp_path: Path) -> None:
    here = Catalogue(tmp_path / "broken", here.said)
    folder = write_demo(here.root / "tiny-0", "tiny")
    sounds, clips = (sorted((folder / f"DEMO_{kind}").iterdir()) for kind in ("audio", "video"))
    sounds[3].write_bytes(sounds[3].read_bytes()[:1000])
    sounds[4].unlink()
    clips[5].write_bytes(b"GIF89a")
    clips[6].unlink()
    towers = [
        word
        for kind, tower in (("audio", AUDIO), ("video", VIDEO))
        for word in (
            f"--model.{kind}",
            json.dumps({**tower, "cached": True, "tune": "none", "states": "all"}),
        )
    ]
    here.run("predict", *towers)
    bad = {path.stem for path in (*sounds[3:5], *clips[5:7])}
    absent = {
        store.name.split("-")[1]: int((~np.load(store / "present.npy")[1:]).sum()) for store in here.stores()
    }
    assert absent["text"] == 0
    assert 3 <= absent["audio"] + absent["video"] <= len(bad)  # an item that nobody took is in no catalogue
    for store in here.stores():
        assert np.isfinite(np.load(store / "values.npy").astype(np.float32)).all()


# Killed -----------------------------------------------------------------------------------------------------


def line(data: Path, chunk: int = 40) -> list[str]:
    """Two modalities in small chunks."""
    return [
        *("predict", *MODEL, "--model.image", PICTURES, "--data", "demo", "--data.size", "tiny"),
        *("--data.root", str(data), "--model.item_chunk", str(chunk), *QUIET),
    ]


def test_killed_at_a_touch_of_the_disk_and_resumed(here: Catalogue, tmp_path: Path) -> None:
    cli.main(line(here.root))
    whole = features(here.cache)
    assert sorted(whole)[0].startswith("features-image")
    delete_features(here.cache)
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["torch", "lightning.pytorch", "timm", "transformers"])
    process = context.Process(target=command, args=(tmp_path, line(here.root), 16))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "log.txt").read_text()[-3000:]
    assert features(here.cache) != whole
    assert any(".part/" in name for name in features(here.cache))
    cli.main(line(here.root))
    assert features(here.cache) == whole


def delete_features(cache: Path) -> None:
    for path in cache.glob("features-*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def features(cache: Path) -> dict[str, bytes]:
    """Finished features, and whatever was left beside them."""
    found = files_of(cache)
    return {name: found[name] for name in found if name.startswith("features-") and "lock" not in name}

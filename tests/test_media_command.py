"""The real command on all four modalities, some of whose files are bad."""

import csv
from pathlib import Path

import pytest

from datamodules.demo import write_demo
from tests.command import succeeded

AUDIO = """{name: whisper, tune: none, cached: true, seconds: 0.3, config: {d_model: 32, encoder_layers: 2,
encoder_attention_heads: 2, encoder_ffn_dim: 64, num_mel_bins: 40, max_source_positions: 25, vocab_size: 20,
pad_token_id: 0, bos_token_id: 1, eos_token_id: 2, decoder_start_token_id: 1}}"""
VIDEO = """{name: timesformer, tune: none, cached: true, n_frames: 3, frame_rule: middle, image_size: 32,
config: {hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64, image_size: 32,
patch_size: 16, num_frames: 3}}"""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["crossan", "iisan"])
def test_four_modalities_with_bad_files(model: str, tmp_path: Path) -> None:
    folder = write_demo(tmp_path / "demo" / "tiny-0", "tiny")
    sounds, clips = (sorted((folder / f"DEMO_{kind}").iterdir()) for kind in ("audio", "video"))
    sounds[3].write_bytes(sounds[3].read_bytes()[:1000])
    sounds[4].unlink()
    clips[5].write_bytes(b"GIF89a")
    clips[6].unlink()
    options = ["--data", "demo", "--data.size", "tiny", "--data.root", str(tmp_path / "demo")]
    # IISAN has two towers of its own; the other two are added on the command line.
    towers = ["--model.audio", AUDIO, "--model.video", VIDEO] if model == "iisan" else []
    said = succeeded(
        *("fit", "--model", model, *options, *towers, "--trainer.max_epochs", "1"),
        *("--trainer.accelerator", "cpu", "--run_dir", str(tmp_path / "run")),
        cwd=tmp_path,
    )
    assert "hr@10" in said
    bad = []
    for report in sorted((tmp_path / "demo").rglob("bad_items.csv")):
        with open(report, encoding="utf-8", newline="") as file:
            bad += [(row["item"], row["modality"], row["reason"]) for row in csv.DictReader(file)]
    found = {(item, modality) for item, modality, _ in bad}
    expected = {
        (path.stem, kind) for kind, files in (("audio", sounds[3:5]), ("video", clips[5:7])) for path in files
    }
    assert found <= expected, "only what is bad is reported"
    assert len(found) >= 3, "an item that nobody took is left out of the catalogue"
    assert any("truncated" in reason for _, _, reason in bad)

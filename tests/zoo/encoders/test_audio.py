"""Sounds to features, and audio towers against the library called directly."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    ASTFeatureExtractor,
    ASTForAudioClassification,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
    WhisperModel,
)

from tests.zoo.encoders.towers import AUDIO, TEXT, TOWERS, WAVES, build, content, sounds, tower
from zoo.encoders.audio import AudioEncoder
from zoo.encoders.audio_features import audio_transform, resampled
from zoo.encoders.base import EncoderSpec
from zoo.types import Sound

# The library's extractors have untyped constructors.
_AST: Any = ASTFeatureExtractor
_WAVES: Any = Wav2Vec2FeatureExtractor
_WHISPER: Any = WhisperFeatureExtractor
AST = "audio-spectrogram-transformer"


def audio(name: str, **changes: Any) -> AudioEncoder:  # noqa: ANN401 - fields of a spec
    encoder = build(name, **changes)
    assert isinstance(encoder, AudioEncoder)
    return encoder


@pytest.mark.parametrize(
    "rates", [(8000, 16000), (22050, 16000), (48000, 16000), (16000, 48000), (44100, 22050)]
)
def test_a_tone_keeps_its_pitch_and_place(rates: tuple[int, int]) -> None:
    before, after = rates
    tone = [np.sin(2 * np.pi * 440.3 * np.arange(rate) / rate).astype(np.float32) for rate in rates]
    found = resampled(tone[0], before, after)
    assert found.shape == tone[1].shape
    assert found.dtype == np.float32
    inside = slice(after // 50, -after // 50)
    np.testing.assert_allclose(found[inside], tone[1][inside], atol=3e-3)


def test_what_the_new_rate_cannot_carry_is_taken_out() -> None:
    tone = np.sin(2 * np.pi * 7000 * np.arange(16000) / 16000).astype(np.float32)
    assert np.abs(resampled(tone, 16000, 8000)[200:-200]).max() < 0.02


def test_rates_length_and_padding_of_waveforms() -> None:
    transform = audio_transform(TOWERS["wav2vec2"][1])
    assert transform.fields["samples"] == ((6400,), "int16")  # 0.4 seconds
    prepared = transform(sounds())
    assert prepared["length"].tolist() == [6400, 1600, 6400]
    assert not prepared["samples"][1, 1600:].any()
    expected = sounds()[1].samples_T * 32767
    np.testing.assert_allclose(prepared["samples"][1, :1600], expected, atol=0.51)


@pytest.mark.parametrize("name", list(AUDIO))
def test_very_short_and_silent_sounds(name: str) -> None:
    encoder = audio(name)
    raw = [Sound(np.full(3, 0.1, np.float32), 8000), Sound(np.zeros(8000, np.float32), 8000)]
    items = {f: torch.from_numpy(v) for f, v in encoder.transform()(raw).items()}
    assert encoder(items).pooled_ND.isfinite().all()
    absent = {f: torch.zeros_like(v) for f, v in items.items()}
    assert encoder(absent).pooled_ND.isfinite().all()


def test_ast_is_the_mean_of_its_two_special_tokens() -> None:
    encoder = audio(AST)
    items = content(encoder)
    extractor: Any = _AST(num_mel_bins=32, max_length=48)
    waves = [resampled(s.samples_T[: int(np.ceil(0.4 * s.rate))], s.rate, 16000)[:6400] for s in sounds()]
    x = extractor(waves, sampling_rate=16000, return_tensors="pt")["input_values"]
    assert items["features"].dtype == torch.float16
    output = encoder.network(x)
    encoded = encoder(items)
    torch.testing.assert_close(encoded.pooled_ND, output.pooler_output, atol=5e-3, rtol=1e-2)
    torch.testing.assert_close(encoded.pooled_ND, encoded.tokens_NTD[:, :2].mean(dim=1))
    torch.testing.assert_close(audio(AST, pool="cls")(items).pooled_ND, encoded.tokens_NTD[:, 0])
    torch.testing.assert_close(
        audio(AST, pool="mean")(items).pooled_ND, encoded.tokens_NTD[:, 2:].mean(dim=1)
    )
    states = audio(AST, states="all")(items).states_NKD
    torch.testing.assert_close(states[0, 0], encoder.network.embeddings(x)[0, :2].mean(dim=0))


def test_clap_pools_as_the_library() -> None:
    encoder = audio("clap_audio_model")
    items = content(encoder)
    output = encoder.network(items["features"].float())
    torch.testing.assert_close(encoder(items).pooled_ND, output.pooler_output)
    fused = audio("clap_audio_model", config=AUDIO["clap_audio_model"] | {"enable_fusion": True})
    items = content(fused)
    assert items["features"].shape[1] == 4
    assert fused(items).pooled_ND.isfinite().all()


def test_whisper_leaves_padding_out() -> None:
    encoder = audio("whisper", states="all")
    items = content(encoder)
    encoded = encoder(items)
    assert encoded.mask_NT.sum(dim=1).tolist() == [20, 5, 20]  # 0.4 and 0.1 seconds of 0.5
    torch.testing.assert_close(encoded.pooled_ND[1], encoded.tokens_NTD[1, :5].mean(dim=0))
    torch.testing.assert_close(encoded.states_NKD[:, -1], encoded.pooled_ND)


@pytest.mark.parametrize("name", WAVES)
@pytest.mark.parametrize("masks", [True, False])
def test_waveforms_are_normalised_as_the_librarys(name: str, masks: bool) -> None:
    config = AUDIO[name] | {"extractor": {"return_attention_mask": masks, "do_normalize": True}}
    if masks:
        config |= {"feat_extract_norm": "layer"}
    encoder = audio(name, config=config)
    items = content(encoder)
    # In 16 bits, as the tower has them.
    waves = [row[:n].numpy() / 32768 for row, n in zip(items["samples"], items["length"], strict=True)]
    extractor = _WAVES(return_attention_mask=masks)
    batch: Any = extractor(waves, sampling_rate=16000, padding=True, return_tensors="pt")
    if not masks:  # of padded sounds the library then takes the mean with the padding; of one alone, without
        alone = [extractor([w], sampling_rate=16000, return_tensors="pt")["input_values"][0] for w in waves]
        batch = {"input_values": torch.nn.utils.rnn.pad_sequence(alone, batch_first=True)}
    direct = encoder.network(**batch).last_hidden_state
    encoded = encoder(items)
    real = encoded.mask_NT
    assert real.sum(dim=1).tolist()[1] < real.shape[1]
    torch.testing.assert_close(encoded.tokens_NTD[real], direct[real], atol=1e-4, rtol=1e-3)
    if masks:
        alone = encoder({f: v[1:2, :1600] if f == "samples" else v[1:2] for f, v in items.items()})
        torch.testing.assert_close(alone.pooled_ND, encoded.pooled_ND[1:2], atol=1e-4, rtol=1e-3)


def test_nothing_is_hidden_at_random_in_training() -> None:
    encoder = audio("wav2vec2", config=AUDIO["wav2vec2"] | {"layerdrop": 0.9, "mask_time_prob": 0.9})
    encoder.train()
    assert not encoder.network.config.apply_spec_augment
    assert encoder.network.config.layerdrop == 0.0


def folder_of(name: str, folder: Path) -> None:
    """A released network's folder: the whole of it, of which the tower is a part, with its extractor."""
    torch.manual_seed(0)
    config = audio(name).network.config
    if name == "clap_audio_model":
        text = TEXT["roberta"] | {"max_position_embeddings": 40}
        whole = ClapConfig(text_config=text, audio_config=config.to_dict(), projection_dim=8)
        ClapModel(whole).save_pretrained(folder)
        extractor: Any = ClapFeatureExtractor(feature_size=16, truncation="rand_trunc")
    elif name == "whisper":
        config.decoder_layers, config.decoder_attention_heads = 2, 2
        WhisperModel(config).save_pretrained(folder)
        extractor = _WHISPER(feature_size=16)
    elif name == "hubert":
        HubertModel(config).save_pretrained(folder)
        extractor = _WAVES(do_normalize=False)
    else:
        ASTForAudioClassification(config).save_pretrained(folder)
        extractor = _AST(num_mel_bins=32, max_length=48, mean=-3.0)
    extractor.save_pretrained(folder)


@pytest.mark.parametrize("name", [AST, "clap_audio_model", "whisper", "hubert"])
def test_a_folder_with_its_extractor(name: str, tmp_path: Path) -> None:
    folder_of(name, tmp_path)
    spec = EncoderSpec(str(tmp_path), seconds=0.4)
    encoder = tower("audio", spec)
    assert isinstance(encoder, AudioEncoder)
    if name == AST:
        assert encoder.config()["extractor"]["mean"] == -3.0
    assert encoder.normalises == (name == AST)
    items = content(encoder)
    stored = replace(spec, name="/gone/folder", config=encoder.config())
    rebuilt = tower("audio", stored, pretrained=False)
    rebuilt.load_state_dict(encoder.state_dict())
    assert rebuilt.transform().key == encoder.transform().key
    torch.testing.assert_close(rebuilt(items).pooled_ND, encoder(items).pooled_ND, atol=0, rtol=0)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(OSError, match="its feature extractor"):
        audio_transform(spec)


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"seconds=9: a .* at most 0\.48 seconds"):
        build(AST, seconds=9)
    with pytest.raises(ValueError, match="more than 0"):
        build("hubert", seconds=-1.0)
    with pytest.raises(ValueError, match=r"cls.*no class token"):
        build("whisper", pool="cls")
    with pytest.raises(ValueError, match=r"\['meen'\] are not settings of ASTFeatureExtractor.*mean"):
        build(AST, config=AUDIO[AST] | {"extractor": {"meen": 0}})
    with pytest.raises(ValueError, match=r"features of \(32, 60\).*its network reads \(32, 48\)"):
        build(AST, config=AUDIO[AST] | {"extractor": {"max_length": 60}})


def test_what_changes_the_features_changes_the_key() -> None:
    _, spec = TOWERS[AST]
    config = AUDIO[AST]
    specs = [spec, replace(spec, seconds=0.3), replace(spec, config=config | {"extractor": {"mean": 0.0}})]
    assert len({audio_transform(one).key for one in specs}) == 3
    assert (
        audio_transform(replace(spec, config=config | {"num_hidden_layers": 1})).key
        == audio_transform(spec).key
    )

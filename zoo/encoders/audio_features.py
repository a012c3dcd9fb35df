"""Sounds as audio towers read them: resampled, cut or padded, and turned into features where they want these.

Towers of spectrograms (AST, CLAP, Whisper) get the features that the library's extractor of their family
makes, in half precision, once for every item; towers of waveforms (wav2vec 2.0, HuBERT, WavLM) get 16-bit
samples.
"""

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import (
    ASTFeatureExtractor,
    ClapFeatureExtractor,
    PretrainedConfig,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from zoo.encoders.base import EncoderSpec
from zoo.encoders.hub import from_hub, read_config
from zoo.types import Sound

_EXTRACTORS: dict[str, Any] = {
    "audio-spectrogram-transformer": ASTFeatureExtractor,
    "clap_audio_model": ClapFeatureExtractor,
    "whisper": WhisperFeatureExtractor,
}
"""Model type -> the library's extractor; waveforms otherwise."""
_SETTINGS = "extractor"
"""Key of ``config`` under which the extractor's settings travel, so that a checkpoint has them."""
_AST_HOP = 160
_DEFAULT_SECONDS = 10.0
_SHORTEST = 0.1
"""Seconds to which a shorter sound is padded: a few windows of every extractor."""
_FULL_SCALE = 32_767


def resampled(samples_T: npt.NDArray[np.float32], rate: int, wanted: int) -> npt.NDArray[np.float32]:
    """A sound at another rate, band-limited by the Fourier transform; its ends are mirrored against ringing.

    >>> resampled(np.zeros(400, np.float32), 8000, 16000).shape
    (800,)
    """
    n_in = len(samples_T)
    if rate == wanted or not n_in:
        return samples_T
    n_out = max(1, round(n_in * wanted / rate))
    edge = min(n_in - 1, rate // 50)
    # The mirrored ends must be whole numbers of samples at both rates, or the sound would shift.
    step = rate // int(np.gcd(rate, wanted))
    edge -= edge % step
    padded = np.pad(samples_T, edge, mode="reflect") if edge else samples_T
    n_long = n_out + 2 * edge * wanted // rate
    spectrum = np.fft.rfft(padded)
    keep = np.zeros(n_long // 2 + 1, dtype=spectrum.dtype)
    shared = min(len(keep), len(spectrum))
    keep[:shared] = spectrum[:shared]
    long = np.fft.irfft(keep, n_long) * (n_long / len(padded))
    start = edge * wanted // rate
    result: npt.NDArray[np.float32] = long[start : start + n_out].astype(np.float32)
    return result


class AudioTransform:
    """Sounds to the input of one kind of tower.

    Args:
        extractor: The library's extractor, or that of waveforms.
        config: The tower's configuration.
        seconds: What is read of a sound; by default what the tower's window holds.

    Raises:
        ValueError: More seconds than the window holds, or none.
    """

    def __init__(self, extractor: Any, config: PretrainedConfig, seconds: float | None) -> None:  # noqa: ANN401
        self.extractor = extractor
        self.rate = int(extractor.sampling_rate)
        self.kind = str(config.model_type)
        window = self._window(config)
        longest = window or seconds or _DEFAULT_SECONDS
        self.seconds = longest if seconds is None else seconds
        if not 0 < self.seconds <= longest:
            raise ValueError(
                f"seconds={seconds}: a {self.kind} tower of this configuration takes more than 0 and at most "
                f"{longest:g} seconds."
            )
        self.n_samples = round(longest * self.rate)
        self.fields = self._fields(config)
        self.fill: dict[str, int] = {}
        settings = json.dumps(extractor_settings(extractor), sort_keys=True)
        digest = hashlib.sha256(f"{settings} {sorted(self.fields.items())}".encode()).hexdigest()[:16]
        self.key = f"audio-{self.kind}-{self.rate}-{self.seconds:g}-{digest}"

    def _window(self, config: PretrainedConfig) -> float | None:
        """Seconds that the network has positions for; None where it takes any number."""
        if self.kind == "audio-spectrogram-transformer":
            return float(config.max_length * _AST_HOP / self.rate)
        if self.kind == "whisper":
            return float(2 * config.max_source_positions * self.extractor.hop_length / self.rate)
        if self.kind == "clap_audio_model":
            n_frames = config.spec_size * max(1, config.spec_size // config.num_mel_bins)
            return float(
                min(self.extractor.max_length_s, (n_frames - 1) * self.extractor.hop_length / self.rate)
            )
        return None

    def _fields(self, config: PretrainedConfig) -> dict[str, tuple[tuple[int, ...], str]]:
        if self.kind not in _EXTRACTORS:
            return {"samples": ((self.n_samples,), "int16"), "length": ((), "int32")}
        silence = self._features([np.zeros(self.n_samples, np.float32)])
        fields: dict[str, tuple[tuple[int, ...], str]] = {"features": (silence.shape[1:], "float16")}
        return {**fields, "length": ((), "int32")} if self.kind == "whisper" else fields

    def _features(self, sounds: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float16]:
        """The extractor's features of sounds of at most the window: (n, *shape)."""
        options: dict[str, Any] = {}
        if self.kind != "audio-spectrogram-transformer":
            options["max_length"] = self.n_samples
        # No sound is longer than the window, so that CLAP's extractor never crops one at random.
        found = self.extractor(list(sounds), sampling_rate=self.rate, return_tensors="np", **options)
        return np.asarray(found[self.extractor.model_input_names[0]], dtype=np.float16)

    def __call__(self, raw: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
        """Prepares n sounds; ``length`` counts real samples, of Whisper's features real frames."""
        sounds = [self._cut(sound) for sound in raw]
        lengths_N = np.array([len(sound) for sound in sounds], dtype=np.int32)
        if self.kind in _EXTRACTORS:
            shortest = int(_SHORTEST * self.rate)
            padded = [np.pad(s, (0, max(0, min(shortest, self.n_samples) - len(s)))) for s in sounds]
            features = {"features": self._features(padded)}
            if self.kind != "whisper":
                return features
            return {**features, "length": -(-lengths_N // self.extractor.hop_length)}
        samples = np.zeros((len(sounds), self.n_samples), np.int16)
        for row, sound in zip(samples, sounds, strict=True):
            row[: len(sound)] = np.rint(np.clip(sound, -1.0, 1.0) * _FULL_SCALE)
        return {"samples": samples, "length": lengths_N}

    def _cut(self, sound: Sound) -> npt.NDArray[np.float32]:
        """One sound at the tower's rate, of at most the wanted seconds."""
        first = sound.samples_T[: int(np.ceil(self.seconds * sound.rate))]
        return resampled(first, sound.rate, self.rate)[: min(self.n_samples, round(self.seconds * self.rate))]


def extractor_settings(extractor: Any) -> dict[str, Any]:  # noqa: ANN401 - a class of the library
    """An extractor's arguments in plain values."""
    names = [name for name in inspect.signature(type(extractor).__init__).parameters if name != "self"]
    found = {name: getattr(extractor, name) for name in names if hasattr(extractor, name)}
    return {
        name: value for name, value in found.items() if isinstance(value, bool | int | float | str | None)
    }


def audio_config(spec: EncoderSpec) -> tuple[PretrainedConfig, Any]:
    """The network's configuration and its extractor.

    From the hub or a folder both are read; with ``config`` the extractor is that of the network's family,
    with the settings under ``extractor`` if there are any.

    Raises:
        ValueError: Unknown settings, or features of another height than the network reads.
    """
    plain = dict(spec.config) if spec.config is not None else None
    given: dict[str, Any] = dict(plain.pop(_SETTINGS, {}) or {}) if plain is not None else {}
    config = read_config(replace(spec, config=plain), "audio")
    kind = _EXTRACTORS.get(config.model_type, Wav2Vec2FeatureExtractor)
    if plain is None:
        extractor = from_hub(
            lambda local: kind.from_pretrained(spec.name, local_files_only=local),
            spec.name,
            "its feature extractor (preprocessor_config.json)",
            "audio",
        )
    else:
        known = list(inspect.signature(kind.__init__).parameters)
        unknown = [name for name in given if name not in known]
        if unknown:
            raise ValueError(
                f"config of {spec.name!r}: extractor: {unknown} are not settings of {kind.__name__}; it "
                f"has {', '.join(name for name in known if name not in ('self', 'kwargs'))}."
            )
        extractor = kind(**{**_fitting(config), **given})
    _check_height(config, extractor, spec)
    return config, extractor


def _fitting(config: PretrainedConfig) -> dict[str, Any]:
    """Settings of an extractor that follow from the network."""
    if config.model_type == "audio-spectrogram-transformer":
        return {"num_mel_bins": config.num_mel_bins, "max_length": config.max_length}
    if config.model_type == "whisper":
        return {"feature_size": config.num_mel_bins}
    if config.model_type == "clap_audio_model":
        truncation = "fusion" if config.enable_fusion else "rand_trunc"
        return {"feature_size": config.num_mel_bins, "truncation": truncation}
    return {}


def _check_height(config: PretrainedConfig, extractor: Any, spec: EncoderSpec) -> None:  # noqa: ANN401
    if config.model_type not in _EXTRACTORS:
        return
    is_ast = config.model_type == "audio-spectrogram-transformer"
    found = (extractor.num_mel_bins, extractor.max_length) if is_ast else (extractor.feature_size,)
    wanted = (config.num_mel_bins, config.max_length) if is_ast else (config.num_mel_bins,)
    if found != wanted:
        raise ValueError(
            f"{spec.name!r}: its extractor makes features of {found} (mel bins, frames), its network reads "
            f"{wanted}. Correct num_mel_bins or max_length of one of them."
        )


def audio_transform(spec: EncoderSpec) -> AudioTransform:
    """Sounds for an audio tower; reads configurations, never weights."""
    config, extractor = audio_config(spec)
    return AudioTransform(extractor, config, spec.seconds)

"""From an encoder spec to its transform or its tower. Each library is imported only when a spec names it."""

import json
from pathlib import Path
from typing import Literal

from zoo.encoders.base import Encoder, EncoderSpec
from zoo.types import ContentTransform

Library = Literal["timm", "open_clip", "torchvision", "transformers"]
_MODALITIES = ("text", "image", "audio", "video")
KINDS = {"caption": "text"}
"""Modality -> the one whose towers read it too."""
READY = "features"
"""Name of what is no tower: vectors that come with the data, of any modality."""
_PREFIXES: tuple[Library, ...] = ("timm", "open_clip", "torchvision")
_KINDS: dict[Library, tuple[str, ...]] = {
    "timm": ("image",),
    "open_clip": ("text", "image"),
    "torchvision": ("video",),
    "transformers": _MODALITIES,
}
"""Modalities of which a library has towers."""


def library_of(spec: EncoderSpec) -> Library:
    """Which library builds a spec's tower: by prefix, then by what its config or local folder holds.

    >>> library_of(EncoderSpec("timm/resnet18")), library_of(EncoderSpec("bert-base-uncased"))
    ('timm', 'transformers')
    """
    for prefix in _PREFIXES:
        if spec.name.startswith(f"{prefix}/"):
            return prefix
    config = spec.config
    folder = Path(spec.name).expanduser()
    if config is None and (folder / "open_clip_config.json").is_file():
        return "open_clip"
    if config is None and (folder / "config.json").is_file():
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config is not None and "model_type" not in config:
        if "architecture" in config:
            return "timm"
        if "embed_dim" in config and "vision_cfg" in config:
            return "open_clip"
    return "transformers"


def create_transform(modality: str, spec: EncoderSpec) -> ContentTransform:
    """How a modality's raw content is prepared for the tower a spec names; loads no weights.

    Raises:
        ValueError: Unknown modality, model type or option.
        OSError: A tokenizer or configuration is neither here nor on the hub.
    """
    if spec.name == READY:
        from zoo.encoders.ready import VectorTransform

        return VectorTransform.of(spec)
    modality = KINDS.get(modality, modality)
    library = _check(modality, spec)
    if library == "open_clip":
        from zoo.encoders.clip import clip_transform

        return clip_transform(modality, spec)
    if modality == "text":
        from zoo.encoders.text import TextTransform

        return TextTransform.of(spec)
    if library == "torchvision":
        from zoo.encoders.video_torchvision import torchvision_transform

        return torchvision_transform(spec)
    if modality == "video":
        from zoo.encoders.video import video_transform

        return video_transform(spec)
    if modality == "audio":
        from zoo.encoders.audio_features import audio_transform

        return audio_transform(spec)
    if library == "timm":
        from zoo.encoders.image_timm import timm_transform

        return timm_transform(spec)
    from zoo.encoders.image import vision_transform

    return vision_transform(spec)


def create_encoder(modality: str, spec: EncoderSpec, pretrained: bool = True) -> Encoder:
    """Builds the tower a spec names.

    Args:
        modality: ``text``, ``image``, ``audio``, ``video`` or ``caption``.
        spec: What is asked for.
        pretrained: Load weights. Without, the tower is built from ``spec.config`` alone, with no folder, file
            or network: its weights come from a checkpoint.

    Raises:
        ValueError: Unknown modality, name or option.
        OSError: Weights or architecture are neither here nor on the hub.
    """
    if spec.name == READY:
        from zoo.encoders.ready import ReadyFeatures

        return ReadyFeatures(spec)
    modality = KINDS.get(modality, modality)
    library = _check(modality, spec)
    if not pretrained and spec.config is None and library == "transformers":
        raise ValueError(f"{spec.name!r} without weights needs `config`, the architecture to build.")
    if library == "open_clip":
        from zoo.encoders.clip import create_clip

        return create_clip(modality, spec, pretrained)
    if modality == "text":
        from zoo.encoders.text import TextEncoder

        return TextEncoder.of(spec, pretrained)
    if library == "torchvision":
        from zoo.encoders.video_torchvision import TorchvisionEncoder

        return TorchvisionEncoder.of(spec, pretrained)
    if modality == "video":
        from zoo.encoders.video import VideoEncoder

        return VideoEncoder.of(spec, pretrained)
    if modality == "audio":
        from zoo.encoders.audio import AudioEncoder

        return AudioEncoder.of(spec, pretrained)
    if library == "timm":
        from zoo.encoders.image_timm import TimmEncoder

        return TimmEncoder.of(spec, pretrained)
    from zoo.encoders.image import VisionEncoder

    return VisionEncoder.of(spec, pretrained)


def _check(modality: str, spec: EncoderSpec) -> Library:
    """The library that builds the tower.

    Raises:
        ValueError: There is no such modality, or the library has no tower of it.
    """
    if modality not in _MODALITIES:
        known = ", ".join([*_MODALITIES, *KINDS])
        raise ValueError(f"Unknown modality {modality!r}: expected {known}.")
    library = library_of(spec)
    _check_options(modality, spec, library)
    if modality not in _KINDS[library]:
        kinds = " and ".join(_KINDS[library])
        raise ValueError(
            f"{spec.name!r} cannot be the {modality} encoder: {library} has {kinds} networks only. Give it "
            f"as the {kinds.replace('and', 'or')} encoder, or name a network of "
            f"{' or '.join(other for other, has in _KINDS.items() if modality in has)} here."
        )
    return library


def _check_options(modality: str, spec: EncoderSpec, library: Library) -> None:
    """Refuses options of another modality, which would do nothing.

    Raises:
        ValueError: Frames of what has none, seconds of what is no sound, padding of what is no text.
    """
    if spec.pool == "legacy_padded" and (modality != "text" or library != "transformers"):
        raise ValueError(
            f"pool: legacy_padded of {spec.name!r}: only decoder language models of transformers are "
            "averaged with their padding. Use default or mean."
        )
    if modality != "video" and (spec.n_frames is not None or spec.frame_rule != "even"):
        raise ValueError(f"n_frames and frame_rule of the {modality} encoder: only clips have frames.")
    if modality != "audio" and spec.seconds is not None:
        raise ValueError(f"seconds of the {modality} encoder: only sounds are cut by it.")

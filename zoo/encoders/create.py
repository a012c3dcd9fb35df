"""From an encoder spec to its transform or its tower. Each library is imported only when a spec names it."""

import json
from pathlib import Path
from typing import Literal

from zoo.encoders.base import Encoder, EncoderSpec
from zoo.types import ContentTransform

Library = Literal["timm", "open_clip", "transformers"]


def library_of(spec: EncoderSpec) -> Library:
    """Which library builds a spec's tower: by prefix, then by what its config or local folder holds.

    >>> library_of(EncoderSpec("timm/resnet18")), library_of(EncoderSpec("bert-base-uncased"))
    ('timm', 'transformers')
    """
    if spec.name.startswith("timm/"):
        return "timm"
    if spec.name.startswith("open_clip/"):
        return "open_clip"
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
    library = _check(modality, spec)
    if library == "open_clip":
        from zoo.encoders.clip import clip_transform

        return clip_transform(modality, spec)
    if modality == "text":
        from zoo.encoders.text import TextTransform

        return TextTransform.of(spec)
    if library == "timm":
        from zoo.encoders.image_timm import timm_transform

        return timm_transform(spec)
    from zoo.encoders.image import vision_transform

    return vision_transform(spec)


def create_encoder(modality: str, spec: EncoderSpec, pretrained: bool = True) -> Encoder:
    """Builds the tower a spec names.

    Args:
        modality: ``text`` or ``image``.
        spec: What is asked for.
        pretrained: Load weights. Without, the tower is built from ``spec.config`` alone, with no folder, file
            or network: its weights come from a checkpoint.

    Raises:
        ValueError: Unknown modality, name or option.
        OSError: Weights or architecture are neither here nor on the hub.
    """
    library = _check(modality, spec)
    if not pretrained and spec.config is None and library == "transformers":
        raise ValueError(f"{spec.name!r} without weights needs `config`, the architecture to build.")
    if library == "open_clip":
        from zoo.encoders.clip import create_clip

        return create_clip(modality, spec, pretrained)
    if modality == "text":
        from zoo.encoders.text import TextEncoder

        return TextEncoder.of(spec, pretrained)
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
    if modality in ("audio", "video"):
        raise ValueError(
            f"No {modality} tower yet: audio and video encoders come with the media towers. "
            "Use text and image."
        )
    if modality not in ("text", "image"):
        raise ValueError(f"Unknown modality {modality!r}: expected text or image.")
    library = library_of(spec)
    if modality == "text" and library == "timm":
        raise ValueError(
            f"{spec.name!r} cannot be the text encoder: timm has image networks only. Give it as the image "
            "encoder, or name a text network of transformers or open_clip here."
        )
    return library

"""Which networks of transformers are towers of which modality, and the library's classes that make them."""

from typing import Any

from torch import nn
from transformers import (
    MODEL_MAPPING,
    AutoModel,
    AutoModelForTextEncoding,
    ClapAudioModel,
    PretrainedConfig,
)

from zoo.encoders.base import EncoderSpec
from zoo.encoders.missing import Side

_INPUTS: dict[Side, str] = {"text": "input_ids", "vision": "pixel_values"}
MEDIA_TYPES: dict[Side, tuple[str, ...]] = {
    "audio": (
        *("audio-spectrogram-transformer", "clap_audio_model", "whisper"),
        *("wav2vec2", "hubert", "wavlm"),
    ),
    "video": ("videomae", "timesformer", "vivit"),
}
"""Model types of which a tower is offered; what they read varies too much to take any other."""


def check_kind(config: PretrainedConfig, spec: EncoderSpec, side: Side) -> None:
    """Refuses a network that reads something else than a side's content.

    Raises:
        ValueError: Says as what it could be given, or which could be given here.
    """
    kind = {"vision": "image"}.get(side, side)
    network = MODEL_MAPPING.get(type(config), None)
    reads = getattr(network, "main_input_name", None)  # some types have several networks: nothing is known
    media = next((other for other, types in MEDIA_TYPES.items() if config.model_type in types), None)
    if media == side:
        return
    if media is None and side not in MEDIA_TYPES and reads in (None, _INPUTS[side]):
        return
    homes = {"input_ids": "text", "pixel_values": "image"}
    home = media or homes.get(str(reads))
    swap = f"Give it as the {home} encoder, or name" if home and home != kind else "Name"
    wanted = (
        f"a network here of one of the types {', '.join(MEDIA_TYPES[side])}."
        if side in MEDIA_TYPES
        else f"a network here that reads {_INPUTS[side]}."
    )
    raise ValueError(
        f"{spec.name!r} cannot be the {kind} encoder: its network "
        f"({getattr(network, '__name__', config.model_type)}) reads {reads or 'something else'}. "
        f"{swap} {wanted}"
    )


def is_encoder_decoder(config: PretrainedConfig) -> bool:
    """Whether a configuration is of T5's kin, of which the encoder is used: also where it was saved alone."""
    return bool(config.is_encoder_decoder or type(config)().is_encoder_decoder)


def loader_of(config: PretrainedConfig, side: Side) -> Any:  # noqa: ANN401 - a class of the library
    """The class that builds a configuration's network."""
    if config.model_type == "clap_audio_model":
        return ClapAudioModel  # the library's automatic classes have the whole CLAP only
    return AutoModelForTextEncoding if is_encoder_decoder(config) and side == "text" else AutoModel


def renamed(config: PretrainedConfig) -> dict[str, Any]:
    """How a released file's names become the network's, where the library's class does not know."""
    if config.model_type != "clap_audio_model":
        return {}
    return {"key_mapping": {r"^audio_model\.": ""}}  # released together with the text side


def made(loader: Any, config: PretrainedConfig) -> nn.Module:  # noqa: ANN401 - a class of the library
    """A network with random weights."""
    network: nn.Module = loader(config) if issubclass(loader, nn.Module) else loader.from_config(config)
    return network

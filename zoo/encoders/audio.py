"""Audio towers of transformers: AST, CLAP's audio side, Whisper's encoder, wav2vec 2.0, HuBERT, WavLM."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from zoo.encoders.audio_features import AudioTransform, audio_config, extractor_settings
from zoo.encoders.base import Encoded, EncoderSpec
from zoo.encoders.hub import build_network, find_blocks, plain_config
from zoo.encoders.image import flat
from zoo.encoders.tower import TokenTower, evaluating, kept_states, stack_states
from zoo.types import Content

_AST = "audio-spectrogram-transformer"
_SETTLED = {"apply_spec_augment": False, "layerdrop": 0.0, "encoder_layerdrop": 0.0, "decoder_layers": 0}
"""Settings of the library's networks that would hide parts of a sound, or leave out layers, in training:
drawn on the host from no seed of ours, and with parameters that get no gradient then. Whisper's decoder is
not read."""


class AudioEncoder(TokenTower):
    """An audio network.

    Args:
        network: The network.
        config: Its configuration.
        extractor: Makes its input.
        spec: What was asked for; ``pool: default`` is the mean of AST's two special tokens, elsewhere the
            mean over the tokens that hear something, padding left out (of CLAP, which hears a short sound
            repeated, over all).
    """

    def __init__(
        self,
        network: nn.Module,
        config: PretrainedConfig,
        extractor: Any,  # noqa: ANN401 - a class of the library
        spec: EncoderSpec,
    ) -> None:
        super().__init__(network, spec)
        self.architecture = plain_config(config) | {"extractor": extractor_settings(extractor)}
        self.kind = str(config.model_type)
        self.prepare = AudioTransform(extractor, config, spec.seconds)
        self.attends_real = bool(getattr(extractor, "return_attention_mask", False))
        self.normalises = bool(getattr(extractor, "do_normalize", False))
        self.class_token = self.kind == _AST
        self.n_prefix = 2 * self.class_token
        self.choose_pool()
        self._blocks = find_blocks(network)
        self._settle_norm(config)
        self.keep: list[int] = []
        with evaluating(self), torch.no_grad():
            self.depth = len(self._run(self.blank(), with_states=True).hidden_states) - 1
        self.keep = kept_states(spec, self.depth)
        self.width = self.measure()

    @classmethod
    def of(cls, spec: EncoderSpec, pretrained: bool = True) -> "AudioEncoder":
        """Builds the tower a spec names; ``pretrained=False`` reads ``spec.config`` only."""
        config, extractor = audio_config(spec)
        for name, value in _SETTLED.items():
            if hasattr(config, name):
                setattr(config, name, value)
        return cls(build_network(deepcopy(config), spec, pretrained, "audio"), config, extractor, spec)

    def _settle_norm(self, config: PretrainedConfig) -> None:
        """Counts a norm before the first layer, as wav2vec 2.0's base has, with the embedding."""
        if hasattr(config, "do_stable_layer_norm") and not config.do_stable_layer_norm:
            names = [name for name, _ in self.network.named_parameters()]
            self._blocks[0] += [name for name in names if name.startswith("encoder.layer_norm.")]

    def transform(self) -> AudioTransform:
        """What this tower reads of a sound."""
        return self.prepare

    def config(self) -> dict[str, Any]:
        """The transformers configuration, and under ``extractor`` how sounds are prepared for it."""
        return dict(self.architecture)

    def blocks(self) -> list[list[str]]:
        """Embedding (of waveforms with the convolutions before it), then each layer."""
        return [[f"network.{name}" for name in block] for block in self._blocks]

    def blank(self) -> Content:
        """One silent sound: features of a whole window, or one second of samples."""
        device = next(self.parameters()).device
        fields = self.prepare.fields
        content = {
            field: torch.zeros((1, *shape), dtype=getattr(torch, kind), device=device)
            for field, (shape, kind) in fields.items()
        }
        if "samples" in content:
            content["samples"] = content["samples"][:, : self.prepare.rate]
        if "length" in content:
            content["length"] += content["samples" if "samples" in content else "features"].shape[-1]
        return {**content, "present": torch.ones(1, dtype=torch.bool, device=device)}

    def forward(self, content: Content) -> Encoded:
        """Encodes ``features`` or ``samples`` as the transform makes them; silence gives finite vectors."""
        output = self._run(content, with_states=bool(self.keep))
        tokens_NTD = flat(output.last_hidden_state)
        mask_NT = self._mask(content, tokens_NTD.shape[1])
        states = [self.pool_tokens(flat(output.hidden_states[k]), mask_NT) for k in self.keep]
        return Encoded(
            pooled_ND=self.pool_tokens(tokens_NTD, mask_NT),
            tokens_NTD=tokens_NTD,
            mask_NT=mask_NT,
            states_NKD=stack_states(self.spec.name, states) if states else None,
            present_N=content.get("present"),
        )

    def pool_tokens(self, tokens_NTD: Tensor, mask_NT: Tensor | None = None) -> Tensor:
        """One vector from the tokens of a layer: (N, T, D) to (N, D)."""
        if self.kind == _AST and self.pool == "own":
            return tokens_NTD[:, : self.n_prefix].mean(dim=1)
        return super().pool_tokens(tokens_NTD, mask_NT)

    def _run(self, content: Content, with_states: bool) -> Any:  # noqa: ANN401 - an output class of the library
        options: dict[str, Any] = {"output_hidden_states": with_states}
        dtype = next(self.network.parameters()).dtype
        if "samples" in content:
            x_NT, real_NT = self._waveform(content)
            if self.attends_real:
                options["attention_mask"] = real_NT.long()
            return self.network(x_NT.to(dtype), **options)
        if self.kind == "clap_audio_model":
            # No sound exceeds the window: a network with fusion reads the first of its four spectrograms.
            n_items, device = len(content["features"]), content["features"].device
            options["is_longer"] = torch.zeros(n_items, 1, device=device)
        return self.network(content["features"].to(dtype), **options)

    def _waveform(self, content: Content) -> tuple[Tensor, Tensor]:
        """Samples (N, T), of mean zero and variance one if the tower wants that; and which are real."""
        x_NT = content["samples"].float() / 32768.0
        steps_T = torch.arange(x_NT.shape[1], device=x_NT.device)
        real_NT = steps_T < content["length"].clamp(min=1)[:, None]
        if not self.normalises:
            return x_NT, real_NT
        count_N1 = real_NT.sum(dim=1, keepdim=True)
        centred_NT = (x_NT - x_NT.sum(dim=1, keepdim=True) / count_N1) * real_NT
        variance_N1 = centred_NT.square().sum(dim=1, keepdim=True) / count_N1
        return centred_NT / (variance_N1 + 1e-7).sqrt(), real_NT

    def _mask(self, content: Content, n_tokens: int) -> Tensor | None:
        """Tokens that hear something of the sound, at least the first; None where all count."""
        if "length" not in content:
            return None
        length_N = content["length"].long().clamp(min=1)
        if self.kind == "whisper":
            heard_N = (length_N + 1) // 2  # its second convolution takes every other frame
        else:
            heard_N = self.network._get_feat_extract_output_lengths(length_N)
        return torch.arange(n_tokens, device=length_N.device) < heard_N.clamp(min=1)[:, None]

"""Every kind of tower, built small from its configuration, and content to feed it."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from zoo.encoders.base import EncoderSpec
from zoo.encoders.create import create_encoder
from zoo.encoders.tower import Tower
from zoo.types import Content, ContentTransform, Sound

TITLES = [
    "how to fold a paper crane",
    "crane",
    "A very long title, of many more words than are ever kept here",
]

_TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 60,
    "max_position_embeddings": 24,
}
_MODERN = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "cls_token_id": 2, "sep_token_id": 1}
_GPT2: dict[str, Any] = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 60, "n_positions": 24}
_GPT2 |= {"bos_token_id": 2, "eos_token_id": 1}
_OPT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "ffn_dim": 32,
    "vocab_size": 60,
    "max_position_embeddings": 24,
    "word_embed_proj_dim": 16,
}
_DISTIL: dict[str, Any] = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
_DISTIL |= {"vocab_size": 60, "max_position_embeddings": 24}
_T5: dict[str, Any] = {
    "d_model": 16,
    "num_layers": 2,
    "num_heads": 2,
    "d_kv": 8,
    "d_ff": 32,
    "vocab_size": 60,
}

_LLM = _TEXT | {"num_key_value_heads": 1}
_XLNET: dict[str, Any] = {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32, "vocab_size": 60}

TEXT: dict[str, dict[str, Any]] = {
    "bert": _TEXT,
    "roberta": _TEXT,
    "xlm-roberta": _TEXT,
    "electra": _TEXT | {"embedding_size": 8},
    "distilbert": _DISTIL,
    "albert": _TEXT | {"embedding_size": 8},
    "deberta-v2": _TEXT,
    "mpnet": _TEXT,
    "xlnet": _XLNET,
    "modernbert": _TEXT | _MODERN,
    "opt": _OPT,
    "gpt2": _GPT2,
    "llama": _TEXT,
    "qwen2": _LLM,
    "mistral": _LLM | {"sliding_window": 4},
    "t5": _T5,
    "clip_text_model": _TEXT | {"bos_token_id": 2, "eos_token_id": 3},
}
CAUSAL = ("opt", "gpt2", "llama", "qwen2", "mistral", "clip_text_model")

_VIT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 8,
}
_DINO = {k: v for k, v in _VIT.items() if k != "intermediate_size"}
_SWIN: dict[str, Any] = {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 2]}
_SWIN |= {"num_heads": [2, 2], "window_size": 4}
_TIMM_VIT: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}

VISION: dict[str, dict[str, Any]] = {
    "vit": _VIT,
    "vit_mae": _VIT,
    "deit": _VIT,
    "beit": _VIT,
    "dinov2": _DINO,
    "clip_vision_model": _VIT,
    "siglip_vision_model": _VIT,
    "swin": _SWIN,
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "layer_type": "basic"},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2},
    "timm/vit_tiny_patch16_224": _TIMM_VIT,
    "timm/vit_base_patch16_siglip_224": _TIMM_VIT,
    "timm/deit_tiny_distilled_patch16_224": _TIMM_VIT,
    "timm/beit_base_patch16_224": _TIMM_VIT,
    "timm/swin_tiny_patch4_window7_224": {
        "img_size": 16,
        "patch_size": 2,
        "embed_dim": 8,
        "depths": [1, 2],
        "num_heads": [2, 2],
        "window_size": 4,
    },
    "timm/convnext_atto": {"depths": [0, 1, 1, 1], "dims": [8, 8, 16, 16], "patch_size": 2},
    "timm/resnet18": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]},
}
_BLOCK = {
    k: _VIT[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
}
_CLIP: dict[str, Any] = _BLOCK | {"image_size": 16, "num_frames": 4}
VIDEO: dict[str, dict[str, Any]] = {
    "videomae": _CLIP | {"patch_size": 8},
    "timesformer": _CLIP | {"patch_size": 8},
    "vivit": _CLIP | {"tubelet_size": [2, 8, 8]},
}
_PATCHES = {"patch_size": 16, "frequency_stride": 16, "time_stride": 16}
_WAVES: dict[str, Any] = _BLOCK | {
    "conv_dim": [8, 8],
    "conv_kernel": [10, 8],
    "conv_stride": [40, 8],
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 2,
}
_WHISPER: dict[str, Any] = {"d_model": 16, "num_mel_bins": 16, "max_source_positions": 25, "vocab_size": 20}
_WHISPER |= {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
_WHISPER |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
AUDIO: dict[str, dict[str, Any]] = {
    "audio-spectrogram-transformer": _BLOCK | _PATCHES | {"max_length": 48, "num_mel_bins": 32},
    "clap_audio_model": {
        "spec_size": 64,
        "num_mel_bins": 16,
        "window_size": 4,
        "patch_embeds_hidden_size": 8,
        "depths": [1, 2],
        "num_attention_heads": [2, 2],
        "hidden_size": 16,
        "num_hidden_layers": 2,
    },
    "whisper": _WHISPER,
    "wav2vec2": _WAVES,
    "hubert": _WAVES,
    "wavlm": _WAVES,
}
WAVES = ("wav2vec2", "hubert", "wavlm")

ISOTROPIC = (
    *("vit", "vit_mae", "deit", "beit", "dinov2", "clip_vision_model", "siglip_vision_model"),
    *("timm/vit_tiny_patch16_224", "timm/vit_base_patch16_siglip_224", "timm/beit_base_patch16_224"),
    "timm/deit_tiny_distilled_patch16_224",
)
"""Towers whose layer states all have one width."""

CLIP: dict[str, Any] = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 2},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
_RESNET: dict[str, Any] = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}
CLIP_RESNET: dict[str, Any] = CLIP | {"vision_cfg": _RESNET}

TOWERS: dict[str, tuple[str, EncoderSpec]] = {
    **{n: ("text", EncoderSpec(n, config=c, tokenizer="words", max_tokens=8)) for n, c in TEXT.items()},
    **{
        n: ("image", EncoderSpec(n, config=c, image_size=32 if "atto" in n else 16))
        for n, c in VISION.items()
    },
    **{n: ("video", EncoderSpec(n, config=c)) for n, c in VIDEO.items()},
    **{n: ("audio", EncoderSpec(n, config=c, seconds=0.4)) for n, c in AUDIO.items()},
    "open_clip-text": ("text", EncoderSpec("open_clip/small", config=CLIP, max_tokens=8)),
    "open_clip-image": ("image", EncoderSpec("open_clip/small", config=CLIP)),
    "open_clip-resnet": ("image", EncoderSpec("open_clip/rn", config=CLIP_RESNET)),
}
UNIFORM = [
    *TEXT,
    *ISOTROPIC,
    *VIDEO,
    *(n for n in AUDIO if n != "clap_audio_model"),
    "open_clip-text",
    "open_clip-image",
]


def build(name: str, **changes: Any) -> Tower:  # noqa: ANN401 - fields of a spec
    """A small tower of a kind, in evaluation mode, the same at every call."""
    modality, spec = TOWERS[name]
    torch.manual_seed(0)
    return tower(modality, EncoderSpec(**(vars(spec) | changes)))


def tower(modality: str, spec: EncoderSpec, pretrained: bool = True) -> Tower:
    """The tower of a spec, in evaluation mode."""
    encoder = create_encoder(modality, spec, pretrained)
    assert isinstance(encoder, Tower)
    return encoder.eval()


def pictures(n: int = 3) -> list[Image.Image]:
    """Noise of different sizes."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(20 + 3 * i, 17 + i, 3) for i in range(n)]
    noise = [torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) for shape in shapes]
    return [Image.fromarray(picture.numpy()) for picture in noise]


def clips(n_frames: int = 4) -> list[list[Image.Image]]:
    """Three clips of noise."""
    noise = pictures(3 * n_frames)
    return [noise[i * n_frames : (i + 1) * n_frames] for i in range(3)]


def sounds() -> list[Sound]:
    """A tone, a shorter one of noise, and a longer one of both, at three rates."""
    rng = np.random.default_rng(0)
    short, long = (rng.normal(0, 0.1, n).astype(np.float32) for n in (1600, 30000))
    tone = (np.sin(np.arange(30000) / 9) / 2).astype(np.float32)
    return [Sound(tone[:4000], 8000), Sound(short, 16000), Sound(np.add(long, tone), 22050)]


def raw_of(transform: ContentTransform) -> list[Any]:
    """Three raw items of a transform's modality."""
    if "tokens" in transform.fields:
        return list(TITLES)
    if "pixels" in transform.fields:
        return list(pictures())
    return clips(transform.fields["frames"][0][0]) if "frames" in transform.fields else list(sounds())


def content(encoder: Tower) -> Content:
    """Three prepared items, all present."""
    transform = encoder.transform()
    raw = raw_of(transform)
    prepared = {field: torch.from_numpy(values) for field, values in transform(raw).items()}
    return {**prepared, "present": torch.ones(len(raw), dtype=torch.bool)}

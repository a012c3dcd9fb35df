"""The image and text sides of open_clip models, each as a tower of its own."""

import difflib
import json
from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from zoo.encoders.base import Encoded, Encoder, EncoderSpec
from zoo.encoders.clip_image import ClipImageEncoder, block_names, clip_size
from zoo.encoders.hub import ask_hub, ways_out
from zoo.encoders.image import ImageTransform
from zoo.encoders.missing import near_names
from zoo.encoders.text import TextTransform
from zoo.encoders.tower import EmbeddingOutput, Tower, kept_states, last_token, mean_tokens, stack_states
from zoo.encoders.trim import PAD, trim_tokens
from zoo.encoders.weights import load_weights
from zoo.types import Content

Side = Literal["visual", "text"]

_CONTEXT = 77
_SIDES = ("embed_dim", "vision_cfg", "text_cfg")
_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
# The other side of a model is not wanted: it is made as small as the library allows.
_TINY: dict[Side, dict[str, Any]] = {
    "visual": {"vision_cfg": {"image_size": 8, "patch_size": 8, "width": 8, "head_width": 8, "layers": 1}},
    "text": {"text_cfg": {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}},
}


class ClipTokenizer:
    """CLIP's byte-pair tokenizer; its vocabulary comes with open_clip."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - options of the library's tokenizer
        named = json.dumps(options, sort_keys=True)
        self.tokenizer = _byte_pairs(named)
        self.key = f"clip-bpe:{len(self.tokenizer.encoder)}:{named}"

    def __call__(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Ids of each text between start and end token, at most ``max_tokens``."""
        start, end = self.tokenizer.sot_token_id, self.tokenizer.eot_token_id
        return [[start, *self.tokenizer.encode(text)[: max_tokens - 2], end] for text in texts]


@lru_cache(maxsize=1)
def _byte_pairs(options: str) -> Any:  # noqa: ANN401 - the library's tokenizer
    """The library's tokenizer with options given as JSON; unpacking its vocabulary takes half a second."""
    return SimpleTokenizer(**json.loads(options))


class ClipTextEncoder(Tower):
    """The text side.

    Args:
        network: The side's network.
        architecture: Configuration of the whole model.
        spec: What was asked for; ``pool: default`` is the projected vector at the end token, ``mean`` the
            mean over real tokens. States are read at the same place, before norm and projection.
    """

    def __init__(self, network: nn.Module, architecture: dict[str, Any], spec: EncoderSpec) -> None:
        super().__init__(network, spec)
        if spec.pool == "cls":
            raise ValueError(
                f"pool: cls of {spec.name!r}: a CLIP text tower reads its end token, its first one has seen "
                "nothing. Use default or mean."
            )
        self.architecture = architecture
        self.resblocks = self.network.transformer.resblocks
        self.depth = len(self.resblocks)
        self.keep = kept_states(spec, self.depth)
        self._embedded = EmbeddingOutput(self.resblocks[0]) if 0 in self.keep else None
        self.width = self.measure()

    def transform(self) -> TextTransform:
        """Titles through CLIP's tokenizer."""
        return text_transform(self.spec, self.architecture)

    def config(self) -> dict[str, Any]:
        """The model's open_clip configuration, both sides."""
        return deepcopy(self.architecture)

    def blocks(self) -> list[list[str]]:
        """Embedding, then each block."""
        return block_names(["token_embedding.", "positional_embedding"], len(self.resblocks))

    def blank(self) -> Content:
        """One title of three tokens."""
        device = next(self.parameters()).device
        tokens = torch.arange(3, dtype=torch.int32, device=device)[None] % self.network.vocab_size
        return {"tokens": tokens, "present": torch.ones(1, dtype=torch.bool, device=device)}

    def trim(self, content: Content) -> Content:
        """Titles cut to the longest, where no token sees what comes later."""
        causal = self.network.attn_mask is not None
        return trim_tokens(content) if causal and "tokens" in content else content

    def forward(self, content: Content) -> Encoded:
        """Encodes ``tokens`` (N, T) int32, -1 after each title; T is at most the model's context length."""
        network = self.network
        tokens_NT = content["tokens"]
        mask_NT = tokens_NT != PAD
        ids_NT = tokens_NT.clamp(min=0).long()
        length = ids_NT.shape[1]
        embedded_NTD = network.token_embedding(ids_NT) + network.positional_embedding[:length]
        # Causal: padding comes last, so no real token sees it.
        causal_TT = None if network.attn_mask is None else network.attn_mask[:length, :length]
        indices = sorted({k - 1 for k in self.keep if k > 0}) or [self.depth - 1]
        last_NTD, found = network.transformer.forward_intermediates(
            embedded_NTD, attn_mask=causal_TT, indices=indices
        )
        tokens_NTD = network.ln_final(last_NTD)
        layers = dict(zip(indices, found, strict=True))
        if self._embedded is not None:
            layers[-1] = self._embedded.take()
        pooled_ND = self._pool(tokens_NTD, mask_NT)
        states = [self._pool(layers[k - 1], mask_NT) for k in self.keep]
        return Encoded(
            pooled_ND=self._project(pooled_ND) if self.spec.pool == "default" else pooled_ND,
            tokens_NTD=tokens_NTD,
            mask_NT=mask_NT,
            states_NKD=stack_states(self.spec.name, states) if states else None,
            present_N=content.get("present"),
        )

    def _pool(self, tokens_NTD: Tensor, mask_NT: Tensor) -> Tensor:
        """One vector an item: the last real token, which is the end token, or the mean."""
        if self.spec.pool in ("mean", "mean_all"):
            return mean_tokens(tokens_NTD, mask_NT)
        return last_token(tokens_NTD, mask_NT)

    def _project(self, pooled_ND: Tensor) -> Tensor:
        projection = self.network.text_projection
        if projection is None:
            return pooled_ND
        projected: Tensor = (
            projection(pooled_ND) if isinstance(projection, nn.Module) else pooled_ND @ projection
        )
        return projected


def clip_architecture(spec: EncoderSpec) -> dict[str, Any]:
    """Configuration of the whole model a spec names.

    Raises:
        ValueError: open_clip has no such model.
    """
    folder = Path(spec.name).expanduser() / "open_clip_config.json"
    if spec.config:
        config = deepcopy(spec.config)
        _check_keys(spec.name, config)
    elif folder.is_file():
        config = json.loads(folder.read_text(encoding="utf-8"))["model_cfg"]
    else:
        name, _ = _name_and_tag(spec)
        config = open_clip.get_model_config(name)
        if config is None:
            near = difflib.get_close_matches(name, open_clip.list_models(), n=5)
            raise ValueError(
                f"open_clip (version {open_clip.__version__}) has no model {name!r}. Near: "
                f"{', '.join(near) or 'nothing'}. All names: open_clip.list_models(). A folder with "
                "open_clip_config.json and weights is named by its path alone."
            )
    if spec.image_size:
        config["vision_cfg"]["image_size"] = spec.image_size
    return {k: v for k, v in config.items() if k in ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")}


def create_clip(modality: str, spec: EncoderSpec, pretrained: bool) -> Encoder:
    """Builds one side of the model a spec names; ``pretrained=False`` loads no weights.

    Raises:
        ValueError: Unknown model, tag or setting, or a text side that is a transformers model.
        OSError: The weights are not here and cannot be fetched.
    """
    side: Side = "text" if modality == "text" else "visual"
    architecture = clip_architecture(spec)
    if side == "text":
        _check_text(spec, architecture)
    if pretrained and spec.config is None and spec.weights is None:
        network, quick_gelu = _released(spec, side)
        architecture["quick_gelu"] = quick_gelu
    else:
        other: Side = "visual" if side == "text" else "text"
        try:
            network = getattr(CustomTextCLIP(**(architecture | _TINY[other])), side)
        except TypeError as error:
            raise ValueError(f"config of {spec.name!r}: {error}.") from error
        if pretrained and spec.weights is not None:
            load_weights(network, spec.weights)
    if spec.checkpointing:
        network.set_grad_checkpointing(True)
    if side == "text":
        return ClipTextEncoder(network, architecture, spec)
    return ClipImageEncoder(network, architecture, spec)


def clip_transform(modality: str, spec: EncoderSpec) -> TextTransform | ImageTransform:
    """Titles or pictures prepared for one side of a model; builds nothing."""
    architecture = clip_architecture(spec)
    return (
        text_transform(spec, architecture) if modality == "text" else ImageTransform(clip_size(architecture))
    )


def text_transform(spec: EncoderSpec, architecture: dict[str, Any]) -> TextTransform:
    """Titles through CLIP's tokenizer, cut to the model's context length."""
    _check_text(spec, architecture)
    text = architecture["text_cfg"]
    tokenizer = ClipTokenizer(**(text.get("tokenizer_kwargs") or {}))
    return TextTransform(tokenizer, min(spec.max_tokens, text.get("context_length", _CONTEXT)))


def _check_keys(name: str, config: dict[str, Any]) -> None:
    """Refuses settings that no model of the library has, and a model without its two sides."""
    known = {key for model in open_clip.list_models() for key in open_clip.get_model_config(model) or {}}
    unknown = [key for key in config if key not in known]
    missing = [key for key in _SIDES if key not in config]
    if unknown or missing:
        raise ValueError(
            f"config of {name!r}: unknown {unknown}, missing {missing}. It is open_clip's configuration of a "
            f"whole model: embed_dim, vision_cfg, text_cfg, and optionally {sorted(known - {*_SIDES})}."
        )


def near_clip(name: str) -> list[str]:
    """Names of open_clip's list near a name that was not found, as an encoder's name is written."""
    return [f"open_clip/{model}" for model in near_names(name, open_clip.list_models())]


def _check_text(spec: EncoderSpec, architecture: dict[str, Any]) -> None:
    text = architecture["text_cfg"]
    foreign = text.get("hf_model_name") or text.get("hf_tokenizer_name")
    if foreign:
        raise ValueError(
            f"The text side of {spec.name!r} uses {foreign!r} of transformers: name that as the text tower."
        )
    if text.get("embed_cls") or text.get("pool_type", "argmax") not in ("argmax", "eos"):
        raise ValueError(
            f"The text side of {spec.name!r} does not read an end token, which is not offered here."
        )
    if spec.tokenizer is not None:
        raise ValueError(f"{spec.name!r} brings its own tokenizer: leave out tokenizer={spec.tokenizer!r}.")


def _released(spec: EncoderSpec, side: Side) -> tuple[Any, bool]:
    """One side with released weights, and whether the model uses the quick GELU."""
    if Path(spec.name).expanduser().is_dir():
        source: dict[str, Any] = {"model_name": f"local-dir:{spec.name}"}
        quick_gelu = bool(clip_architecture(spec).get("quick_gelu", False))
    else:
        name, tag = _name_and_tag(spec)
        tags = open_clip.list_pretrained_tags_by_model(name)
        if tag not in tags:
            raise ValueError(
                f"Which weights of {name!r}? Name them as open_clip/{name}/<tag>; tags: "
                f"{', '.join(tags) or 'none'}. Or give `config` for random weights, or a file in `weights`."
            )
        released = open_clip.get_pretrained_cfg(name, tag)
        quick_gelu = bool(
            released.get("quick_gelu", (open_clip.get_model_config(name) or {}).get("quick_gelu"))
        )
        source = {"model_name": name, "pretrained": tag, "force_quick_gelu": quick_gelu}
        repository = str(released.get("hf_hub") or "").rstrip("/")
        if repository:
            ask_hub(repository, spec.name, f"its weights, {repository}", _FILES)
    try:
        model = open_clip.create_model(
            **source, force_custom_text=True, force_image_size=spec.image_size, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        raise OSError(
            f"The weights of {spec.name!r} could not be loaded ({type(error).__name__}: {reason}). "
            f"{ways_out(spec.name, 'its weights')}"
        ) from error
    return getattr(model, side), quick_gelu


def _name_and_tag(spec: EncoderSpec) -> tuple[str, str]:
    name, _, tag = spec.name.removeprefix("open_clip/").partition("/")
    return name, tag

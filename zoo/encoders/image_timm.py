"""Image towers of timm: any of its models by name, with their arguments as configuration."""

import difflib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from zoo.encoders.base import Encoded, EncoderSpec
from zoo.encoders.hub import ask_hub, ways_out
from zoo.encoders.image import DEFAULT_SIZE, ImageTower, ImageTransform, flat
from zoo.encoders.missing import near_names
from zoo.encoders.tower import EmbeddingOutput, evaluating, kept_states, stack_states
from zoo.encoders.weights import load_weights
from zoo.types import Content


class TimmEncoder(ImageTower):
    """A timm tower, without its classifier.

    Args:
        network: The timm model.
        architecture: Its name and the arguments it was made with.
        size: Side of its pictures.
        spec: What was asked for; ``pool: default`` is the model's own pooling.
    """

    def __init__(
        self, network: nn.Module, architecture: dict[str, Any], size: int, spec: EncoderSpec
    ) -> None:
        super().__init__(network, spec)
        tower: Any = network
        self.architecture = architecture
        self.size = size
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        self.n_prefix = int(getattr(network, "num_prefix_tokens", 0))
        self.class_token = getattr(network, "cls_token", None) is not None
        self.reads_class_token = getattr(network, "global_pool", "token") == "token"
        self.choose_pool()
        groups = group_parameters(tower, tower.group_matcher(coarse=False))
        self._blocks = [list(groups[i]) for i in sorted(groups)]
        while len(self._blocks) > 2 and not any(re.search(r"\.\d+\.", name) for name in self._blocks[-1]):
            self._blocks.pop()  # a final norm or pooling on its own is no block: it counts as the top
        self.depth = len(tower.feature_info) if hasattr(tower, "feature_info") else len(self._blocks) - 1
        self.keep = kept_states(spec, self.depth)
        self._check_states()
        self._embedded = EmbeddingOutput(self._first_block()) if 0 in self.keep else None
        self.width = self.measure()
        self.maps = self._gives_maps()

    @classmethod
    def of(cls, spec: EncoderSpec, pretrained: bool = True) -> "TimmEncoder":
        """Builds the tower a spec names; ``config`` holds arguments of ``timm.create_model``.

        Raises:
            ValueError: timm has no such model, or the model no such argument.
            OSError: The weights are not here and cannot be fetched.
        """
        architecture = timm_architecture(spec)
        kwargs = dict(architecture)
        name = str(kwargs.pop("architecture"))
        fetch = pretrained and spec.config is None and spec.weights is None
        folder = Path(spec.name).expanduser()
        from_folder = fetch and folder.is_dir()
        try:
            if fetch and not from_folder:
                network: Any = from_hub_timm(name, kwargs)
            else:
                network = timm.create_model(name, pretrained=False, num_classes=0, **kwargs)
        except TypeError as error:
            raise ValueError(
                f"config of {spec.name!r}: {error}. Its keys are arguments of timm's {name}."
            ) from error
        if from_folder:
            load_weights(network, str(local_weights(folder)))
        elif pretrained and spec.weights is not None:
            load_weights(network, spec.weights)
        if spec.checkpointing:
            network.set_grad_checkpointing(True)
        return cls(network, architecture, timm_size(spec, architecture), spec)

    def config(self) -> dict[str, Any]:
        """Model name and arguments."""
        return dict(self.architecture)

    def blocks(self) -> list[list[str]]:
        """Stem, then each block, as timm groups them for layer-wise learning rates."""
        return [[f"network.{name}" for name in block] for block in self._blocks]

    def forward(self, content: Content) -> Encoded:
        """Encodes ``pixels`` (N, 3, size, size) uint8."""
        x = self.normalised(content)
        states: list[Tensor] = []
        if self.keep:
            features, states = self._with_states(x)
        else:
            features = self.network.forward_features(x)
        tokens_NTD = flat(features, self.channels_last) if features.ndim > 2 else None
        if self.pool == "own":
            pooled_ND = self.network.forward_head(features, pre_logits=True)
        elif tokens_NTD is None:
            raise ValueError(
                f"pool: {self.pool} of {self.spec.name!r}: this tower gives one vector and no tokens. Leave "
                "pool at default."
            )
        else:
            pooled_ND = self.pool_tokens(tokens_NTD)
        return Encoded(
            pooled_ND=pooled_ND,
            tokens_NTD=tokens_NTD,
            states_NKD=stack_states(self.spec.name, states) if states else None,
            present_N=content.get("present"),
        )

    @torch.no_grad()
    def _gives_maps(self) -> bool:
        with evaluating(self):
            features: Tensor = self.network.forward_features(self.normalised(self.blank()))
        return features.ndim == 4 and not self.channels_last

    def _with_states(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Final features and the pooled kept states, before the final norm."""
        later = sorted({k - 1 for k in self.keep if k > 0}) or [self.depth - 1]
        if self._returns_prefix():
            features, found = self.network.forward_intermediates(
                x, indices=later, norm=False, return_prefix_tokens=True, output_fmt="NLC"
            )
            layers = [torch.cat(f[::-1], dim=1) if isinstance(f, tuple) else f for f in found]
        else:
            features, found = self.network.forward_intermediates(x, indices=later, norm=False)
            layers = [flat(f) for f in found]
        by_index = dict(zip(later, layers, strict=True))
        if self._embedded is not None:
            by_index[-1] = flat(self._embedded.take(), self.channels_last)
        return features, [self.pool_tokens(by_index[k - 1]) for k in self.keep]

    def _returns_prefix(self) -> bool:
        """Whether the library gives a layer's class token beside its patches."""
        return "return_prefix_tokens" in inspect.signature(self.network.forward_intermediates).parameters

    def _check_states(self) -> None:
        if not self.keep:
            return
        if not hasattr(self.network, "forward_intermediates"):
            raise ValueError(f"states of {self.spec.name!r}: timm does not give the layers of this tower.")
        if self.n_prefix and not self._returns_prefix():
            raise ValueError(
                f"states of {self.spec.name!r}: timm gives the layers of this tower without the class token "
                "that it pools. Leave states out, or use a ViT, DeiT, BEiT or EVA."
            )

    def _first_block(self) -> nn.Module:
        for path in ("blocks", "layers", "stages", "layer1"):
            stack = getattr(self.network, path, None)
            if isinstance(stack, nn.Module):
                first: nn.Module = next(stack.children())
                return first
        raise ValueError(
            f"states of {self.spec.name!r}: no embedding output (state 0) found; leave out state 0."
        )


def timm_architecture(spec: EncoderSpec) -> dict[str, Any]:
    """Model name and arguments a spec describes: its config, a local folder's, or its own name."""
    folder = Path(spec.name).expanduser()
    config = dict(spec.config or {})
    if "architecture" in config:
        name = str(config.pop("architecture"))
    elif folder.is_dir():
        name = str(json.loads((folder / "config.json").read_text())["architecture"])
    else:
        name = spec.name.removeprefix("timm/")
    if not timm.is_model(name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=5)
        raise ValueError(
            f"timm (version {timm.__version__}) has no model {name!r}. Near: {', '.join(near) or 'nothing'}. "
            "All names: timm.list_models(). A folder with a timm model's config.json and weights is named by "
            "its path alone."
        )
    known = _released(name)
    if spec.image_size and "img_size" not in config and getattr(known, "fixed_input_size", False):
        config["img_size"] = spec.image_size
    return {"architecture": name, **config}


def _released(name: str) -> Any:  # noqa: ANN401 - timm's record of a model
    """What timm knows of a model's released weights."""
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = timm.list_pretrained(f"{name.split('.')[0]}.*") or ["none"]
        raise ValueError(
            f"timm (version {timm.__version__}) has no weights {name!r}; released: {', '.join(tags)}."
        ) from error


def near_timm(name: str) -> list[str]:
    """Names of timm's list near a name that was not found, as an encoder's name is written."""
    return [f"timm/{model}" for model in near_names(name, timm.list_models())]


def timm_size(spec: EncoderSpec, architecture: dict[str, Any]) -> int:
    """Side of the pictures: as asked for, as configured, or the model's own."""
    known = _released(architecture["architecture"])
    own = known.input_size[-1] if known is not None else DEFAULT_SIZE
    return int(spec.image_size or architecture.get("img_size") or own)


def local_weights(folder: Path) -> Path:
    """The weights of a timm model's folder."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"The folder {str(folder)!r} has no model.safetensors or pytorch_model.bin.")


def from_hub_timm(name: str, kwargs: dict[str, Any]) -> nn.Module:
    """A timm model with its released weights.

    Raises:
        OSError: They are not in the cache and cannot be fetched.
        ValueError: None were released.
    """
    title = f"timm/{name}"
    if not timm.is_model_pretrained(name):
        raise ValueError(f"timm has no released weights for {name!r}. {ways_out(title, 'its weights')}")
    repository = timm.get_pretrained_cfg(name).hf_hub_id
    wanted = f"its weights, {repository}"
    files = ("model.safetensors", "pytorch_model.bin")
    if repository:
        ask_hub(repository, title, wanted, files)
    try:
        network: nn.Module = timm.create_model(name, pretrained=True, num_classes=0, **kwargs)
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"The weights of {title} could not be loaded ({type(error).__name__}: {error}). "
            f"{ways_out(title, wanted)}"
        ) from error
    return network


def timm_transform(spec: EncoderSpec) -> ImageTransform:
    """Pictures at the size of a timm tower; builds nothing."""
    return ImageTransform(timm_size(spec, timm_architecture(spec)))

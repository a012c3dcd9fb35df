"""Video towers of torchvision: 3D ResNets, S3D, MViT, video Swin; ``torchvision/<model>``."""

from collections.abc import Sequence
from typing import Any
from urllib.error import URLError

from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models, video

from zoo.encoders.base import Encoded, EncoderSpec
from zoo.encoders.hub import recomputed, ways_out
from zoo.encoders.missing import near_names
from zoo.encoders.tower import kept_states, stack_states
from zoo.encoders.video import VideoTower, VideoTransform, frames_of
from zoo.encoders.weights import load_weights
from zoo.types import Content

_SIZES = {"r3d_18": 112, "mc3_18": 112, "r2plus1d_18": 112}
"""Side of the frames the released weights were trained on; 224 elsewhere."""
_FRAMES = {"swin3d_t": 32, "swin3d_s": 32, "swin3d_b": 32, "s3d": 128}
"""Frames of a clip there; 16 elsewhere."""
_FIXED = "mvit"
"""MViT's positions are made for 16 frames of 224 pixels."""


class Layers:
    """Keeps what some parts of a network give in a forward pass: libraries do not return it."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        self._seen: dict[int, Tensor] = {}
        for index, part in enumerate(parts):
            part.register_forward_hook(lambda _, __, output, index=index: self._keep(index, output))

    def _keep(self, index: int, output: Any) -> None:  # noqa: ANN401 - a tensor, of MViT with its shape
        self._seen[index] = output[0] if isinstance(output, tuple) else output

    def take(self) -> dict[int, Tensor]:
        """Outputs of the last forward pass by number of the part; they are not kept any longer."""
        seen, self._seen = self._seen, {}
        return seen


class TorchvisionEncoder(VideoTower):
    """A torchvision video network without its classifier.

    Args:
        network: The network, called with (N, 3, T, h, w).
        architecture: Its name and the arguments it was made with.
        spec: What was asked for; ``pool: default`` is what the classifier would read: the mean over the last
            feature map, of MViT the class token.
    """

    def __init__(self, network: nn.Module, architecture: dict[str, Any], spec: EncoderSpec) -> None:
        super().__init__(network, spec)
        self.architecture = architecture
        self.prepare = torchvision_transform(spec)
        self.prepare_pixels()
        self.class_token = isinstance(network, video.MViT)
        self.n_prefix = int(self.class_token)
        self.channels_last = isinstance(network, video.SwinTransformer3d)
        self.choose_pool()
        self._blocks, last = block_names(network)
        self.depth = len(self._blocks) - 1
        self.keep = kept_states(spec, self.depth)
        ends = [self._part(block[-1]) for block in self._blocks]
        self._layers = Layers([*(ends[k] for k in self.keep), self._part(last)])
        if spec.checkpointing:
            self._recompute()
        self.width = self.measure()
        self.maps = False

    @classmethod
    def of(cls, spec: EncoderSpec, pretrained: bool = True) -> "TorchvisionEncoder":
        """Builds the tower a spec names; ``config`` holds arguments of torchvision's model.

        Raises:
            ValueError: torchvision has no such model, or the model no such argument.
            OSError: The weights are not here and cannot be fetched.
        """
        architecture = torchvision_architecture(spec)
        kwargs = dict(architecture)
        name = str(kwargs.pop("architecture"))
        try:
            network: Any = get_model(name, weights=None, **kwargs)
        except TypeError as error:
            raise ValueError(
                f"config of {spec.name!r}: {error}. Its keys are arguments of torchvision's {name}."
            ) from error
        if pretrained and spec.weights is None and spec.config is None:
            network.load_state_dict(_released(spec.name, name))
        for head in ("avgpool", "fc", "head", "classifier"):
            if hasattr(network, head):
                setattr(network, head, nn.Identity())
        if pretrained and spec.weights is not None:
            load_weights(network, spec.weights)
        return cls(network, architecture, spec)

    def config(self) -> dict[str, Any]:
        """Model name and arguments."""
        return dict(self.architecture)

    def blocks(self) -> list[list[str]]:
        """Stem, then each block."""
        return [[f"network.{name}" for name in block] for block in self._blocks]

    def _part(self, prefix: str) -> nn.Module:
        part: nn.Module = self.network.get_submodule(prefix.removesuffix("."))
        return part

    def _recompute(self) -> None:
        if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in self.network.modules()):
            raise ValueError(
                f"checkpointing of {self.spec.name!r}: its batch norms would count every batch twice. Leave "
                "checkpointing out, or use a tower without them (swin3d, VideoMAE)."
            )
        for block in self._blocks[1:]:
            for prefix in block:
                part = self._part(prefix)
                part.forward = recomputed(part, part.forward)

    def forward(self, content: Content) -> Encoded:
        """Encodes ``frames`` (N, T, 3, size, size) uint8."""
        self.network(self.normalised(content).transpose(1, 2))
        found = self._layers.take()
        tokens_NTD = self._tokens(found[len(self.keep)])
        states = [self.pool_tokens(self._tokens(found[i])) for i in range(len(self.keep))]
        return Encoded(
            pooled_ND=self.pool_tokens(tokens_NTD),
            tokens_NTD=tokens_NTD,
            states_NKD=stack_states(self.spec.name, states) if states else None,
            present_N=content.get("present"),
        )

    def _tokens(self, features: Tensor) -> Tensor:
        """A feature map as tokens (N, T, D); tokens pass through."""
        if features.ndim == 3:
            return features
        return features.flatten(1, 3) if self.channels_last else features.flatten(2).transpose(1, 2)


def block_names(network: nn.Module) -> tuple[list[list[str]], str]:
    """Parameter-name prefixes, stem first, then each block; and the part whose output a classifier reads."""
    if isinstance(network, video.MViT):
        stem = ["conv_proj.", "pos_encoding."]
        return [stem, *([f"blocks.{i}."] for i in range(len(network.blocks)))], "norm"
    if isinstance(network, video.S3D):
        parts = [i for i, part in enumerate(network.features) if any(True for _ in part.parameters())]
        return [[f"features.{i}."] for i in parts], "features"
    if not isinstance(network, video.SwinTransformer3d):
        stages = [f"layer{i}" for i in range(1, 5)]
        names = [[f"{s}.{j}."] for s in stages for j in range(len(network.get_submodule(s)))]  # type: ignore[arg-type]
        return [["stem."], *names], "layer4"
    blocks = [["patch_embed."]]
    for i, stage in enumerate(network.features):
        if isinstance(stage, nn.Sequential):
            blocks += [[f"features.{i}.{j}."] for j in range(len(stage))]
        else:
            blocks[-1].append(f"features.{i}.")  # a merging of patches, which ends its stage
    return blocks, "norm"


def torchvision_architecture(spec: EncoderSpec) -> dict[str, Any]:
    """Model name and arguments a spec describes.

    Raises:
        ValueError: torchvision has no such video model.
    """
    config = dict(spec.config or {})
    name = str(config.pop("architecture", spec.name.removeprefix("torchvision/")))
    if name not in list_models(module=video):
        near = ", ".join(near_torchvision(name)) or "nothing"
        raise ValueError(
            f"torchvision has no video model {name!r}. Near: {near}. "
            f"All: {', '.join(list_models(module=video))}."
        )
    return {"architecture": name, **config}


def near_torchvision(name: str) -> list[str]:
    """Names of torchvision's video models near a name that was not found, as an encoder's name is written."""
    return [f"torchvision/{model}" for model in near_names(name, list_models(module=video))]


def torchvision_transform(spec: EncoderSpec) -> VideoTransform:
    """Frames for a torchvision tower; builds nothing.

    Raises:
        ValueError: Frames that an MViT has no positions for.
    """
    name = str(torchvision_architecture(spec)["architecture"])
    n_frames, size = frames_of(spec, _FRAMES.get(name, 16)), spec.image_size or _SIZES.get(name, 224)
    if name.startswith(_FIXED) and (n_frames, size) != (16, 224):
        raise ValueError(
            f"{spec.name!r} has positions for 16 frames of 224 pixels and no others; asked for are "
            f"{n_frames} of {size}. Leave n_frames and image_size out (with a MicroLens rule: n_frames 16)."
        )
    return VideoTransform(n_frames, size, spec.frame_rule)


def _released(title: str, name: str) -> dict[str, Tensor]:
    """The newest released weights, from torch's cache or from the network.

    Raises:
        OSError: They are not in the cache and cannot be fetched.
    """
    weights: Any = get_model_weights(name).DEFAULT
    try:
        state: dict[str, Tensor] = weights.get_state_dict(check_hash=True, weights_only=True)
    except (OSError, URLError, RuntimeError) as error:
        raise OSError(
            f"The weights of {title}, {weights.url}, could not be loaded ({type(error).__name__}: {error}). "
            f"{ways_out(title, 'its weights')}"
        ) from error
    return state

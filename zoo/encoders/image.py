"""Pictures and the vision towers of transformers; timm's are in ``image_timm.py``.

Preparation follows MoRec (SIGIR 2023, arXiv 2303.13835): RGB, a square resize that ignores the aspect ratio,
mean and deviation one half per channel whatever statistics the tower was trained with, no augmentation.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import PretrainedConfig

from zoo.encoders.base import Encoded, EncoderSpec
from zoo.encoders.hub import build_network, find_blocks, plain_config, read_config
from zoo.encoders.tower import TokenTower, evaluating, kept_states, stack_states
from zoo.types import Content

DEFAULT_SIZE = 224
_MASK_SEED = 0
MIDDLE_GREY = 128


class ImageTransform:
    """RGB pictures to square uint8 arrays, channels first; bilinear, aspect ratio not kept.

    Args:
        size: Side in pixels.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"image_size must be positive; found {size}.")
        self.size = size
        self.key = f"image-rgb-bilinear-{size}"
        self.fields: dict[str, tuple[tuple[int, ...], str]] = {"pixels": ((3, size, size), "uint8")}
        self.fill = {"pixels": MIDDLE_GREY}

    def __call__(self, raw: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
        """Prepares n pictures as ``pixels`` (n, 3, size, size)."""
        pixels = np.empty((len(raw), 3, self.size, self.size), np.uint8)
        for i, picture in enumerate(raw):
            pixels[i] = square(picture, self.size)
        return {"pixels": pixels}


def square(picture: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """An RGB picture at a square size, as pixels (3, size, size)."""
    small = picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(small).transpose(2, 0, 1)  # (height, width, 3) to (3, height, width)


class ImageTower(TokenTower):
    """What image towers share: normalisation as the first layer, pooling of token maps."""

    size: int
    """Side of the prepared image in pixels."""
    masks: bool = False
    """Whether the network drops patches."""

    def transform(self) -> ImageTransform:
        """Square pictures at this tower's resolution."""
        return ImageTransform(self.size)

    def blank(self) -> Content:
        """One grey picture."""
        weight = next(self.parameters())
        pixels = torch.full(
            (1, 3, self.size, self.size), MIDDLE_GREY, dtype=torch.uint8, device=weight.device
        )
        return {"pixels": pixels, "present": torch.ones(1, dtype=torch.bool, device=weight.device)}

    def normalised(self, content: Content) -> Tensor:
        """Pixels 0..255 as -1..1 in the type of the weights."""
        pixels = content["pixels"]
        # Convolutions keep the order of their input; it is changed while a pixel is a byte. Not on a CPU:
        # nothing is gained there, and oneDNN's weight gradients of narrow 1 x 1 convolutions in that order
        # write beyond their memory when several threads compute them (seen with torch 2.15).
        if self.maps and pixels.device.type != "cpu":
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        return centred(pixels, next(self.network.parameters()).dtype)

    def choose_pool(self) -> None:
        """Settles how tokens are pooled, once it is known what stands before the patches.

        Raises:
            ValueError: ``pool: cls`` of a tower without a class token, or a share of patches to drop where
                nothing drops any.
        """
        if self.spec.mask_ratio and not self.masks:
            raise ValueError(
                f"mask_ratio={self.spec.mask_ratio} of {self.spec.name!r}: only a ViT-MAE of transformers "
                "drops patches. Leave mask_ratio out."
            )
        super().choose_pool()


def centred(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Pixels 0..255 as -1..1: (x / 255 - 0.5) / 0.5."""
    return (pixels.float() * (2.0 / 255.0) - 1.0).to(dtype)


def flat(features: Tensor, channels_last: bool = False) -> Tensor:
    """A feature map as tokens: (N, D, H, W), or (N, H, W, D), to (N, H*W, D); tokens pass through."""
    if features.ndim == 3:
        return features
    return features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)


class VisionEncoder(ImageTower):
    """A vision network of transformers: ViT, MAE, Swin, CLIP's image side, ResNet, ConvNeXt and others.

    Args:
        network: The network, called with ``pixel_values``.
        config: Its configuration.
        spec: What was asked for; ``pool: default`` is the tower's own pooled output, or its class token.
    """

    order_T: Tensor

    def __init__(self, network: nn.Module, config: PretrainedConfig, spec: EncoderSpec) -> None:
        super().__init__(network, spec)
        self.architecture = plain_config(config)
        self.size = vision_size(config, spec)
        accepted = inspect.signature(network.forward).parameters
        own_size = getattr(config, "image_size", None)
        own_size = own_size[0] if isinstance(own_size, list | tuple) else own_size
        self.resized = "interpolate_pos_encoding" in accepted and self.size != own_size
        self.masks = "noise" in accepted
        if self.masks:
            self.register_buffer("order_T", self._fixed_order(config), persistent=False)
        names = [name.rsplit(".", 1)[-1] for name, _ in network.named_parameters()]
        self.class_token = "cls_token" in names or "class_embedding" in names
        self.n_prefix = self.class_token + ("distillation_token" in names)
        self.n_prefix += getattr(config, "num_register_tokens", 0)
        self.choose_pool()
        self._blocks = find_blocks(network)
        self.keep: list[int] = []
        self.depth = self._count_states()
        self.keep = kept_states(spec, self.depth)
        self.width = self.measure()

    @classmethod
    def of(cls, spec: EncoderSpec, pretrained: bool = True) -> "VisionEncoder":
        """Builds the tower a spec names; ``pretrained=False`` reads ``spec.config`` only."""
        if not 0.0 <= spec.mask_ratio < 1.0:
            raise ValueError(f"mask_ratio must be at least 0 and below 1; found {spec.mask_ratio}.")
        config = read_config(spec, "vision")
        if hasattr(config, "mask_ratio"):
            config.mask_ratio = spec.mask_ratio  # by itself, MAE drops three quarters even when encoding
        return cls(build_network(config, spec, pretrained, "vision"), config, spec)

    def config(self) -> dict[str, Any]:
        """The transformers configuration."""
        return dict(self.architecture)

    def blocks(self) -> list[list[str]]:
        """Embedding, then each layer."""
        return [[f"network.{name}" for name in block] for block in self._blocks]

    @torch.no_grad()
    def _count_states(self) -> int:
        """Layer states of the network beyond its embedding output; notes whether its output is a map."""
        with evaluating(self):
            output = self._run(self.blank(), with_states=True)
        self.maps = output.last_hidden_state.ndim == 4
        return len(output.hidden_states) - 1

    def _run(self, content: Content, with_states: bool) -> Any:  # noqa: ANN401 - an output class of the library
        x = self.normalised(content)
        extra: dict[str, Any] = {"interpolate_pos_encoding": True} if self.resized else {}
        if self.masks:
            extra["noise"] = self._noise(x.shape[0])
        return self.network(pixel_values=x, output_hidden_states=with_states, **extra)

    def _fixed_order(self, config: PretrainedConfig) -> Tensor:
        """The order of MAE's patches in evaluation, of which it drops the last: (patches,)."""
        n_patches = (self.size // config.patch_size) ** 2
        if not self.spec.mask_ratio:
            return torch.arange(n_patches)
        if int(n_patches * (1 - self.spec.mask_ratio)) < 1:
            raise ValueError(f"mask_ratio={self.spec.mask_ratio} leaves none of {n_patches} patches.")
        return torch.randperm(n_patches, generator=torch.Generator().manual_seed(_MASK_SEED))

    def _noise(self, n_items: int) -> Tensor:
        """What MAE sorts the patches of each picture by: (N, patches).

        In evaluation every picture keeps the same patches, so that an item's vector is the same in every pass
        and every batch.
        """
        if self.spec.mask_ratio and self.training:
            return torch.rand(n_items, len(self.order_T), device=self.order_T.device)
        return self.order_T.expand(n_items, -1)

    def forward(self, content: Content) -> Encoded:
        """Encodes ``pixels`` (N, 3, size, size) uint8."""
        output = self._run(content, with_states=bool(self.keep))
        tokens_NTD = flat(output.last_hidden_state)
        own = getattr(output, "pooler_output", None)
        pooled_ND = own.flatten(1) if self.pool == "own" and own is not None else self.pool_tokens(tokens_NTD)
        states = [self.pool_tokens(flat(output.hidden_states[k])) for k in self.keep]
        return Encoded(
            pooled_ND=pooled_ND,
            tokens_NTD=tokens_NTD,
            states_NKD=stack_states(self.spec.name, states) if states else None,
            present_N=content.get("present"),
        )


def vision_size(config: PretrainedConfig, spec: EncoderSpec) -> int:
    """Side of the pictures: as asked for, as configured, or 224."""
    own = getattr(config, "image_size", None) or DEFAULT_SIZE
    return int(spec.image_size or (own[0] if isinstance(own, list | tuple) else own))


def vision_transform(spec: EncoderSpec) -> ImageTransform:
    """Pictures at the size of a transformers tower; reads its configuration, never weights."""
    return ImageTransform(vision_size(read_config(spec, "vision"), spec))

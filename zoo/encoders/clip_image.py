"""The image side of open_clip models."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from zoo.encoders.base import Encoded, EncoderSpec
from zoo.encoders.image import ImageTower, flat
from zoo.encoders.tower import EmbeddingOutput, kept_states, stack_states
from zoo.types import Content


class ClipImageEncoder(ImageTower):
    """The image side.

    Args:
        network: The side's network.
        architecture: Configuration of the whole model.
        spec: What was asked for; ``pool: default`` is the model's projected image vector; ``cls``, ``mean``
            and ``mean_all`` read the last block's output before its norm, as do the tokens and states. Of a
            ResNet the tokens are the last feature map; of timm's towers there is the vector only.
    """

    def __init__(self, network: nn.Module, architecture: dict[str, Any], spec: EncoderSpec) -> None:
        super().__init__(network, spec)
        self.architecture = architecture
        self.size = clip_size(architecture)
        self.resblocks = _resblocks(network)
        self.maps = hasattr(network, "attnpool") and hasattr(network, "layer4")  # a ResNet
        self.class_token = self.resblocks is not None
        self.n_prefix = int(self.class_token)
        self.choose_pool()
        self.depth = 0 if self.resblocks is None else len(self.resblocks)
        if self.resblocks is None and (spec.states != "none" or (self.pool != "own" and not self.maps)):
            raise ValueError(
                f"{spec.name!r} is no ViT: it has no layer states here, and pooled tokens only as a ResNet. "
                "Leave states and pool at their defaults, or name the image tower as timm/<model>."
            )
        self.keep = kept_states(spec, self.depth)
        self._embedded = EmbeddingOutput(self.resblocks[0]) if self.resblocks and 0 in self.keep else None
        self.width = self.measure()

    def config(self) -> dict[str, Any]:
        """The model's open_clip configuration, both sides."""
        return deepcopy(self.architecture)

    def blocks(self) -> list[list[str]]:
        """Embedding, then each block (of a ResNet: its bottlenecks); one block for a tower of timm."""
        if self.maps:
            stages = [(f"layer{i}", getattr(self.network, f"layer{i}")) for i in range(1, 5)]
            stem = [f"network.{part}{i}." for i in range(1, 4) for part in ("conv", "bn")]
            return [stem, *([f"network.{n}.{j}."] for n, stage in stages for j in range(len(stage)))]
        if self.resblocks is None:
            return [[], ["network."]]
        embedding = ["class_embedding", "positional_embedding", "conv1.", "ln_pre."]
        return block_names(embedding, len(self.resblocks))

    def forward(self, content: Content) -> Encoded:
        """Encodes ``pixels`` (N, 3, size, size) uint8."""
        x = self.normalised(content)
        present_N = content.get("present")
        if self.maps:
            output = self.network.forward_intermediates(x, indices=1)
            tokens_NTD = flat(output["image_intermediates"][0])
            own = self.pool == "own"
            pooled_ND = output["image_features"] if own else self.pool_tokens(tokens_NTD)
            return Encoded(pooled_ND, tokens_NTD, present_N=present_N)
        if self.resblocks is None:
            return Encoded(self.network(x), present_N=present_N)
        indices = sorted({self.depth - 1, *(k - 1 for k in self.keep if k > 0)})
        output = self.network.forward_intermediates(
            x, indices=indices, output_fmt="NLC", output_extra_tokens=True
        )
        pairs = zip(output["image_intermediates_prefix"], output["image_intermediates"], strict=True)
        layers = dict(zip(indices, (torch.cat(pair, dim=1) for pair in pairs), strict=True))
        if self._embedded is not None:
            layers[-1] = self._embedded.take()
        tokens_NTD = layers[self.depth - 1]
        states = [self.pool_tokens(layers[k - 1]) for k in self.keep]
        return Encoded(
            pooled_ND=output["image_features"] if self.pool == "own" else self.pool_tokens(tokens_NTD),
            tokens_NTD=tokens_NTD,
            states_NKD=stack_states(self.spec.name, states) if states else None,
            present_N=present_N,
        )


def clip_size(architecture: dict[str, Any]) -> int:
    """Side of the model's pictures in pixels."""
    size = architecture["vision_cfg"].get("image_size", 224)
    return int(size[0] if isinstance(size, list | tuple) else size)


def block_names(embedding: list[str], n_blocks: int) -> list[list[str]]:
    """Parameter-name prefixes of a side that is a transformer: its embedding's, then each block's."""
    blocks = [[f"network.transformer.resblocks.{i}."] for i in range(n_blocks)]
    return [[f"network.{name}" for name in embedding], *blocks]


def _resblocks(network: nn.Module) -> Any | None:  # noqa: ANN401 - the library's module list
    """Blocks of a ViT; None for towers of another kind."""
    transformer = getattr(network, "transformer", None)
    return None if transformer is None else transformer.resblocks

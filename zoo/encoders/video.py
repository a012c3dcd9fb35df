"""Video clips as frames, and the video towers of transformers; torchvision's are in ``video_torchvision.py``.

Frames are chosen and resized once, on the host, and stay uint8 until the tower's first layer, which maps them
to -1..1 whatever the tower was trained with, as MicroLens (arXiv 2309.15379) does.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from zoo.encoders.base import Encoded, EncoderSpec
from zoo.encoders.hub import build_network, find_blocks, plain_config, read_config
from zoo.encoders.image import MIDDLE_GREY, centred, square, vision_size
from zoo.encoders.tower import TokenTower, evaluating, kept_states, stack_states
from zoo.types import Content

FrameRule = Literal["even", "middle", "microlens", "microlens_twice"]
MICROLENS_FRAMES = 5
_MICROLENS_LATE = 9
"""First frame of MicroLens' second try, where the clip's middle leaves too few before it."""
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def chosen_frames(rule: FrameRule, wanted: int, n_frames: int) -> list[int]:
    """Frames of a clip, in order; where a clip has no such frame, the nearest one stands for it.

    MicroLens means the frames around the middle c, c-2..c+2, but its released script counts from one too
    high and decodes c-4..c; from a clip too short for that it tries frames 9..13.

    >>> chosen_frames("even", 4, 8), chosen_frames("middle", 5, 20), chosen_frames("microlens", 5, 20)
    ([1, 3, 5, 7], [8, 9, 10, 11, 12], [6, 7, 8, 9, 10])
    >>> chosen_frames("even", 4, 2), chosen_frames("middle", 5, 3), chosen_frames("microlens", 5, 3)
    ([0, 0, 1, 1], [0, 0, 1, 2, 2], [2, 2, 2, 2, 2])
    """
    if rule == "even":
        indices = [(2 * k + 1) * n_frames // (2 * wanted) for k in range(wanted)]
    else:
        middle = n_frames // 2
        first = middle - wanted // 2 if rule == "middle" else middle - wanted + 1
        if rule != "middle" and first < 0:
            first = _MICROLENS_LATE
        indices = list(range(first, first + wanted))
    return [min(max(index, 0), n_frames - 1) for index in indices]


def processed_twice() -> Tensor:
    """What MicroLens' released script makes of a pixel before ImageNet's mean and deviation: (256,).

    Pixels already mapped to -1..1 are scaled by 255 again and cut to eight bits: contrast doubles and wraps.

    >>> [int(processed_twice()[p]) for p in (0, 63, 127, 128, 150, 200, 223)]
    [1, 127, 0, 1, 45, 145, 191]
    """
    pixels = np.arange(256, dtype=np.float32) / np.float32(255)
    scaled = (pixels - np.float32(0.5)) / np.float32(0.5) * np.float32(255)
    return torch.from_numpy(np.trunc(scaled).astype(np.int64) % 256).float()


class VideoTransform:
    """Clips to square uint8 frames, channels first; bilinear, aspect ratio not kept.

    Args:
        n_frames: Frames of a clip.
        size: Side in pixels.
        rule: Which frames.
    """

    def __init__(self, n_frames: int, size: int, rule: FrameRule) -> None:
        if n_frames < 1 or size < 1:
            raise ValueError(
                f"n_frames and image_size must be positive; found n_frames={n_frames}, image_size={size}."
            )
        self.n_frames = n_frames
        self.size = size
        self.rule: FrameRule = rule
        # The two MicroLens rules store the same pixels; a key each keeps their features apart.
        self.key = f"video-rgb-bilinear-{n_frames}x{size}-{rule}"
        self.fields: dict[str, tuple[tuple[int, ...], str]] = {"frames": ((n_frames, 3, size, size), "uint8")}
        self.fill = {"frames": MIDDLE_GREY}

    def frames(self, n_frames: int) -> list[int]:
        """Which frames of a clip of ``n_frames`` are read."""
        return chosen_frames(self.rule, self.n_frames, n_frames)

    def __call__(self, raw: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
        """Prepares n clips, each the list of its chosen pictures, as ``frames``."""
        frames = np.empty((len(raw), *self.fields["frames"][0]), np.uint8)
        for i, clip in enumerate(raw):
            for j, picture in enumerate(clip):
                # A frame that stands for several is the same object and follows itself.
                frames[i, j] = (
                    frames[i, j - 1] if j and picture is clip[j - 1] else square(picture, self.size)
                )
        return {"frames": frames}


class VideoTower(TokenTower):
    """What video towers share: frames, normalisation as the first layer, the mean over tokens by default."""

    prepare: VideoTransform
    """Made by the subclass."""
    twice_256: Tensor
    mean_3: Tensor
    deviation_3: Tensor

    def prepare_pixels(self) -> None:
        """Keeps the tables of ``microlens_twice``, in no checkpoint."""
        self.register_buffer("twice_256", processed_twice(), persistent=False)
        self.register_buffer("mean_3", torch.tensor(_IMAGENET_MEAN), persistent=False)
        self.register_buffer("deviation_3", torch.tensor(_IMAGENET_STD), persistent=False)

    def transform(self) -> VideoTransform:
        """Frames at this tower's resolution."""
        return self.prepare

    def blank(self) -> Content:
        """One grey clip."""
        device = next(self.parameters()).device
        shape, _ = self.prepare.fields["frames"]
        frames = torch.full((1, *shape), MIDDLE_GREY, dtype=torch.uint8, device=device)
        return {"frames": frames, "present": torch.ones(1, dtype=torch.bool, device=device)}

    def normalised(self, content: Content) -> Tensor:
        """Frames (N, T, 3, size, size), as -1..1 or as MicroLens' script has them, in the weights' type."""
        dtype = next(self.network.parameters()).dtype
        if self.spec.frame_rule != "microlens_twice":
            return centred(content["frames"], dtype)
        pixels = self.twice_256[content["frames"].long()] / 255.0
        return ((pixels - self.mean_3[:, None, None]) / self.deviation_3[:, None, None]).to(dtype)


class VideoEncoder(VideoTower):
    """A video network of transformers: VideoMAE, TimeSformer, ViViT.

    Args:
        network: The network, called with ``pixel_values`` (N, T, 3, h, w).
        config: Its configuration.
        spec: What was asked for; ``pool: default`` is the class token, of VideoMAE, which has none, the mean.
    """

    def __init__(self, network: nn.Module, config: PretrainedConfig, spec: EncoderSpec) -> None:
        super().__init__(network, spec)
        self.architecture = plain_config(config)
        self.prepare = _transform(config, spec)
        self.prepare_pixels()
        self.class_token = any(name.endswith("cls_token") for name, _ in network.named_parameters())
        self.n_prefix = int(self.class_token)
        self.choose_pool()
        self._blocks = find_blocks(network)
        self.keep: list[int] = []
        with evaluating(self), torch.no_grad():
            self.depth = len(self._run(self.blank(), with_states=True).hidden_states) - 1
        self.keep = kept_states(spec, self.depth)
        self.width = self.measure()

    @classmethod
    def of(cls, spec: EncoderSpec, pretrained: bool = True) -> "VideoEncoder":
        """Builds the tower a spec names; ``pretrained=False`` reads ``spec.config`` only."""
        config = video_config(spec)
        return cls(build_network(deepcopy(config), spec, pretrained, "video"), config, spec)

    def config(self) -> dict[str, Any]:
        """The transformers configuration."""
        return dict(self.architecture)

    def blocks(self) -> list[list[str]]:
        """Embedding, then each layer."""
        return [[f"network.{name}" for name in block] for block in self._blocks]

    def _run(self, content: Content, with_states: bool) -> Any:  # noqa: ANN401 - an output class of the library
        return self.network(pixel_values=self.normalised(content), output_hidden_states=with_states)

    def forward(self, content: Content) -> Encoded:
        """Encodes ``frames`` (N, T, 3, size, size) uint8."""
        output = self._run(content, with_states=bool(self.keep))
        tokens_NTD = output.last_hidden_state
        states = [self.pool_tokens(output.hidden_states[k]) for k in self.keep]
        return Encoded(
            pooled_ND=self.pool_tokens(tokens_NTD),
            tokens_NTD=tokens_NTD,
            states_NKD=stack_states(self.spec.name, states) if states else None,
            present_N=content.get("present"),
        )


def frames_of(spec: EncoderSpec, own: int) -> int:
    """Frames of a clip: as asked for, five by MicroLens' rules, or the tower's own number."""
    by_rule = MICROLENS_FRAMES if spec.frame_rule.startswith("microlens") else own
    return by_rule if spec.n_frames is None else spec.n_frames


def video_config(spec: EncoderSpec) -> PretrainedConfig:
    """The architecture a spec names, for the frames it asks for.

    Raises:
        ValueError: A number of frames, or a size, that the network cannot read or would cut.
    """
    config = read_config(spec, "video")
    n_frames, size = frames_of(spec, config.num_frames), vision_size(config, spec)
    own = config.image_size if isinstance(config.image_size, int) else config.image_size[0]
    tubelet = getattr(config, "tubelet_size", 1)
    step = tubelet if isinstance(tubelet, int) else tubelet[0]
    parity = spec.frame_rule.startswith("microlens") and n_frames >= step
    if n_frames % step and not parity:
        more = n_frames + step - n_frames % step
        raise ValueError(
            f"n_frames={n_frames} of {spec.name!r}: it reads frames in groups of {step} and would leave the "
            f"last {n_frames % step} out. Give n_frames {more} (frames of short clips repeat)"
            + (f" or {n_frames - n_frames % step}." if n_frames > step else ".")
        )
    if config.model_type == "vivit" and spec.config is None and (n_frames, size) != (config.num_frames, own):
        raise ValueError(
            f"{spec.name!r} has learned positions for {config.num_frames} frames of {own} pixels and no "
            f"others; asked for are {n_frames} of {size}. Leave n_frames and image_size out."
        )
    if config.model_type != "timesformer":  # which stretches its learned positions by itself
        config.num_frames, config.image_size = n_frames, size
    return config


def _transform(config: PretrainedConfig, spec: EncoderSpec) -> VideoTransform:
    frames = frames_of(spec, config.num_frames)
    return VideoTransform(frames, vision_size(config, spec), spec.frame_rule)


def video_transform(spec: EncoderSpec) -> VideoTransform:
    """Frames for a transformers tower; reads its configuration, never weights."""
    return _transform(video_config(spec), spec)

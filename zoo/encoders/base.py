"""What every item encoder looks like: per-layer states, tokens and one pooled vector an item."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, Self

from torch import Tensor, nn

from zoo.types import Content, ContentTransform


@dataclass
class EncoderSpec:
    """Which tower encodes a modality, how much of it is trained, and what is read from it.

    Args:
        name: A hub name or a local folder of a transformers model, ``timm/<model>``, ``open_clip/<model>``,
            ``torchvision/<model>`` (clips), ``features`` with ``config: {width: D}`` for vectors that come
            with the data, or with ``config`` the architecture to build from it (a
            transformers model type such as ``bert``).
        tune: Blocks trained, counted from the top: a number, ``all`` or ``none``. ``legacy_bottom`` trains
            the first 165 tensors instead, as MMSR's released code does by an inequality turned round.
        adapt: Train a few parameters inside the tower and freeze its own: ``lora`` (low-rank updates of query
            and value layers, by ``peft``), ``adapter`` (Houlsby's bottlenecks behind attentions and
            feed-forward parts) or ``bitfit`` (its biases); ``tune`` then has no say.
        adapt_args: Options of that: ``r``, ``alpha`` and ``dropout`` of ``lora``, ``bottleneck`` of
            ``adapter``.
        config: Architecture of a tower built from its configuration with random weights; nothing is
            downloaded. Without it the pre-trained weights are loaded.
        weights: A local file of weights (safetensors, or a state dict read without unpickling objects), or
            ``mmzoo/<name>`` for weights that come with the package. Tensors are matched by name, or by order
            where names differ and all shapes agree.
        tokenizer: Tokenizer's hub name or folder when it is not ``name``; ``words`` hashes whole words and
            needs no file.
        pool: How tokens become one vector: ``default`` is the tower's own way, ``cls``, ``mean`` (of an
            image, a clip or a spectrogram: its patches), ``mean_all`` (class token included).
            ``legacy_padded`` is IISAN-Versa's way with decoders of text: the mean over all ``max_tokens``
            positions, padding included, which is id 0 and nothing masks.
        max_tokens: Text tokens kept, special ones included.
        image_size: Side of the prepared square image, or of a clip's frames, in pixels; by default the
            tower's own.
        n_frames: Frames kept of a clip; by default the tower's own number, of MicroLens' rules 5.
        frame_rule: Which frames: ``even``, at equal distances over the whole clip; ``middle``, consecutive
            ones around its middle; ``microlens``, those its released script takes, which end at the middle;
            ``microlens_twice``, the same with the pixels processed twice over, as the script does.
        seconds: What is read of a sound, from its beginning; by default what the tower's window holds, or ten
            seconds where it has none. Shorter sounds are padded.
        mask_ratio: Share of the patches that a ViT-MAE drops at random (0.75 in its pre-training, and in the
            released code of MMSR): anew in every training step, the same patches of every picture in
            evaluation. The ratio in the network's own configuration is not used.
        cached: Encode the catalogue once with the frozen tower and train on the stored vectors (two-stage).
        stored: Half-precision format of cached tokens and states: ``float16``, or ``bfloat16`` for towers
            whose numbers exceed 65,504, as those of some decoders do.
        states: Layer states returned: ``none``, ``all``, a list of indices (0 is the embedding output), or a
            number n: state 0 and the last of each of n groups of blocks.
        checkpointing: Recompute activations in the backward pass: less memory, more time.
        lr: Learning rate of this tower; by default the model's ``encoder_lr``.
        weight_decay: Weight decay of this tower; by default the model's ``encoder_weight_decay``.
    """

    name: str
    tune: int | Literal["none", "all", "legacy_bottom"] = "all"
    adapt: Literal["lora", "adapter", "bitfit"] | None = None
    adapt_args: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    weights: str | None = None
    tokenizer: str | None = None
    pool: Literal["default", "cls", "mean", "mean_all", "legacy_padded"] = "default"
    max_tokens: int = 30
    image_size: int | None = None
    n_frames: int | None = None
    frame_rule: Literal["even", "middle", "microlens", "microlens_twice"] = "even"
    seconds: float | None = None
    mask_ratio: float = 0.0
    cached: bool = False
    stored: Literal["float16", "bfloat16"] = "float16"
    states: list[int] | int | Literal["none", "all"] = field(default="none")
    checkpointing: bool = False
    lr: float | None = None
    weight_decay: float | None = None

    @classmethod
    def of(cls, value: "EncoderSpec | dict[str, Any] | None") -> Self | None:
        """The spec itself, or one rebuilt from the plain dict a checkpoint holds."""
        if value is None or isinstance(value, cls):
            return value
        return cls(**(value if isinstance(value, dict) else asdict(value)))


class Encoded(NamedTuple):
    """What an encoder gives for N items; parts that were not asked for are None."""

    pooled_ND: Tensor
    tokens_NTD: Tensor | None = None
    mask_NT: Tensor | None = None
    states_NKD: Tensor | None = None
    present_N: Tensor | None = None


class Encoder(nn.Module, ABC):
    """A tower of one modality."""

    width: int
    """Width of the pooled vector."""
    token_width: int = 0
    """Width of the tokens; 0 where the tower gives only a pooled vector."""
    maps: bool = False
    """Whether the tokens are the positions of a convolutional network's last feature map, row by row."""
    class_token: bool = False
    """Whether token 0 is a class token: one that reads all others and stands for the whole item."""
    depth: int
    """Blocks: layer states are 0..depth."""

    @abstractmethod
    def transform(self) -> ContentTransform:
        """How raw content is prepared for this tower."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Architecture in plain values, enough to rebuild the tower without its weights.

        Travels in the checkpoint: ``EncoderSpec.config`` takes it back.
        """

    @abstractmethod
    def blocks(self) -> list[list[str]]:
        """Parameter-name prefixes from the input to the output: embedding first, then each block.

        What no prefix covers (a final norm) counts as the top and is trained with any block.
        """

    def trim(self, content: Content) -> Content:
        """Prepared content, still on the host, without what all its items leave empty; by default all of it.

        Must change no vector.
        """
        return content

    @abstractmethod
    def forward(self, content: Content) -> Encoded:
        """Encodes N items."""

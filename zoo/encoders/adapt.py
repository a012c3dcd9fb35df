"""Parameter-efficient tuning inside a tower: LoRA, Houlsby's adapters, BitFit.

IISAN (SIGIR 2024, https://arxiv.org/abs/2404.02059) is compared with them.

* "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, https://arxiv.org/abs/2106.09685: that of
  ``peft``, which is imported here only.
* "Parameter-Efficient Transfer Learning for NLP", ICML 2019, https://arxiv.org/abs/1902.00751: ``peft`` lacks
  these bottlenecks. One stands behind the output layer of each attention and of each feed-forward part,
  before the dropout that may follow there and the sum with what went in.
* "BitFit", ACL 2022, https://arxiv.org/abs/2106.10199, trains the biases.

The tower's own weights stay as they are and frozen. IISAN's released code makes new query and value layers
with random weights for LoRA instead; its LoRA results are those of a tower that has partly forgotten.
"""

import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.encoders.base import Encoder, EncoderSpec
from zoo.encoders.freeze import unused_parameters
from zoo.encoders.tower import Tower, evaluating
from zoo.names import near

OPTIONS: dict[str, dict[str, float]] = {
    "lora": {"r": 8, "alpha": 8, "dropout": 0.0},
    "adapter": {"bottleneck": 64},
    "bitfit": {},
}
"""Way of adapting -> its options and what they are by default."""
SPREAD = 0.01
"""Standard deviation of a bottleneck's weights at the start, which leaves it close to the identity."""
QUERY = re.compile(r"\.(query|query_proj|q_lin|q_proj|q)$")
VALUE = re.compile(r"\.(value|value_proj|v_lin|v_proj|v)$")
FUSED = re.compile(r"\.(qkv|Wqkv)$")
"""One layer that gives query, key and value, in this order and equally wide."""
ATTENTION_END = re.compile(
    r"\.(attention\.(output\.)?dense|out_lin|out_proj|o_proj|SelfAttention\.o|attn\.(o|proj|Wo|c_proj))$"
)
FEED_FORWARD_END = re.compile(
    r"\.((?<!\.attention\.)output\.dense|ffn\.lin2|ffn_output|fc2|down_proj|mlp\.(Wo|c_proj)|DenseReluDense\.wo)$"
)


class Bottleneck(nn.Module):
    """Houlsby's adapter: x + W_up GELU(W_down x + b) + b', close to the identity at the start.

    Args:
        width: Width D of what goes in and comes out.
        bottleneck: Width between the two layers.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=SPREAD)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Adapts vectors (..., D)."""
        return cast(Tensor, x + self.up(F.gelu(self.down(x))))


class SplitLinear(nn.Module):
    """A layer that gives query, key and value at once, as three: LoRA adapts two of them.

    Args:
        fused: The layer, whose weights are taken over.
    """

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        biases = [None] * 3 if fused.bias is None else fused.bias.chunk(3)
        parts = zip(fused.weight.chunk(3), biases, strict=True)
        self.q, self.k, self.v = (_linear(weight, bias) for weight, bias in parts)

    def forward(self, x: Tensor) -> Tensor:
        """Query, key and value side by side, (..., 3 D)."""
        return torch.cat([self.q(x), self.k(x), self.v(x)], dim=-1)


def check_adaptation(modality: str, spec: EncoderSpec) -> None:
    """Refuses options of an adaptation that cannot be followed, before anything is loaded.

    Raises:
        ValueError: There is no such way or option, a value is out of range, vectors would be cached, or
            ``peft`` is wanted and not installed.
    """
    given = dict(spec.adapt_args or {})
    if spec.adapt is None:
        if given:
            raise ValueError(f"{modality}: adapt_args {given} without adapt: say what they are options of.")
        return
    if spec.adapt not in OPTIONS:
        raise ValueError(f"{modality}: expected adapt out of {', '.join(OPTIONS)}; found {spec.adapt!r}.")
    known = OPTIONS[spec.adapt]
    for name, value in given.items():
        if name not in known:
            close = near(name, list(known))
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(
                f"{modality}: adapt: {spec.adapt} has no option {name!r}.{hint} "
                f"Its options: {', '.join(known) or 'none'}."
            )
        if name == "dropout" and not 0 <= value < 1:
            raise ValueError(f"{modality}: dropout must be at least 0 and below 1; found {value}.")
        if name != "dropout" and (value <= 0 or (name != "alpha" and int(value) != value)):
            raise ValueError(f"{modality}: {name} must be a positive number; found {value}.")
    if spec.cached:
        raise ValueError(
            f"{modality}: cached: true keeps what a frozen tower gives, but adapt: {spec.adapt} trains "
            "inside the tower, which then gives something else after every step. Leave one of them out."
        )
    if spec.adapt == "lora" and find_spec("peft") is None:
        raise ValueError(f"{modality}: adapt: lora needs the package peft: pip install 'mmzoo[peft]'.")


def adapt(encoder: Encoder, spec: EncoderSpec, tokens: bool = False) -> None:
    """Adds the trained parameters of an adaptation to a tower, and freezes all others; ``tune`` has no say.

    Args:
        encoder: The tower with its weights; it is changed in place, and its names are the same every time.
        spec: Says which adaptation.
        tokens: The model reads the tower's tokens rather than its pooled vector.

    Raises:
        ValueError: The tower has no layers that the adaptation knows.
    """
    assert spec.adapt is not None
    if not isinstance(encoder, Tower):
        raise ValueError(f"adapt: {spec.adapt} of {spec.name!r}: only towers of a library are adapted.")
    options = OPTIONS[spec.adapt] | dict(spec.adapt_args or {})
    trained = WAYS[spec.adapt](encoder, spec, options)
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name in trained)
    idle = unused_parameters(encoder, tokens)
    if idle and spec.adapt != "bitfit":
        raise _refusal(spec, f"the network goes past {sorted(idle)[0]}")
    if not trained - idle:
        raise _refusal(spec, "there are no biases")
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name in trained - idle)
    encoder.train(encoder.training)


def _lora(tower: Tower, spec: EncoderSpec, options: dict[str, float]) -> set[str]:
    """Low-rank updates of the query and value layers, zero at the start; gives their names."""
    from peft import LoraConfig, inject_adapter_in_model

    before_ND = _pooled(tower)
    if not any(_layers(tower, QUERY)) and any(_layers(tower, FUSED)):
        fused = _one_in_every_block(tower, FUSED, spec, "layer of query, key and value")
        for name in fused:
            _split(tower, name, spec)
        targets = [f"{name}.{part}" for name in fused for part in ("q", "v")]
    else:
        targets = _one_in_every_block(tower, QUERY, spec, "query layer")
        targets += _one_in_every_block(tower, VALUE, spec, "value layer")
    config = LoraConfig(
        r=int(options["r"]),
        lora_alpha=options["alpha"],
        lora_dropout=options["dropout"],
        target_modules=[name.removeprefix("network.") for name in targets],
    )
    inject_adapter_in_model(config, tower.network)
    try:
        after_ND = _pooled(tower)
    except AttributeError as error:
        raise _refusal(spec, f"its attention reads its layers' weights itself ({error})") from error
    if not torch.allclose(before_ND, after_ND, rtol=0, atol=1e-4 * float(before_ND.abs().max())):
        raise _refusal(spec, "its layer of query, key and value does not fall into these three parts")
    return {name for name, _ in tower.named_parameters() if ".lora_" in name}


def _adapters(tower: Tower, spec: EncoderSpec, options: dict[str, float]) -> set[str]:
    """Two bottlenecks a block; gives the names of their parameters."""
    ends = _one_in_every_block(tower, ATTENTION_END, spec, "output layer of an attention")
    ends += _one_in_every_block(tower, FEED_FORWARD_END, spec, "output layer of a feed-forward part")
    for name in ends:
        layer: Any = tower.get_submodule(name)
        width = layer.out_features if isinstance(layer, nn.Linear) else layer.nf  # GPT-2's own kind of layer
        layer.add_module("adapter", Bottleneck(width, int(options["bottleneck"])).to(layer.weight))
        layer.register_forward_hook(_pass_adapter)
    return {name for name, _ in tower.named_parameters() if ".adapter." in name}


def _biases(tower: Tower, spec: EncoderSpec, options: dict[str, float]) -> set[str]:
    """Names of the biases, those of norms among them."""
    return {name for name, p in tower.named_parameters() if name.endswith("bias") and p.ndim == 1}


WAYS: dict[str, Callable[[Tower, EncoderSpec, dict[str, float]], set[str]]] = {
    "lora": _lora,
    "adapter": _adapters,
    "bitfit": _biases,
}
"""Way of adapting -> what adds its parameters to a tower."""


def _pass_adapter(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Forward hook of an adapted layer."""
    return cast(Tensor, cast(nn.Module, layer.adapter)(output))


@torch.no_grad()
def _pooled(tower: Tower) -> Tensor:
    with evaluating(tower):
        return cast(Tensor, tower(tower.blank()).pooled_ND)


def _layers(tower: Tower, pattern: re.Pattern[str]) -> list[list[str]]:
    """Names of each block's linear layers that match."""
    layers = [
        name
        for name, module in tower.named_modules()
        if pattern.search(name) and (isinstance(module, nn.Linear) or hasattr(module, "nf"))
    ]
    return [[n for n in layers if f"{n}.weight".startswith(tuple(block))] for block in tower.blocks()[1:]]


def _one_in_every_block(tower: Tower, pattern: re.Pattern[str], spec: EncoderSpec, title: str) -> list[str]:
    """Name of each block's layer that matches.

    Raises:
        ValueError: A block has none, or several.
    """
    found = _layers(tower, pattern)
    for place, names in enumerate(found):
        if len(names) != 1:
            listed = f" ({', '.join(names)})" if names else ""
            raise _refusal(spec, f"expected one {title} a block, block {place} has {len(names)}{listed}")
    if not found:
        raise _refusal(spec, f"expected one {title} a block, found no blocks")
    return [names[0] for names in found]


def _split(tower: Tower, name: str, spec: EncoderSpec) -> None:
    layer = tower.get_submodule(name)
    if not isinstance(layer, nn.Linear) or layer.out_features % 3:
        raise _refusal(spec, f"{name} does not fall into query, key and value")
    parent, _, own = name.rpartition(".")
    setattr(tower.get_submodule(parent), own, SplitLinear(layer))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A layer of given weights."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def _refusal(spec: EncoderSpec, why: str) -> ValueError:
    return ValueError(
        f"adapt: {spec.adapt} of {spec.name!r} is not offered: {why}. Take a tower of transformers or a ViT "
        "of timm, another way (adapt: bitfit trains biases wherever they are), or train blocks by tune."
    )

"""Networks of the transformers library: from the hub, a local folder or a configuration; and their blocks."""

import difflib
import inspect
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForTextEncoding,
    PretrainedConfig,
)

from zoo.encoders.base import EncoderSpec
from zoo.encoders.weights import load_weights

_HOUSEKEEPING = ("_name_or_path", "architectures", "id2label", "label2id", "transformers_version", "dtype")
_COMPLETE = "transformers_version"
"""Marks a configuration the library wrote, which may hold settings of other versions."""
_STACKS = ("layers", "layer", "blocks", "block", "stages", "h", "albert_layer_groups")
_INNER_STACKS = ("layers", "blocks")  # of a stage; T5's `layer` holds the parts of one block
_EMBEDDING = re.compile(
    r"embed|^shared|wte|wpe|patch|cls_token|class_token|pos_|stem|pre_?la?yer_?norm|project_in"
)


def ways_out(name: str, wanted: str) -> str:
    """The ways out of a missing network, as the end of an error message."""
    return (
        f"{name!r} was wanted for {wanted}. Ways out: name a local folder that holds the files; on a machine "
        "with network, run once so that they are kept in the hub's cache; or give `config` (and `weights`, a "
        "local file) to build the tower without the hub."
    )


def from_hub(load: Callable[[bool], Any], name: str, wanted: str) -> Any:  # noqa: ANN401 - what `load` gives
    """Loads from a folder or the hub's cache first, then from the hub if that answers.

    Without a network the library's own loader retries for the better part of a minute; one short question
    first tells the cases apart.

    Args:
        load: Loads with ``local_files_only`` as its argument.
        name: Folder or hub name.
        wanted: What is being loaded, for the message.

    Raises:
        OSError: Not found; the message says what was asked and what to do.
    """
    try:
        return load(True)
    except (OSError, ValueError) as error:
        local_error = error
    if Path(name).expanduser().is_dir():
        listing = sorted(p.name for p in Path(name).expanduser().iterdir())[:12]
        raise OSError(
            f"The folder {name!r} does not hold {wanted} in a form transformers reads: "
            f"{_first_line(local_error)}. It holds {listing}."
        ) from local_error
    if name.startswith(("/", "./", "../", "~")):
        raise FileNotFoundError(f"There is no folder {name!r}. {ways_out(name, wanted)}") from None
    ask_hub(name, name, wanted)
    return load(False)


def ask_hub(repository: str, name: str, wanted: str, files: Sequence[str] = ()) -> None:
    """One short question to the hub: is this model there? None is asked if one of the files is in the cache.

    Raises:
        OSError: It is not, or the hub does not answer; the message says what to do.
    """
    if any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        return
    try:
        HfApi().model_info(repository, timeout=10)
    except RepositoryNotFoundError as error:
        near = near_model_types(name) if name == repository else ""
        gated = isinstance(error, GatedRepoError)
        kind = "asks for a licence to be accepted" if gated else "has no such model"
        raise OSError(f"The hub {kind}: {repository!r}{near}. {ways_out(name, wanted)}") from None
    except Exception as error:  # the client raises whatever its transport does
        raise OSError(
            f"{name!r} is neither a local folder nor in the hub's cache, and the hub does not answer "
            f"({type(error).__name__}). {ways_out(name, wanted)}"
        ) from None


def near_model_types(name: str) -> str:
    """Says which transformers model types a name resembles; empty when none."""
    near = difflib.get_close_matches(name.rsplit("/", 1)[-1].lower(), list(CONFIG_MAPPING.keys()), n=3)
    return f" (with `config`, these model types are near: {', '.join(near)})" if near else ""


def read_config(spec: EncoderSpec, side: Literal["text", "vision"]) -> PretrainedConfig:
    """The architecture a spec names, cut to one side if the network has two (CLIP).

    Raises:
        ValueError: Unknown model type, or a key its configuration does not have.
        OSError: The hub or folder does not have it.
    """
    if spec.config is None:
        config = from_hub(
            lambda local: AutoConfig.from_pretrained(spec.name, local_files_only=local),
            spec.name,
            "its architecture (config.json)",
        )
    else:
        values = {k: v for k, v in spec.config.items() if k not in _HOUSEKEEPING}
        model_type = str(values.pop("model_type", spec.name))
        if model_type not in CONFIG_MAPPING:
            raise ValueError(
                f"{model_type!r} is no transformers model type{near_model_types(model_type)}. With `config`, "
                "`name` is a model type such as bert, opt, vit or swin, or starts with timm/ or open_clip/."
            )
        kind = CONFIG_MAPPING[model_type]
        known = {*kind().to_dict(), *getattr(kind, "attribute_map", {})}
        unknown = [k for k in values if k not in known]
        if unknown and _COMPLETE not in spec.config:
            near = difflib.get_close_matches(unknown[0], known, n=3)
            raise ValueError(
                f"config of {spec.name!r}: {unknown} are not settings of {kind.__name__}. "
                f"Near {unknown[0]!r}: {near or sorted(known)[:8]}."
            )
        config = kind.from_dict(values)
    part = getattr(config, f"{side}_config", None)
    return part if isinstance(part, PretrainedConfig) else config


def plain_config(config: PretrainedConfig) -> dict[str, Any]:
    """A configuration in plain values that JSON, YAML and checkpoints hold."""
    values: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    kept = {k: v for k, v in values.items() if k not in _HOUSEKEEPING or k == _COMPLETE}
    return kept | {"model_type": config.model_type}


def build_network(config: PretrainedConfig, spec: EncoderSpec, pretrained: bool) -> nn.Module:
    """The network with the weights the spec asks for, in float32, without a pooler that would go unused.

    Raises:
        ValueError: The stored weights lack a part of the network.
        OSError: The hub or folder does not have the weights.
    """
    auto: Any = AutoModelForTextEncoding if config.is_encoder_decoder else AutoModel
    network: nn.Module
    if spec.config is not None or not pretrained or spec.weights is not None:
        network = auto.from_config(config)
    else:
        network, report = from_hub(
            lambda local: auto.from_pretrained(
                spec.name, config=config, local_files_only=local, output_loading_info=True, dtype="float32"
            ),
            spec.name,
            "its weights (model.safetensors)",
        )
        missing = [name for name in report["missing_keys"] if "pooler" not in name]
        if missing:
            raise ValueError(
                f"The weights of {spec.name!r} lack {len(missing)} tensors of the network, first "
                f"{sorted(missing)[:3]}; they would stay random. Check that its config.json describes them."
            )
    optional = "add_pooling_layer" in inspect.signature(type(network).__init__).parameters
    pooler = getattr(network, "pooler", None)
    if optional and pooler is not None and any(isinstance(part, nn.Linear) for part in pooler.modules()):
        network.register_module("pooler", None)  # the leftover of a classifier, which nothing here reads
    if pretrained and spec.weights is not None:
        load_weights(network, spec.weights)
    if spec.checkpointing:
        _checkpoint(network, spec)
    return network


def _checkpoint(network: Any, spec: EncoderSpec) -> None:  # noqa: ANN401 - a library's network
    if not network.supports_gradient_checkpointing:
        raise ValueError(f"checkpointing: {type(network).__name__} ({spec.name!r}) does not support it.")
    newest = getattr(network, "activation_checkpointing_enable", None)
    (newest or network.gradient_checkpointing_enable)({"use_reentrant": False})
    if getattr(network, "main_input_name", "") == "input_ids":
        # The library makes embeddings require gradients, which would run through frozen blocks for nothing.
        network.disable_input_require_grads()


def find_blocks(network: nn.Module) -> list[list[str]]:
    """Parameter-name prefixes of a transformers network: embedding first, then each block.

    Blocks are the entries of its layer stacks; a stage is taken apart into its layers, and what else it holds
    (a downsampling) goes with its nearest layer.
    """
    blocks: list[list[str]] = []
    stacks: list[str] = []
    for path, module in network.named_modules():
        inside = any(path.startswith(f"{stack}.") for stack in stacks)
        if inside or path.rsplit(".", 1)[-1] not in _STACKS or not isinstance(module, nn.ModuleList):
            continue
        stacks.append(path)
        for i, entry in enumerate(module):
            blocks += _stage(f"{path}.{i}", entry)
    outside = [n for n, _ in network.named_parameters() if not any(n.startswith(f"{s}.") for s in stacks)]
    return [[n for n in outside if _EMBEDDING.search(n)], *blocks]


def _stage(path: str, entry: nn.Module) -> list[list[str]]:
    """Prefixes of one entry of a stack: itself, or its layers if it is a stage."""
    for name, inner in entry.named_children():
        if name in _INNER_STACKS and isinstance(inner, nn.ModuleList | nn.Sequential) and len(inner):
            found = [[f"{path}.{name}.{j}."] for j in range(len(inner))]
            names = [other for other, _ in entry.named_children()]
            for other in names:
                if other != name:
                    found[0 if names.index(other) < names.index(name) else -1].append(f"{path}.{other}.")
            return found
    return [[f"{path}."]]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

"""Networks of the transformers library: from the hub, a local folder or a configuration; and their blocks."""

import difflib
import inspect
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, StrictDataclassError
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    AutoConfig,
    AutoModelForTextEncoding,
    PretrainedConfig,
)

from zoo.encoders.base import EncoderSpec
from zoo.encoders.kinds import check_kind, is_encoder_decoder, loader_of, made, renamed
from zoo.encoders.missing import Side, elsewhere, near_paths
from zoo.encoders.weights import load_weights

_HOUSEKEEPING = ("_name_or_path", "architectures", "id2label", "label2id", "transformers_version", "dtype")
_COMPLETE = "transformers_version"
"""Marks a configuration the library wrote, which may hold settings of other versions."""
_STACKS = ("layers", "layer", "blocks", "block", "stages", "h", "albert_layer_groups")
_INNER_STACKS = ("layers", "blocks")  # of a stage; T5's `layer` holds the parts of one block
_EMBEDDING = re.compile(
    r"embed|^shared|wte|wpe|patch|cls_token|class_token|pos_|stem|pre_?la?yer_?norm|project_in"
    r"|^feature_(extractor|projection)|^conv[12]\.|^audio_encoder\.batch_norm"
)


def ways_out(name: str, wanted: str) -> str:
    """The ways out of a missing network, as the end of an error message."""
    return (
        f"{name!r} was wanted for {wanted}. Ways out: name a local folder that holds the files, as a path "
        "(/towers/mine or ./mine); on a machine with network, run once so that they are kept in the hub's "
        "cache; or give `config` (and `weights`, a local file) to build the tower without the hub."
    )


def from_hub(load: Callable[[bool], Any], name: str, wanted: str, side: Side) -> Any:  # noqa: ANN401 - what `load` gives
    """Loads from a folder or the hub's cache first, then from the hub if that answers.

    Without a network the library's own loader retries for the better part of a minute; one short question
    first tells the cases apart.

    Args:
        load: Loads with ``local_files_only`` as its argument.
        name: Folder or hub name.
        wanted: What is being loaded, for the message.
        side: What kind of tower it is for.

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
        near = near_paths(name)
        raise FileNotFoundError(f"There is no folder {name!r}{near}. {ways_out(name, wanted)}") from None
    ask_hub(name, name, wanted, side=side)
    return load(False)


def ask_hub(
    repository: str, name: str, wanted: str, files: Sequence[str] = (), side: Side | None = None
) -> None:
    """One short question to the hub: is this model there? None is asked if one of the files is in the cache.

    Args:
        repository: The model's name on the hub.
        name: What the user wrote.
        wanted: What is being loaded, for the message.
        files: Files of which one is enough.
        side: Kind of tower whose name may have been meant for another library; None where a library's own
            list has the name.

    Raises:
        OSError: It is not, or the hub does not answer; the message says what to do.
    """
    if any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        return
    try:
        HfApi().model_info(repository, timeout=10)
    except RepositoryNotFoundError as error:
        gated = isinstance(error, GatedRepoError)
        kind = "asks for a licence to be accepted" if gated else "has no such model"
        local = "" if side is None else f" {name!r} is no local folder either. {elsewhere(name, side)}"
        raise OSError(f"The hub {kind}: {repository!r}.{local} {ways_out(name, wanted)}") from None
    except Exception as error:  # the client raises whatever its transport does
        others = "" if side is None else f"{elsewhere(name, side)} "
        raise OSError(
            f"{name!r} is neither a local folder nor in the hub's cache, and the hub does not answer "
            f"({type(error).__name__}). {others}{ways_out(name, wanted)}"
        ) from None


def near_model_types(name: str) -> str:
    """Says which transformers model types a name resembles; empty when none."""
    near = difflib.get_close_matches(name.rsplit("/", 1)[-1].lower(), list(CONFIG_MAPPING.keys()), n=3)
    return f" (with `config`, these model types are near: {', '.join(near)})" if near else ""


def read_config(spec: EncoderSpec, side: Side) -> PretrainedConfig:
    """The architecture a spec names, cut to one side if the network has two (CLIP).

    Raises:
        ValueError: Unknown model type, a key its configuration does not have, or a network that reads
            something else than this side's content.
        OSError: The hub or folder does not have it.
    """
    if spec.config is None:
        config = from_hub(
            lambda local: AutoConfig.from_pretrained(spec.name, local_files_only=local),
            spec.name,
            "its architecture (config.json)",
            side,
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
        try:
            config = kind.from_dict(values)
        except (StrictDataclassError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"config of {spec.name!r} is refused by {kind.__name__}: {reason}") from error
    part = getattr(config, f"{side}_config", None)
    config = part if isinstance(part, PretrainedConfig) else config
    check_kind(config, spec, side)
    return config


def _recompute_blocks(network: nn.Module, spec: EncoderSpec) -> None:
    """Checkpointing for networks whose library class has none: each block's forward pass is run again."""
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in network.modules()):
        raise ValueError(
            f"checkpointing: {type(network).__name__} ({spec.name!r}) does not support it, and its batch "
            "norms would count every batch twice. Leave checkpointing out, or use the tower of timm."
        )
    for block in find_blocks(network)[1:]:
        for prefix in block:
            part = network.get_submodule(prefix.removesuffix("."))
            part.forward = recomputed(part, part.forward)


def recomputed(part: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    """A part's forward pass whose activations are made anew in the backward pass."""

    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - what the part takes and gives
        if part.training and torch.is_grad_enabled():
            return checkpoint(forward, *args, use_reentrant=False, **kwargs)
        return forward(*args, **kwargs)

    return run


def plain_config(config: PretrainedConfig) -> dict[str, Any]:
    """A configuration in plain values that JSON, YAML and checkpoints hold."""
    values: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    kept = {k: v for k, v in values.items() if k not in _HOUSEKEEPING or k == _COMPLETE}
    return kept | {"model_type": config.model_type}


def build_network(config: PretrainedConfig, spec: EncoderSpec, pretrained: bool, side: Side) -> nn.Module:
    """The network with the weights the spec asks for, in float32, without a pooler that would go unused.

    Raises:
        ValueError: The stored weights lack a part of the network.
        OSError: The hub or folder does not have the weights.
    """
    auto = loader_of(config, side)
    if auto is AutoModelForTextEncoding and type(config) not in MODEL_FOR_TEXT_ENCODING_MAPPING:
        raise ValueError(
            f"transformers does not offer the encoder of {spec.name!r} ({config.model_type}) on its own: "
            "choose an encoder such as BERT, a decoder such as OPT, or T5's kin."
        )
    network: nn.Module
    if spec.config is not None or not pretrained or spec.weights is not None:
        try:
            network = made(auto, config)
        except (AssertionError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ValueError(
                f"transformers makes no {type(config).__name__} network of {spec.name!r} "
                f"({type(error).__name__}: {_first_line(error)}). Check its configuration."
            ) from error
    else:
        network, report = from_hub(
            lambda local: auto.from_pretrained(
                spec.name,
                config=config,
                local_files_only=local,
                output_loading_info=True,
                dtype="float32",
                **renamed(config),
            ),
            spec.name,
            "its weights (model.safetensors)",
            side,
        )
        _fix_tables(network, auto, config)
        missing = [name for name in report["missing_keys"] if "pooler" not in name]
        if missing:
            raise ValueError(
                f"The weights of {spec.name!r} lack {len(missing)} tensors of the network, first "
                f"{sorted(missing)[:3]}; they would stay random. Check that its config.json describes them."
            )
    if side == "audio" and is_encoder_decoder(config):
        network = network.get_encoder()  # type: ignore[operator]  # of a library's network
    optional = "add_pooling_layer" in inspect.signature(type(network).__init__).parameters
    pooler = getattr(network, "pooler", None)
    if optional and pooler is not None and any(isinstance(part, nn.Linear) for part in pooler.modules()):
        network.register_module("pooler", None)  # the leftover of a classifier, which nothing here reads
    if pretrained and spec.weights is not None:
        load_weights(network, spec.weights)
    if spec.checkpointing:
        _checkpoint(network, spec)
    return network


def _fix_tables(network: nn.Module, auto: Any, config: PretrainedConfig) -> None:  # noqa: ANN401
    """Makes constant what the network's definition holds so, as MAE's sine positions: loading forgets it."""
    with torch.device("meta"):
        defined = made(auto, config)
    fixed = {name for name, parameter in defined.named_parameters() if not parameter.requires_grad}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name not in fixed)


def _checkpoint(network: Any, spec: EncoderSpec) -> None:  # noqa: ANN401 - a library's network
    if not network.supports_gradient_checkpointing:
        _recompute_blocks(network, spec)
        return
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

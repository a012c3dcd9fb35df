"""Shipped models made small, their pre-trained towers replaced, so that all run in seconds and offline."""

from importlib import import_module
from typing import Any

import yaml

from zoo.base import Recommender
from zoo.collaborative import CollaborativeRecommender
from zoo.fair.tuning import FairTuning
from zoo.names import config_file

TEXT: dict[str, Any] = {
    "name": "bert",
    "tokenizer": "words",
    "pool": "mean",
    "config": {
        "vocab_size": 2048,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
}
IMAGE: dict[str, Any] = {
    "name": "timm/convnext_atto",
    "image_size": 32,
    "config": {"depths": [1, 1, 1, 1], "dims": [8, 16, 32, 32]},
}
WIDE: dict[str, dict[str, Any]] = {"text": {"hidden_size": 256}, "image": {"dims": [8, 16, 32, 256]}}
"""Of a cached tower: nothing of it is learnt, so it must be wide to tell items apart."""
STATES: dict[str, Any] = {
    "name": "timm/vit_tiny_patch16_224",
    "image_size": 32,
    "pool": "mean",
    "config": {"patch_size": 8, "embed_dim": 256, "depth": 2, "num_heads": 2},
}
"""Pictures for models of layer states, which are of one width."""


FAIR: dict[str, Any] = {
    "host_epochs": 8,
    "split_epochs": 2,
    "attack_epochs": 1,
    "neighbours": 5,
    "lr": 1e-2,
}
"""Stages of FMMRec that are over soon."""


def class_of(name: str) -> type[Recommender]:
    """The class of a shipped model."""
    path = yaml.safe_load(config_file("model", name).read_text())["class_path"]
    module, _, class_name = path.rpartition(".")
    found: type[Recommender] = getattr(import_module(module), class_name)
    assert issubclass(found, Recommender)
    return found


def fitting_data(name: str) -> str:
    """The demo data set that a shipped model can be trained on."""
    return "demo_cf" if issubclass(class_of(name), CollaborativeRecommender) else "demo"


def miniature(name: str) -> dict[str, Any]:
    """Overrides that make a shipped model small; what the config decides otherwise stays."""
    arguments = yaml.safe_load(config_file("model", name).read_text())["init_args"]
    if issubclass(class_of(name), FairTuning):
        return {**FAIR, "host_args": miniature(arguments["host"])}
    if issubclass(class_of(name), CollaborativeRecommender):
        return {"width": 32, "lr": 1e-2}
    overrides: dict[str, Any] = {"width": 32, "lr": 3e-3, "encoder_lr": 3e-3}
    for modality, tower in (("text", TEXT), ("image", IMAGE)):
        if "groups" in arguments and modality == "image" and "config" not in arguments[modality]:
            overrides[modality] = STATES
        elif modality in arguments and "config" not in arguments[modality]:
            overrides[modality] = tower
            if isinstance(arguments[modality].get("tune"), int):
                overrides[modality] = {**tower, "tune": "all"}  # frozen random blocks teach nothing
            if arguments[modality].get("cached"):
                overrides[modality] = {**tower, "config": {**tower["config"], **WIDE[modality]}}
    if "audio" in arguments and "config" not in arguments["audio"]:
        # CROSSAN's towers take their steps together: all are those of its demo configuration.
        towers = yaml.safe_load(config_file("model", "crossan").read_text())["init_args"]
        overrides |= {m: towers[m] for m in ("text", "image", "audio")}
        overrides["video"] = {**towers["video"], "frame_rule": "even"}
    return overrides

"""Miniature towers in the place of pre-trained ones, so that every config runs in seconds and offline."""

from typing import Any

import yaml

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


def miniature(name: str) -> dict[str, Any]:
    """Overrides that make a shipped model small; what the config decides otherwise stays."""
    arguments = yaml.safe_load(config_file("model", name).read_text())["init_args"]
    overrides: dict[str, Any] = {"width": 32, "lr": 3e-3, "encoder_lr": 3e-3}
    for modality, tower in (("text", TEXT), ("image", IMAGE)):
        if modality in arguments and "config" not in arguments[modality]:
            overrides[modality] = tower
            if isinstance(arguments[modality].get("tune"), int):
                overrides[modality] = {**tower, "tune": "all"}  # frozen random blocks teach nothing
            if arguments[modality].get("cached"):
                # Nothing of a frozen random tower is learnt: it must be wide to tell titles apart.
                overrides[modality] = {**tower, "config": {**tower["config"], "hidden_size": 256}}
    return overrides

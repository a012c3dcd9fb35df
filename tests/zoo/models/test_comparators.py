"""What IISAN is compared with: the item vector of its baselines, and who refuses adapted towers."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import cli
from tests.zoo.encoders.towers import TOWERS
from zoo.encoders.base import Encoded
from zoo.factory import create
from zoo.models.iisan_versa import IISANVersa
from zoo.models.morec import MoRec
from zoo.types import CatalogSpec

NAMES = ("iisan_fft", "iisan_adapter", "iisan_lora", "iisan_bitfit", "iisan_frozen")
SPEC = CatalogSpec(n_items=7, n_users=3, state_shapes={}, n_classes={}, max_len=5)


def built(name: str) -> MoRec:
    torch.manual_seed(0)
    model = create(name)
    assert isinstance(model, MoRec)
    model.build(SPEC)
    return model


def test_the_item_vector_is_one_layer_over_gelu_of_each() -> None:
    model = built("iisan_frozen").train()
    parts = {m: Encoded(torch.randn(4, 128)) for m in ("text", "image")}
    towers: list[Tensor] = []
    for m, part in parts.items():
        head: Any = model.heads[m]
        head = head.project
        towers.append(F.gelu(part.pooled_ND @ head.weight.T + head.bias))
    linear: Any = model.fusion.linear
    expected_ND = torch.cat(towers, dim=1) @ linear.weight.T + linear.bias
    torch.testing.assert_close(model.fuse(parts), expected_ND)  # without dropout


def test_all_have_the_towers_of_iisan_and_one_head() -> None:
    own = create("iisan")
    sizes = {}
    for name in NAMES:
        model = built(name)
        assert isinstance(own, IISANVersa)
        for modality, spec in model.specs.items():
            assert spec.config == own.specs[modality].config
            assert spec.pool == own.specs[modality].pool
        sizes[name] = {
            "tower": sum(p.numel() for p in model.encoders.parameters() if p.requires_grad),
            "rest": sum(p.numel() for n, p in model.named_parameters() if not n.startswith("encoders.")),
        }
    assert len({size["rest"] for size in sizes.values()}) == 1
    towers = {name: size["tower"] for name, size in sizes.items()}
    assert towers["iisan_frozen"] == 0
    assert towers["iisan_lora"] == 2 * 4 * 2 * (128 * 8 + 8 * 128)  # towers, blocks, query and value
    assert towers["iisan_adapter"] == 2 * 4 * 2 * (128 * 64 + 64 + 64 * 128 + 128)
    assert towers["iisan_bitfit"] < towers["iisan_lora"] < towers["iisan_adapter"] < towers["iisan_fft"]


def test_models_of_frozen_states_refuse_adapted_towers() -> None:
    _, spec = TOWERS["bert"]
    adapted = {**vars(spec), "adapt": "bitfit", "tune": "none"}
    with pytest.raises(ValueError, match="adapts frozen towers, but text would be trained"):
        IISANVersa(text=adapted, image=vars(TOWERS["vit"][1]) | {"tune": "none"})


def test_options_of_an_adaptation_on_the_command_line() -> None:
    line = ["fit", "--data", "demo", "--model", "morec", "--model.text.adapt"]
    cli.check_line([*line, "lora", "--model.text.adapt_args.r", "4"])
    with pytest.raises(ValueError, match="has no option 'rank'"):
        cli.check_line([*line, "lora", "--model.text.adapt_args.rank", "4"])

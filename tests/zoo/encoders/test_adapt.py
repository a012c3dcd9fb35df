"""LoRA, Houlsby's adapters and BitFit inside towers of every library."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.zoo.encoders.towers import ISOTROPIC, TEXT, TOWERS, build, content, tower
from zoo.encoders.adapt import Bottleneck, adapt, check_adaptation
from zoo.encoders.base import EncoderSpec
from zoo.encoders.tower import Tower

NO_PARTS = {"xlnet"}  # its query and value are no layers
NO_LORA = {*NO_PARTS, "gpt2", "timm/beit_base_patch16_224"}
LORA = [n for n in (*TEXT, *ISOTROPIC) if n not in NO_LORA] + ["swin", "timm/swin_tiny_patch4_window7_224"]
ADAPTER = [n for n in (*TEXT, *ISOTROPIC) if n not in NO_PARTS]
ADAPTER += ["swin", "timm/swin_tiny_patch4_window7_224"]


def adapted(name: str, kind: str, **options: Any) -> Tower:  # noqa: ANN401
    encoder = build(name)
    adapt(encoder, replace(encoder.spec, adapt=kind, adapt_args=options or None))  # type: ignore[arg-type]
    return encoder


def trained(encoder: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in encoder.named_parameters() if p.requires_grad}


def gradients(encoder: Tower) -> None:
    """Every trained parameter gets a gradient, every other one none."""
    encoder.train()(content(encoder)).pooled_ND.square().sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in encoder.parameters())


@pytest.mark.parametrize("name", LORA)
def test_lora_starts_as_the_tower_and_trains_queries_and_values(name: str) -> None:
    encoder = adapted(name, "lora", r=2)
    before_ND = build(name)(content(encoder)).pooled_ND
    torch.testing.assert_close(encoder(content(encoder)).pooled_ND, before_ND, rtol=1e-4, atol=1e-5)
    assert len([n for n in trained(encoder) if "lora_A" in n]) == 2 * len(encoder.blocks()[1:])
    assert all(".lora_A." in n or ".lora_B." in n for n in trained(encoder))
    assert not any("k_proj" in n or ".k." in n or "key" in n for n in trained(encoder))
    gradients(encoder)


def test_lora_of_bert_has_its_size() -> None:
    assert sum(p.numel() for p in trained(adapted("bert", "lora")).values()) == 2 * 2 * (16 * 8 + 8 * 16)
    assert len(trained(adapted("bert", "lora"))) == 2 * 2 * 2


@pytest.mark.parametrize("name", ADAPTER)
def test_bottlenecks_stand_behind_both_parts_of_each_block(name: str) -> None:
    encoder = adapted(name, "adapter", bottleneck=3)
    found = [module for module in encoder.modules() if isinstance(module, Bottleneck)]
    assert len(found) == 2 * len(encoder.blocks()[1:])
    assert len(trained(encoder)) == 4 * len(found)
    before_ND = build(name)(content(encoder)).pooled_ND
    after_ND = encoder(content(encoder)).pooled_ND
    assert not torch.equal(after_ND, before_ND)
    torch.testing.assert_close(after_ND, before_ND, rtol=0, atol=0.02 * before_ND.abs().max().item())
    gradients(encoder)


def test_a_bottleneck_by_hand() -> None:
    """BERT's attention output: layer norm(x + adapter(dense(y)))."""
    encoder = adapted("bert", "adapter")
    end = encoder.network.encoder.layer[0].attention.output
    nn.init.normal_(end.dense.adapter.up.weight)
    y, x = torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    dense = y @ end.dense.weight.T + end.dense.bias
    down = torch.nn.functional.gelu(dense @ end.dense.adapter.down.weight.T)
    expected = end.LayerNorm(x + dense + down @ end.dense.adapter.up.weight.T)
    torch.testing.assert_close(end(y, x), expected)
    assert end.dense.adapter.down.weight.shape == (64, 16)


@pytest.mark.parametrize(
    "name", ["bert", "modernbert", "vit", "timm/vit_tiny_patch16_224", "resnet", "open_clip-image"]
)
def test_bitfit_trains_biases_only(name: str) -> None:
    if name == "modernbert":  # it has none
        with pytest.raises(ValueError, match="there are no biases"):
            adapted(name, "bitfit")
        return
    encoder = adapted(name, "bitfit")
    assert trained(encoder)
    assert all(n.endswith("bias") and p.ndim == 1 for n, p in trained(encoder).items())
    gradients(encoder)


@pytest.mark.parametrize("kind", ["lora", "adapter", "bitfit"])
@pytest.mark.parametrize("name", ["bert", "vit", "timm/vit_tiny_patch16_224"])
def test_an_adapted_tower_comes_back(name: str, kind: Any) -> None:  # noqa: ANN401
    encoder = adapted(name, kind)
    for parameter in trained(encoder).values():
        nn.init.normal_(parameter)
    modality, spec = TOWERS[name]
    spec = replace(spec, adapt=kind, config=encoder.config())
    again = tower(modality, spec, pretrained=False)
    adapt(again, spec)
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again(content(again)).pooled_ND, encoder(content(encoder)).pooled_ND)
    assert list(trained(again)) == list(trained(encoder))


def test_a_copy_has_adapters_of_its_own() -> None:
    encoder = adapted("bert", "adapter")
    twin = copy.deepcopy(encoder)
    for parameter in trained(twin).values():
        nn.init.normal_(parameter)
    before_ND = adapted("bert", "adapter")  # the same seed
    assert torch.equal(encoder(content(encoder)).pooled_ND, before_ND(content(encoder)).pooled_ND)
    assert not torch.equal(twin(content(twin)).pooled_ND, encoder(content(encoder)).pooled_ND)


@pytest.mark.parametrize("kind", ["lora", "adapter"])
@pytest.mark.parametrize("name", ["bert", "timm/vit_tiny_patch16_224"])
def test_gradients_reach_adapted_layers_that_recompute(name: str, kind: Any) -> None:  # noqa: ANN401
    modality, spec = TOWERS[name]
    spec = replace(spec, checkpointing=True, adapt=kind)
    encoder = tower(modality, spec)
    adapt(encoder, spec)
    gradients(encoder)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("timm/convnext_atto", "lora", "expected one query layer a block, block 0 has 0"),
        ("resnet", "adapter", "expected one output layer of an attention a block"),
        ("open_clip-text", "lora", "expected one query layer a block"),
        ("open_clip-image", "adapter", "adapt: adapter of 'open_clip/small' is not offered"),
        ("timm/beit_base_patch16_224", "lora", "its attention reads its layers' weights itself"),
        ("xlnet", "adapter", "expected one output layer of an attention a block"),
    ],
)
def test_towers_that_do_not_carry_it_say_so(name: str, kind: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        adapted(name, kind)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"adapt_args": {"r": 8}}, "text: adapt_args {'r': 8} without adapt"),
        ({"adapt": "ia3"}, "expected adapt out of lora, adapter, bitfit; found 'ia3'"),
        ({"adapt": "lora", "adapt_args": {"alpa": 8}}, "has no option 'alpa'. Did you mean alpha"),
        ({"adapt": "lora", "adapt_args": {"r": 0}}, "r must be a positive number; found 0"),
        ({"adapt": "lora", "adapt_args": {"dropout": 1.0}}, "dropout must be at least 0 and below 1"),
        ({"adapt": "bitfit", "adapt_args": {"r": 8}}, "Its options: none"),
        ({"adapt": "adapter", "cached": True}, "Leave one of them out"),
    ],
)
def test_options_that_cannot_be_followed(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_adaptation("text", EncoderSpec("bert", **fields))


def test_without_peft_lora_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.encoders.adapt.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'mmzoo\[peft\]'"):
        check_adaptation("text", EncoderSpec("bert", adapt="lora"))
    check_adaptation("text", EncoderSpec("bert", adapt="adapter"))

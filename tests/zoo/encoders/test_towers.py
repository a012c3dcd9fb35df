"""What every tower must do, whatever library it comes from."""

import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.zoo.encoders.towers import AUDIO, TOWERS, UNIFORM, build, content
from zoo.conformance.case import OpRecorder
from zoo.encoders.create import create_encoder, create_transform
from zoo.encoders.freeze import freeze
from zoo.encoders.text import TextEncoder
from zoo.types import ContentTransform

every_tower = pytest.mark.parametrize("name", list(TOWERS))


@every_tower
def test_shapes_and_kinds(name: str) -> None:
    encoder = build(name)
    items = content(encoder)
    encoded = encoder(items)
    assert encoded.pooled_ND.shape == (3, encoder.width)
    assert encoded.pooled_ND.dtype == torch.float32
    assert encoded.present_N is items["present"]
    assert encoded.states_NKD is None
    assert encoded.tokens_NTD is not None
    assert encoded.tokens_NTD.shape[0] == 3
    assert encoded.tokens_NTD.shape[2] == encoder.token_width > 0
    assert encoded.pooled_ND.std(dim=0).max() > 0, "items must differ"


@every_tower
@pytest.mark.parametrize("tune", ["all", 1])
def test_every_trainable_parameter_gets_a_gradient(name: str, tune: Any) -> None:  # noqa: ANN401
    encoder = build(name)
    freeze(encoder, tune)
    trainable = [n for n, p in encoder.named_parameters() if p.requires_grad]
    assert trainable
    encoder.train()
    assert encoder.training
    (encoder(content(encoder)).pooled_ND ** 3).sum().backward()
    for parameter_name, parameter in encoder.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, parameter_name
    if tune == 1:
        embedding = encoder.blocks()[0]
        assert not any(n.startswith(tuple(embedding)) for n in trainable if embedding)


@pytest.mark.parametrize("name", [n for n, (modality, _) in TOWERS.items() if modality != "text"])
def test_an_item_does_not_depend_on_its_batch(name: str) -> None:
    encoder = build(name)
    items = content(encoder)
    together = encoder(items).pooled_ND
    alone = torch.cat([encoder({f: v[i : i + 1] for f, v in items.items()}).pooled_ND for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@every_tower
def test_config_rebuilds_the_tower(name: str) -> None:
    encoder = build(name)
    modality, spec = TOWERS[name]
    stored = json.loads(json.dumps(encoder.config()))
    again = replace(spec, name=spec.name if "/" in spec.name else "/gone/folder", config=stored)
    rebuilt = create_encoder(modality, again, pretrained=False).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    items = content(encoder)
    torch.testing.assert_close(rebuilt(items).pooled_ND, encoder(items).pooled_ND, atol=0, rtol=0)
    assert rebuilt.config() == encoder.config()
    assert create_transform(modality, again).key == encoder.transform().key


@every_tower
def test_bf16_is_close(name: str) -> None:
    encoder = build(name)
    items = content(encoder)
    exact = encoder(items).pooled_ND
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder(items).pooled_ND
    assert rough.isfinite().all()
    assert (rough.float() - exact).norm() < 0.1 * exact.norm()


@every_tower
def test_forward_neither_waits_nor_uses_doubles(name: str) -> None:
    encoder = build(name)
    items = content(encoder)
    with OpRecorder() as recorder:
        encoder(items)
    assert not recorder.waiting()
    assert not recorder.doubles


CANNOT_RECOMPUTE = ("resnet", "clap_audio_model")
"""transformers has no checkpointing for them, and batch norms count what they see."""


@pytest.mark.parametrize("name", [n for n in TOWERS if n not in CANNOT_RECOMPUTE])
def test_checkpointing_changes_no_gradient(name: str) -> None:
    plain, saving = build(name), build(name, checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    items = content(plain)
    for encoder in (plain, saving):
        freeze(encoder, 1)
        for part in encoder.modules():
            # Checkpointing works in training mode only; chance would blur the comparison.
            part.training = not isinstance(part, torch.nn.Dropout | torch.nn.BatchNorm2d)
            for rate in ("p", "drop_prob", "attention_dropout", "hidden_dropout", "dropout"):
                if isinstance(getattr(part, rate, None), float):
                    setattr(part, rate, 0.0)
        (encoder(items).pooled_ND ** 3).sum().backward()
    for (part_name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), part_name
        if one.grad is not None and other.grad is not None:
            torch.testing.assert_close(other.grad, one.grad)


@pytest.mark.parametrize("name", CANNOT_RECOMPUTE)
def test_checkpointing_is_refused_where_it_does_not_exist(name: str) -> None:
    with pytest.raises(ValueError, match="does not support it"):
        build(name, checkpointing=True)


@pytest.mark.parametrize("name", UNIFORM)
def test_states_are_the_layers_of_the_tower(name: str) -> None:
    encoder = build(name, states="all")
    items = content(encoder)
    encoded = encoder(items)
    states = encoded.states_NKD
    assert states is not None
    assert encoded.tokens_NTD is not None
    assert states.shape[:2] == (3, encoder.depth + 1)
    torch.testing.assert_close(encoded.pooled_ND, build(name)(items).pooled_ND)
    picked = build(name, states=[encoder.depth, 0])(items).states_NKD
    assert picked is not None
    torch.testing.assert_close(picked, states[:, [encoder.depth, 0]])
    last = states[:, -1]
    norms = ("layernorm", "norm", "post_layernorm")
    norm = next((n for k in norms if (n := getattr(encoder.network, k, None)) is not None), None)
    if isinstance(encoder, TextEncoder) and name != "clip_text_model":
        # The last state of a text tower is its output.
        torch.testing.assert_close(last, encoded.pooled_ND)
    elif "timm/vit_tiny" in name or name in ("vit", "vit_mae", "deit", "dinov2"):
        # States of a ViT are read before its final norm.
        assert norm is not None
        torch.testing.assert_close(norm(last), encoded.tokens_NTD[:, 0])
    elif name in ("open_clip-image", "clip_vision_model"):
        torch.testing.assert_close(last, encoded.tokens_NTD[:, 0])


@pytest.mark.parametrize("name", ["swin", "resnet", "timm/resnet18", "clap_audio_model"])
def test_states_of_unequal_width_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="different widths"):
        build(name, states="all")


@pytest.mark.parametrize("name", ["bert", "vit", "open_clip-text", "timm/vit_tiny_patch16_224"])
def test_states_that_do_not_exist_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"\[7\] do not exist.*0 \(embedding output\) to 2"):
        build(name, states=[0, 7])


@pytest.mark.parametrize(
    "name", ["bert", "vit", "timm/resnet18", "open_clip-text", "open_clip-image", *AUDIO, "videomae"]
)
def test_transforms_are_picklable_and_fit_the_contract(name: str) -> None:
    encoder = build(name)
    transform = encoder.transform()
    assert isinstance(transform, ContentTransform)
    copy = pickle.loads(pickle.dumps(transform))
    assert copy.key == transform.key
    items = content(encoder)
    for field, (shape, dtype) in transform.fields.items():
        assert items[field].shape == (3, *shape)
        assert str(items[field].dtype) == f"torch.{dtype}"
        assert set(transform.fill) <= set(transform.fields)

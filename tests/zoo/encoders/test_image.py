"""Pictures to pixels, and image towers against the libraries called directly."""

from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision import transforms
from transformers import ViTMAEModel

from tests.zoo.encoders.towers import VISION, build, content, pictures, tower
from zoo.encoders.base import EncoderSpec
from zoo.encoders.create import create_encoder, create_transform
from zoo.encoders.image import ImageTower, ImageTransform


def reference_pixels(size: int) -> torch.Tensor:
    """The pipeline of MoRec's official code, from torchvision's parts."""
    pipeline = transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.ToTensor(),
            transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ]
    )
    return torch.stack([pipeline(picture) for picture in pictures()])


def test_normalisation_equals_the_reference() -> None:
    encoder = build("vit")
    assert isinstance(encoder, ImageTower)
    items = content(encoder)
    assert items["pixels"].dtype == torch.uint8
    torch.testing.assert_close(encoder.normalised(items), reference_pixels(16), atol=1e-6, rtol=0)


def test_transform_takes_any_mode_and_size() -> None:
    transform = ImageTransform(8)
    raw = [Image.new("L", (30, 10), 7), Image.new("RGBA", (5, 5), (1, 2, 3, 0)), Image.new("P", (8, 9))]
    pixels = transform(raw)["pixels"]
    assert pixels.shape == (3, 3, 8, 8)
    assert pixels.dtype == np.uint8
    assert (pixels[0] == 7).all()
    assert pixels[1, :, 0, 0].tolist() == [1, 2, 3]
    assert transform.fill == {"pixels": 128}
    assert ImageTransform(9).key != transform.key
    with pytest.raises(ValueError, match="found 0"):
        ImageTransform(0)


@pytest.mark.parametrize("name", list(VISION))
def test_pooled_equals_the_library(name: str) -> None:
    encoder = build(name)
    pooled = encoder(content(encoder)).pooled_ND
    x = reference_pixels(32 if "atto" in name else 16)
    if name.startswith("timm/"):
        direct = encoder.network(x)
    elif name == "vit_mae":
        noise = torch.rand(3, 4)  # in any order: the class token does not see it
        direct = encoder.network(x, noise=noise).last_hidden_state[:, 0]
    else:
        output = encoder.network(x)
        own = getattr(output, "pooler_output", None)
        direct = output.last_hidden_state[:, 0] if own is None else own.flatten(1)
    torch.testing.assert_close(pooled, direct, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet", "convnext", "timm/convnext_atto", "timm/resnet18"])
def test_convolutions_run_with_channels_last_but_on_a_cpu(name: str) -> None:
    encoder = build(name)
    items = content(encoder)
    assert isinstance(encoder, ImageTower)
    assert encoder.maps
    assert encoder.normalised(items).is_contiguous()
    elsewhere = {field: tensor.to("meta") for field, tensor in items.items()}
    assert encoder.normalised(elsewhere).is_contiguous(memory_format=torch.channels_last)
    pixels = encoder.normalised(items)
    ordered = pixels.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(encoder.network(ordered), encoder.network(pixels), atol=1e-5, rtol=1e-5)


def test_swin_is_final_norm_and_mean() -> None:
    encoder = build("swin")
    encoded = encoder(content(encoder))
    assert encoded.tokens_NTD is not None
    torch.testing.assert_close(encoded.pooled_ND, encoded.tokens_NTD.mean(dim=1))


def test_mae_sees_the_whole_picture_in_order() -> None:
    encoder = build("vit_mae")
    items = content(encoder)
    once, again = encoder(items), encoder(items)
    assert encoder.config()["mask_ratio"] == 0
    assert isinstance(encoder.network, ViTMAEModel)
    assert once.tokens_NTD is not None
    assert again.tokens_NTD is not None
    assert once.tokens_NTD.shape[1] == 1 + 4
    torch.testing.assert_close(once.tokens_NTD, again.tokens_NTD, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["vit", "dinov2", "timm/vit_tiny_patch16_224", "deit"])
def test_pooling_by_request(name: str) -> None:
    items = content(build(name))
    default = build(name)(items)
    n_prefix = 2 if name == "deit" else 1
    assert default.tokens_NTD is not None
    torch.testing.assert_close(build(name, pool="cls")(items).pooled_ND, default.tokens_NTD[:, 0])
    torch.testing.assert_close(
        build(name, pool="mean")(items).pooled_ND, default.tokens_NTD[:, n_prefix:].mean(dim=1)
    )


@pytest.mark.parametrize("name", ["swin", "resnet", "timm/resnet18"])
def test_cls_needs_a_class_token(name: str) -> None:
    with pytest.raises(ValueError, match="has no class token"):
        build(name, pool="cls")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("vit", {"image_size": 24}),
        ("vit_mae", {"image_size": 24}),
        ("swin", {"image_size": 32}),
        ("resnet", {"image_size": 40}),
        ("timm/resnet18", {"image_size": 40}),
    ],
)
def test_other_sizes_than_the_towers_own(name: str, changes: dict[str, Any]) -> None:
    encoder = build(name, **changes)
    items = content(encoder)
    assert items["pixels"].shape[-1] == changes["image_size"]
    assert encoder(items).pooled_ND.isfinite().all()


def test_sizes_are_read_without_building() -> None:
    def size(spec: EncoderSpec) -> int:
        shape, _ = create_transform("image", spec).fields["pixels"]
        return shape[-1]

    assert size(EncoderSpec("timm/vit_base_patch16_224")) == 224
    assert size(EncoderSpec("timm/tf_efficientnet_lite1", config={})) == 240
    assert size(EncoderSpec("timm/vit_base_patch16_224", image_size=64)) == 64
    assert size(EncoderSpec("vit", config={"image_size": 48})) == 48
    assert size(EncoderSpec("resnet", config={})) == 224
    assert size(EncoderSpec("open_clip/ViT-B-16-plus-240")) == 240


def test_timm_states_are_those_of_the_library() -> None:
    encoder = build("timm/vit_tiny_patch16_224", states="all")
    states = encoder(content(encoder)).states_NKD
    assert states is not None
    found = encoder.network.forward_intermediates(
        reference_pixels(16), intermediates_only=True, return_prefix_tokens=True, output_fmt="NLC"
    )
    for k, (_, prefix) in enumerate(found, start=1):
        torch.testing.assert_close(states[:, k], prefix[:, 0], atol=1e-5, rtol=1e-4)
    embedded = encoder.network.cls_token[0, 0] + encoder.network.pos_embed[0, 0]
    torch.testing.assert_close(states[0, 0], embedded)


def test_a_timm_vit_takes_its_size_from_the_spec() -> None:
    config = {k: v for k, v in VISION["timm/vit_tiny_patch16_224"].items() if k != "img_size"}
    spec = EncoderSpec("timm/vit_tiny_patch16_224", config=config, image_size=24)
    encoder = tower("image", spec)
    assert encoder.config()["img_size"] == 24
    assert encoder.network.pos_embed.shape[1] == 1 + 9


def test_a_wrong_timm_argument_is_named() -> None:
    with pytest.raises(ValueError, match=r"config of 'timm/resnet18'.*depthz"):
        create_encoder("image", EncoderSpec("timm/resnet18", config={"depthz": 3}))


def test_blocks_cover_every_block_of_timm() -> None:
    encoder = build("timm/resnet18")
    network = timm.create_model("resnet18", num_classes=0, layers=[1, 1, 1, 1], channels=[8, 8, 16, 16])
    covered = [name for block in encoder.blocks() for name in block]
    assert sorted(covered) == sorted(f"network.{name}" for name, _ in network.named_parameters())

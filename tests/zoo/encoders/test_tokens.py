"""Tokens of every tower: as the library gives them, in which order, masked how, and what they train."""

import pytest
import torch
from torch import Tensor

from tests.zoo.encoders.test_image import reference_pixels
from tests.zoo.encoders.towers import TEXT, TOWERS, VISION, build, content
from zoo.encoders.freeze import freeze, unused_parameters
from zoo.encoders.tower import Tower
from zoo.types import Content

every_tower = pytest.mark.parametrize("name", list(TOWERS))
texts = [name for name, (modality, _) in TOWERS.items() if modality == "text"]
images = [name for name, (modality, _) in TOWERS.items() if modality == "image"]


def encoded_tokens(encoder: Tower, items: Content) -> Tensor:
    """Tokens of a batch, which must be there."""
    tokens = encoder(items).tokens_NTD
    assert isinstance(tokens, Tensor)
    return tokens


@pytest.mark.parametrize("name", texts)
def test_a_padded_batch_equals_unpadded_rows(name: str) -> None:
    encoder = build(name)
    items = content(encoder)
    encoded = encoder(items)
    assert encoded.mask_NT is not None
    assert torch.equal(encoded.mask_NT, items["tokens"] >= 0)
    for i, row in enumerate(items["tokens"]):
        n_real = int((row >= 0).sum())
        alone = encoded_tokens(encoder, {"tokens": row[None, :n_real]})[0]
        torch.testing.assert_close(encoded.tokens_NTD[i, :n_real], alone, atol=2e-6, rtol=1e-4)
        if name in TEXT:  # of transformers: the library without any mask
            ids = row[None, :n_real].long()
            direct = encoder.network(input_ids=ids).last_hidden_state[0]
            torch.testing.assert_close(alone, direct, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("name", list(VISION))
def test_image_tokens_are_the_librarys_class_token_first(name: str) -> None:
    encoder = build(name)
    tokens = encoded_tokens(encoder, content(encoder))
    x = reference_pixels(32 if "atto" in name else 16)
    if name.startswith("timm/"):
        direct = encoder.network.forward_features(x)
        direct = direct.flatten(1, 2) if encoder.channels_last else direct
    else:
        direct = encoder.network(x).last_hidden_state
    # A map (N, C, H, W) is read row by row.
    direct = direct.permute(0, 2, 3, 1).flatten(1, 2) if direct.ndim == 4 else direct
    if name != "vit_mae":  # which shuffles: see test_mae.py
        torch.testing.assert_close(tokens, direct, atol=1e-5, rtol=1e-4)
    if encoder.class_token:
        by_class_token = build(name, pool="cls")(content(encoder)).pooled_ND
        torch.testing.assert_close(by_class_token, tokens[:, 0])


def test_clip_tokens_come_without_the_last_norm() -> None:
    encoder = build("clip_vision_model")
    encoded = encoder(content(encoder))
    normed = encoder.network.post_layernorm(encoded.tokens_NTD[:, 0])
    torch.testing.assert_close(normed, encoded.pooled_ND)
    last = encoder.network(reference_pixels(16), output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(encoded.tokens_NTD, last, atol=1e-5, rtol=1e-4)


def test_a_clip_resnet_gives_its_map() -> None:
    encoder = build("open_clip-resnet")
    assert encoder.maps
    x = reference_pixels(32)
    network = encoder.network
    direct = network.layer4(network.layer3(network.layer2(network.layer1(network.stem(x)))))
    tokens = encoded_tokens(encoder, content(encoder))
    torch.testing.assert_close(tokens, direct.permute(0, 2, 3, 1).flatten(1, 2), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        build("open_clip-resnet", pool="mean")(content(encoder)).pooled_ND, tokens.mean(1)
    )


@pytest.mark.parametrize("name", ["bert", "xlnet", "llama", "open_clip-text", *images])
def test_the_mean_of_all_tokens(name: str) -> None:
    encoder = build(name, pool="mean_all")
    items = content(encoder)
    encoded = encoder(items)
    if name in texts:
        torch.testing.assert_close(encoded.pooled_ND, build(name, pool="mean")(items).pooled_ND)
    else:
        torch.testing.assert_close(encoded.pooled_ND, encoded.tokens_NTD.mean(dim=1))


@every_tower
def test_where_tokens_are_read_only_what_makes_them_is_trained(name: str) -> None:
    encoder = build(name)
    freeze(encoder, "all", tokens=True)
    encoder.train()
    (encoder(content(encoder)).tokens_NTD ** 3).sum().backward()
    for parameter_name, parameter in encoder.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, parameter_name


@pytest.mark.parametrize(
    ("name", "unread"),
    [
        ("clip_vision_model", "post_layernorm"),
        ("beit", "pooler"),
        ("siglip_vision_model", "head"),
        ("timm/beit_base_patch16_224", "fc_norm"),
        ("open_clip-image", "proj"),
        ("open_clip-text", "text_projection"),
        ("open_clip-resnet", "attnpool"),
    ],
)
def test_heads_are_unread_where_tokens_are_read(name: str, unread: str) -> None:
    encoder = build(name)
    by_vector, by_tokens = unused_parameters(encoder), unused_parameters(encoder, tokens=True)
    assert not any(unread in parameter for parameter in by_vector)
    assert any(unread in parameter for parameter in by_tokens)
    assert by_vector < by_tokens

"""ViT-MAE: whole pictures by default, dropped patches on request."""

from dataclasses import replace

import pytest
import torch

from tests.zoo.encoders.test_image import reference_pixels
from tests.zoo.encoders.towers import TOWERS, build, content, tower
from zoo.encoders.base import EncoderSpec
from zoo.encoders.create import create_encoder
from zoo.encoders.freeze import freeze
from zoo.encoders.tower import Tower

_MAE = TOWERS["vit_mae"][1]
SPEC = replace(_MAE, mask_ratio=0.75, config={**(_MAE.config or {}), "patch_size": 4})


def masking(**changes: object) -> Tower:
    """A small MAE of 16 patches that keeps four of them."""
    torch.manual_seed(0)
    return tower("image", replace(SPEC, **changes))  # type: ignore[arg-type]


def test_no_patch_is_dropped_by_default() -> None:
    encoder = build("vit_mae")
    encoded = encoder(content(encoder))
    assert encoded.tokens_NTD is not None
    assert encoded.tokens_NTD.shape[1] == 1 + 4
    assert encoder.config()["mask_ratio"] == 0
    order = torch.arange(4).expand(3, -1)
    direct = encoder.network(reference_pixels(16), noise=order).last_hidden_state
    torch.testing.assert_close(encoded.tokens_NTD, direct, atol=1e-5, rtol=1e-4)


def test_evaluation_drops_the_same_patches_of_every_picture() -> None:
    encoder = masking()
    items = content(encoder)
    tokens = encoder(items).tokens_NTD
    assert tokens is not None
    assert tokens.shape[1] == 1 + 4
    torch.manual_seed(99)
    torch.testing.assert_close(encoder(items).tokens_NTD, tokens, rtol=0, atol=0)
    alone = encoder({field: value[1:2] for field, value in items.items()}).tokens_NTD
    torch.testing.assert_close(alone, tokens[1:2], atol=1e-5, rtol=1e-4)
    state = encoder.state_dict()
    rebuilt = create_encoder("image", replace(SPEC, config=encoder.config()), pretrained=False).eval()
    rebuilt.load_state_dict(state)
    torch.testing.assert_close(rebuilt(items).tokens_NTD, tokens)


def test_training_drops_others_each_time() -> None:
    encoder = masking().train()
    items = content(encoder)
    torch.manual_seed(1)
    once, again = encoder(items).tokens_NTD, encoder(items).tokens_NTD
    assert once.shape == again.shape
    assert not torch.allclose(once, again)
    torch.manual_seed(1)
    torch.testing.assert_close(encoder(items).tokens_NTD, once, rtol=0, atol=0)
    freeze(encoder, "none")
    still = encoder.train()(items).tokens_NTD
    torch.testing.assert_close(encoder(items).tokens_NTD, still, rtol=0, atol=0)


def test_the_ratio_of_the_networks_configuration_is_not_used() -> None:
    config = {**(SPEC.config or {}), "mask_ratio": 0.5}
    encoded = tower("image", replace(SPEC, config=config, mask_ratio=0.0))
    assert encoded(content(encoded)).tokens_NTD.shape[1] == 1 + 16


def test_ratios_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match=r"at least 0 and below 1; found 1.0"):
        masking(mask_ratio=1.0)
    with pytest.raises(ValueError, match=r"mask_ratio=0.99 leaves none of 16 patches"):
        masking(mask_ratio=0.99)
    for name in ("vit", "timm/resnet18"):
        with pytest.raises(ValueError, match="only a ViT-MAE of transformers drops patches"):
            build(name, mask_ratio=0.75)
    with pytest.raises(ValueError, match="only a ViT-MAE"):
        create_encoder("image", EncoderSpec("timm/test_vit", config={}, mask_ratio=0.75))

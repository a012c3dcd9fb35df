"""open_clip's two sides against the whole model."""

import json
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.model import CustomTextCLIP
from safetensors.torch import save_file

from tests.zoo.encoders.test_image import reference_pixels
from tests.zoo.encoders.towers import CLIP, CLIP_RESNET, TITLES, content, tower
from zoo.encoders.base import EncoderSpec
from zoo.encoders.create import create_encoder, create_transform
from zoo.encoders.freeze import freeze


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[CustomTextCLIP, Path]:
    """A small model and the folder it is saved in, as open_clip lays it out."""
    torch.manual_seed(0)
    model = CustomTextCLIP(**CLIP).eval()
    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model, folder


def test_both_sides_of_a_folder_equal_the_model(saved: tuple[CustomTextCLIP, Path]) -> None:
    model, folder = saved
    image = tower("image", EncoderSpec(str(folder)))
    torch.testing.assert_close(image(content(image)).pooled_ND, model.encode_image(reference_pixels(16)))
    text = tower("text", EncoderSpec(str(folder)))
    tokens = open_clip.tokenizer.SimpleTokenizer()([t.lower() for t in TITLES], context_length=12)
    torch.testing.assert_close(text(content(text)).pooled_ND, model.encode_text(tokens), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_weights_from_a_file_of_the_whole_model(modality: str, saved: tuple[CustomTextCLIP, Path]) -> None:
    _, folder = saved
    file = str(folder / "open_clip_model.safetensors")
    one = tower(modality, EncoderSpec("open_clip/mine", config=CLIP, weights=file))
    other = tower(modality, EncoderSpec(str(folder)))
    torch.testing.assert_close(one(content(one)).pooled_ND, other(content(other)).pooled_ND)


def test_tokens_are_those_of_open_clip() -> None:
    transform = create_transform("text", EncoderSpec("open_clip/small", config=CLIP, max_tokens=8))
    tokens = torch.from_numpy(transform(TITLES)["tokens"]).long()
    reference = open_clip.tokenizer.SimpleTokenizer()(TITLES, context_length=8)
    assert torch.equal(tokens.clamp(min=0), reference)
    assert transform.fields["tokens"][0] == (8,)
    long = create_transform("text", EncoderSpec("open_clip/small", config=CLIP, max_tokens=30))
    assert long.fields["tokens"][0] == (12,), "the model's context is the limit"


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"has no model 'ViT-B-3'. Near: ViT-B-32"):
        create_encoder("image", EncoderSpec("open_clip/ViT-B-3"))
    with pytest.raises(ValueError, match=r"open_clip/ViT-B-32/<tag>; tags: openai"):
        create_encoder("image", EncoderSpec("open_clip/ViT-B-32"))
    with pytest.raises(ValueError, match=r"uses 'roberta-base' of transformers"):
        create_transform("text", EncoderSpec("open_clip/roberta-ViT-B-32"))
    with pytest.raises(ValueError, match="brings its own tokenizer"):
        create_transform("text", EncoderSpec("open_clip/small", config=CLIP, tokenizer="words"))
    with pytest.raises(ValueError, match="reads its end token"):
        create_encoder("text", EncoderSpec("open_clip/small", config=CLIP, pool="cls"))
    with pytest.raises(ValueError, match="widht"):
        create_encoder("image", EncoderSpec("open_clip/small", config=CLIP | {"vision_cfg": {"widht": 8}}))


def test_states_of_a_resnet_are_refused() -> None:
    encoder = tower("image", EncoderSpec("open_clip/rn", config=CLIP_RESNET))
    assert encoder(content(encoder)).pooled_ND.shape == (3, 12)
    with pytest.raises(ValueError, match="is no ViT"):
        create_encoder("image", EncoderSpec("open_clip/rn", config=CLIP_RESNET, states="all"))


def test_a_clip_resnet_is_trained_from_its_top() -> None:
    encoder = tower("image", EncoderSpec("open_clip/rn", config=CLIP_RESNET))
    assert len(encoder.blocks()) == 1 + 4
    freeze(encoder, 1)
    names = {name.split(".")[1] for name, p in encoder.named_parameters() if p.requires_grad}
    assert names == {"layer4", "attnpool"}


def test_a_side_that_timm_builds_gives_its_vector() -> None:
    vision = {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": 32}
    spec = EncoderSpec("open_clip/timm", config=CLIP | {"vision_cfg": vision})
    encoder = tower("image", spec)
    encoded = encoder(content(encoder))
    assert encoded.pooled_ND.shape == (3, 12)
    assert encoded.tokens_NTD is None
    with pytest.raises(ValueError, match="is no ViT"):
        create_encoder("image", replace(spec, pool="mean"))

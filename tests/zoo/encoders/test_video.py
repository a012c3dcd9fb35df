"""Frames of clips, and video towers against the libraries called directly."""

from collections.abc import Callable
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from tests.zoo.encoders.towers import VIDEO, build, clips, content, tower
from zoo.encoders.base import EncoderSpec
from zoo.encoders.create import create_encoder, create_transform
from zoo.encoders.freeze import freeze
from zoo.encoders.tower import Tower
from zoo.encoders.video import VideoTower, VideoTransform, processed_twice


def test_frames_to_pixels() -> None:
    transform = VideoTransform(4, 8, "even")
    assert transform.frames(8) == [1, 3, 5, 7]
    still = Image.new("L", (30, 10), 7)
    frames = transform([[still, still, Image.new("RGB", (9, 9), (1, 2, 3)), still]])["frames"]
    assert frames.shape == (1, 4, 3, 8, 8)
    assert frames.dtype == np.uint8
    assert (frames[0, [0, 1, 3]] == 7).all()
    assert frames[0, 2, :, 0, 0].tolist() == [1, 2, 3]
    keys = {VideoTransform(4, 8, rule).key for rule in ("even", "middle", "microlens", "microlens_twice")}
    assert len(keys) == 4
    with pytest.raises(ValueError, match="found n_frames=0"):
        VideoTransform(0, 8, "even")


def test_microlens_frames() -> None:
    rule = VideoTransform(5, 8, "microlens")
    assert rule.frames(100) == [46, 47, 48, 49, 50]
    assert VideoTransform(5, 8, "middle").frames(101) == [48, 49, 50, 51, 52]
    assert rule.frames(8) == [0, 1, 2, 3, 4]
    assert all(len(rule.frames(n)) == 5 and max(rule.frames(n)) < n for n in range(1, 30))


def test_microlens_reads_five_frames_and_the_fifth_has_no_effect() -> None:
    encoder = build("videomae", frame_rule="microlens")
    assert encoder.network.config.num_frames == 5
    items = content(encoder)
    assert items["frames"].shape[1] == 5
    changed = items["frames"].clone()
    changed[:, 4] = 0
    encoded, again = encoder(items), encoder({**items, "frames": changed})
    assert encoded.tokens_NTD.shape[1] == 2 * 4  # two pairs of frames, four patches
    torch.testing.assert_close(again.pooled_ND, encoded.pooled_ND, atol=0, rtol=0)


def test_pixels_processed_twice() -> None:
    assert processed_twice()[[0, 63, 127, 128, 150, 200, 223]].tolist() == [1, 127, 0, 1, 45, 145, 191]
    encoder = build("videomae", frame_rule="microlens_twice", n_frames=4)
    assert isinstance(encoder, VideoTower)
    items = {
        "frames": torch.tensor([150, 200, 223], dtype=torch.uint8)[:, None, None].expand(1, 4, 3, 16, 16)
    }
    expected = [(45 / 255 - 0.485) / 0.229, (145 / 255 - 0.456) / 0.224, (191 / 255 - 0.406) / 0.225]
    torch.testing.assert_close(encoder.normalised(items)[0, 0, :, 0, 0], torch.tensor(expected))
    assert not any("256" in name for name in encoder.state_dict())


@pytest.mark.parametrize("name", list(VIDEO))
def test_towers_equal_the_library(name: str) -> None:
    encoder = build(name)
    items = content(encoder)
    pixels = [torchvision.transforms.functional.resize(p, [16, 16]) for clip in clips() for p in clip]
    x = torch.stack([torchvision.transforms.functional.to_tensor(p) for p in pixels]).view(3, 4, 3, 16, 16)
    direct = encoder.network((x - 0.5) / 0.5).last_hidden_state
    encoded = encoder(items)
    torch.testing.assert_close(encoded.tokens_NTD, direct, atol=1e-5, rtol=1e-4)
    pooled = direct.mean(dim=1) if name == "videomae" else direct[:, 0]
    torch.testing.assert_close(encoded.pooled_ND, pooled, atol=1e-5, rtol=1e-4)
    if name != "videomae":
        mean = build(name, pool="mean")(items).pooled_ND
        torch.testing.assert_close(mean, direct[:, 1:].mean(dim=1), atol=1e-5, rtol=1e-4)


def test_frames_that_would_be_left_out_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"n_frames=5 of 'videomae'.*groups of 2.*last 1.*Give n_frames 6.*or 4"
    ):
        build("videomae", n_frames=5)
    with pytest.raises(ValueError, match=r"n_frames=1 of 'vivit'.*Give n_frames 2 "):
        build("vivit", n_frames=1)
    with pytest.raises(ValueError, match=r"cls.*no class token"):
        build("videomae", pool="cls")


def test_other_frames_and_sizes() -> None:
    assert content(build("videomae", n_frames=6, image_size=24))["frames"].shape == (3, 6, 3, 24, 24)
    assert build("videomae", n_frames=6, image_size=24).config()["num_frames"] == 6
    longer = build("timesformer", n_frames=6)  # stretches its learned positions in time
    assert longer.config()["num_frames"] == 4
    assert longer(content(longer)).tokens_NTD.shape[1] == 1 + 6 * 4


def test_learned_positions_of_a_folder_fit_one_number_of_frames(tmp_path: Any) -> None:  # noqa: ANN401
    build("vivit").network.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="learned positions for 4 frames of 16 pixels"):
        create_transform("video", EncoderSpec(str(tmp_path), n_frames=8))


@pytest.fixture(scope="module")
def r3d() -> Callable[..., Tower]:
    """Makes r3d_18 on small frames; its widths are torchvision's own."""

    def make(**changes: Any) -> Tower:  # noqa: ANN401 - fields of a spec
        torch.manual_seed(0)
        options: dict[str, Any] = {"config": {}, "n_frames": 4, "image_size": 16}
        return tower("video", EncoderSpec("torchvision/r3d_18", **options | changes))

    return make


def test_a_3d_resnet_equals_torchvision(r3d: Callable[..., Tower]) -> None:
    encoder = r3d(states=[7, 8])
    items = content(encoder)
    encoded = encoder(items)
    x = (items["frames"].float() / 127.5 - 1).transpose(1, 2)
    direct = encoder.network.stem(x)
    for i in range(1, 5):
        direct = getattr(encoder.network, f"layer{i}")(direct)
    torch.testing.assert_close(encoded.pooled_ND, direct.mean(dim=(2, 3, 4)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoded.tokens_NTD, direct.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoded.states_NKD[:, 1], encoded.pooled_ND)
    freeze(encoder, 1)
    trained = {n.split(".")[1] + n.split(".")[2] for n, p in encoder.named_parameters() if p.requires_grad}
    assert trained == {"layer41"}
    again = EncoderSpec(
        "torchvision/r3d_18", config=encoder.config(), n_frames=4, image_size=16, states=[7, 8]
    )
    rebuilt = create_encoder("video", again, pretrained=False).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(rebuilt(items).pooled_ND, encoded.pooled_ND, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("name", "depth"), [("swin3d_t", 12), ("s3d", 11), ("r2plus1d_18", 8), ("mc3_18", 8)]
)
def test_other_networks_of_torchvision(name: str, depth: int) -> None:
    n_frames, size = (16, 64) if name == "s3d" else (4, 32)
    spec = EncoderSpec(f"torchvision/{name}", config={}, n_frames=n_frames, image_size=size, states=[depth])
    encoder = tower("video", spec)
    encoded = encoder(encoder.blank())
    assert encoder.depth == depth == len(encoder.blocks()) - 1
    assert encoded.pooled_ND.isfinite().all()
    assert encoded.pooled_ND.shape == (1, encoder.width) == encoded.states_NKD[:, 0].shape
    names = [n for n, _ in encoder.named_parameters()]
    outside = [n for n in names if not n.startswith(tuple(p for block in encoder.blocks() for p in block))]
    assert outside == (["network.norm.weight", "network.norm.bias"] if name == "swin3d_t" else [])


def test_what_is_wrong_with_a_torchvision_name(
    monkeypatch: pytest.MonkeyPatch, r3d: Callable[..., Tower]
) -> None:
    with pytest.raises(ValueError, match=r"no video model 'r3d_19'. Near: torchvision/r3d_18.*swin3d_t"):
        create_transform("video", EncoderSpec("torchvision/r3d_19"))
    with pytest.raises(ValueError, match=r"config of 'torchvision/r3d_18'.*layerz"):
        r3d(config={"layerz": 3})
    with pytest.raises(ValueError, match="16 frames of 224 pixels and no others; asked for are 5"):
        create_transform("video", EncoderSpec("torchvision/mvit_v1_b", n_frames=5))
    with pytest.raises(ValueError, match="batch norms would count every batch twice"):
        r3d(checkpointing=True)

    def refuse(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(OSError, match=r"torchvision/r3d_18, https.*URLError.*Ways out"):
        create_encoder("video", EncoderSpec("torchvision/r3d_18"))

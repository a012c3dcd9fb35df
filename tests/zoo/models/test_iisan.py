"""IISAN and IISAN-Versa on small real towers: cached and running, rates, missing content, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from datamodules.demo import Demo
from zoo.encoders.base import Encoded
from zoo.models.iisan_versa import IISANVersa
from zoo.optim import Rates

TEXT: dict[str, Any] = {
    "name": "bert",
    "tokenizer": "words",
    "pool": "mean",
    "tune": "none",
    "config": {
        "vocab_size": 512,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    },
}
IMAGE: dict[str, Any] = {
    "name": "timm/vit_tiny_patch16_224",
    "image_size": 16,
    "pool": "mean",
    "tune": "none",
    "config": {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    module = Demo(root=str(tmp_path_factory.mktemp("demo")), size="tiny", batch_size=8)
    module.bind(make().needs())
    module.prepare_data()
    module.setup("fit")
    return module


def make(**options: Any) -> IISANVersa:  # noqa: ANN401
    return IISANVersa(**{"width": 8, "bottleneck": 4, "text": TEXT, "image": IMAGE, **options})


def attached(data: Demo, **options: Any) -> IISANVersa:  # noqa: ANN401
    torch.manual_seed(0)
    model = make(**options)
    model.attach(data.spec, data.items)
    return model.eval()


def parts_of(model: IISANVersa, n: int = 4) -> dict[str, Encoded]:
    torch.manual_seed(1)
    everywhere = torch.ones(n, dtype=torch.bool)
    states = {m: torch.randn(n, *shape) for m, shape in model.state_shapes().items()}
    return {m: Encoded(s[:, 0], states_NKD=s, present_N=everywhere.clone()) for m, s in states.items()}


def test_states_are_the_ends_of_groups_unless_they_are_listed(data: Demo) -> None:
    assert attached(data).state_shapes() == {"text": (4, 32), "image": (3, 16)}  # fewer blocks than groups
    assert attached(data, groups=2).state_shapes() == {"text": (3, 32), "image": (3, 16)}
    listed = attached(data, groups=2, text={**TEXT, "states": [0, 3]})
    assert listed.state_shapes() == {"text": (2, 32), "image": (3, 16)}


def test_cached_and_running_towers_give_the_same_loss(data: Demo) -> None:
    batch = next(iter(data.train_dataloader()))
    content = data.items.content(batch.unique_N.numpy(), ["text", "image"])
    running = attached(data)
    cached = attached(data, text={**TEXT, "cached": True}, image={**IMAGE, "cached": True})
    cached.cache_features()
    cached.load_state_dict(running.state_dict())
    with torch.no_grad():
        (one,) = running.training_loss(batch._replace(content=content)).values()
        (other,) = cached.training_loss(batch._replace(content={})).values()
    assert one.item() == pytest.approx(other.item(), abs=1e-4)  # states are kept in half precision


def test_no_gradient_enters_a_tower(data: Demo) -> None:
    model = attached(data).train()
    batch = next(iter(data.train_dataloader()))
    (loss,) = model.training_loss(batch).values()
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None for p in model.encoders.parameters())
    assert all(p.grad is not None for n, p in model.named_parameters() if not n.startswith("encoders."))


def test_rates_are_the_papers(data: Demo) -> None:
    model = attached(data, lr=2e-4)
    found = {group["name"]: group["lr"] for group in model.parameter_groups()}
    assert found == pytest.approx(
        {
            "side.blocks": 1e-4,
            "side.towers.image": 1e-4,
            "heads.image.0": 1e-4,
            "heads.text.0": 5e-5,
            "model": 2e-4,
        }
    )
    rest = {id(p) for group in model.parameter_groups() if group["name"] == "model" for p in group["params"]}
    assert {n for n, p in model.side.named_parameters() if id(p) in rest} == {
        "towers.text.gate_K",
        "towers.image_text.gate_K",
        "towers.image_text.transforms.text.weight_MED",
        "towers.image_text.transforms.text.bias_M1D",
    }
    assert set(attached(data, rates="one").special_rates()) == {"encoders.text", "encoders.image"}
    inter = attached(data, mode="inter", lr=2e-4).special_rates()
    assert inter["side.blocks"] == Rates(1e-4, 0.0)
    assert "heads.image.0" not in inter


@pytest.mark.parametrize("mode", ["intra_inter", "intra", "inter"])
def test_what_is_stored_for_missing_content_changes_nothing(data: Demo, mode: str) -> None:
    model = attached(data, mode=mode)
    clean = parts_of(model)
    for m, rows in (("text", [0, 1]), ("image", [0, 2])):
        present_N = clean[m].present_N
        assert present_N is not None
        present_N[rows] = False
    dirty = {}
    for m, part in clean.items():
        assert part.states_NKD is not None
        assert part.present_N is not None
        states_NKD = part.states_NKD.masked_fill(~part.present_N[:, None, None], torch.nan)
        dirty[m] = part._replace(states_NKD=states_NKD)
    before_ND, after_ND = model.fuse(clean), model.fuse(dirty)
    assert torch.equal(before_ND, after_ND)
    assert torch.isfinite(after_ND).all()
    bias = model.get_parameter("fusion.linear.bias")
    assert torch.equal(after_ND[0], bias)  # nothing is known of this item
    assert not torch.equal(after_ND[1], bias)


def test_missing_content_of_the_catalogue_is_masked(data: Demo) -> None:
    model = attached(data)
    content = data.items.content(np.arange(5), ["text", "image"])
    content["text"]["present"][2] = False
    before = model.encode_items(torch.arange(5), content)
    content["text"]["tokens"][2] = content["text"]["tokens"][3]
    assert torch.equal(model.encode_items(torch.arange(5), content), before)


def test_the_symmetric_preset_has_iisans_heads() -> None:
    model = zoo.create("iisan")
    assert isinstance(model, IISANVersa)
    with torch.device("meta"):
        image, text = model.make_head("image", 128), model.make_head("text", 128)
        versa = make(heads="versa", width=64).make_head("image", 128)
    assert [tuple(p.shape) for p in image.parameters()] == [(128, 128), (128,), (64, 128), (64,)]
    assert [p.shape for p in text.parameters()] == [p.shape for p in image.parameters()]
    assert [tuple(p.shape) for p in versa.parameters()] == [(64, 128), (64,), (64, 64), (64,)]


def test_reloads_without_data(data: Demo, tmp_path: Path) -> None:
    model = attached(data, text={**TEXT, "states": [0, 1, 3]}, bottleneck={"text": 4, "image": 2})
    checkpoint: dict[str, Any] = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    checkpoint["pytorch-lightning_version"] = "2.6.0"
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "model.ckpt")
    loaded = IISANVersa.load_from_checkpoint(tmp_path / "model.ckpt")
    loaded.attach(data.spec, data.items)
    found: Tensor = loaded.eval().item_table()
    torch.testing.assert_close(found, model.item_table())


def test_every_modality_has_its_component(data: Demo) -> None:
    model = attached(data)
    components = model.components()
    names = {n for n, _ in model.named_parameters()}
    covered = {n for n in names for prefixes in components.values() if n.startswith(prefixes)}
    assert covered == names
    assert components["side"] == ("side", "heads.image_text")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": {**TEXT, "tune": 2}}, r"text would be trained.*cached: true"),
        ({"item_id": True}, "leave out item_id"),
        ({"image": None}, "set mode: intra"),
        ({"bottleneck": {"text": 4}}, r"name each once|bottleneck names text"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_layers_that_do_not_exist_are_named(data: Demo) -> None:
    with pytest.raises(ValueError, match=r"\[9\] do not exist.*states 0.*to 3"):
        attached(data, text={**TEXT, "states": [0, 9]})

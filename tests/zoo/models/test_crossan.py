"""CROSSAN (our reference design) on small real towers: switches, router, comparison with IISAN, sizes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from datamodules.demo import Demo
from tests.zoo.models.test_iisan import IMAGE, TEXT, parts_of
from tests.zoo.models.test_iisan import attached as attached_iisan
from zoo.encoders.base import EncoderSpec
from zoo.fusion.momef import Momef
from zoo.models.crossan import CROSSAN, RouterTally
from zoo.models.iisan_versa import IISANVersa
from zoo.names import config_file
from zoo.states import StateRecommender
from zoo.types import CatalogSpec

PICTURE: dict[str, Any] = {**IMAGE, "config": {**IMAGE["config"], "depth": 3}}
"""As deep as the text tower, half as wide."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    module = Demo(root=str(tmp_path_factory.mktemp("demo")), size="tiny", batch_size=32)
    module.bind(make().needs())
    module.prepare_data()
    module.setup("fit")
    return module


def make(**options: Any) -> CROSSAN:  # noqa: ANN401
    return CROSSAN(**{"width": 8, "bottleneck": 4, "text": TEXT, "image": PICTURE, **options})


def attached(data: Demo, **options: Any) -> CROSSAN:  # noqa: ANN401
    torch.manual_seed(0)
    model = make(**options)
    model.attach(data.spec, data.items)
    return model.eval()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cross": "states"},
        {"cross": "bottleneck"},
        {"cross": "none"},
        {"momef": False},
        {"noisy": True, "balance": 0.1},
        {"image": None},
        {"text": None},
    ],
)
def test_every_switch_trains_all_its_parameters(data: Demo, options: dict[str, Any]) -> None:
    model = attached(data, **options).train()
    parts = model.training_loss(next(iter(data.train_dataloader())))
    assert list(parts) == (["in_batch", "balance"] if "balance" in options else ["in_batch"])
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []
    assert all(p.grad is None for p in model.encoders.parameters())


def test_without_exchange_and_router_it_is_iisan_without_its_inter_tower(data: Demo) -> None:
    same = {**IMAGE, "config": {**PICTURE["config"], "embed_dim": 32}}  # as wide as the text tower
    crossan = attached(data, cross="none", momef=False, image=same)
    iisan = attached_iisan(data, mode="intra", heads="iisan", image=same)
    with torch.no_grad():
        for parameter in crossan.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    state = crossan.state_dict()
    gates = state.pop("side.gate_KM")
    state = {n.replace("side.blocks.", "side.blocks.0."): v for n, v in state.items()}
    state |= {f"side.towers.{m}.gate_K": gates[:, i] for i, m in enumerate(("text", "image"))}
    iisan.load_state_dict(state)
    batch = next(iter(data.train_dataloader()))
    with torch.no_grad():
        torch.testing.assert_close(crossan.training_loss(batch), iisan.training_loss(batch))
        torch.testing.assert_close(crossan.item_table(), iisan.item_table())


def test_the_order_of_towers_in_the_fusion_does_not_matter(data: Demo) -> None:
    model = attached(data)
    towers = model.tower_parts(parts_of_crossan(model))
    fusion = model.fusion
    assert isinstance(fusion, Momef)
    other = Momef(2, 8)
    state = dict(fusion.state_dict())
    for name in [n for n in state if n.startswith("experts") or n == "router.bias"]:
        state[name] = state[name].flip(0)
    state["router.weight"] = state["router.weight"].view(2, 2, 8).flip(0, 1).flatten(1)
    other.load_state_dict(state)
    torch.testing.assert_close(other(towers[::-1]), fusion(towers))


def parts_of_crossan(model: StateRecommender) -> dict[str, Any]:
    return parts_of(model)  # type: ignore[arg-type]  # it asks for the shapes of the states alone


def test_missing_content_is_masked(data: Demo) -> None:
    model = attached(data)
    clean = parts_of_crossan(model)
    clean["text"].present_N[:2] = False
    clean["image"].present_N[0] = False
    dirty = {
        m: p._replace(states_NKD=p.states_NKD.masked_fill(~p.present_N[:, None, None], torch.nan))
        for m, p in clean.items()
    }
    before_ND, after_ND = model.fuse(clean), model.fuse(dirty)
    assert torch.equal(before_ND, after_ND)
    assert torch.equal(after_ND[0], model.get_parameter("fusion.nothing_D"))


class Sized(CROSSAN):
    """On towers that are not there."""

    def state_shapes(self) -> dict[str, tuple[int, int]]:
        return dict.fromkeys(self.specs, (7, 768))


class Pairwise(IISANVersa):
    """IISAN with a tower for every pair, on towers that are not there."""

    def state_shapes(self) -> dict[str, tuple[int, int]]:
        return dict.fromkeys(self.specs, (7, 768))


def trainable(model: StateRecommender) -> dict[str, int]:
    with torch.device("meta"):
        model.build_parts(CatalogSpec(10, 4, {}, {}, max_len=10))
    return {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}


def test_four_modalities_need_57_percent_less_than_a_tower_for_every_pair() -> None:
    frozen = EncoderSpec("bert", tune="none")
    four: Mapping[str, Any] = dict.fromkeys(("text", "image", "audio", "video"), frozen)
    ours, theirs = trainable(Sized(**four)), trainable(Pairwise(heads="iisan", **four))
    assert theirs["side"] + theirs["heads"] == 10 * (1_333_760 + 7)  # the gates
    assert round(sum(theirs.values()) / 1e6, 2) == 13.48
    saved = 1 - sum(ours.values()) / sum(theirs.values())
    assert saved > 0.57
    assert round(saved, 3) == 0.594


def test_configurations_of_the_demo_have_the_same_towers() -> None:
    shipped = yaml.safe_load(config_file("model", "crossan").read_text())["init_args"]
    for name, n_towers in (("crossan_2", 2), ("crossan_3", 3), ("iisan_pairwise_4", 4)):
        found = yaml.safe_load(config_file("model", name).read_text())["init_args"]
        towers = {m: value for m, value in found.items() if isinstance(value, dict)}
        assert len(towers) == n_towers
        assert towers == {m: shipped[m] for m in towers}
        assert found["groups"] == shipped["groups"]


def test_router_is_logged_every_epoch(data: Demo, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = make(balance=0.1)
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=1,
        logger=CSVLogger(str(tmp_path)),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        limit_train_batches=2,
    )
    trainer.fit(model, datamodule=data)
    logged = trainer.logged_metrics
    for kind in ("share", "first"):
        values = [float(logged[f"router/{kind}_{m}"]) for m in ("text", "image")]
        assert sum(values) == pytest.approx(1.0, abs=1e-5)
    assert float(logged["train/balance"]) >= 0


def test_tally_counts_items_with_something() -> None:
    tally = RouterTally(2, torch.device("cpu"))
    tally.add(torch.tensor([[0.75, 0.25], [0.0, 0.0]]))
    tally.add(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    share_M, first_M = tally.result()
    expected: tuple[Tensor, Tensor] = (torch.tensor([0.5, 0.5]), torch.tensor([2 / 3, 1 / 3]))
    torch.testing.assert_close((share_M, first_M), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momef": False, "noisy": True}, "momef: false leaves out"),
        ({"top_experts": 3}, "1 to 2 experts"),
        ({"text": {**TEXT, "tune": "all"}}, "text would be trained"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_towers_of_different_depth_are_refused(data: Demo) -> None:
    with pytest.raises(ValueError, match=r"'text': 4, 'image': 3.*Lower `groups`"):
        attached(data, image=IMAGE)

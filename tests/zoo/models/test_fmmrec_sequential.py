"""FMMRec on models of histories: frozen and trained along, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from datamodules.demo import Demo
from tests.miniature import miniature
from zoo.models.fmmrec_sequential import FMMRecSequential

QUICK: dict[str, Any] = {
    "host": "sasrec_id",
    "host_args": {"width": 16, "n_heads": 2},
    "host_epochs": 1,
    "attributes": ("gender", "age"),
    "split_epochs": 1,
    "attack_epochs": 1,
    "neighbours": 4,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sequential")


def some_data(root: Path) -> Demo:
    return Demo(root=str(root / "demo"), size="tiny", batch_size=64)


def trainer(root: Path, **options: Any) -> Trainer:  # noqa: ANN401
    return Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        default_root_dir=root,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **{"callbacks": [], "enable_checkpointing": False, **options},
    )


def test_a_frozen_host_stays_as_it_was_and_its_checkpoint_is_whole(root: Path) -> None:
    torch.manual_seed(0)
    keeper = ModelCheckpoint(dirpath=root / "frozen", filename="end")
    model = FMMRecSequential(**QUICK)
    run = trainer(root, callbacks=[keeper], enable_checkpointing=True)
    run.fit(model, datamodule=some_data(root))
    (stage,) = (root / "stages").glob("host-*")
    fresh = FMMRecSequential(**QUICK)
    trainer(root).fit(fresh, datamodule=some_data(root))  # with the stage that is there already
    for name, tensor in fresh.host.state_dict().items():
        assert torch.equal(tensor, model.host.state_dict()[name]), name
    assert not any(p.requires_grad for p in model.host.parameters())
    assert stage.is_dir()
    assert not model.shift_UD.any()  # ids have no content: no structure
    loaded = FMMRecSequential.load_from_checkpoint(root / "frozen" / "end.ckpt")
    before = run.validate(model, datamodule=some_data(root), verbose=False)
    after = trainer(root).validate(loaded, datamodule=some_data(root), verbose=False)
    assert before == after
    trainer(root).test(loaded, datamodule=some_data(root), verbose=False)
    assert (root / "fairness.json").is_file()


def test_content_links_users_and_moves_their_states(root: Path) -> None:
    torch.manual_seed(0)
    data = some_data(root)
    towers = {k: v for k, v in miniature("morec").items() if k != "lr"}
    model = FMMRecSequential(**{**QUICK, "host": "morec", "host_args": {**towers, "width": 32}})
    assert model.modality_weights == {"text": 0.5, "image": 0.5}
    trainer(root / "content").fit(model, datamodule=data)
    users = data.spec.n_users - 1
    assert model.neighbour_UK.shape == (users, 2 * 2 * 4)
    assert (model.neighbour_UK[:, ::4] == torch.arange(users)[:, None]).all()  # everybody is near oneself
    assert model.shift_UD.any(1).all()
    batch = next(iter(data.val_dataloader()))
    table_ID = model.eval().item_table()
    found = model.user_vectors(batch, table_ID)
    model.structure_weight = 0.0
    assert not torch.allclose(found, model.user_vectors(batch, table_ID))


def test_a_host_trained_along_moves_and_its_users_are_taken_anew(root: Path) -> None:
    torch.manual_seed(0)
    model = FMMRecSequential(**{**QUICK, "tune_host": True})
    before: dict[str, torch.Tensor] = {}
    prepare = model.prepare_stages

    def remembered() -> None:
        prepare()
        before.update({name: t.clone() for name, t in model.host.state_dict().items()})

    model.prepare_stages = remembered  # type: ignore[method-assign]
    trainer(root / "along").fit(model, datamodule=some_data(root))
    after = model.host.state_dict()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert any("encoders.item_id" in name for name in moved)
    assert any(name.startswith("sequence") for name in moved)


def test_the_padding_item_and_the_last_state_only(root: Path) -> None:
    data = some_data(root)
    model = FMMRecSequential(**QUICK)
    data.bind(model.needs())
    data.prepare_data()
    data.setup("fit")
    torch.manual_seed(0)
    model.attach(data.spec, data.items)
    model.eval()
    batch = next(iter(data.train_dataloader()))
    assert not model.item_table()[0].any()
    _, seen = model.fair_losses(batch)
    assert seen.vector_GBD.shape == (2, len(batch.user_B), 16)
    item_mean = model.item_table()[batch.items_BS].sum(1) / (batch.items_BS != 0).sum(1, keepdim=True)
    assert torch.allclose(seen.vector_GBD[1], item_mean, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "bpr", "host_args": {}}, "--model fmmrec"),
        ({"modality_weights": {"audio": 1.0}}, r"sasrec_id has no audio; it reads ids only"),
    ],
)
def test_hosts_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FMMRecSequential(**{**QUICK, **options})


def test_a_backbone_that_guesses_hidden_items_is_refused(root: Path) -> None:
    model = FMMRecSequential(**{**QUICK, "host": "bert4rec_id"})
    with pytest.raises(ValueError, match="Take a causal one"):
        trainer(root).fit(model, datamodule=some_data(root))

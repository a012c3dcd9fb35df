"""FMMRec in whole trainings: its stages, what they are kept by, its steps, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F

from datamodules.demo_mmrec import DemoCF
from zoo.callbacks.fairness import table_vectors
from zoo.fair.host import train_host
from zoo.graph.propagate import propagate
from zoo.models.bpr import BPR
from zoo.models.fmmrec import FMMRec

QUICK: dict[str, Any] = {
    "host": "bpr",
    "host_args": {"width": 8, "lr": 1e-2},
    "host_epochs": 2,
    "attributes": ("gender", "age"),
    "modality_weights": {"text": 0.5, "audio": 0.5},
    "neighbours": 4,
    "split_epochs": 1,
    "attack_epochs": 1,
    "lr": 1e-2,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fmmrec")


def some_data(root: Path) -> DemoCF:
    return DemoCF(root=str(root / "demo"), size="tiny", batch_size=512)


def quick(**options: Any) -> FMMRec:  # noqa: ANN401
    return FMMRec(**{**QUICK, **options})


def trainer(root: Path, epochs: int = 1, **options: Any) -> Trainer:  # noqa: ANN401
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        default_root_dir=root,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **{"callbacks": [], "enable_checkpointing": False, **options},
    )


def fitted(model: LightningModule, root: Path, **options: Any) -> Any:  # noqa: ANN401
    torch.manual_seed(0)
    trainer(root, **options).fit(model, datamodule=some_data(root))
    return model


def stages(folder: Path) -> dict[str, int]:
    """Folders of stages, and when their results were written."""
    return {
        path.name: (path / "vectors.safetensors").stat().st_mtime_ns for path in sorted(folder.glob("*-*"))
    }


def test_stages_are_found_again_by_what_they_are_made_of(root: Path) -> None:
    folder = root / "shared"
    first = fitted(quick(stages=str(folder)), root)
    made = stages(folder)
    assert sorted(name.rpartition("-")[0] for name in made) == ["host", "split-audio", "split-text"]
    assert not list(folder.glob("*/checkpoints"))
    again = fitted(quick(stages=str(folder), adversary_weight=1.0), root)
    assert stages(folder) == made
    assert torch.equal(again.host_users_UD, first.host_users_UD)
    wider = fitted(quick(stages=str(folder), neighbours=6), root)  # not by the number of neighbours
    assert stages(folder) == made
    assert not torch.equal(wider.host_users_UD, first.host_users_UD)
    fitted(quick(stages=str(folder), attributes=("gender",)), root)
    assert len(stages(folder)) == len(made) + 2  # what is split from other attributes is another part
    (folder / next(name for name in made if "text" in name) / "vectors.safetensors").unlink()
    assert torch.equal(fitted(quick(stages=str(folder)), root).host_users_UD, first.host_users_UD)


def test_stages_of_the_run_are_in_its_folder_and_those_of_no_run_are_gone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = root / "own"
    fitted(quick(modality_weights={}), own)
    assert len(stages(own / "stages")) == 1
    monkeypatch.chdir(own)
    fitted(quick(modality_weights={}, attributes=("age",)), Path())
    assert len(stages(own / "stages")) == 1


def test_a_stage_that_was_cut_short_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted(quick(modality_weights={}, stages=str(root / "whole")), root)

    class CutError(Exception):
        """As if the process had been ended."""

    def cut(*arguments: Any) -> Any:  # noqa: ANN401
        host, data, folder, _, outer = arguments
        train_host(host, data, folder, (1, 20), outer)
        raise CutError

    with monkeypatch.context() as patched:
        patched.setattr("zoo.fair.tuning.train_host", cut)
        with pytest.raises(CutError):
            fitted(quick(modality_weights={}, stages=str(root / "cut")), root)
    (folder,) = (root / "cut").glob("host-*")
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    gone_on = fitted(quick(modality_weights={}, stages=str(root / "cut")), root)
    assert torch.equal(gone_on.host_users_UD, whole.host_users_UD)


def test_a_given_host_is_taken_as_it_is(root: Path) -> None:
    keeper = ModelCheckpoint(dirpath=root / "host", filename="end")
    host = fitted(BPR(width=8), root, callbacks=[keeper], enable_checkpointing=True)
    model = fitted(quick(host_from=str(root / "host" / "end.ckpt"), modality_weights={}), root)
    user_UD, item_ID = host.tables()
    assert torch.equal(model.host_users_UD, user_UD[1:])
    assert torch.equal(model.host_items_ID, item_ID[1:])
    with pytest.raises(ValueError, match=r"BPR gives vectors 8 wide.*has 16"):
        fitted(quick(host_from=str(root / "host" / "end.ckpt"), host_args={"width": 16}), root)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        fitted(quick(host_from=str(root / "nothing.ckpt")), root)


def test_a_checkpoint_needs_neither_host_nor_stages(root: Path) -> None:
    keeper = ModelCheckpoint(dirpath=root / "fair", filename="end")
    model = fitted(quick(stages=str(root / "shared2")), root, callbacks=[keeper], enable_checkpointing=True)
    loaded = FMMRec.load_from_checkpoint(root / "fair" / "end.ckpt")
    assert torch.equal(loaded.tables()[0], model.eval().tables()[0])
    run = trainer(root / "tested")
    run.test(loaded, datamodule=some_data(root), verbose=False)
    assert (root / "tested" / "fairness.json").is_file()
    with pytest.raises(ValueError, match="fit it first"):
        trainer(root).validate(quick(), datamodule=some_data(root), verbose=False)


# One step ------------------------------------------------------------------------------------------------


def built(root: Path, **options: Any) -> tuple[FMMRec, Any]:  # noqa: ANN401
    """A model whose host's vectors are noise, and a batch."""
    data = some_data(root)
    model = quick(**options)
    data.bind(model.needs())
    data.prepare_data()
    data.setup("fit")
    torch.manual_seed(0)
    model.attach(data.spec, data.items)
    return model, next(iter(data.train_dataloader()))


def plain_adversaries(model: FMMRec, batch: Any) -> float:  # noqa: ANN401
    """The discriminators' part of the filters' loss as the released code writes it, net by net, dense."""
    user_B = batch.user_B - 1
    dense_UI = torch.zeros(model.n_users, model.n_items)
    dense_UI[model.edge_2E[0], model.edge_2E[1]] = 1.0
    mean_UI = dense_UI / dense_UI.sum(1, keepdim=True).clamp(min=1)
    user_UD, item_ID = model.propagate()
    sides = (user_UD[user_B], (mean_UI @ item_ID)[user_B])
    total = 0.0
    for group, (vector_BD, weight) in enumerate(zip(sides, (0.1, 0.05), strict=True)):
        for row, classes in enumerate((2, 4)):
            probes = model.probes
            inner = F.leaky_relu(
                vector_BD @ probes.weight_GDKH[group, :, row] + probes.bias_GKH[group, row], 0.2
            )
            out = inner @ probes.weight_GKHC[group, row] + probes.bias_GKC[group, row]
            label_B = model.class_KU[row, user_B]
            if classes == 2:
                found = F.binary_cross_entropy(torch.sigmoid(out[:, 1]), label_B.float())
            else:
                found = F.nll_loss(F.log_softmax(out, -1), label_B)
            total -= weight * found.item()
    return total


def test_the_filters_loss_is_that_of_separate_dense_networks(root: Path) -> None:
    model, batch = built(root)
    model.eval()  # without dropout
    with torch.no_grad():
        for parameter in model.probes.parameters():
            parameter.mul_(30)  # at their first values they say next to nothing
        parts = model.training_loss(batch)
        expected = plain_adversaries(model, batch)
    assert float(parts["user_adversary"] + parts["item_adversary"]) == pytest.approx(expected, abs=1e-5)


def test_users_without_an_attribute_do_not_meet_its_discriminator(root: Path) -> None:
    model, batch = built(root)
    model.eval()
    before = model.training_loss(batch)["user_adversary"]
    model.class_KU[:, 0] = -1
    batch = batch._replace(user_B=torch.where(batch.user_B == 1, 2, batch.user_B))
    known = model.training_loss(batch)
    alien = batch._replace(
        user_B=torch.cat([batch.user_B, torch.ones(5, dtype=torch.int64)]),
        item_B=torch.cat([batch.item_B, batch.item_B[:5]]),
        negative_B=torch.cat([batch.negative_B, batch.negative_B[:5]]),
    )
    found = model.training_loss(alien)
    for side in ("user_adversary", "item_adversary"):
        assert torch.allclose(found[side], known[side])
    assert before.isfinite()


def test_a_user_only_model_leaves_items_as_they_are(root: Path) -> None:
    model, batch = built(root, mode="user-only")
    assert torch.equal(model.tables()[1][1:], model.host_items_ID)
    assert set(model.training_loss(batch)) == {"bpr", "user_adversary"}


@pytest.mark.parametrize("prompt", ["concat", "add", "none"])
def test_independent_filters_have_their_own_items(root: Path, prompt: str) -> None:
    model, batch = built(root, mode="independent", prompt=prompt)
    parts = model.training_loss(batch)
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in model.filters.parameters())
    assert not torch.equal(model.filters.users(model.host_items_ID), model.filters.items(model.host_items_ID))


def test_bits_are_the_loss_by_a_factor(root: Path) -> None:
    (nats, batch), (bits, _) = built(root), built(root, loss="bpr_bits")
    ratio = bits.training_loss(batch)["bpr"] / nats.training_loss(batch)["bpr"]
    assert float(ratio) == pytest.approx(1 / np.log(2), rel=1e-5)


def test_both_sides_that_are_attacked_are_the_tables_own(root: Path) -> None:
    model, _ = built(root)
    vectors = table_vectors(model)
    user_UD, item_ID = model.propagate()
    assert torch.allclose(vectors["user"], user_UD)
    assert torch.allclose(vectors["item"], propagate(model.graph(), item_ID), atol=1e-6)


def test_discriminators_take_their_steps_on_what_the_filters_began_with(root: Path) -> None:
    model = quick(adversary_steps=3, modality_weights={}, host_epochs=1)
    seen: list[tuple[torch.Tensor, bool]] = []
    forward = nn.Module.__call__

    def watched(self: nn.Module, *inputs: Any) -> Any:  # noqa: ANN401
        if self is model.probes and self.training:
            seen.append((inputs[0].detach().clone(), next(self.parameters()).requires_grad))
        return forward(self, *inputs)

    type_of_probes = "zoo.fair.probes.Probes.__call__"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type_of_probes, watched, raising=False)
        fitted(model, root, limit_train_batches=2, limit_val_batches=0)
    assert [trained for _, trained in seen] == [False, True, True, True] * 2
    assert all(torch.equal(vectors, seen[0][0]) for vectors, _ in seen[1:4])
    assert not torch.equal(seen[4][0], seen[0][0])


# What is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "sasrec_id", "host_args": {}}, "fmmrec_sequential"),
        ({"host": "mine.Nothing"}, r"no recommender mine\.Nothing"),
        ({"attributes": ()}, "expected different attributes"),
        ({"attributes": ("age", "age")}, "expected different attributes"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attributes": ("gendr",)}, r"'gendr'.*gender"),
        ({"neighbours": 1000}, r"1 to 300, the number of users, found 1000"),
        ({"split_epochs": {"text": 1}}, "audio is split too"),
    ],
)
def test_what_the_data_cannot_give(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(quick(**options), root)


def test_a_class_too_rare_to_be_attacked_is_told_before_anything_is_trained(root: Path) -> None:
    class Rare(FMMRec):
        def fill(self, items: Any) -> None:  # noqa: ANN401
            super().fill(items)
            self.class_KU[1] = (self.class_KU[1] > 0).long()
            self.class_KU[1, :1], self.class_KU[1, 1:2] = 2, 3

        def prepare_stages(self) -> None:
            raise AssertionError("too late")

    with pytest.raises(ValueError, match="needs at least 3 users of every class"):
        fitted(Rare(**QUICK), root)

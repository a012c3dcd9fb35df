"""What golden values do not show of hosts with item graphs: gradients, epochs, modalities, checkpoints."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from datamodules.demo_mmrec import DemoCF
from tests.golden.hosts import N_ITEMS, N_USERS, ToySource
from zoo.collaborative import CollaborativeRecommender
from zoo.conformance.case import OpRecorder
from zoo.graph.item_graph import shares_of
from zoo.models.bm3 import BM3
from zoo.models.dragon import DRAGON
from zoo.models.freedom import FREEDOM
from zoo.models.lattice import LATTICE
from zoo.models.mgcn import MGCN

ROWS = torch.tensor([0, 1, 2, 3]), torch.tensor([1, 2, 3, 0]), torch.tensor([3, 4, 0, 1])
TWO, THREE = ("image", "text"), ("image", "text", "audio")


def built(
    host: type[CollaborativeRecommender], modalities: tuple[str, ...] = TWO, **options: object
) -> CollaborativeRecommender:
    torch.manual_seed(0)
    arguments: dict[str, object] = {"width": 4, "modalities": list(modalities)}
    if host is not BM3:
        arguments["knn_k"] = 2
    model = host(**arguments | options)  # type: ignore[arg-type]
    source = ToySource(modalities)
    model.attach(source.spec(), source)
    return model.train()


def loss_of(model: CollaborativeRecommender) -> Tensor:
    return torch.stack(list(model.losses(*ROWS).values())).sum()


@pytest.mark.parametrize(
    ("host", "modalities", "width"),
    [
        (FREEDOM, TWO, 4),
        (FREEDOM, ("text",), 4),
        (BM3, ("image",), 4),
        (LATTICE, THREE, 4),
        (LATTICE, ("audio",), 4),
        (MGCN, ("text",), 4),
        (DRAGON, TWO, 8),
        (DRAGON, THREE, 12),
    ],
)
def test_modalities(host: type[CollaborativeRecommender], modalities: tuple[str, ...], width: int) -> None:
    model = built(host, modalities)
    loss_of(model).backward()  # type: ignore[no-untyped-call]
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not idle
    user_UD, item_ID = model.tables()
    assert user_UD.shape == (N_USERS + 1, width)
    assert item_ID.shape == (N_ITEMS + 1, width)


@pytest.mark.parametrize("host", [FREEDOM, BM3, LATTICE, MGCN])
def test_features_are_trained_or_not(host: type[CollaborativeRecommender]) -> None:
    assert built(host).get_parameter("features.text").requires_grad
    frozen = built(host, freeze_features=True)
    assert not [name for name, _ in frozen.named_parameters() if name.startswith("features")]
    loss_of(frozen).backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("host", [FREEDOM, BM3, LATTICE, MGCN, DRAGON])
def test_a_step_never_waits_for_the_device(host: type[CollaborativeRecommender]) -> None:
    model = built(host)
    model.begin_epoch()
    loss_of(model)  # the graph of the pairs is made in the first step
    model.begin_epoch()
    with OpRecorder() as recorder:
        for _ in range(2):
            loss_of(model).backward()  # type: ignore[no-untyped-call]
    assert not recorder.waiting()
    assert not recorder.doubles


@pytest.mark.parametrize("host", [FREEDOM, BM3, LATTICE, MGCN, DRAGON])
def test_checkpoints_need_no_data(host: type[CollaborativeRecommender], tmp_path: Path) -> None:
    model = built(host, THREE if host in (LATTICE, DRAGON) else TWO)
    stored = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": "2.6.0",
    }
    model.on_save_checkpoint(stored)
    torch.save(stored, tmp_path / "model.ckpt")
    loaded = host.load_from_checkpoint(tmp_path / "model.ckpt")
    for before, after in zip(model.tables(), loaded.tables(), strict=True):
        assert torch.equal(before, after)


def test_freedom_thins_the_graph_of_an_epoch_and_scores_by_the_whole() -> None:
    model = built(FREEDOM, dropout=0.5, n_item_layers=0)
    whole = model.tables()
    before = loss_of(model)
    model.begin_epoch()
    assert isinstance(model, FREEDOM)
    assert model._thinned is not None
    assert model._thinned.matrix._nnz() == 2 * int(0.5 * 9)
    assert loss_of(model) != before
    assert all(torch.equal(a, b) for a, b in zip(whole, model.tables(), strict=True))


def test_bm3_reads_no_negatives() -> None:
    model = built(BM3, dropout=0.0)
    user_B, item_B, negative_B = ROWS
    with_others = model.losses(user_B, item_B, negative_B.flip(0))
    assert all(torch.equal(value, with_others[name]) for name, value in model.losses(*ROWS).items())


def dense_lattice(model: LATTICE) -> Tensor:
    """The item graph as the paper writes it: matrices of all pairs of items."""

    def similar(feature_ID: Tensor) -> Tensor:
        unit_ID = torch.nn.functional.normalize(feature_ID, dim=1)
        cosine_II = unit_ID @ unit_ID.T
        kept_II = torch.zeros_like(cosine_II).scatter(1, cosine_II.topk(2, dim=1).indices, 1.0)
        return cosine_II * kept_II

    def scaled(graph_II: Tensor) -> Tensor:
        root_I = graph_II.sum(1).rsqrt()
        return root_I[:, None] * graph_II * root_I

    share_M = model.modality_weight.softmax(0)
    source = ToySource(THREE)
    raw = [scaled(similar(torch.from_numpy(source.features(m))[1:])) for m in THREE]
    learnt = [similar(model.projections[m](model.features[m])) for m in THREE]
    return 0.9 * torch.stack([a * g for a, g in zip(share_M, raw, strict=True)]).sum(0) + 0.1 * scaled(
        torch.stack([a * g for a, g in zip(share_M, learnt, strict=True)]).sum(0)
    )


def test_the_sparse_graph_of_lattice_is_the_dense_one_with_its_gradient() -> None:
    model = built(LATTICE, THREE)
    assert isinstance(model, LATTICE)
    names = ["projections.text.weight", "features.audio", "modality_weight"]
    wanted = [model.get_parameter(name) for name in names]
    goal_II = torch.randn(N_ITEMS, N_ITEMS)
    index_IK, weight_IK = model._linked()
    sparse_II = torch.zeros(N_ITEMS, N_ITEMS).scatter_add(1, index_IK, weight_IK)
    dense_II = dense_lattice(model)
    torch.testing.assert_close(sparse_II, dense_II)
    expected = torch.autograd.grad((dense_II * goal_II).sum(), wanted)
    for found, right in zip(torch.autograd.grad((sparse_II * goal_II).sum(), wanted), expected, strict=True):
        torch.testing.assert_close(found, right)


def test_lattice_links_once_an_epoch() -> None:
    model = built(LATTICE)
    assert isinstance(model, LATTICE)
    project = model.get_parameter("projections.image.weight")
    gradients = []
    for step in range(4):
        if step % 2 == 0:
            model.begin_epoch()
        model.zero_grad()
        loss_of(model).backward()  # type: ignore[no-untyped-call]
        gradients.append(project.grad is not None)
    assert gradients == [True, False, True, False]
    with torch.no_grad():
        project.mul_(-0.5).add_(0.3)
    left = model.epoch_graph.weight_IK.clone()
    during = model.propagate()[1]
    assert during.requires_grad, "a student of GUIDER's scores with a gradient"
    model.tables()
    assert torch.equal(left, model.epoch_graph.weight_IK), (
        "scoring must not change what training goes on with"
    )


@pytest.mark.parametrize("accumulate", [1, 2])
def test_lattice_is_the_same_where_processes_wait_for_every_gradient(
    accumulate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, idle = [], []
    monkeypatch.setattr(
        LATTICE,
        "on_after_backward",
        lambda model: idle.append([n for n, p in model.named_parameters() if p.grad is None]),
    )
    for waits in (False, True):
        monkeypatch.setattr(LATTICE, "waits_for_gradients", lambda model, waits=waits: waits)
        idle.clear()
        torch.manual_seed(0)
        model = LATTICE(width=8, knn_k=3, lr=1e-2, weight_decay=0.1, seed=0)
        trainer = Trainer(
            max_epochs=2,
            limit_train_batches=4,
            limit_val_batches=0,
            accumulate_grad_batches=accumulate,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(model, datamodule=DemoCF(root=str(tmp_path / "demo"), size="tiny", batch_size=256))
        assert len(idle) == 8
        assert any(idle) != waits, "parameters without a gradient are what processes would wait for"
        ends.append(model.state_dict())
    different = [name for name in ends[0] if not torch.equal(ends[0][name], ends[1][name])]
    assert not different


def test_companions_share_by_common_items() -> None:
    model = built(DRAGON, n_companions=3)
    assert isinstance(model, DRAGON)
    # Users 0 and 3 share item 0, as neighbours in a circle share one: 0-1, 1-2, 2-3, 3-0.
    assert model.user_graph.index_IK.tolist() == [[1, 3, 0], [0, 2, 0], [1, 3, 0], [0, 2, 0]]
    assert model.user_graph.weight_IK.tolist() == [[0.5, 0.5, 0.0]] * 4


def test_shares_of_an_item_graph() -> None:
    small = {"image": 0.1, "audio": 0.1}
    assert shares_of(THREE, small) == pytest.approx({"image": 0.1, "text": 0.8, "audio": 0.1})
    assert shares_of(("image", "audio"), small) == {"image": 0.5, "audio": 0.5}
    with pytest.raises(ValueError, match="weights from 0 to 1"):
        shares_of(TWO, {"image": 1.5})


def test_more_neighbours_than_items_are_refused() -> None:
    with pytest.raises(ValueError, match="6 neighbours were asked for, but there are 5 rows"):
        built(FREEDOM, knn_k=6)

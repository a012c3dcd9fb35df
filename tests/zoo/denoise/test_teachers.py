"""The teachers of GUIDER beyond the authors' values."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.golden.hosts import BATCH, ToySource, fill, on_toy_set, toy_loss
from zoo.denoise.modal_teachers import ContrastiveTeacher, HashTeacher
from zoo.denoise.profile_teacher import ProfileTeacher, profile_fit
from zoo.denoise.teachers import LayerGCNTeacher, Teacher
from zoo.graph.build import symmetric_graph

ROWS = BATCH.user_B - 1, BATCH.item_B - 1, BATCH.negative_B - 1


def built(teacher: Teacher, modalities: tuple[str, ...] = ("image", "text")) -> Teacher:
    torch.manual_seed(0)
    source = ToySource(modalities)
    teacher.attach(source.spec(), source)
    teacher.begin_epoch()
    return teacher


def test_layergcn_sums_layers_weighted_by_their_cosine() -> None:
    teacher = LayerGCNTeacher(width=4, n_layers=2, edge_dropout=0.0, drop_rate=0.0)
    on_toy_set(teacher, {"users.weight": 0, "item_ids.weight": 1})
    ego_ND = torch.cat([fill((4, 4), 0), fill((5, 4), 1)])
    matrix_NN = symmetric_graph(teacher.edge_2E, 4, 5).matrix.to_dense()
    one_ND = matrix_NN @ ego_ND
    one_ND = F.cosine_similarity(one_ND, ego_ND)[:, None] * one_ND
    two_ND = matrix_NN @ one_ND
    two_ND = F.cosine_similarity(two_ND, ego_ND)[:, None] * two_ND
    user_UD, item_ID = teacher.propagate()
    torch.testing.assert_close(torch.cat([user_UD, item_ID]), one_ND + two_ND)
    users, above, below = ROWS
    gap_B = (user_UD[users] * (item_ID[above] - item_ID[below])).sum(1)
    squares = (ego_ND[users] ** 2).sum() + (ego_ND[4 + above] ** 2).sum() + (ego_ND[4 + below] ** 2).sum()
    assert toy_loss(teacher) == pytest.approx(float(-F.logsigmoid(gap_B).sum() + 5e-4 * squares), abs=1e-6)


def test_layergcn_drops_more_of_the_largest_losses_step_by_step() -> None:
    teacher = LayerGCNTeacher(width=4, drop_rate=0.1, drop_steps=49)
    built(teacher)
    shares = []
    for _ in range(60):
        shares.append(int(teacher.n_dropped(1000)))
        teacher.train().losses(*ROWS)
    assert shares[:3] == [0, 2, 4]
    assert shares[49:] == [100] * 11
    teacher.eval().losses(*ROWS)
    assert int(teacher.step) == 60


def test_layergcn_drops_edges_by_degree_and_at_random_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = LayerGCNTeacher(width=4, edge_dropout=0.2)
    built(teacher)
    for epoch in range(4):
        monkeypatch.setattr(LayerGCNTeacher, "current_epoch", epoch)
        assert teacher.drawn_edges().shape == (2, 7)


def test_released_teacher_trains_its_ids_only() -> None:
    teacher = built(HashTeacher(width=4, knn_k=2)).train()
    torch.stack(list(teacher.losses(*ROWS).values())).sum().backward()  # type: ignore[no-untyped-call]
    moved = {name for name, parameter in teacher.named_parameters() if parameter.grad is not None}
    assert moved == {"users.weight", "item_ids.weight"}


def test_fixed_and_contrastive_teachers_train_their_projections() -> None:
    for teacher in (HashTeacher(width=4, knn_k=2, fix=True), ContrastiveTeacher(width=4, knn_k=2)):
        built(teacher).train()
        parts = teacher.losses(*ROWS)
        assert set(parts) == {"bpr", "contrast"}
        torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
        idle = [name for name, p in teacher.named_parameters() if p.requires_grad and p.grad is None]
        assert idle == []
        assert any(name.startswith("features") for name, _ in teacher.named_parameters()) == (
            type(teacher) is ContrastiveTeacher
        )


@pytest.mark.parametrize("make", [HashTeacher, ContrastiveTeacher])
def test_one_modality_gives_its_graph_and_plain_ranking(make: type[HashTeacher | ContrastiveTeacher]) -> None:
    teacher = built(make(width=4, knn_k=2, modalities=["text"], edge_dropout=0.0), ("text",)).train()
    user_UD, item_ID = teacher.propagate()
    users, above, below = ROWS
    gap_B = (user_UD[users] * (item_ID[above] - item_ID[below])).sum(1)
    (loss,) = teacher.losses(*ROWS).values()
    torch.testing.assert_close(loss, -F.logsigmoid(gap_B).mean())
    assert teacher.verdict().weight_E.tolist() == [1.0] * 9


@pytest.mark.parametrize(
    "teacher",
    [
        HashTeacher(width=4, knn_k=2),
        HashTeacher(width=4, knn_k=2, fix=True),
        ContrastiveTeacher(width=4, knn_k=2),
        LayerGCNTeacher(width=4),
        ProfileTeacher(width=4, knn_k=2),
    ],
)
def test_a_verdict_has_a_line_for_every_pair(teacher: Teacher) -> None:
    verdict = built(teacher).verdict()
    for column in verdict:
        assert column.shape == (9,)
    assert ((verdict.weight_E >= 0) & (verdict.weight_E <= 1)).all()


def test_profile_fit_equals_the_written_out_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.denoise.profile_teacher.COLUMNS", 3)
    monkeypatch.setattr("zoo.denoise.profile_teacher.EDGES", 7)
    torch.manual_seed(0)
    feature_ID = torch.randn(6, 8)
    dense_UI = torch.rand(5, 6) < 0.6
    edge_2E = dense_UI.nonzero().T
    unit_ID = F.normalize(feature_ID - feature_ID.mean(0), dim=1)
    wanted = []
    for user, item in edge_2E.T.tolist():
        others = [other for other in dense_UI[user].nonzero()[:, 0].tolist() if other != item]
        wanted.append(float((unit_ID[others] @ unit_ID[item]).mean()) if others else 1.0)
    torch.testing.assert_close(profile_fit(edge_2E, feature_ID, 5), torch.tensor(wanted))


def test_profile_teacher_leaves_the_least_fitting_pairs_out_of_its_graph() -> None:
    teacher = ProfileTeacher(width=4, knn_k=2, noisy_share=0.5, edge_dropout=0.0)
    built(teacher)
    weight_E = teacher.weights()
    assert np.argmin(weight_E.numpy()) == int(teacher.fit_E.argmin())
    assert teacher.kept_edges().shape[1] == int((weight_E >= 0.5).sum()) < 9
    with pytest.raises(ValueError, match="noisy_share"):
        ProfileTeacher(noisy_share=2.0)

"""Values of the authors' classes (Neon-Jing/Guider at 5aaf514) and of geomloss, CPU float32."""

import pytest
import torch

from tests.golden.hosts import BATCH, on_toy_set, toy_loss, toy_scores
from zoo.denoise.modal_teachers import HashTeacher
from zoo.losses.full_kl import Scorer, full_kl
from zoo.losses.min_norm import min_norm_mix, min_norm_share
from zoo.losses.sinkhorn import Cloud, Power, sinkhorn_divergence

STUDENT = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
TEACHER = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
GUIDES = [(0.5, 0.5), (-0.1, 0.5), (-0.2, 0.3), (-1.0, 0.1)]


def test_divergence_over_all_items() -> None:
    found = full_kl(Scorer(STUDENT, torch.eye(3)), Scorer(TEACHER, torch.eye(3)))
    assert float(found) == pytest.approx(0.0751086, abs=1e-6)


@pytest.mark.parametrize(
    ("power", "blur", "value", "iterations"),
    [(1, 0.1, 1.060303, 7), (1, 0.05, 1.060560, 8), (2, 0.05, 0.6250, 8)],
)
def test_transport_between_users(power: Power, blur: float, value: float, iterations: int) -> None:
    found = sinkhorn_divergence(Cloud(STUDENT), Cloud(TEACHER), power=power, blur=blur)
    assert float(found.value) == pytest.approx(value, abs=2e-6 if power == 1 else 5e-5)
    assert found.iterations == iterations


def test_transport_between_single_points_is_their_distance() -> None:
    found = sinkhorn_divergence(Cloud(torch.tensor([[1.0, 2.0, 2.0]])), Cloud(torch.zeros(1, 3)))
    assert float(found.value) == pytest.approx(2.9999, abs=1e-5)


@pytest.mark.parametrize(
    ("guide", "weights"),
    list(zip(GUIDES, [(0.999, 0.001), (0.615385, 0.384615), (0.5, 0.999), (0.5, 0.990099)], strict=True)),
)
def test_mix_with_accumulated_gradients(guide: tuple[float, ...], weights: tuple[float, float]) -> None:
    mix = min_norm_mix([torch.tensor([1.0, 0.0])], [torch.tensor(guide)])
    assert (float(mix.own), float(mix.guide)) == pytest.approx(weights, abs=1e-6)


@pytest.mark.parametrize(
    ("guide", "share"), list(zip(GUIDES, [0.001, 0.246575, 0.215686, 0.501247], strict=True))
)
def test_share_without_accumulation(guide: tuple[float, ...], share: float) -> None:
    own, other = torch.tensor([1.0, 0.0]), torch.tensor(guide)
    assert float(min_norm_share(own @ own, own @ other, other @ other)) == pytest.approx(share, abs=1e-6)
    mix = min_norm_mix([own], [other], accumulated=False)
    assert float(mix.own) == pytest.approx(max(share, 0.5), abs=1e-6)


PHASES: dict[str, float] = {
    "users.weight": 0,
    "item_ids.weight": 1,
    "projections.image.weight": 2,
    "projections.image.bias": 3,
    "projections.text.weight": 4,
    "projections.text.bias": 5,
    "hashes.image.weight": 6,
    "hashes.image.bias": 7,
    "hashes.text.weight": 8,
    "hashes.text.bias": 9,
    "hashes.user.weight": 10,
    "hashes.user.bias": 11,
}


def hash_teacher() -> HashTeacher:
    return on_toy_set(HashTeacher(width=4, knn_k=2, edge_dropout=0.0), PHASES)


def test_weights_of_the_released_teacher() -> None:
    teacher = hash_teacher().train()
    users, items = BATCH.user_B - 1, BATCH.item_B - 1
    distance_B = teacher.distance(items)
    # geomloss 0.3.1 on these points: their distances .423432 .510799 .184089 .615195 less its self term.
    assert distance_B.tolist() == pytest.approx([0.423332, 0.510699, 0.183989, 0.615095], abs=1e-6)
    found = teacher.row_weights(teacher.thinned()[0][users], items)
    assert found.distance_P.tolist() == pytest.approx([0.555184, 0.757842, 0, 1], abs=1e-5)
    assert found.weight_P.tolist() == pytest.approx([0.3125, 1, 0.320312, 1], abs=1e-6)


def test_loss_and_scores_of_the_released_teacher() -> None:
    teacher = hash_teacher()
    assert toy_loss(teacher) == pytest.approx(0.454860, abs=1e-6)
    # FREEDOM's: the two propagate alike.
    assert toy_scores(teacher) == pytest.approx(
        [0.010334, -0.009523, 0.009876, -0.008549, 0.008650], abs=1e-6
    )
    teacher.noisy_from = -1.0  # every pair is noisy, so that none is weighed
    assert toy_loss(teacher) == pytest.approx(0.692502, abs=1e-6)

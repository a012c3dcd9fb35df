"""Attackers: what they find where something is planted and where nothing is, and their scores."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.fair.attack import leakage, split_users
from zoo.fair.labels import Labels, labels_of, require_attributes
from zoo.metrics.fairness import chance, published, told
from zoo.types import CatalogSpec

USERS, WIDTH = 400, 8


def some_labels(unknown: int = 0) -> Labels:
    generator = torch.Generator().manual_seed(0)
    class_KU = torch.stack([torch.randint(0, c, (USERS,), generator=generator) for c in (2, 3)])
    class_KU[1, :unknown] = -1
    return Labels(("gender", "age"), (2, 3), class_KU)


def vectors_of(labels: Labels, strength: float) -> Tensor:
    """Noise, with the classes in some dimensions."""
    vector_UD = torch.randn(USERS, WIDTH, generator=torch.Generator().manual_seed(1))
    gender_UC = F.one_hot(labels.class_KU[0], 2)
    age_UC = F.one_hot(labels.class_KU[1].clamp(min=0), 3)
    vector_UD[:, :5] += strength * torch.cat([gender_UC, age_UC], dim=1)
    return vector_UD


def test_what_is_planted_is_found_and_noise_is_not() -> None:
    labels = some_labels(unknown=50)
    vectors = {"user": vectors_of(labels, 3.0), "item": vectors_of(labels, 0.0)}
    leaks = {(leak.attribute, leak.side): leak for leak in leakage(vectors, labels, epochs=2)}
    for attribute in ("gender", "age"):
        planted, nothing = leaks[attribute, "user"], leaks[attribute, "item"]
        assert planted.strong["auc"] > 0.9
        assert planted.strong["balanced accuracy"] > planted.majority["balanced accuracy"] + 0.25
        assert abs(nothing.strong["auc"] - 0.5) < 0.12
    assert leaks["gender", "user"].users == 80
    assert leaks["age", "user"].users < 80  # those whose age is unknown are not judged on it


def test_attacks_repeat_and_leave_the_draws_of_others_alone() -> None:
    labels = some_labels()
    vectors = {"user": vectors_of(labels, 0.5)}
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    first = leakage(vectors, labels, epochs=1)
    assert torch.equal(torch.rand(1), before)
    with torch.inference_mode():  # as a test of Lightning runs
        assert leakage(vectors, labels, epochs=1) == first


def test_the_published_attacker_at_a_few_epochs_overlooks_what_the_strong_one_sees() -> None:
    labels = some_labels()
    (leak, _) = leakage({"user": vectors_of(labels, 1.0)}, labels, epochs=3)
    assert leak.strong["auc"] > 0.75
    assert leak.published < 0.65


# Splits --------------------------------------------------------------------------------------------------


def test_every_part_of_a_split_has_every_class_and_no_user_twice() -> None:
    labels = some_labels()
    split = split_users(labels)
    assert len(split.test_R) == 80
    assert sorted(torch.cat(split).tolist()) == list(range(USERS))
    for part_R, row in product(split, range(2)):
        assert len(set(labels.class_KU[row, part_R].tolist())) == labels.n_classes[row]


def test_users_of_whom_nothing_is_known_are_in_no_part() -> None:
    labels = some_labels()
    labels.class_KU[:, :10] = -1
    assert min(torch.cat(split_users(labels)).tolist()) == 10


def test_a_rare_class_is_drawn_into_every_part_or_refused() -> None:
    labels = some_labels()
    labels.class_KU[1, labels.class_KU[1] == 2] = 1
    labels.class_KU[1, :4] = 2
    assert 2 in labels.class_KU[1, split_users(labels).test_R]
    labels.class_KU[1, 2:4] = 1
    with pytest.raises(ValueError, match=r"'age' needs at least 3 users of every class.*class 2 has 2"):
        split_users(labels)


def test_vectors_that_are_not_finite_are_refused() -> None:
    labels = some_labels()
    with pytest.raises(ValueError, match="not finite"):
        leakage({"user": torch.full((USERS, 2), torch.nan)}, labels, epochs=1)


# Scores, against their definitions -----------------------------------------------------------------------


def plain_auc(score_B: np.ndarray, positive_B: np.ndarray) -> float:
    """Share of pairs of a positive and a negative in the right order; ties count half."""
    wins = [
        1.0 if up > down else 0.5 if up == down else 0.0
        for up, down in product(score_B[positive_B], score_B[~positive_B])
    ]
    return float(np.mean(wins))


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_are_what_their_definitions_say(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    logit_BC = torch.randn(60, classes, generator=generator).round(decimals=1)
    label_B = torch.arange(60) % classes
    found = told(logit_BC, label_B)
    probability_BC, label = logit_BC.softmax(-1).numpy(), label_B.numpy()
    guess = logit_BC.argmax(-1).numpy()
    aucs = [plain_auc(probability_BC[:, c], label == c) for c in range(classes)]
    recalls = [np.mean(guess[label == c] == c) for c in range(classes)]
    assert abs(found["auc"] - np.mean(aucs)) < 1e-6
    assert abs(found["balanced accuracy"] - np.mean(recalls)) < 1e-6
    assert abs(found["accuracy"] - np.mean(guess == label)) < 1e-6


def test_the_published_measure_is_the_auc_of_hard_predictions_either_way_round() -> None:
    label_B = torch.tensor([0, 0, 1, 1, 1])
    guess_NB = torch.tensor([[0, 1, 1, 1, 0], [1, 1, 0, 0, 0]])
    expected = [max(auc, 1 - auc) for auc in (plain_auc(g.numpy(), label_B.numpy() == 1) for g in guess_NB)]
    assert torch.allclose(published(guess_NB, label_B, 2), torch.tensor(expected, dtype=torch.float32))
    assert published(guess_NB, label_B, 3).tolist() == [pytest.approx(0.6), 0.0]


def test_chance_names_the_majority() -> None:
    found = chance(torch.tensor([0, 1, 1, 2]), majority=1, classes=3)
    assert found == {"auc": 0.5, "balanced accuracy": 1 / 3, "accuracy": 0.5}


# Labels --------------------------------------------------------------------------------------------------


class Catalogue:
    attributes = {"gender": np.array([-1, 0, 1, -1, 1]), "age": np.array([-1, 0, 0, 2, 2])}  # noqa: RUF012


SPEC = CatalogSpec(2, 5, {}, {"gender": 2, "age": 3})


def test_labels_leave_the_padding_row_out() -> None:
    labels = labels_of(Catalogue(), ["gender"], SPEC)
    assert labels.class_KU.tolist() == [[0, 1, -1, 1]]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["gendr"], r"no user attribute 'gendr'\. Did you mean gender or age\?"),
        ([], "found none"),
        (["gender", "gender"], "different names"),
        (["age"], r"'age' has 3 classes, but no user is of class 1"),
    ],
)
def test_attributes_that_cannot_be_used_are_refused(asked: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        labels_of(Catalogue(), asked, SPEC)


def test_data_without_attributes_says_so() -> None:
    with pytest.raises(ValueError, match="has no user attributes"):
        require_attributes(["gender"], SPEC._replace(n_classes={}))

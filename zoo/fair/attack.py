"""What attackers find of sensitive attributes in user vectors, judged on users they never saw.

Two attackers, because a low number of one may only say that it was badly trained. The *published* one is
FMMRec's (SGD, the best of 1,000 epochs **on the test users**, scored by hard predictions); it comes out at
the majority vote long before nothing can be told any more. The *strong* one reads standardised vectors, is
the better of a logistic regression and a small network by their loss on validation users, and takes its epoch
from there too; the test users decide nothing. Beside every number stands what naming the majority reaches.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from zoo.fair.labels import Labels
from zoo.fair.probes import UNKNOWN, Probes, cross_entropies
from zoo.metrics.fairness import chance, published, published_chance, told

TEST, VALID = 0.2, 0.2
"""Shares: test users of all, validation users of the others."""
REDRAWS = 1000
FEWEST = 3
"""Users of a class without whom it cannot be in all three parts."""
PUBLISHED_EPOCHS, PUBLISHED_BATCH, PUBLISHED_LR, DECAY = 1000, 128, 1e-3, 1e-4
STRONG_EPOCHS, STRONG_LR, STRONG_HIDDEN, RESTARTS = 300, 1e-2, 64, 2
PATIENCE = 20
"""Epochs without any gain after which the strong attacker has learnt what it will.

One that is given all epochs tells no more, and only learns its training users by heart.
"""


class Split(NamedTuple):
    """Rows of the users an attacker learns from, chooses its epoch by, and is judged on."""

    train_R: Tensor
    valid_R: Tensor
    test_R: Tensor


class Leak(NamedTuple):
    """What is told of one attribute by one kind of vectors."""

    attribute: str
    side: str
    """``user``: the users' vectors; ``item``: mean vector of the items each has consumed."""
    classes: int
    users: int
    """Test users whose class is known."""
    strong: dict[str, float]
    majority: dict[str, float]
    """What always naming the most frequent class reaches, by the same metrics."""
    published: float
    published_majority: float


def split_users(labels: Labels, seed: int = 0) -> Split:
    """Users whose attributes are known, 80 / 20, redrawn until each part has every class.

    Args:
        labels: Attributes of all users.
        seed: Of the draw.

    Raises:
        ValueError: A class has too few users.
    """
    class_KU = labels.class_KU.cpu()
    labels = labels._replace(class_KU=class_KU)
    for name, classes, class_U in zip(*labels, strict=True):
        counts_C = torch.bincount(class_U[class_U != UNKNOWN], minlength=classes)
        for row in (counts_C < FEWEST).nonzero().flatten().tolist():
            raise ValueError(
                f"An attack on '{name}' needs at least {FEWEST} users of every class, to learn from, to "
                f"choose an epoch by and to be judged on; class {row} has {int(counts_C[row])}. Join classes "
                "in the data, or leave the attribute out."
            )
    known_R = (class_KU != UNKNOWN).any(0).nonzero().flatten()
    rng = np.random.default_rng(seed)
    for _ in range(REDRAWS):
        order_R = known_R[torch.from_numpy(rng.permutation(len(known_R)))]
        n_test = int(TEST * len(order_R))
        n_valid = int(VALID * (len(order_R) - n_test))
        split = Split(*(part.sort().values for part in _cut(order_R, n_valid, n_test)))
        if all(_has_all(labels, part_R) for part_R in split):
            return split
    raise ValueError(
        f"In {REDRAWS} draws of test users no draw left every class of {', '.join(labels.names)} in all "
        "parts: some classes have too few users. Join classes, or leave the attribute out."
    )


def _cut(order_R: Tensor, n_valid: int, n_test: int) -> tuple[Tensor, Tensor, Tensor]:
    held = n_valid + n_test
    return order_R[held:], order_R[n_test:held], order_R[:n_test]


def _has_all(labels: Labels, part_R: Tensor) -> bool:
    return all(
        len(set(class_U[part_R].tolist()) - {UNKNOWN}) == classes
        for class_U, classes in zip(labels.class_KU, labels.n_classes, strict=True)
    )


def leakage(
    vectors: Mapping[str, Tensor], labels: Labels, seed: int = 0, epochs: int = PUBLISHED_EPOCHS
) -> list[Leak]:
    """Attacks vectors of the users.

    Args:
        vectors: Side -> one vector a user (U, D), all of one width.
        labels: Attributes of the same users.
        seed: Of the split and the attackers.
        epochs: Of the published attacker; 1,000 are the authors'.

    Raises:
        ValueError: A class has too few users.
    """
    device = next(iter(vectors.values())).device
    with own_randomness(seed, device):
        # Copies: a test runs in inference mode, whose tensors cannot take part in a training.
        vector_GUD = torch.stack([vector_UD.detach().clone().float() for vector_UD in vectors.values()])
        if not torch.isfinite(vector_GUD).all():
            raise ValueError("Some user vectors are not finite: there is nothing to attack.")
        split = Split(*(part_R.to(device) for part_R in split_users(labels, seed)))
        labels = labels._replace(class_KU=labels.class_KU.clone().to(device))
        hard_GK = published_attack(vector_GUD, labels, split, epochs)
        logit_GKTC = strong_attack(vector_GUD, labels, split)
    found = []
    for row, (name, classes) in enumerate(zip(labels.names, labels.n_classes, strict=True)):
        class_T = labels.class_KU[row, split.test_R]
        known_T = class_T != UNKNOWN
        taught_R = labels.class_KU[row, torch.cat([split.train_R, split.valid_R])]
        majority = int(torch.bincount(taught_R[taught_R != UNKNOWN]).argmax())
        base = chance(class_T[known_T], majority, classes)
        for group, side in enumerate(vectors):
            logit_TC = logit_GKTC[group, row, known_T, :classes]
            strong = told(logit_TC, class_T[known_T])
            hard = float(hard_GK[group, row])
            plain = published_chance(base, classes)
            found.append(Leak(name, side, classes, int(known_T.sum()), strong, base, hard, plain))
    return found


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """A training of its own: with gradients, and with draws that leave everybody else's as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        yield


def published_attack(vector_GUD: Tensor, labels: Labels, split: Split, epochs: int) -> Tensor:
    """FMMRec's attacker: the best epoch on the test users, by the published measure (G, K).

    Source: WeixinChen98/FMMRec (b3af061), ``common/disc_trainer.py``. Its training users are all but the test
    users; SGD without momentum, batches of 128, inputs as they are.
    """
    train_R = torch.cat([split.train_R, split.valid_R])
    width = vector_GUD.shape[2]
    probes = Probes(len(vector_GUD), width, labels.n_classes, max(1, width // 2), init="usual")
    probes.to(vector_GUD.device)
    optimizer = torch.optim.SGD(probes.parameters(), lr=PUBLISHED_LR, weight_decay=DECAY)
    best_GK = vector_GUD.new_zeros(len(vector_GUD), len(labels.names))
    test_GTD, class_KT = vector_GUD[:, split.test_R], labels.class_KU[:, split.test_R]
    for _ in tqdm(range(epochs), desc="Published attacker", unit="epoch", leave=False, disable=None):
        probes.train()
        order_R = train_R[torch.randperm(len(train_R), device=train_R.device)]
        for rows_B in torch.split(order_R, PUBLISHED_BATCH):
            loss = cross_entropies(probes(vector_GUD[:, rows_B]), labels.class_KU[:, rows_B]).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        best_GK = torch.maximum(best_GK, _hard_scores(probes, test_GTD, class_KT, labels.n_classes))
    return best_GK


@torch.no_grad()
def _hard_scores(probes: Probes, test_GTD: Tensor, class_KT: Tensor, n_classes: tuple[int, ...]) -> Tensor:
    guess_GKT = probes.eval()(test_GTD).argmax(-1)
    columns = []
    for row, classes in enumerate(n_classes):
        known_T = class_KT[row] != UNKNOWN
        columns.append(published(guess_GKT[:, row, known_T], class_KT[row, known_T], classes))
    return torch.stack(columns, dim=1)


class _Best(NamedTuple):
    """The least validation loss so far (G, K), and the test logits (G, K, T, C) that belong to it."""

    loss_GK: Tensor
    logit_GKTC: Tensor


def strong_attack(vector_GUD: Tensor, labels: Labels, split: Split) -> Tensor:
    """Logits (G, K, T, C) on the test users, of the attacker and epoch with the least validation loss.

    Adam on all training users at once, inputs standardised by them; a logistic regression and a network of
    one hidden layer, the latter begun several times. Every side and attribute chooses for itself.
    """
    train_GRD = vector_GUD[:, split.train_R]
    mean_G1D, std_G1D = train_GRD.mean(1, keepdim=True), train_GRD.std(1, keepdim=True)
    ready_GUD = (vector_GUD - mean_G1D) / std_G1D.clamp(min=1e-8)
    groups, attributes = len(ready_GUD), len(labels.names)
    shape = groups, attributes, len(split.test_R), max(labels.n_classes)
    best = _Best(ready_GUD.new_full(shape[:2], torch.inf), ready_GUD.new_zeros(shape))
    for hidden in (0, *[STRONG_HIDDEN] * RESTARTS):
        probes = Probes(groups, ready_GUD.shape[2], labels.n_classes, hidden, init="usual")
        best = _improved(best, probes.to(ready_GUD.device), ready_GUD, labels, split)
    return best.logit_GKTC


def _improved(best: _Best, probes: Probes, ready_GUD: Tensor, labels: Labels, split: Split) -> _Best:
    """Trains one attacker and keeps its test logits wherever its validation loss is the least so far."""
    optimizer = torch.optim.Adam(probes.parameters(), lr=STRONG_LR, weight_decay=DECAY)
    n_valid = len(split.valid_R)
    train_GRD, held_GHD = ready_GUD[:, split.train_R], ready_GUD[:, torch.cat([split.valid_R, split.test_R])]
    class_KR, class_KV = labels.class_KU[:, split.train_R], labels.class_KU[:, split.valid_R]
    own_GK, waited = torch.full_like(best.loss_GK, torch.inf), 0
    for _ in range(STRONG_EPOCHS):
        loss = cross_entropies(probes.train()(train_GRD), class_KR).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            logit_GKHC = probes.eval()(held_GHD)
        loss_GK = cross_entropies(logit_GKHC[:, :, :n_valid], class_KV)
        better_GK = loss_GK < best.loss_GK
        kept_GKTC = torch.where(better_GK[..., None, None], logit_GKHC[:, :, n_valid:], best.logit_GKTC)
        best = _Best(torch.minimum(loss_GK, best.loss_GK), kept_GKTC)
        waited = 0 if bool((loss_GK < own_GK).any()) else waited + 1
        own_GK = torch.minimum(loss_GK, own_GK)
        if waited == PATIENCE:
            break
    return best

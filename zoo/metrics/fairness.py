"""How well an attribute is told from vectors: what attackers are scored by, and what chance reaches."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_auroc

AUC, BALANCED, ACCURACY = "auc", "balanced accuracy", "accuracy"


def told(logit_BC: Tensor, label_B: Tensor) -> dict[str, float]:
    """How well logits tell the classes of some users; every class must occur.

    Args:
        logit_BC: One column a class.
        label_B: Known classes.

    Returns:
        ``auc``: area under the ROC curve of the probabilities, one class against the rest and averaged over
        the classes; 0.5 tells nothing. ``balanced accuracy``: mean share of each class that is recognised.
        ``accuracy``.

    >>> told(torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]), torch.tensor([0, 0, 1]))
    {'auc': 1.0, 'balanced accuracy': 0.75, 'accuracy': 0.6666666865348816}
    """
    classes = logit_BC.shape[1]
    probability_BC = logit_BC.softmax(-1)
    return {
        AUC: float(multiclass_auroc(probability_BC, label_B, num_classes=classes)),
        BALANCED: float(multiclass_accuracy(logit_BC, label_B, num_classes=classes, average="macro")),
        ACCURACY: float(multiclass_accuracy(logit_BC, label_B, num_classes=classes, average="micro")),
    }


def chance(label_B: Tensor, majority: int, classes: int) -> dict[str, float]:
    """What always naming one class reaches.

    Args:
        label_B: Known classes of those tested.
        majority: The class named: the most frequent one of those trained on.
        classes: Of the attribute.
    """
    return {AUC: 0.5, BALANCED: 1 / classes, ACCURACY: float((label_B == majority).float().mean())}


def published(guess_NB: Tensor, label_B: Tensor, classes: int) -> Tensor:
    """FMMRec's published measure of N guesses: of hard predictions, which hides what probabilities tell.

    Args:
        guess_NB: Predicted classes.
        label_B: Known classes, both of them among two.
        classes: Of the attribute.

    Returns:
        (N,): for two classes the ROC-AUC of the 0/1 predictions (mean of both recalls), or 1 minus it if that
        is more; for several the micro-F1, which is the accuracy.
    """
    right_NB = (guess_NB == label_B).float()
    if classes > 2:
        return right_NB.mean(-1)
    recall_N = (right_NB[:, label_B == 0].mean(-1) + right_NB[:, label_B == 1].mean(-1)) / 2
    return torch.maximum(recall_N, 1 - recall_N)


def published_chance(found: Mapping[str, float], classes: int) -> float:
    """What always naming the majority reaches by FMMRec's measure."""
    return 0.5 if classes == 2 else found[ACCURACY]

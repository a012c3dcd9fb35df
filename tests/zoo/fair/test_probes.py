"""What filters want of discriminators, against its definition."""

import torch
from torch.nn import functional as F

from zoo.fair.probes import Probes, confusions
from zoo.fair.tuning import standardised

CLASSES = (2, 3)


def test_confusion_is_the_divergence_from_the_shares_of_the_classes() -> None:
    torch.manual_seed(0)
    probes = Probes(2, 4, CLASSES, hidden=3, dropout=0.0, init="usual")
    vector_GBD = torch.randn(2, 7, 4)
    label_KB = torch.tensor([[0, 1, 1, 1, -1, 0, 1], [0, 2, 2, 1, 2, -1, -1]])
    logit_GKBC = probes(vector_GBD)
    found_GK = confusions(logit_GKBC, label_KB)
    for group in range(2):
        for row, classes in enumerate(CLASSES):
            known_B = label_KB[row][label_KB[row] >= 0]
            share_C = torch.bincount(known_B, minlength=classes) / len(known_B)
            told_BC = logit_GKBC[group, row, :, :classes].log_softmax(-1)
            expected = F.kl_div(told_BC, share_C.expand_as(told_BC), reduction="batchmean")
            assert torch.allclose(found_GK[group, row], expected, atol=1e-6)


def test_predictions_that_say_nothing_cost_nothing_and_a_class_that_is_absent_is_no_number() -> None:
    label_KB = torch.tensor([[0, 1, 0, 1], [0, 0, 1, 1]])
    logit_GKBC = torch.zeros(1, 2, 4, 3)
    logit_GKBC[0, 0, :, 2] = -torch.inf  # as the probes give a class that an attribute has not
    logit_GKBC.requires_grad_(True)
    found_GK = confusions(logit_GKBC, label_KB)
    assert torch.allclose(found_GK[0, 0], torch.tensor(0.0), atol=1e-6)
    found_GK.sum().backward()  # type: ignore[no-untyped-call]
    assert logit_GKBC.grad is not None
    assert logit_GKBC.grad.isfinite().all()
    nobody = confusions(logit_GKBC.detach(), torch.full((2, 4), -1))
    assert nobody.tolist() == [[0.0, 0.0]]


def test_scaling_a_dimension_hides_nothing_from_standardised_discriminators() -> None:
    vector_GBD = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))
    scaled = vector_GBD * torch.tensor([1.0, 1e-2, 50.0]) + 3.0
    assert torch.allclose(standardised(vector_GBD), standardised(scaled), atol=1e-3)


def test_a_batch_of_one_user_has_no_deviation_and_gives_no_nan() -> None:
    vector_GBD = torch.randn(2, 1, 3, requires_grad=True)
    standardised(vector_GBD).square().sum().backward()  # type: ignore[no-untyped-call]
    assert vector_GBD.grad is not None
    assert vector_GBD.grad.isfinite().all()
    many_GBD = standardised(torch.randn(2, 50, 3) * 4 + 1)
    torch.testing.assert_close(many_GBD.var(1, correction=0), torch.ones(2, 3), atol=1e-4, rtol=0)

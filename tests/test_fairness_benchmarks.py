"""FMMRec beside a straightforward form of the released algorithm, and what is called a claim that holds."""

import pytest
import torch

from benchmarks.fairness_claims import verdicts
from benchmarks.fairness_speed import CLASSES, batches, make, require_equal


def test_both_forms_take_the_same_first_step_without_dropout() -> None:
    torch.manual_seed(0)
    source, model, plain, _ = make(users=120, items=60, pairs=900, width=8)
    (batch,) = batches(source, 64, 1)
    assert len(CLASSES) == 3
    require_equal(plain, model, batch)
    for module in (model, *(net for side in plain.nets for net in side)):
        module.eval()
    gradients = []
    for loss in (plain.filter_loss(batch), torch.stack(list(model.training_loss(batch).values())).sum()):
        found = torch.autograd.grad(loss, list(model.filters.parameters()))
        gradients.append(torch.cat([g.flatten() for g in found]))
    written_P, found_P = gradients
    assert torch.allclose(written_P, found_P, atol=1e-6)


def test_unequal_forms_end_the_run() -> None:
    torch.manual_seed(0)
    source, model, plain, _ = make(users=120, items=60, pairs=900, width=8)
    model.host_users_UD.add_(1.0)
    with pytest.raises(SystemExit, match="do not agree"):
        require_equal(plain, model, batches(source, 64, 1)[0])


@pytest.mark.parametrize(
    ("difference", "upper", "verdict"),
    [
        (-0.1, -0.05, "holds"),
        (-0.1, 0.01, "does not hold"),
        (-0.01, -0.005, "does not hold"),
        (-0.1, None, "one seed: not tested"),
    ],
)
def test_a_claim_holds_with_margin_and_interval(difference: float, upper: float | None, verdict: str) -> None:
    contrast = {"difference": difference, "lower": None, "upper": upper, "p": None}
    row = {"host": "h", "variant": "v", "measure": "gender user AUC", "contrast": contrast}
    assert verdicts({"differences": [row]})[0].split(", ")[2] == verdict

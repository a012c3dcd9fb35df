"""Parameter groups by name."""

from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from tests.golden.hosts import ToySource
from zoo.models.bpr import BPR
from zoo.optim import Rates, parameter_groups


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({"text": nn.Linear(2, 2), "text_head": nn.Linear(2, 2)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(2, 2)})


def _summary(groups: list[dict[str, Any]]) -> dict[str, tuple[int, float, float]]:
    return {g["name"]: (len(g["params"]), g["lr"], g["weight_decay"]) for g in groups}


def test_groups_go_by_whole_name_parts() -> None:
    model = _Model()
    special = {"encoders.text": Rates(1e-5, 0.1), "encoders": Rates(1e-4, 0.2)}
    groups = parameter_groups(model, Rates(1e-3, 0.01), special)
    assert _summary(groups) == {
        "encoders": (2, 1e-4, 0.2),
        "encoders.text": (2, 1e-5, 0.1),
        "model": (2, 1e-3, 0.01),
    }
    torch.optim.AdamW(groups)


def test_norms_and_biases_may_go_without_decay() -> None:
    groups = parameter_groups(_Model(), Rates(1e-3, 0.01), decay_norms_and_biases=False)
    assert _summary(groups) == {"model": (3, 1e-3, 0.01), "model/no_decay": (3, 1e-3, 0.0)}


def test_frozen_parameters_are_in_no_group_but_a_wrong_prefix_is_an_error() -> None:
    model = _Model()
    model.encoders["text"].requires_grad_(False)
    groups = parameter_groups(model, Rates(1e-3, 0.0), {"encoders.text": Rates(1.0, 0.0)})
    assert _summary(groups) == {"model": (4, 1e-3, 0.0)}
    with pytest.raises(ValueError, match=r"under 'encoders.txt'.*encoders.text"):
        parameter_groups(model, Rates(1e-3, 0.0), {"encoders.txt": Rates(1.0, 0.0)})


def test_an_exponential_schedule_goes_by_epochs() -> None:
    model = BPR(lr=0.1, schedule="exponential", epoch_decay=0.5)
    with pytest.raises(ValueError, match="no warm-up"):
        BPR(schedule="exponential", warmup_steps=3)
    source = ToySource()
    model.attach(source.spec(), source)
    model.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    configured: Any = model.configure_optimizers()
    assert configured["lr_scheduler"]["interval"] == "epoch"
    scheduler = configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(3):
        rates.append(scheduler.get_last_lr()[0])
        configured["optimizer"].step()
        scheduler.step()
    assert rates == pytest.approx([0.1, 0.05, 0.025])
    assert BPR().epoch_decay ** 50 == pytest.approx(0.96)

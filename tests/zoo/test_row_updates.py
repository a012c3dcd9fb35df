"""Row-wise AdamW against AdamW, and a model trained with it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from datamodules.demo import Demo
from tests.miniature import miniature
from zoo.conformance import Case, model_factory
from zoo.conformance.checks import check_deterministic, check_gradients, check_item_table, check_reload
from zoo.conformance.pairs import check_resumed
from zoo.models.morec import MoRec
from zoo.row_updates import RowAdamW

RATES = {"lr": 0.01, "weight_decay": 0.1}


def tables(n_rows: int = 6) -> tuple[nn.Embedding, nn.Embedding]:
    """Equal tables, the second with sparse gradients."""
    torch.manual_seed(0)
    dense = nn.Embedding(n_rows, 3)
    sparse = nn.Embedding(n_rows, 3, sparse=True, _weight=dense.weight.detach().clone())
    return dense, sparse


def train(table: nn.Embedding, optimizer: torch.optim.Optimizer, batches: list[list[int]]) -> None:
    generator = torch.Generator().manual_seed(1)
    for ids in batches:
        optimizer.zero_grad()
        aim_ND = torch.randn(6, 3, generator=generator)[ids]
        (table(torch.tensor(ids)) - aim_ND).square().sum().backward()
        optimizer.step()


def test_equals_adamw_where_every_row_is_read() -> None:
    dense, sparse = tables()
    batches = [[5, 0, 1, 2, 3, 4, 4], [0, 1, 2, 3, 4, 5], [3, 3, 2, 1, 0, 4, 5]]
    train(dense, torch.optim.AdamW(dense.parameters(), **RATES), batches)  # type: ignore[arg-type]
    train(sparse, RowAdamW(sparse.parameters(), **RATES), batches)  # type: ignore[arg-type]
    torch.testing.assert_close(sparse.weight, dense.weight, atol=1e-6, rtol=1e-6)


def test_rows_that_are_not_read_rest() -> None:
    _, sparse = tables()
    before = sparse.weight.detach().clone()
    optimizer = RowAdamW(sparse.parameters(), **RATES)  # type: ignore[arg-type]
    train(sparse, optimizer, [[1, 2], [2, 3]])
    assert torch.equal(sparse.weight[[0, 4, 5]], before[[0, 4, 5]])
    state = optimizer.state[sparse.weight]
    assert state["step"].tolist() == [0, 1, 2, 1, 0, 0]
    assert not state["exp_avg"][[0, 4, 5]].any()


def test_a_late_row_begins_like_an_early_one() -> None:
    _, sparse = tables()
    optimizer = RowAdamW(sparse.parameters(), lr=0.01, weight_decay=0.0)
    train(sparse, optimizer, [[1]] * 50)
    before = sparse.weight[4].detach().clone()
    train(sparse, optimizer, [[4]])
    torch.testing.assert_close((sparse.weight[4] - before).abs(), torch.full((3,), 0.01), atol=1e-5, rtol=0)


def test_dense_parameters_are_stepped_as_ever() -> None:
    moved: list[Tensor] = []
    for make in (torch.optim.AdamW, RowAdamW):
        torch.manual_seed(0)
        table, layer = nn.Embedding(6, 3, sparse=make is RowAdamW), nn.Linear(3, 2)
        optimizer = make([*table.parameters(), *layer.parameters()], lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            layer(table(torch.arange(6))).square().sum().backward()
            optimizer.step()
        moved.append(layer.weight.detach())
    torch.testing.assert_close(*moved)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    root = str(tmp_path_factory.mktemp("demo"))
    options = {**miniature("idrec"), "row_updates": True}
    return Case(model_factory("idrec", options), Demo(root=root, size="tiny", batch_size=32))


@pytest.mark.parametrize(
    "check", [check_gradients, check_item_table, check_reload, check_deterministic, check_resumed]
)
def test_conformance(check: Any, case: Case) -> None:  # noqa: ANN401
    check(case)


def test_clipping_is_refused(case: Case, tmp_path: Path) -> None:
    trainer = case.trainer(str(tmp_path), 1, gradient_clip_val=1.0)
    assert isinstance(trainer, Trainer)
    with pytest.raises(ValueError, match=r"without clipping.*gradient_clip_val 1\.0"):
        trainer.fit(case.make(), datamodule=case.module)


def test_what_has_nothing_to_leave_out_is_refused() -> None:
    with pytest.raises(ValueError, match="loss: full moves the vectors of all items"):
        MoRec(item_id=True, row_updates=True, loss="full")
    with pytest.raises(ValueError, match="needs item_id: true"):
        MoRec(text={"name": "words"}, row_updates=True)

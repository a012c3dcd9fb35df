"""GUIDER: what moves in which pass, the mixed step, resuming in either pass, what a run leaves."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from datamodules.demo_mmrec import DemoCF
from zoo.callbacks.checkpoint import StepCheckpoint
from zoo.denoise.gradients import trained
from zoo.models.guider import GUIDER, GuidedBatch, guided
from zoo.types import InteractionBatch

SMALL: dict[str, Any] = {"width": 8, "lr": 1e-2, "teacher_args": {"knn_k": 5}}
VBPR: dict[str, Any] = {**SMALL, "host": "vbpr", "host_args": {"width": 8}}
FREEDOM: dict[str, Any] = {**SMALL, "host_args": {"width": 8, "knn_k": 5, "dropout": 0.2}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DemoCF:
    module = DemoCF(root=str(tmp_path_factory.mktemp("demo")), size="tiny", batch_size=512, noise=0.2)
    module.bind(GUIDER(**VBPR).needs())
    module.prepare_data()
    module.setup("fit")
    return module


def built(data: DemoCF, **options: Any) -> GUIDER:  # noqa: ANN401
    torch.manual_seed(0)
    model = GUIDER(**options)
    model.attach(data.spec, data.items)
    model.begin_epoch()
    return model.train()


def batches(data: DemoCF) -> tuple[InteractionBatch, InteractionBatch]:
    """A batch of the teacher's pass and one of the student's."""
    found = list(data.train_dataloader())
    assert [batch.pass_ for batch in found] == sorted(batch.pass_ for batch in found)
    return found[0], found[-1]


def trainer(folder: Path, **options: Any) -> Trainer:  # noqa: ANN401
    defaults: dict[str, Any] = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "default_root_dir": folder,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
    }
    return Trainer(**{**defaults, **options})


def test_each_pass_moves_its_own_model(data: DemoCF, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GUIDER(**FREEDOM)
    moved: list[tuple[int, bool, bool]] = []
    step = model.training_step

    def watched(batch: GuidedBatch, batch_idx: int) -> Tensor:
        before = [[p.detach().clone() for p in trained(part)] for part in model.both]
        loss = step(batch, batch_idx)
        changed = [
            any(not torch.equal(p, q) for p, q in zip(trained(part), old, strict=True))
            for part, old in zip(model.both, before, strict=True)
        ]
        moved.append((batch.pass_, changed[0], changed[1]))
        return loss

    model.training_step = watched  # type: ignore[assignment,method-assign]
    trainer(tmp_path).fit(model, datamodule=data)
    assert set(moved) == {(0, True, False), (1, False, True)}
    passes = [pass_ for pass_, _, _ in moved]
    assert passes == 2 * sorted(passes[: len(passes) // 2])  # the teacher's first, in every epoch


def test_two_backward_passes_equal_the_released_three(data: DemoCF, tmp_path: Path) -> None:
    _, batch = batches(data)
    model = built(data, **FREEDOM)
    parts = model.training_loss(batch)
    own = torch.stack([value for name, value in parts.items() if name != "kd"]).sum()
    parameters = trained(model.host)
    own.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    first = torch.cat([p.grad.flatten().clone() for p in parameters if p.grad is not None])
    parts["kd"].backward(retain_graph=True)  # type: ignore[no-untyped-call]  # nothing is cleared before
    second = torch.cat([p.grad.flatten().clone() for p in parameters if p.grad is not None])
    a, m, c = first @ first, first @ second, second @ second
    share = 0.999 if m >= a else 0.001 if m >= c else float((c - m) / (a + c - 2 * m))
    model.zero_grad()
    mixture = max(share, 0.5) * own + max(1 - share, 1e-4) * parts["kd"]
    mixture.backward()  # type: ignore[no-untyped-call]
    wanted = [p.grad.clone() if p.grad is not None else None for p in parameters]
    model.zero_grad()
    model.trainer = trainer(tmp_path)
    model.log_dict = lambda *args, **kwargs: None  # type: ignore[method-assign]
    found = model._student_gradients(model.training_loss(batch))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_distinct_users_carry_their_pairs(data: DemoCF) -> None:
    _, batch = batches(data)
    model = built(data, **VBPR)
    found = guided(batch)
    assert len(found.user_V) < len(batch.user_B)
    assert float(found.share_V.sum()) == pytest.approx(1, abs=1e-6)
    every = model.distillation(batch.user_B - 1, torch.full((len(batch.user_B),), 1 / len(batch.user_B)))
    torch.testing.assert_close(model.distillation(found.user_V, found.share_V), every)
    model.kd = "sinkhorn"
    every = model.distillation(batch.user_B - 1, torch.full((len(batch.user_B),), 1 / len(batch.user_B)))
    torch.testing.assert_close(model.distillation(found.user_V, found.share_V), every, rtol=1e-2, atol=1e-4)


def test_the_teacher_is_propagated_once_a_pass(data: DemoCF, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GUIDER(**VBPR)
    calls: list[int] = []
    propagate = model.teacher.propagate

    def counted() -> tuple[Tensor, Tensor]:
        calls.append(model.current_epoch)
        return propagate()

    model.teacher.propagate = counted  # type: ignore[method-assign]
    trainer(tmp_path).fit(model, datamodule=data)
    assert calls == [0, 1]


@pytest.mark.parametrize("options", [{"kd": "sinkhorn"}, {"teacher": "layergcn", "teacher_args": None}])
def test_other_distillation_and_teacher_train(data: DemoCF, tmp_path: Path, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = GUIDER(**{**VBPR, **options})
    run = trainer(tmp_path, max_epochs=1)
    run.fit(model, datamodule=data)
    assert torch.isfinite(run.callback_metrics["train/loss"])


@pytest.mark.parametrize("within", [0.25, 0.75])
def test_resuming_in_either_pass_changes_no_bit(data: DemoCF, tmp_path: Path, within: float) -> None:
    stop = round((1 + within) * len(data.train_dataloader()))
    ends = []
    for steps, resume in ((-1, None), (stop, None), (-1, tmp_path / "last.ckpt")):
        torch.manual_seed(1)
        model = GUIDER(**{**FREEDOM, "warmup_steps": 30})
        keepers = [StepCheckpoint(1, str(tmp_path))]
        run = trainer(tmp_path, max_steps=steps, callbacks=keepers, enable_checkpointing=True)
        run.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
        ends.append(model.state_dict())
    assert [name for name in ends[0] if not torch.equal(ends[0][name], ends[2][name])] == []


def test_a_test_leaves_a_line_for_every_pair(
    data: DemoCF, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = GUIDER(**{**VBPR, "teacher": "profile"})
    trainer(tmp_path).test(model, datamodule=data, verbose=False)
    lines = pl.read_parquet(tmp_path / "noise.parquet")
    assert lines.height == data.spec.n_edges
    assert set(lines.columns) == {"user", "item", "weight", "noisy", "suspicion", "planted"}
    assert "Planted noise" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "idrec", "host_args": {}}, "guides recommenders of pairs"),
        ({"host": "guider", "host_args": {}}, "guides recommenders of pairs"),
        ({"host": "freedim"}, "Did you mean freedom"),
        ({"host": "vbpr", "host_args": {"knn_k": 3}}, "host_args '{}'"),
        ({"host_args": {"lr": 0.1}}, "Give --model.lr"),
        ({"teacher_args": {"schedule": "linear"}}, "teacher_args: schedule"),
        ({"teacher": "contrast", "dbpr_fix": True}, "dbpr_fix changes the teacher 'hash'"),
        ({"kd": "sinkhorn", "mgda_fix": True}, "mgda_fix changes the mix"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GUIDER(**options)


def test_modalities_reach_student_and_teacher() -> None:
    model = GUIDER(host="vbpr", modalities=["text"])
    assert model.needs().features == {"text"}
    assert GUIDER(host="lightgcn", modalities=["text"]).needs().features == {"text"}


@pytest.mark.parametrize("host", ["bpr", "lightgcn", "bm3", "lattice", "mgcn", "dragon"])
def test_any_host_is_a_student(data: DemoCF, tmp_path: Path, host: str) -> None:
    torch.manual_seed(0)
    model = GUIDER(**{**SMALL, "host": host, "host_args": {"width": 8}})
    run = trainer(tmp_path, max_epochs=1)
    run.fit(model, datamodule=data)
    assert torch.isfinite(run.callback_metrics["train/kd"])

"""GUIDER on models of histories: any student, what each loss moves, weights, resuming."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from datamodules.demo import Demo
from tests.miniature import miniature
from zoo.callbacks.checkpoint import StepCheckpoint
from zoo.denoise.gradients import trained
from zoo.denoise.histories import encodings, last_histories
from zoo.losses.full_kl import Scorer, full_kl
from zoo.models.guider_sequential import GUIDERSequential
from zoo.types import SequenceBatch


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("demo"))


def student(name: str) -> dict[str, Any]:
    small = {k: v for k, v in miniature(name).items() if k not in ("lr", "encoder_lr")}
    return {"host": name, "host_args": small, "width": 16, "lr": 3e-3}


def ready(root: str, **options: Any) -> tuple[GUIDERSequential, SequenceBatch]:  # noqa: ANN401
    torch.manual_seed(0)
    model = GUIDERSequential(**options)
    data = Demo(root=root, size="tiny", batch_size=16)
    data.bind(model.needs())
    data.prepare_data()
    data.setup("fit")
    model.attach(data.spec, data.items)
    model.cache_features()
    return model.train(), next(iter(data.train_dataloader()))


@pytest.mark.parametrize("name", ["morec", "sasrec_id", "bert4rec_id", "odmt", "pmmrec", "iisan"])
def test_any_student_learns_from_the_teacher(root: str, name: str) -> None:
    model, batch = ready(root, **student(name))
    parts = model.training_loss(batch)
    assert {"teacher", "kd"} < set(parts)
    assert all(torch.isfinite(part) for part in parts.values())
    assert parts["kd"].item() > 0
    reached = torch.autograd.grad(
        parts["kd"], [*trained(model.host), *trained(model.teacher)], allow_unused=True, retain_graph=True
    )
    students = len(trained(model.host))
    assert any(gradient is not None for gradient in reached[:students])
    assert all(gradient is None for gradient in reached[students:])
    moved = torch.autograd.grad(parts["teacher"], trained(model.host), allow_unused=True)
    assert all(gradient is None for gradient in moved)


def test_distillation_is_the_divergence_after_each_history(root: str) -> None:
    model, batch = ready(root, **student("morec"))
    model.eval()
    with encodings(model.host) as seen:
        item_ND = model.host.encode_items(batch.unique_N, batch.content)
    assert torch.equal(seen[0].ids_N, batch.unique_N)
    state_BD = model.host.user_states(item_ND, batch)[:, -1]
    guide_BD = model.teacher.states(batch.items_BS[:, :-1])[:, -1]
    guide = Scorer(guide_BD, model.teacher.items(batch.unique_N[1:]))
    wanted = full_kl(Scorer(state_BD, item_ND[1:]), guide)
    torch.testing.assert_close(model.distillation(item_ND, batch.unique_N, batch), wanted)
    model.positions = 3
    assert not torch.allclose(model.distillation(item_ND, batch.unique_N, batch), wanted)


def test_an_item_without_a_modality_counts_fully(root: str) -> None:
    model, _ = ready(root, **student("morec"))
    teacher = model.teacher
    state_PD, row_P = torch.randn(6, 16), torch.tensor([0, 1, 2, 3, 4, 5])
    parts, known_N = [torch.randn(6, 16), torch.randn(6, 16)], torch.ones(6, dtype=torch.bool)
    known_N[2] = False
    parts[0][2] += 1000
    found = teacher.row_weights(state_PD, parts, row_P, known_N)
    assert found.weight_P[2] == 1
    assert found.clean_P[2]
    without = [part[known_N] for part in parts]
    others = teacher.row_weights(state_PD[known_N], without, torch.arange(5), torch.ones(5, dtype=torch.bool))
    torch.testing.assert_close(found.weight_P[known_N], others.weight_P)
    nothing = teacher.row_weights(state_PD, parts, row_P, torch.zeros(6, dtype=torch.bool))
    assert nothing.weight_P.tolist() == [1.0] * 6


def test_empty_histories_count_nothing() -> None:
    items_BS = torch.tensor([[0, 0, 7, 8], [3, 4, 5, 6]])
    items_RL, share_R = last_histories(items_BS, 9)  # more than there are
    assert items_RL.shape == (6, 3)
    assert share_R.tolist() == pytest.approx([0.25, 0.25, 0, 0.25, 0, 0.25])
    assert last_histories(torch.zeros(2, 3, dtype=torch.int64), 1)[1].tolist() == [0, 0]


@pytest.mark.parametrize("options", [{"mix": "min_norm", "dbpr_fix": True}, {"mix": "fixed"}])
def test_resuming_within_an_epoch_changes_no_bit(root: str, tmp_path: Path, options: dict[str, Any]) -> None:
    ends = []
    for steps, resume in ((12, None), (7, None), (12, tmp_path / "last.ckpt")):
        torch.manual_seed(1)
        model = GUIDERSequential(**{**student("sasrec_id"), **options, "warmup_steps": 20})
        run = Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=False,
            callbacks=[StepCheckpoint(7, str(tmp_path))],
            limit_train_batches=5,
            limit_val_batches=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
        data = Demo(root=root, size="tiny", batch_size=16)
        run.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
        ends.append((model.state_dict(), run.optimizers[0].param_groups[0]["lr"]))
    assert ends[0][1] == ends[2][1]
    assert [k for k, tensor in ends[0][0].items() if not torch.equal(tensor, ends[2][0][k])] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "vbpr"}, "does not read histories"),
        ({"positions": 0}, "one position or more"),
        ({"mix": "fixed", "mgda_fix": True}, "mgda_fix changes the mix"),
        ({"host_args": {"encoder_lr": 1.0}}, "Give --model.encoder_lr"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GUIDERSequential(**options)


def test_a_student_of_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="does not read histories"):
        GUIDERSequential(**student("morec_dssm")).needs()

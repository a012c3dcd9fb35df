from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from tests.data_makers.toy_run import Plan, ToyData, ToyModel
from zoo.callbacks.checkpoint import BestCheckpoint, StayingEarlyStopping, StepCheckpoint


class Saves(StepCheckpoint):
    """Remembers after which batches it saved."""

    def __init__(self, every_n_steps: int, dirpath: str) -> None:
        super().__init__(every_n_steps, dirpath)
        self.after: list[tuple[int, int]] = []

    def _save_last_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, torch.Tensor]) -> None:
        super()._save_last_checkpoint(trainer, monitor_candidates)
        self.after.append((trainer.current_epoch, trainer.fit_loop.batch_idx))


def trainer(folder: Path, *callbacks: Any, **options: Any) -> Trainer:  # noqa: ANN401
    options = {"max_epochs": 2, "enable_progress_bar": False, **options}
    return Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        callbacks=list(callbacks),
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **options,
    )


@pytest.mark.parametrize(
    ("options", "after"),
    [
        ({"max_epochs": 1}, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ({"max_epochs": 1, "accumulate_grad_batches": 2}, [1, 3, 5, 7]),
        ({"max_epochs": 1, "val_check_interval": 0.3}, [0, 1, 3, 4, 6, 7]),
        ({"max_epochs": 1, "val_check_interval": 5, "accumulate_grad_batches": 2}, [1, 3, 5, 7]),
        ({"max_epochs": 1, "limit_train_batches": 4}, [0, 1, 2]),
        ({"max_epochs": 1, "limit_val_batches": 0}, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ({"max_epochs": 1, "fast_dev_run": 3}, []),
        ({"max_steps": 4}, [0, 1, 2, 3]),
    ],
)
def test_steps_are_saved_only_where_a_run_can_go_on(
    tmp_path: Path, options: dict[str, Any], after: list[int]
) -> None:
    saves = Saves(1, str(tmp_path))
    trainer(tmp_path, saves, **options).fit(ToyModel(), datamodule=ToyData(Plan(str(tmp_path))))
    assert [batch for _, batch in saves.after] == after


def test_steps_in_between_and_the_last_of_a_limited_run(tmp_path: Path) -> None:
    saves = Saves(4, str(tmp_path))
    trainer(tmp_path, saves, max_steps=17).fit(ToyModel(), datamodule=ToyData(Plan(str(tmp_path))))
    assert saves.after == [(0, 3), (0, 7), (1, 0), (1, 4), (1, 6)]  # (1, 0) stands for the end of the epoch


@pytest.mark.parametrize("steps", [20, 23])
def test_a_run_that_counts_steps_leaves_its_last_weights(tmp_path: Path, steps: int) -> None:
    model = ToyModel()
    callbacks = [BestCheckpoint(str(tmp_path)), StepCheckpoint(1000, str(tmp_path))]
    trainer(tmp_path, *callbacks, max_epochs=-1, max_steps=steps).fit(
        model, datamodule=ToyData(Plan(str(tmp_path)))
    )
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert last["global_step"] == steps
    assert all(torch.equal(last["state_dict"][name], value) for name, value in model.state_dict().items())


def test_every_epoch_ends_with_last_and_the_best_is_kept(tmp_path: Path) -> None:
    best = BestCheckpoint(str(tmp_path))
    trainer(tmp_path, best, max_epochs=5).fit(ToyModel(), datamodule=ToyData(Plan(str(tmp_path))))
    assert {path.name for path in tmp_path.iterdir()} == {"best-epoch002-step000030.ckpt", "last.ckpt"}
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert (last["epoch"], last["global_step"]) == (4, 50)
    assert Path(best.best_model_path).name == "best-epoch002-step000030.ckpt"


def test_a_new_run_does_not_overwrite_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="--ckpt_path last"):
        trainer(tmp_path, BestCheckpoint(str(tmp_path))).fit(
            ToyModel(), datamodule=ToyData(Plan(str(tmp_path)))
        )
    assert (tmp_path / "last.ckpt").read_bytes() == b"precious"


def test_a_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(tmp_path, BestCheckpoint(str(tmp_path)), max_epochs=1)
    run.fit(ToyModel(), datamodule=ToyData(Plan(str(tmp_path))))
    before = (tmp_path / "last.ckpt").read_bytes()

    def half(checkpoint: object, filepath: str, **_: object) -> None:
        Path(filepath).write_bytes(b"half")
        raise OSError("No space left on device")

    again = trainer(tmp_path, BestCheckpoint(str(tmp_path)), max_epochs=2)
    monkeypatch.setattr(again.strategy, "save_checkpoint", half)
    with pytest.raises(OSError, match="No space left"):
        again.fit(ToyModel(), datamodule=ToyData(Plan(str(tmp_path))), ckpt_path=str(tmp_path / "last.ckpt"))
    assert (tmp_path / "last.ckpt").read_bytes() == before


def test_checkpoints_load_without_executing_anything(tmp_path: Path) -> None:
    callbacks = [BestCheckpoint(str(tmp_path)), StepCheckpoint(3, str(tmp_path)), StayingEarlyStopping()]
    trainer(tmp_path, *callbacks).fit(ToyModel(), datamodule=ToyData(Plan(str(tmp_path))))
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    loader = stored["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    assert loader == [{"epoch": 2, "done": 0, "batches": 10}]


def test_a_moved_run_knows_its_best(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    run = trainer(old, BestCheckpoint(str(old)), max_epochs=4)
    run.fit(ToyModel(), datamodule=ToyData(Plan(str(old))))
    old.rename(new)
    best = BestCheckpoint(str(new))
    again = trainer(new, best, max_epochs=5)
    again.fit(ToyModel(), datamodule=ToyData(Plan(str(new))), ckpt_path=str(new / "last.ckpt"))
    assert best.best_model_path == str(new / "best-epoch002-step000030.ckpt")
    assert {path.name for path in new.iterdir()} == {"best-epoch002-step000030.ckpt", "last.ckpt"}


def test_patience_is_the_one_now_configured() -> None:
    stored = StayingEarlyStopping(patience=2)
    stored.wait_count = 2
    stop = StayingEarlyStopping(patience=4)
    stop.load_state_dict(stored.state_dict())
    assert (stop.wait_count, stop.patience) == (2, 4)


class OwnWord(ToyModel):
    monitor = "val/recall@20"


@pytest.mark.parametrize(
    ("model", "asked", "decides"),
    [
        (ToyModel, None, "val/ndcg@10"),
        (OwnWord, None, "val/recall@20"),
        (OwnWord, "val/mine", "val/mine"),
    ],
)
def test_the_model_says_what_is_best_unless_the_user_does(
    tmp_path: Path, model: type[ToyModel], asked: str | None, decides: str
) -> None:
    run, made = trainer(tmp_path), model()
    for callback in (BestCheckpoint(str(tmp_path), asked), StayingEarlyStopping(asked)):
        callback.setup(run, made, "fit")
        assert callback.monitor == decides

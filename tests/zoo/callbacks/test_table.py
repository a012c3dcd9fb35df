import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)
from torch import Tensor

import zoo
from tests.data_makers.toy_run import Plan, ToyData, ToyModel
from tests.zoo.callbacks.test_checkpoint import trainer
from zoo.callbacks.table import ResultRow, ResultTable, format_table, write_results
from zoo.provenance import is_sealed

ROWS = [
    ResultRow("all", {"hr@5": 0.5, "ndcg@10": 0.25}, {"hr@5": (0.4, 0.6), "ndcg@10": (0.2, 0.3)}, 1234),
    ResultRow("cold", {"hr@5": 0.0, "ndcg@10": 1.0}, {"hr@5": (0.0, 0.0), "ndcg@10": (1.0, 1.0)}, 7),
    ResultRow("new", {}, {}, 0),
]


class Evaluated(ToyModel):
    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def result_rows(self) -> list[ResultRow]:
        return ROWS


class Part(Callback):
    def results_part(self) -> dict[str, object]:
        return {"slices": {"cold": {}}}


class Data(ToyData):
    test_dataloader = ToyData.val_dataloader


def test_columns_align_and_empty_slices_are_left_out() -> None:
    lines = format_table(ROWS).splitlines()
    assert lines[0] == "95 % CI  all (1,234 users)        cold (7 users)"
    assert lines[1] == "hr@5     0.5000 [0.4000, 0.6000]  0.0000 [0.0000, 0.0000]"
    assert lines[2] == "ndcg@10  0.2500 [0.2000, 0.3000]  1.0000 [1.0000, 1.0000]"
    assert format_table(ROWS[2:]) == "No user was evaluated."


def test_printed_logged_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trainer(tmp_path, ResultTable())
    logger = TensorBoardLogger(tmp_path, name="log", version="")
    run.loggers = [logger]
    run.test(Evaluated(), datamodule=Data(Plan(str(tmp_path))), verbose=False)
    assert format_table(ROWS) in capsys.readouterr().out
    stored = json.loads((tmp_path / "log" / "results.json").read_text())
    assert stored["rows"][0]["intervals"]["hr@5"] == [0.4, 0.6]
    assert stored["checkpoint"] is None
    assert stored["cost"]["train_seconds"] is None
    assert stored["cost"]["parameters"] == stored["cost"]["trainable"] > 0
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "log"))
    events.Reload()
    (event,) = events.Tensors("test/table/text_summary")
    assert "    hr@5     0.5000 [0.4000, 0.6000]" in event.tensor_proto.string_val[0].decode()
    assert events.Scalars("hp/hr@5")[0].value == 0.5  # the hyper-parameters' tab shows it beside them


def test_says_where_everything_comes_from(tmp_path: Path) -> None:
    table = ResultTable(weights=True)
    run = trainer(tmp_path, Part(), table)
    data = Data(Plan(str(tmp_path)))
    data.protocol_text, data.data_fingerprint = "the last one of all", "abc"  # type: ignore[attr-defined]
    run.test(Evaluated(), datamodule=data, verbose=False)
    stored = json.loads((tmp_path / "results.json").read_text())
    assert (stored["protocol"], stored["data"], stored["config"]) == ("the last one of all", "abc", None)
    assert stored["model"] == "tests.zoo.callbacks.test_table.Evaluated"
    assert stored["code"]["version"] == zoo.__version__
    assert stored["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert stored["cost"]["memory_bytes"] > 2**20
    assert stored["cost"]["test_seconds"] > 0
    assert stored["slices"] == {"cold": {}}
    weights = load_file(tmp_path / stored["weights"]["file"])
    assert weights.keys() == dict(Evaluated().named_parameters()).keys()
    assert is_sealed(stored)
    stored["rows"][0]["metrics"]["hr@5"] = 0.51
    assert not is_sealed(stored)


def test_without_a_logger_and_without_rows(tmp_path: Path) -> None:
    trainer(tmp_path, ResultTable()).test(Evaluated(), datamodule=Data(Plan(str(tmp_path))), verbose=False)
    assert (tmp_path / "results.json").exists()
    with pytest.raises(TypeError, match=r"result_rows\(\)"):
        ResultTable().on_test_end(trainer(tmp_path), ToyModel())


def test_names_checkpoint_and_epoch(tmp_path: Path) -> None:
    torch.save({"epoch": 4}, tmp_path / "best.ckpt")
    write_results(tmp_path / "deep" / "results.json", ROWS, tmp_path / "best.ckpt")
    stored = json.loads((tmp_path / "deep" / "results.json").read_text())
    assert (stored["checkpoint"], stored["epoch"]) == ("best.ckpt", 4)


def test_seconds_go_on_in_a_resumed_run(tmp_path: Path) -> None:
    table, model = ResultTable(), ToyModel()
    run = trainer(tmp_path)
    table.on_train_start(run, model)
    stored = table.state_dict()
    table.on_train_end(run, model)
    assert table.state_dict()["seconds"] >= stored["seconds"] > 0
    resumed = ResultTable()
    resumed.load_state_dict({"seconds": 100.0})  # as earlier versions left it
    assert resumed.state_dict() == {"seconds": 100.0, "memory": 0}
    resumed.load_state_dict({"seconds": 100.0, "memory": 5})
    assert resumed.state_dict() == {"seconds": 100.0, "memory": 5}
    resumed.on_train_start(run, model)
    assert 100 < resumed.state_dict()["seconds"] < 110

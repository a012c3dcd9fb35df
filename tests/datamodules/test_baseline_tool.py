from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from datamodules.baselines import popularity_ranks
from datamodules.demo_mmrec import DemoCF
from datamodules.tools.baseline import Ranked, baseline
from tests.data_makers.miniatures import MINIATURES
from zoo.leaderboard.ranked import record_ranks
from zoo.leaderboard.records import read_records
from zoo.provenance import is_sealed


@pytest.mark.parametrize("ranker", ["popularity", "markov"])
def test_results_are_those_of_a_test(ranker: str, tmp_path: Path) -> None:
    MINIATURES["nineRec"].make(tmp_path / "raw")
    out = tmp_path / "board" / ranker / "seed-0"
    data = MINIATURES["nineRec"].read(tmp_path / "raw")
    assert baseline(data, out, record_ranks, ranker) == 0  # type: ignore[arg-type]  # a word of the line
    (record,) = read_records(tmp_path / "board")
    assert record.state == "finished"
    assert is_sealed(record.content)
    assert record.content["data"] == data.data_fingerprint
    assert record.content["protocol"] == data.protocol_text
    assert {"popularity", "cold", "activity", "repeat"} <= record.content["slices"].keys()
    ranks = pl.read_parquet(out / "ranks.parquet")
    assert ranks["user"].to_list() == list(data.user_names[1:])
    hits = float((ranks["rank"] <= 10).mean())  # type: ignore[arg-type]
    assert record.metrics["hr@10"] == pytest.approx(hits)
    cost = record.content["cost"]
    assert cost["memory_bytes"] == cost["memory_before_bytes"] > 0  # counting holds nothing of its own


def test_popularity_counts_what_trains(tmp_path: Path) -> None:
    MINIATURES["nineRec"].make(tmp_path / "raw")
    data = MINIATURES["nineRec"].read(tmp_path / "raw")
    found: list[np.ndarray[Any, Any]] = []

    def record(out: Path, data: object, ranked: Ranked) -> Path:
        found.append(ranked.rank_U)
        return out

    baseline(data, tmp_path / "out", record)
    counts_I = data.items.counts_I
    train = np.repeat(np.arange(len(counts_I)), counts_I)[None]
    testing: Any = data.test_dataloader().dataset
    rows = testing.__getitems__(list(range(len(found[0]))))
    expected = popularity_ranks(train, rows.target_B, rows.hidden_BH, len(counts_I))
    assert found[0].tolist() == expected.tolist()


def test_pairs_have_no_order(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="histories, found DemoCF"):
        baseline(DemoCF(root=str(tmp_path), size="tiny"), tmp_path / "out", record_ranks)

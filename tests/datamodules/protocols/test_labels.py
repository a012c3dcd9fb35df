"""Pairs cut by labels: on one clock, and by whom the cut is told."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datamodules.demo_mmrec import DemoCF
from datamodules.errors import EmptyDataError
from datamodules.protocols.labels import cut_labels, cut_text
from zoo.types import ModelNeeds


def test_global_time_keeps_equal_times_together() -> None:
    times = np.array([9, 1, 2, 3, 4, 5, 6, 7, 8, 8])
    # Sorted: 1 to 7, 8, 8, 9: the ninth is an 8, so both are for validation; the tenth is 9.
    assert cut_labels("global_time", 0, np.zeros(10, np.int64), times).tolist() == [2, *[0] * 7, 1, 1]
    with pytest.raises(EmptyDataError, match="one time"):
        cut_labels("global_time", 0, np.zeros(4, np.int64), np.ones(4, np.int64))


def ready(root: Path, **options: object) -> DemoCF:
    data = DemoCF(root=str(root), size="tiny", **options)  # type: ignore[arg-type]
    data.bind(ModelNeeds({}, batch="interaction"))
    data.prepare_data()
    data.setup()
    return data


def test_the_demo_on_one_clock(tmp_path: Path) -> None:
    data, other = ready(tmp_path, cut="global_time"), ready(tmp_path)
    table = pl.read_csv(data.folder / "demo.inter", separator="\t")
    latest = {label: part["timestamp"].max() for (label,), part in table.group_by("x_label")}
    first = {label: part["timestamp"].min() for (label,), part in table.group_by("x_label")}
    assert latest[0] < first[1] <= latest[1] < first[2]  # type: ignore[operator]
    assert abs((table["x_label"] == 0).mean() - 0.8) < 0.01  # type: ignore[operator]
    targets = sum(int((batch.target_BP > 0).sum()) for batch in data.test_dataloader())
    assert 0 < targets <= (table["x_label"] == 2).sum()
    assert data.spec.protocol == data.protocol_text
    assert data.protocol_text.startswith(f"{cut_text('global_time', 0)}; every held-out item")
    assert other.protocol_text.startswith("about 8 : 1 : 1 within each user at random, seed 0; ")
    assert (
        len({data.data_fingerprint, other.data_fingerprint, ready(tmp_path, cut="time").data_fingerprint})
        == 3
    )
    assert ready(tmp_path).data_fingerprint == other.data_fingerprint
    hidden = ready(tmp_path, hide_validation=True)
    assert hidden.data_fingerprint != other.data_fingerprint
    assert "validation" in hidden.protocol_text

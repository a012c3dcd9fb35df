"""Slices of whole tests, of models of histories and of pairs."""

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from lightning.pytorch import Trainer

import zoo
from datamodules.demo import Demo
from datamodules.demo_mmrec import DemoCF
from tests.miniature import miniature
from zoo.base import Recommender
from zoo.callbacks.ranks import RankWriter
from zoo.callbacks.slices import SliceReport
from zoo.callbacks.table import ResultTable


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slices")


def evaluated(model: Recommender, data: Demo | DemoCF, folder: Path, show: bool = False) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        callbacks=[ResultTable(), RankWriter(), SliceReport(show)],
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    trainer.test(model, datamodule=data, verbose=False)
    return trainer


def test_every_user_is_in_a_group_of_popularity_or_never_trained(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Demo(root=str(root / "demo"), size="tiny")
    evaluated(zoo.create("morec", **miniature("morec")), data, root / "histories", show=True)
    assert "popularity," in capsys.readouterr().out
    slices = json.loads((root / "histories" / "results.json").read_text())["slices"]
    ranks = pl.read_parquet(root / "histories" / "ranks.parquet")
    sizes = {name: sum(group["n"] for group in groups.values()) for name, groups in slices.items()}
    cold = slices["cold"].get("never trained", {"n": 0})["n"]
    assert sizes["popularity"] + cold == sizes["cold"] == sizes["repeat"] == sizes["activity"] == ranks.height
    counts = dict(zip(data.item_names, data.items.counts_I.tolist(), strict=True))
    known = ranks.with_columns(count=ranks["target"].replace_strict(counts))
    for group, found in slices["popularity"].items():
        low, _, high = group.partition("-")
        chosen = known.filter(pl.col("count").is_between(int(low), int(high or low)))
        assert found["hr@10"][0] == pytest.approx((chosen["rank"] <= 10).mean())
        assert found["n"] == chosen.height
    titles = {name: bool(data.raw_title(row).strip()) for row, name in enumerate(data.item_names)}
    lacking = [name for name in ranks["target"] if not titles[name]]
    assert slices["missing"].get("no text", {"n": 0})["n"] == len(lacking)
    with open(root / "histories" / "slices.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["slice"] for line in lines} == set(slices)
    assert len(lines) == 2 * sum(map(len, slices.values()))


def test_several_targets_a_user_are_counted_one_by_one(root: Path) -> None:
    data = DemoCF(root=str(root / "demo"), size="tiny")
    evaluated(zoo.create("vbpr", width=16), data, root / "pairs")
    slices = json.loads((root / "pairs" / "results.json").read_text())["slices"]
    users = pl.read_parquet(root / "pairs" / "users.parquet")
    test = data.test_dataloader()
    targets = np.concatenate([batch.target_BP[batch.target_BP > 0].numpy() for batch in test])
    assert sum(group["n"] for group in slices["cold"].values()) == len(targets)
    never = slices["cold"].get("never trained", {"n": 0})["n"]
    assert never == int((data.items.counts_I[targets] == 0).sum())
    assert sum(group["n"] for group in slices["activity"].values()) == users.height
    weighed = sum(group["n"] * group["recall@20"][0] for group in slices["activity"].values())
    assert weighed / users.height == pytest.approx(users["recall@20"].cast(pl.Float64).mean(), abs=1e-6)
    whole = slices["cold"].values()
    hits = sum(group["n"] * group["hr@20"][0] for group in whole)
    numbers = np.concatenate([(batch.target_BP > 0).sum(1).numpy() for batch in data.test_dataloader()])
    recalls = np.concatenate([batch.user_B.numpy() for batch in data.test_dataloader()])
    names = pl.Series(data.user_names).gather(recalls)
    order = pl.DataFrame({"user": names, "n": numbers}).join(users, on="user")
    assert hits == pytest.approx((order["n"] * order["recall@20"]).sum(), abs=1e-3)
    assert "no text" not in slices.get("missing", {}) or slices["missing"]["no text"]["n"] > 0

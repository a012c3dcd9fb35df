"""The demo catalogue as pairs: cut, noise, features and attributes against the catalogue itself."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from datamodules.demo import Demo, read_truth, write_demo
from datamodules.demo_mmrec import DemoCF, inject
from datamodules.features import FILES
from datamodules.splits import label_per_user
from zoo.types import ModelNeeds

NEEDS = ModelNeeds({}, batch="interaction", features=frozenset(FILES), attributes=("gender", "age"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def ready(root: Path, **options: Any) -> DemoCF:  # noqa: ANN401
    data = DemoCF(str(root), "tiny", **options)
    data.bind(NEEDS)
    data.prepare_data()
    data.setup()
    return data


def edges(data: DemoCF) -> set[tuple[str, str]]:
    users, items = (data.items.user_E.tolist(), data.items.item_E.tolist())
    return {(data.user_names[user], data.item_names[item]) for user, item in zip(users, items, strict=True)}


def raw_pairs(root: Path) -> pl.DataFrame:
    names = ["item", "user", "time"]
    return pl.read_csv(root / "tiny-0" / "DEMO" / "DEMO_pair.csv", has_header=False, new_columns=names)


def test_labels_worked_by_hand() -> None:
    user_R = np.array([0] * 5 + [1] * 12 + [2] * 2 + [3])
    order_R = np.array([5, 1, 2, 3, 4, *range(12), 1, 0, 9])
    assert label_per_user(user_R, order_R).tolist() == [2, 0, 0, 0, 1, *[0] * 10, 1, 2, 2, 0, 0]
    shuffled = np.random.default_rng(0).permutation(len(user_R))
    assert (
        label_per_user(user_R[shuffled], order_R[shuffled]).tolist()
        == label_per_user(user_R, order_R)[shuffled].tolist()
    )
    fifty = np.bincount(label_per_user(np.zeros(55, dtype=np.int64), np.arange(55)))
    assert fifty.tolist() == [44, 5, 6]


def test_pairs_are_those_of_the_catalogue(root: Path) -> None:
    data = ready(root)
    raw = raw_pairs(root)
    table = pl.read_csv(data.folder / "demo.inter", separator="\t")
    named = {
        (data.user_names[user + 1], data.item_names[item + 1], time)
        for user, item, time in table["userID", "itemID", "timestamp"].iter_rows()
    }
    first = raw.unique(["user", "item"], keep="first", maintain_order=True)
    assert named == set(first["user", "item", "time"].iter_rows())
    assert data.item_names[1:] == first["item"].unique(maintain_order=True).to_list()
    assert data.spec.n_users == 301
    assert data.spec.n_classes == {"gender": 2, "age": 4}


def test_cut_by_time_holds_out_the_latest(root: Path) -> None:
    data = ready(root, cut="time")
    table = pl.read_csv(data.folder / "demo.inter", separator="\t")
    latest = table.group_by("userID", "x_label").agg(
        pl.col("timestamp").max().alias("last"), pl.col("timestamp").min()
    )
    wide = latest.pivot("x_label", index="userID", values=["last", "timestamp"])
    assert (wide["last_0"] <= wide["timestamp_1"]).all()
    assert (wide["last_1"] <= wide["timestamp_2"]).all()
    assert edges(data) != edges(ready(root))
    assert edges(ready(root, cut_seed=1)) != edges(ready(root))


def test_attributes_and_their_sequential_side(root: Path) -> None:
    data = ready(root)
    sequential = Demo(str(root), "tiny")
    sequential.bind(ModelNeeds({}, attributes=("age",)))
    sequential.prepare_data()
    sequential.setup()
    users = pl.read_csv(root / "tiny-0" / "DEMO" / "DEMO_user.csv")
    plain = {
        user: {"gender": "FM".index(gender), "age": (18, 25, 35, 50).index(age)}
        for user, gender, age in users.iter_rows()
    }
    for module in (data, sequential):
        assert module.spec.n_classes == {"gender": 2, "age": 4}
        for row, user in enumerate(module.user_names):
            expected = plain[user] if user else {"gender": -1, "age": -1}
            assert {name: int(values[row]) for name, values in module.items.attributes.items()} == expected
    sequential.bind(ModelNeeds({}, attributes=("income",)))
    with pytest.raises(ValueError, match=r"no user attribute 'income'. There are: gender, age"):
        sequential.setup()


def test_noise_is_flagged_and_grows_with_the_rate(root: Path) -> None:
    clean, some, more = (ready(root, noise=noise) for noise in (0.0, 0.1, 0.3))
    assert edges(clean) < edges(some) < edges(more)
    assert more.spec.n_edges - clean.spec.n_edges == round(0.3 * clean.spec.n_edges)
    assert clean.spec.fingerprint != some.spec.fingerprint
    raw = raw_pairs(root).with_columns(noise=pl.Series(read_truth(root / "tiny-0" / "DEMO").noise))
    planted = raw.group_by("user", "item").agg(pl.col("noise").all())
    own = {(user, item): noise for user, item, noise in planted["user", "item", "noise"].iter_rows()}
    for data in (clean, more):
        assert data.items.noise_E is not None
        for user, item, noise in zip(
            data.items.user_E, data.items.item_E, data.items.noise_E.tolist(), strict=True
        ):
            assert noise == own.get((data.user_names[user], data.item_names[item]), True)
    held = [{user: rows for user, rows in held_out(data)} for data in (clean, more)]
    assert held[0] == held[1]
    assert edges(more) != edges(ready(root, noise=0.3, noise_seed=1))


def held_out(data: DemoCF) -> list[tuple[int, list[int]]]:
    return [
        (user, target)
        for batch in data.test_dataloader()
        for user, target in zip(batch.user_B.tolist(), batch.target_BP.tolist(), strict=True)
    ]


def test_injected_pairs_are_new() -> None:
    rng = np.random.default_rng(0)
    key_R = rng.choice(20 * 30, 200, replace=False)
    user_R, item_R = np.divmod(key_R, 30)
    train = np.flatnonzero(rng.random(200) < 0.8)
    twins, items = inject(user_R, item_R, train, 1.0, seed=0)
    assert sorted(twins) == sorted(train)
    added = user_R[twins] * 30 + items
    assert len(np.unique(added)) == len(added)
    assert not np.isin(added, key_R).any()
    fewer, fewer_items = inject(user_R, item_R, train, 0.25, seed=0)
    assert len(fewer) == round(0.25 * len(train))
    assert np.array_equal(items[: len(fewer)], fewer_items)


def linear_probe(features_ID: npt.NDArray[np.float32], value_I: npt.NDArray[np.int64]) -> float:
    """Share of held-out items whose value ridge regression on the features finds."""
    x_ID = np.c_[features_ID[1:], np.ones(len(features_ID) - 1)]
    train, test = np.arange(0, len(x_ID), 2), np.arange(1, len(x_ID), 2)
    target = np.eye(value_I.max() + 1)[value_I]
    weights = np.linalg.solve(
        x_ID[train].T @ x_ID[train] + 10 * np.eye(x_ID.shape[1]), x_ID[train].T @ target[train]
    )
    return float(((x_ID[test] @ weights).argmax(1) == value_I[test]).mean())


def test_features_tell_what_the_content_tells(root: Path) -> None:
    data = ready(root)
    sequential = Demo(str(root), "tiny")
    write_demo(sequential.root, "tiny", 0)
    truth = read_truth(root / "tiny-0" / "DEMO").items
    names = (
        pl.read_csv(root / "tiny-0" / "DEMO" / "DEMO_item.csv", has_header=False, columns=[0])
        .to_series()
        .to_list()
    )
    rows = np.array([names.index(name) for name in data.item_names[1:]])
    latent = {name: values[rows] for name, values in truth.attributes.items()}
    found = {modality: data.items.features(modality) for modality in FILES}
    assert {modality: data.spec.feature_widths[modality] for modality in FILES} == {
        "image": 320,
        "text": 128,
        "audio": 64,
        "video": 192,
    }
    for modality, told, floor in (
        ("image", "colour", 0.9),
        ("text", "topic", 0.4),
        ("audio", "sound", 0.9),
        ("video", "motion", 0.9),
    ):
        assert linear_probe(found[modality], latent[told]) > floor
        assert np.isfinite(found[modality]).all()
    assert linear_probe(found["text"], latent["colour"]) < 0.35
    assert linear_probe(found["audio"], latent["motion"]) < 0.45
    again = DemoCF(str(root), "tiny", noise=0.5)
    again.bind(NEEDS)
    again.prepare_data()
    again.setup()
    assert np.array_equal(again.items.features("audio"), found["audio"])
    assert again.item_names == data.item_names


def test_options_out_of_range() -> None:
    for options in ({"noise": 1.5}, {"cut": "date"}, {"size": "huge"}, {"platform": "z"}):
        with pytest.raises(ValueError, match="Expected"):
            DemoCF(**options)

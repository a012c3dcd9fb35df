"""Protocols through a data module: options, caches, negatives, what is refused, what is stated."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.demo import Demo
from datamodules.ninerec import NineRec
from datamodules.protocols import ColdItems, ColdUsers, GlobalTime, KCore, LeaveTwoOut, Protocol
from datamodules.sampler import EpochRows
from datamodules.splits import training_users
from tests.data_makers.ninerec import make_ninerec
from zoo.types import ModelNeeds

pytestmark = pytest.mark.filterwarnings("ignore:Not the published size")
NEEDS = ModelNeeds({}, negatives="positions")
PROTOCOLS: tuple[Protocol, ...] = (
    LeaveTwoOut(),
    GlobalTime(),
    GlobalTime(target="all"),
    ColdItems(0.2),
    ColdItems(0.2, "time"),
    ColdUsers(),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def ready(root: Path, needs: ModelNeeds = NEEDS, **options: Any) -> Demo:  # noqa: ANN401
    data = Demo(root=str(root), size="tiny", seed=0, **options)
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=repr)
def test_batches_hold_what_the_protocol_says(root: Path, protocol: Protocol) -> None:
    data = ready(root, protocol=protocol, eval_batch_size=64)
    counts_I = data.items.counts_I
    seen = np.zeros_like(counts_I)
    for batch in data.train_dataloader():
        seen += np.bincount(batch.items_BS.flatten(), minlength=len(seen))
        assert batch.negatives_BL is not None
        drawn = batch.negatives_BL[batch.negatives_BL > 0].numpy()
        if protocol != LeaveTwoOut():
            assert (counts_I[drawn] > 0).all()
    assert (seen[1:] == counts_I[1:]).all()
    for loader in (data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            assert (batch.target_B > 0).all()
            assert (batch.history_BL[:, -1] > 0).all()
            if isinstance(protocol, ColdItems):
                assert (counts_I[batch.target_B] == 0).all()
                assert (counts_I[batch.history_BL[batch.history_BL > 0]] > 0).all()
    users = torch.cat([batch.user_B for batch in data.predict_dataloader()])
    skipped = [what for what in data.report().splitlines() if "nothing is predicted for them" in what]
    missing = int(skipped[0].split()[0]) if skipped else 0
    assert users.tolist() == sorted(set(users.tolist()))
    assert len(users) == data.spec.n_users - 1 - missing
    assert not missing or isinstance(protocol, ColdItems)
    whole = next(iter(data.predict_dataloader()))
    assert not whole.target_B.any()
    taken = ready(root, windowing="chunks").windows
    for user, hidden in zip(whole.user_B.tolist(), whole.hidden_BH.tolist(), strict=True):
        name = data.user_names[user]
        assert name
        if protocol != LeaveTwoOut():  # that leaves the oldest out
            assert sum(item > 0 for item in hidden) == np.diff(taken.offsets)[user]


def test_caches_and_fingerprints_are_the_protocols_own(root: Path) -> None:
    everything = [ready(root, protocol=protocol) for protocol in PROTOCOLS]
    everything += [ready(root, filter=KCore(6, 6)), ready(root, max_len=5), ready(root, windowing="chunks")]
    assert len({data.data_fingerprint for data in everything}) == len(everything)
    assert len({data.protocol_text for data in everything}) == len(everything)
    assert all("\n" not in data.protocol_text for data in everything)
    assert [data.spec.protocol for data in everything] == [data.protocol_text for data in everything]
    again = ready(root, protocol=GlobalTime())
    assert again.data_fingerprint == everything[1].data_fingerprint
    assert again.cache == everything[1].cache
    default = ready(root)
    assert default.data_fingerprint == everything[0].data_fingerprint
    assert default.protocol_text == (
        "leave two out: a user's last item is tested, the one before validated; users with 5 or more "
        "interactions; the last 13 interactions of a user; histories of 10, ranked among the whole catalogue"
    )


def test_the_fingerprint_is_of_the_test(root: Path) -> None:
    whole = ready(root).data_fingerprint
    assert ready(root, train_fraction=0.5).data_fingerprint == whole
    assert ready(root, ModelNeeds({})).data_fingerprint == whole
    assert ready(root, min_len=6).data_fingerprint != whole


def test_a_share_of_those_who_train(root: Path) -> None:
    data = ready(root, protocol=ColdUsers(0.2, 3), train_fraction=0.5)
    whole = ready(root, protocol=ColdUsers(0.2, 3))
    training: Any = data.train_dataloader().dataset
    everybody: Any = whole.train_dataloader().dataset
    assert everybody.kept_R is None
    all_users, _ = everybody.rows.at(np.arange(len(everybody)))
    users, _ = training.rows.at(training.kept_R)
    assert users.tolist() == all_users[training_users(len(all_users) + 1, 0.5, 0) - 1].tolist()
    assert len(whole.test_dataloader().dataset) == len(data.test_dataloader().dataset) == 60  # type: ignore[arg-type]


def test_the_filter_comes_first(root: Path) -> None:
    data = ready(root, protocol=GlobalTime(), filter=KCore(6, 8))
    windows = data.windows
    counts = np.bincount(windows.items, minlength=data.spec.n_items)[1:]
    assert counts.min() >= 8
    assert np.diff(windows.offsets)[1:].min() >= 6
    assert "passes of the filter" in data.report()
    assert "core of users with 6 and items with 8" in data.protocol_text


def test_models_of_pairs(root: Path) -> None:
    pairs = ModelNeeds({}, batch="pair")
    with pytest.raises(ValueError, match="a vector for every user, but under the protocol ColdUsers"):
        ready(root, pairs, protocol=ColdUsers())
    data = ready(root, pairs, protocol=GlobalTime())
    dataset: Any = data.train_dataloader().dataset
    rows = dataset.__getitems__(EpochRows(0, np.arange(len(dataset))))
    counts_I = data.items.counts_I
    assert np.bincount(rows.item_B, minlength=len(counts_I)).tolist() == counts_I.tolist()
    assert (counts_I[rows.negative_B] > 0).all()
    pairs_taken = set(zip(rows.user_B.tolist(), rows.item_B.tolist(), strict=True))
    assert not pairs_taken & set(zip(rows.user_B.tolist(), rows.negative_B.tolist(), strict=True))


def test_a_file_without_times_is_refused_in_words(tmp_path: Path) -> None:
    make_ninerec(tmp_path)
    data = NineRec(str(tmp_path), protocol=GlobalTime())
    data.bind(ModelNeeds({}))
    with pytest.raises(ValueError, match=r"GlobalTime goes by times.*another --data\.protocol"):
        data.prepare_data()
    plain = NineRec(str(tmp_path))
    plain.prepare_data()
    plain.setup()
    assert "could not be checked" in plain.report()

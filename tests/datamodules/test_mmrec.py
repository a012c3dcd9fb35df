"""MMRec's layout against a plain reader: splits, batches, negatives, ranks, resuming."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.mmrec import MMRec
from datamodules.negatives import PairNegatives
from tests.data_makers.mmrec import EVERY_DAMAGE, Damage, Folder, make_mmrec
from zoo.types import InteractionBatch, InteractionSource, LabelBatch, ModelNeeds

NEEDS = ModelNeeds({}, batch="interaction")


def ready(written: Folder, needs: ModelNeeds = NEEDS, **options: Any) -> MMRec:  # noqa: ANN401
    data = MMRec(str(written.root), written.name, **{"batch_size": 16, "eval_batch_size": 7, **options})
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


def pairs(batches: list[InteractionBatch]) -> list[tuple[int, int]]:
    return [
        (u - 1, i - 1) for b in batches for u, i in zip(b.user_B.tolist(), b.item_B.tolist(), strict=True)
    ]


def rows(batches: list[LabelBatch]) -> dict[int, tuple[set[int], set[int]]]:
    """User -> targets and hidden items, in the table's numbers."""
    found = {}
    for batch in batches:
        for user, target, hidden in zip(*(part.tolist() for part in batch), strict=True):
            assert user - 1 not in found
            found[user - 1] = {i - 1 for i in target if i}, {i - 1 for i in hidden if i}
            assert len([i for i in target if i]) == len(found[user - 1][0])
    return found


@pytest.mark.parametrize("damage", [(), *((one,) for one in EVERY_DAMAGE), EVERY_DAMAGE], ids=str)
def test_splits_are_those_of_a_plain_reader(tmp_path: Path, damage: tuple[Damage, ...]) -> None:
    written = make_mmrec(tmp_path, damage=damage, attributes=True)
    data = ready(written)
    train, val, test = (written.split(label) for label in (0, 1, 2))
    edges = sorted((user, item) for user, items in train.items() for item in items)
    assert [
        tuple(edge) for edge in (np.stack([data.items.user_E, data.items.item_E], 1) - 1).tolist()
    ] == edges
    assert sorted(pairs(list(data.train_dataloader()))) == edges
    assert data.spec.n_edges == len(edges)
    assert (data.spec.n_items, data.spec.n_users) == (21, 31)
    assert data.items.counts_I.sum() == len(edges)
    for loader, targets in ((data.val_dataloader(), val), (data.test_dataloader(), test)):
        expected = {user: (items, train[user]) for user, items in targets.items() if user in train}
        assert rows(list(loader)) == expected
    expected = {user: (set(), train[user] | val[user] | test[user]) for user in train}
    assert rows(list(data.predict_dataloader())) == expected
    assert data.items.attributes["age"].tolist() == [-1, *written.attributes["age"]]


def test_validation_items_are_hidden_on_request(tmp_path: Path) -> None:
    written = make_mmrec(tmp_path)
    data = ready(written, hide_validation=True)
    train, val = written.split(0), written.split(1)
    assert all(hidden == train[u] | val[u] for u, (_, hidden) in rows(list(data.test_dataloader())).items())
    assert all(hidden == train[u] for u, (_, hidden) in rows(list(data.val_dataloader())).items())


def test_the_report_counts_what_was_dropped(tmp_path: Path) -> None:
    written = make_mmrec(tmp_path, damage=EVERY_DAMAGE, attributes=True)
    report = ready(written, ModelNeeds({}, batch="interaction", attributes=("age",))).report()
    trained = {line.user for line in written.lines if line.label == 0}
    cold = {line for line in written.lines if line.label == 1 and line.user not in trained}
    assert f"{len(cold)} validation pairs of users without a training pair were dropped" in report
    assert "2 lines with another label than 0, 1, 2 were dropped" in report
    repeated = sum(n - 1 for line, n in Counter(written.lines).items() if line.label == 0)
    assert f"{repeated} training lines repeated a pair and were merged" in report
    assert "2 users have no age" in report
    assert "age is unknown of 2 users who train" in report
    assert "1 items without a training pair" in report
    assert "Not the published size" in report


def test_the_store_keeps_the_contract(tmp_path: Path) -> None:
    data = ready(
        make_mmrec(tmp_path, mappings=True), ModelNeeds({}, batch="interaction", features=frozenset({"text"}))
    )
    assert isinstance(data.items, InteractionSource)
    features_ID = data.items.features("text")
    assert features_ID.dtype == np.float32
    assert features_ID.shape == (21, data.spec.feature_widths["text"])
    assert not features_ID[0].any()
    on_disk = np.load(data.folder / "text_feat.npy", allow_pickle=False)
    assert np.array_equal(features_ID[1:], on_disk.astype(np.float32))
    assert data.items.content(np.array([1]), []) == {}
    assert data.items.noise_E is None
    assert data.item_names[:3] == ["", "A0", "A1"]
    assert data.user_names[-1] == "U29"
    assert len(data.item_names) == data.spec.n_items


def test_the_fingerprint_is_of_users_items_and_pairs(tmp_path: Path) -> None:
    orders: tuple[tuple[Damage, ...], ...] = ((), ("unordered",))
    same = [ready(make_mmrec(tmp_path / str(len(order)), damage=order)).spec for order in orders]
    assert same[0] == same[1]
    assert ready(make_mmrec(tmp_path / "other", seed=1)).spec.fingerprint != same[0].fingerprint
    assert ready(make_mmrec(tmp_path / "named", mappings=True)).spec.fingerprint != same[0].fingerprint


def test_negatives_are_trained_items_that_the_user_lacks(tmp_path: Path) -> None:
    written = make_mmrec(tmp_path)
    data = ready(written)
    train = written.split(0)
    trained = set().union(*train.values())
    loader = data.train_dataloader()
    seen = []
    for epoch in range(20):
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        batches = list(loader)
        for batch in batches:
            for user, negative in zip(batch.user_B.tolist(), batch.negative_B.tolist(), strict=True):
                assert negative - 1 in trained - train[user - 1]
        seen.append(torch.cat([batch.negative_B for batch in batches]).tolist())
    assert len({tuple(epoch) for epoch in seen}) == 20


def test_negatives_are_uniform() -> None:
    rng = np.random.default_rng(0)
    user_E = np.repeat([1, 2, 4], [1, 6, 3])
    item_E = np.concatenate([[3], [1, 2, 3, 8, 11, 12], [2, 8, 15]])
    negatives = PairNegatives.of(user_E, item_E, 5)
    candidates = {1, 2, 3, 8, 11, 12, 15}
    assert negatives.outside(np.array([1, 2, 4])).tolist() == [6, 1, 4]
    for user in (1, 2, 4):
        outside = sorted(candidates - set(item_E[user_E == user].tolist()))
        rows_B = rng.permutation(40_000)
        drawn = negatives.draw(7, 3, 0, rows_B, np.full(len(rows_B), user))
        found, counts = np.unique(drawn, return_counts=True)
        assert found.tolist() == outside
        assert np.abs(counts - len(rows_B) / len(outside)).max() < 5 * (len(rows_B) / len(outside)) ** 0.5


def test_users_of_everything_do_not_train(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    lines = ["userID\titemID\tx_label", *(f"0\t{item}\t0" for item in range(4)), "1\t2\t0", "1\t3\t2"]
    (tmp_path / "all" / "all.inter").write_text("\n".join(lines))
    data = MMRec(str(tmp_path), "all")
    data.prepare_data()
    data.setup()
    assert pairs(list(data.train_dataloader())) == [(1, 2)]
    assert data.spec.n_edges == 5


def test_passes_have_their_own_order_and_negatives(tmp_path: Path) -> None:
    written = make_mmrec(tmp_path)
    data = ready(written, NEEDS._replace(passes=2))
    batches = list(data.train_dataloader())
    half = len(batches) // 2
    assert [batch.pass_ for batch in batches] == [0] * half + [1] * half
    first, second = batches[:half], batches[half:]
    assert sorted(pairs(first)) == sorted(pairs(second))
    assert pairs(first) != pairs(second)
    by_pair = [
        dict(zip(pairs(part), torch.cat([batch.negative_B for batch in part]).tolist(), strict=True))
        for part in (first, second)
    ]
    assert by_pair[0] != by_pair[1]
    once = list(ready(written).train_dataloader())
    assert all(torch.equal(a.negative_B, b.negative_B) for a, b in zip(once, first, strict=True))


@pytest.mark.parametrize("done", [3, 8, 11])
def test_resumes_in_any_pass(tmp_path: Path, done: int) -> None:
    written = make_mmrec(tmp_path)
    needs = NEEDS._replace(passes=2, attributes=())
    whole = ready(written, needs, seed=3).train_dataloader()
    whole.batch_sampler.set_epoch(2)  # type: ignore[union-attr]
    batches = list(whole)
    stopped = ready(written, needs, seed=3).train_dataloader()
    stopped.batch_sampler.set_epoch(2)  # type: ignore[union-attr]
    dealt = iter(stopped)
    for _ in range(done):
        next(dealt)
    resumed = ready(written, needs, seed=3).train_dataloader()
    resumed.load_state_dict(stopped.state_dict())  # type: ignore[attr-defined]
    rest = list(resumed)
    assert len(rest) == len(batches) - done
    for one, other in zip(rest, batches[done:], strict=True):
        assert one.pass_ == other.pass_
        assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))


def test_ranks_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = make_mmrec(tmp_path, n_users=31)
    whole = set(pairs(list(ready(written).train_dataloader())))
    users: list[int] = []
    trained: list[tuple[int, int]] = []
    for rank in range(3):
        monkeypatch.setattr(MMRec, "_ranks", lambda _, rank=rank: (rank, 3))
        data = ready(written)
        users += rows(list(data.test_dataloader()))
        trained += pairs(list(data.train_dataloader()))
    assert sorted(users) == sorted(written.split(2))
    assert set(trained) == whole
    assert len(trained) - len(whole) < 3


def test_attributes_come_in_the_order_asked_for(tmp_path: Path) -> None:
    written = make_mmrec(tmp_path, attributes=True, damage=["missing_attributes"])
    data = ready(written, NEEDS._replace(attributes=("age", "gender")))
    assert data.spec.n_classes == {"gender": 2, "age": 4}
    for batch in data.train_dataloader():
        for user, classes in zip(batch.user_B.tolist(), batch.attributes_BA.tolist(), strict=True):
            assert classes == [written.attributes[name][user - 1] for name in ("age", "gender")]
    assert next(iter(ready(written).train_dataloader())).attributes_BA is None


def test_worker_processes_make_the_same_batches(tmp_path: Path) -> None:
    written = make_mmrec(tmp_path)
    alone, helped = (list(ready(written, num_workers=n).train_dataloader()) for n in (0, 1))
    assert all(torch.equal(a.negative_B, b.negative_B) for a, b in zip(alone, helped, strict=True))

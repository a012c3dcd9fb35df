"""A share of the users trains: nested draws, counts of that share alone, evaluation over everybody."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.ninerec import NineRec
from datamodules.splits import training_users
from tests.data_makers.ninerec import make_ninerec
from tests.data_makers.transforms import LetterTransform
from zoo.types import ModelNeeds, PairBatch, SequenceBatch

pytestmark = pytest.mark.filterwarnings("ignore:Not the published size")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ninerec")
    make_ninerec(folder, "QB", n_users=61)
    return folder


def ready(root: Path, pairs: bool = False, **options: Any) -> NineRec:  # noqa: ANN401
    data = NineRec(str(root), seed=0, **options)
    data.bind(ModelNeeds({"text": LetterTransform()}, "pair" if pairs else "sequence", "positions"))
    data.prepare_data()
    data.setup()
    return data


def trained(data: NineRec) -> dict[int, tuple[list[int], list[int]]]:
    """User row -> training sequence and negatives of the first epoch, without padding."""
    found = {}
    for batch in data.train_dataloader():
        assert isinstance(batch, SequenceBatch)
        assert batch.negatives_BL is not None
        for user, items, negatives in zip(batch.user_B, batch.items_BS, batch.negatives_BL, strict=True):
            found[int(user)] = (items[items > 0].tolist(), negatives[negatives > 0].tolist())
    return found


def test_shares_are_nested_and_drawn_by_their_seed() -> None:
    shares = [set(training_users(62, share, seed=3).tolist()) for share in (1e-9, 0.1, 0.5, 1.0)]
    assert [len(users) for users in shares] == [1, 6, 30, 61]
    assert all(small < large for small, large in pairwise(shares))
    assert shares[3] == set(range(1, 62))
    assert set(training_users(62, 0.5, seed=4).tolist()) != shares[2]


def test_a_share_trains_with_what_the_whole_gives_its_users(root: Path) -> None:
    whole, part = ready(root), ready(root, train_fraction=0.2)
    everything, found = trained(whole), trained(part)
    assert sorted(found) == training_users(62, 0.2, seed=0).tolist()
    assert all(found[user] == everything[user] for user in found)
    assert set(trained(ready(root, train_fraction=0.2, fraction_seed=1))) != set(found)


def test_counts_are_those_of_the_share(root: Path) -> None:
    part = ready(root, train_fraction=0.2)
    items = np.concatenate([items for items, _ in trained(part).values()])
    assert part.items.counts_I.tolist() == np.bincount(items, minlength=part.spec.n_items).tolist()
    batch = next(iter(part.train_dataloader()))
    share = batch.items_BS.new_tensor(part.items.counts_I)[batch.items_BS] / len(items)
    real = batch.items_BS > 0
    torch.testing.assert_close(batch.log_pop_BS[real], share[real].log().float())


def test_pairs_of_the_share(root: Path) -> None:
    part = ready(root, pairs=True, train_fraction=0.2)
    pairs = []
    for batch in part.train_dataloader():
        assert isinstance(batch, PairBatch)
        pairs += list(zip(batch.user_B.tolist(), batch.item_B.tolist(), strict=True))
    expected = trained(ready(root, train_fraction=0.2))
    assert sorted(pairs) == sorted((user, item) for user, (items, _) in expected.items() for item in items)


def test_catalogue_and_evaluation_are_everybodys(root: Path) -> None:
    whole, part = ready(root), ready(root, train_fraction=0.01)
    assert len(trained(part)) == 1
    assert part.spec == whole.spec
    assert part.item_names == whole.item_names
    for name in ("val_dataloader", "test_dataloader", "predict_dataloader"):
        for one, other in zip(getattr(whole, name)(), getattr(part, name)(), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_report_tells(root: Path) -> None:
    report = ready(root, train_fraction=0.1).report()
    assert "6 users train, 0.1 of all; all are evaluated" in report
    assert "users train" not in ready(root).report()


@pytest.mark.parametrize("options", [{"train_fraction": 0.0}, {"train_fraction": 1.5}, {"fraction_seed": -1}])
def test_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="0 < train_fraction <= 1"):
        NineRec(**options)

"""Amazon's raw reviews of 2018 and 2023: what is read is what was written, or is counted."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from datamodules.amazon import Amazon
from datamodules.errors import BadTableError, DataNotFoundError, UnknownSubsetError
from tests.data_makers.amazon import EVERY_DAMAGE, Damage, Kind, Release, Tree, make_amazon
from tests.data_makers.transforms import LetterTransform, PixelTransform
from tests.datamodules.reference import plain_windows
from zoo.types import ModelNeeds

pytestmark = pytest.mark.filterwarnings("ignore:Bad ")

IDS = ModelNeeds({})
BOTH = ModelNeeds({"text": LetterTransform(), "image": PixelTransform()})


def ready(root: Path, release: Release = "2023", needs: ModelNeeds = IDS, **options: Any) -> Amazon:  # noqa: ANN401
    data = Amazon(str(root), **{"subset": "All_Beauty", **options}, release=release)
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


def assert_same(data: Amazon, tree: Tree) -> None:
    """Histories, targets and hidden items of the last 23 reviews by plain loops."""
    unknown = [item for item in ("B0UNKNOWN1", "B0UNKNOWN2") if item not in tree.items]
    kept, users = plain_windows(list(tree.histories.items()), [*tree.items, *unknown], 20, 5)
    assert data.item_names == ["", *kept]
    assert set(data.user_names) == {"", *users}
    for batch in data.test_dataloader():
        for row, shown, target, hidden in zip(*(part.tolist() for part in batch[:4]), strict=True):
            user = users[data.user_names[row]]
            assert ([item for item in shown if item], target) == (user.test_history, user.test_target)
            assert {item for item in hidden if item} == user.test_hidden
    for batch in data.train_dataloader():
        for row, items in zip(batch.user_B.tolist(), batch.items_BS.tolist(), strict=True):
            assert [item for item in items if item] == users[data.user_names[row]].train


@pytest.mark.parametrize("release", get_args(Release))
@pytest.mark.parametrize("kind", get_args(Kind))
def test_both_releases_in_every_form(tmp_path: Path, release: Release, kind: Kind) -> None:
    tree = make_amazon(tmp_path, release, kind)
    data = ready(tmp_path, release, BOTH)
    assert_same(data, tree)
    for row, item in enumerate(data.item_names[1:], start=1):
        assert data.raw_title(row) == tree.metadata[item]["title"]
    content = data.items.content(np.arange(1, data.spec.n_items), ["image"])
    assert content["image"]["present"].all()
    ending = {"reviews": ".json", "packed": ".gz", "ratings": ".csv"}[kind]
    assert any("Interactions are read from" in line and ending in line for line in data.report().splitlines())


def test_the_five_core_of_2018(tmp_path: Path) -> None:
    tree = make_amazon(tmp_path, "2018", "packed", category="All_Beauty_5")
    assert_same(ready(tmp_path, "2018", subset="All_Beauty_5"), tree)
    with pytest.raises(DataNotFoundError, match=r"All_Beauty\.csv or All_Beauty\.json or .*nijianmo"):
        ready(tmp_path, "2018")


def test_several_texts(tmp_path: Path) -> None:
    tree = make_amazon(tmp_path, "2018")
    data = ready(tmp_path, "2018", BOTH, text=["brand", "title", "description", "category"])
    for row, item in enumerate(data.item_names[1:], start=1):
        record = tree.metadata[item]
        parts = [record["brand"], record["title"], "first line second line", "a b &amp; c"]
        assert data.raw_title(row) == ". ".join(
            parts[:2] + parts[2:] if record["description"] else parts[:2] + parts[3:]
        )
    with pytest.raises(ValueError, match="some of title, store, categories, description, features"):
        ready(tmp_path, text=["brand"])


@pytest.mark.parametrize("release", get_args(Release))
@pytest.mark.parametrize("kind", EVERY_DAMAGE)
def test_any_damage_is_survived(tmp_path: Path, release: Release, kind: Damage) -> None:
    tree = make_amazon(tmp_path, release, damage=[kind])
    assert_same(ready(tmp_path, release, BOTH), tree)


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("release", get_args(Release))
def test_all_damages_at_once(tmp_path: Path, release: Release, kind: Kind) -> None:
    tree = make_amazon(tmp_path, release, kind, damage=EVERY_DAMAGE)
    assert_same(ready(tmp_path, release, BOTH), tree)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("broken_lines", "2 lines of All_Beauty.jsonl are no JSON of this release and were dropped"),
        ("not_objects", "3 lines of All_Beauty.jsonl are no JSON of this release and were dropped"),
        ("deep_lines", "1 lines of All_Beauty.jsonl are no JSON of this release and were dropped"),
        ("missing_fields", "2 reviews without a user or an item were dropped"),
        ("duplicate_rows", "4 interactions repeat another of the same user, item and time: were dropped"),
        ("bad_times", "2 interactions without a readable time were dropped"),
        ("mixed_times", "Times are in several units"),
        ("unknown_items", "2 items are in interactions only: the item table tells nothing of them"),
        ("duplicate_items", "3 rows of the item table repeated an id and were dropped"),
        ("page_code", "1 titles are code of a page and count as empty"),
    ],
)
def test_damage_is_counted(tmp_path: Path, kind: Damage, expected: str) -> None:
    make_amazon(tmp_path, damage=[kind])
    assert expected in ready(tmp_path).report()


def test_every_line_is_read_or_counted(tmp_path: Path) -> None:
    make_amazon(tmp_path, damage=EVERY_DAMAGE)
    data = ready(tmp_path)
    lines = (tmp_path / "raw" / "review_categories" / "All_Beauty.jsonl").read_bytes().splitlines()
    counts = data._ready().report.counts
    dropped = (
        "lines of All_Beauty.jsonl are no JSON of this release and were dropped",
        "reviews without a user or an item were dropped",
    )
    assert len(lines) == counts["interactions read"] + sum(counts[what] for what in dropped)


def test_without_metadata(tmp_path: Path) -> None:
    tree = make_amazon(tmp_path)
    (tmp_path / "raw" / "meta_categories" / "meta_All_Beauty.jsonl").unlink()
    data = ready(tmp_path)
    assert set(data.item_names) == {""}.union(*tree.histories.values())
    assert "There are no metadata (meta_All_Beauty)" in data.report()
    with pytest.raises(DataNotFoundError, match=r"title of the items.*--model\.text null"):
        ready(tmp_path, needs=BOTH)


def test_half_downloaded_and_packed_files(tmp_path: Path) -> None:
    make_amazon(tmp_path, "2018", "packed")
    path = tmp_path / "reviews" / "All_Beauty.json.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadTableError, match=r"the whole of .*All_Beauty\.json\.gz.*Download it again"):
        ready(tmp_path, "2018")
    path.write_bytes(b"not packed at all")
    with pytest.raises(BadTableError, match=r"Download it again"):
        ready(tmp_path, "2018")
    make_amazon(tmp_path / "new", kind="ratings")
    ratings = tmp_path / "new" / "ratings" / "All_Beauty.csv"
    ratings.rename(ratings.with_name("All_Beauty.csv.gz"))
    with pytest.raises(DataNotFoundError, match=r"found All_Beauty\.csv\.gz\. Unpack it \(gunzip "):
        ready(tmp_path / "new")


def test_alien_files(tmp_path: Path) -> None:
    make_amazon(tmp_path)
    reviews = tmp_path / "raw" / "review_categories" / "All_Beauty.jsonl"
    reviews.write_text('{"reviewerID": "A1", "asin": "B1", "unixReviewTime": 5}\n' * 9)
    with pytest.raises(BadTableError, match=r"JSON with user_id, parent_asin, timestamp .*--data\.release"):
        ready(tmp_path)
    (tmp_path / "All_Beauty.csv").write_text("item,user,rating,timestamp\nB1,A1,5,5\n")
    with pytest.raises(BadTableError, match=r"Expected the columns user_id, parent_asin in the first line"):
        ready(tmp_path)
    (tmp_path / "All_Beauty.csv").write_text("A1,B1,5\n" * 9)
    with pytest.raises(BadTableError, match="Expected item, user, rating and time in each line"):
        ready(tmp_path, "2018")


def test_names_of_categories(tmp_path: Path) -> None:
    for name in ("../All_Beauty", "*", "", " All_Beauty", "a{subset}"):
        with pytest.raises(UnknownSubsetError, match="any category as in the names of its files"):
            Amazon(str(tmp_path), name, release="2018")
    with pytest.raises(DataNotFoundError, match=r"Toys\.csv or Toys\.jsonl .*found no such folder"):
        ready(tmp_path / "no", subset="Toys")

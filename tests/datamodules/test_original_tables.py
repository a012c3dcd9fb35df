"""H&M's tables of Kaggle and Microsoft's of MIND: what is read is what was written, or is counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.hm import HM
from datamodules.lines import LineData
from datamodules.mind import Mind
from tests.data_makers import hm_tables, mind_tables
from tests.data_makers.hm_tables import make_hm_tables
from tests.data_makers.mind_tables import make_mind_tables
from tests.data_makers.transforms import LetterTransform, PixelTransform
from tests.datamodules.reference import plain_windows
from zoo.types import ModelNeeds

pytestmark = pytest.mark.filterwarnings("ignore:Not the published size", "ignore:Bad ")

TEXT = ModelNeeds({"text": LetterTransform()})
BOTH = ModelNeeds({"text": LetterTransform(), "image": PixelTransform()})


def ready(data: LineData, needs: ModelNeeds) -> Any:  # noqa: ANN401 - either class
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


def hm(root: Path, needs: ModelNeeds = BOTH, **options: Any) -> HM:  # noqa: ANN401
    made: HM = ready(HM(str(root), "kaggle", **options), needs)
    return made


def mind(root: Path, **options: Any) -> Mind:  # noqa: ANN401
    made: Mind = ready(Mind(str(root), "small", **options), TEXT)
    return made


def assert_same(data: LineData, histories: dict[str, list[str]], items: list[str]) -> None:
    """Histories, targets and hidden items of the last 23 interactions by plain loops."""
    kept, users = plain_windows(list(histories.items()), items, 20, 5)
    assert data.item_names == ["", *kept]
    assert set(data.user_names) == {"", *users}
    for batch in data.test_dataloader():
        for row, shown, target, hidden in zip(*(part.tolist() for part in batch[:4]), strict=True):
            user = users[data.user_names[row]]
            assert ([item for item in shown if item], target) == (user.test_history, user.test_target)
            assert {item for item in hidden if item} == user.test_hidden


def test_purchases_with_texts_and_nested_pictures(tmp_path: Path) -> None:
    tree = make_hm_tables(tmp_path / "h-and-m")
    data = hm(tmp_path)
    assert_same(data, tree.histories, list(tree.names))
    assert [data.raw_title(row) for row in range(1, data.spec.n_items)] == [
        tree.names[item] for item in data.item_names[1:]
    ]
    present = data.items.content(np.arange(1, data.spec.n_items), ["image"])["image"]["present"]
    unseen = set(list(tree.names)[:2])
    assert present.tolist() == [item not in unseen for item in data.item_names[1:]]
    several = hm(tmp_path, text=["colour_group_name", "detail_desc"])
    assert several.raw_title(1) in ("Black", 'Black. Jersey top, with "narrow" straps.\nLined.')


@pytest.mark.parametrize("kind", [*hm_tables.EVERY_DAMAGE, None])
def test_damaged_purchases(tmp_path: Path, kind: hm_tables.Damage | None) -> None:
    damage = [kind] if kind else hm_tables.EVERY_DAMAGE
    tree = make_hm_tables(tmp_path, damage=damage)
    unlisted = ["0999999999"] if "unknown_items" in damage else []
    assert_same(hm(tmp_path), tree.histories, [*tree.names, *unlisted])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("short_lines", "1 lines had too few columns and were dropped"),
        ("mixed_separators", "1 lines had another separator and were read all the same"),
        ("bad_days", "2 interactions without a readable time were dropped"),
        ("unknown_items", "1 items are in interactions only: the item table tells nothing of them"),
        ("duplicate_rows", "interactions repeat another of the same user, item and time: were dropped"),
        ("duplicate_items", "1 rows of the item table repeated an id and were dropped"),
        ("repeated_header", "1 lines repeated the header and were dropped"),
    ],
)
def test_damage_of_purchases_is_counted(tmp_path: Path, kind: hm_tables.Damage, expected: str) -> None:
    make_hm_tables(tmp_path, damage=[kind])
    assert expected in hm(tmp_path).report()


def test_alien_and_missing_purchases(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"transactions_train\.csv and articles\.csv.*kaggle\.com"):
        hm(tmp_path)
    (tmp_path / "transactions_train.csv.zip").write_bytes(b"PK")
    with pytest.raises(DataNotFoundError, match=r"Unpack .*transactions_train\.csv\.zip"):
        hm(tmp_path)
    make_hm_tables(tmp_path)
    (tmp_path / "articles.csv").unlink()
    assert "There is no articles.csv" in hm(tmp_path, ModelNeeds({})).report()
    table = tmp_path / "transactions_train.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(f"day{line[10:]}" for line in lines[1:])]))
    with pytest.raises(BadTableError, match="Expected days such as 2018-09-20"):
        hm(tmp_path)
    table.write_text("day,customer,article\n1,2,3\n")
    with pytest.raises(BadTableError, match="Expected the columns customer_id, article_id, t_dat"):
        hm(tmp_path)


def test_clicks_of_histories_and_impressions(tmp_path: Path) -> None:
    tree = make_mind_tables(tmp_path)
    data = mind(tmp_path, text=["title", "abstract"])
    assert_same(data, tree.histories, list(tree.titles))
    for row, item in enumerate(data.item_names[1:], start=1):
        assert data.raw_title(row) in (tree.titles[item], f"{tree.titles[item]}. An abstract.")
    report = data.report()
    assert "small_test" not in report
    assert "MINDsmall_train/behaviors.tsv, MINDsmall_dev/behaviors.tsv, MINDsmall_train/news.tsv" in report


@pytest.mark.parametrize("kind", [*mind_tables.EVERY_DAMAGE, None])
def test_damaged_clicks(tmp_path: Path, kind: mind_tables.Damage | None) -> None:
    damage = [kind] if kind else mind_tables.EVERY_DAMAGE
    tree = make_mind_tables(tmp_path, damage=damage)
    items = [*tree.titles, *(["N0"] if "unknown_news" in damage else [])]
    data = mind(tmp_path)
    if "unknown_news" in damage:
        assert "N0" in data.item_names
        assert len(data.item_names) > 20
    else:
        assert_same(data, tree.histories, items)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("short_lines", "1 lines of MINDsmall_train/behaviors.tsv had too few columns and were dropped"),
        ("few_columns", "1 lines of MINDsmall_train/news.tsv had too few columns and were dropped"),
        ("bad_times", "1 impressions without a user or a readable time were dropped"),
        ("nobody", "1 impressions without a user or a readable time were dropped"),
        ("no_labels", "1 news shown without a label, clicked or not, were left out"),
        ("unknown_news", "1 items are in interactions only: the item table tells nothing of them"),
    ],
)
def test_damage_of_clicks_is_counted(tmp_path: Path, kind: mind_tables.Damage, expected: str) -> None:
    make_mind_tables(tmp_path, damage=[kind])
    assert expected in mind(tmp_path).report()


def test_alien_and_missing_clicks(tmp_path: Path) -> None:
    make_mind_tables(tmp_path)
    with pytest.raises(DataNotFoundError, match=r"MINDlarge_train/behaviors\.tsv and news\.tsv"):
        ready(Mind(str(tmp_path), "MINDlarge"), TEXT)
    table = tmp_path / "MINDsmall_train" / "behaviors.tsv"
    table.write_text("1\tU1\tnoon\t\tN1-1\n" * 900)
    with pytest.raises(BadTableError, match="Expected times such as 11/11/2019"):
        mind(tmp_path)
    table.write_text("1,U1,noon\n" * 9)
    with pytest.raises(BadTableError, match="Expected 5 columns separated by tabs"):
        mind(tmp_path)

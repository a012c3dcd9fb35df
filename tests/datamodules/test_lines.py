"""H&M, MIND, Bili, Kwai and Amazon as papers ship them: what is read is what was written, or is counted."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from datamodules.amazon import Amazon
from datamodules.bili_kwai import BiliKwai
from datamodules.errors import BadTableError, DataNotFoundError, UnknownSubsetError
from datamodules.hm import HM
from datamodules.lines import LineData, Windowed
from datamodules.mind import Mind
from datamodules.released import Statistics
from tests.data_makers.lines import EVERY_DAMAGE, Damage, Names, Tree, make_lines
from tests.data_makers.transforms import LetterTransform, PixelTransform
from tests.datamodules.reference import plain_windows
from zoo.types import ModelNeeds

pytestmark = pytest.mark.filterwarnings("ignore:Not the published size", "ignore:Bad ")

IDS = ModelNeeds({})
TEXT = ModelNeeds({"text": LetterTransform()})
IMAGE = ModelNeeds({"image": PixelTransform()})
BOTH = ModelNeeds({"text": LetterTransform(), "image": PixelTransform()})


class Case(NamedTuple):
    """A released part: the class, its options, the names of its files, the paper's L and shortest history."""

    data: type[LineData]
    options: dict[str, Any]
    names: Names
    max_len: int
    min_len: int = 5


SCIENTIFIC = Names(
    "am_Industrial_and_Scientific_users.tsv", "Industrial_and_Scientific_items.tsv", "am_is.lmdb", prefix="B"
)
HM_50W = Names("hm_50w_users.tsv", "hm_50w_items.tsv", "hm_images", texts=0)
HM_20W = Names("hm_pick_users_20W.tsv", "hm_pick_items_20W.tsv", "hm_image_20W.lmdb", numbered=True)
HM_5W = Names("hm_pick_users_5W.tsv", "hm_pick_items_5W.tsv", "hm_image_20W.lmdb", numbered=True)
MIND = Names("mind_60w_users.tsv", "mind_60w_items.tsv", texts=2, prefix="N")
FOOD = Names(
    "bilibili_food_users.tsv",
    "bilibili_food_items_texts.tsv",
    "bilibili_food_items_images.lmdb",
    numbered=True,
)
BILI = Names("bili_pick_users_10W.tsv", "bili_pick_items_10W.tsv", "bili_image_10W.lmdb", numbered=True)
STREAM = Names("10wu_ks_pairs.tsv", "10wu_ks_title.csv", "10wu_ks_cover.lmdb", separator=",")
INSTRUMENT = Names("am_Musical_Instruments_users_10K.tsv", "Musical_Instruments_items.tsv", "am_image_mi")
OFFICE = Names("am_Office_Products_users_10K.tsv", "Office_Products_items.tsv", "am_op.lmdb", prefix="B")
ARTS = Names(
    "Arts_Crafts_and_Sewing_user_behaviours.tsv",
    "Arts_Crafts_and_Sewing_text.tsv",
    "Arts_Crafts_and_Sewing_image.lmdb",
    prefix="B",
)
OFFICE_ODMT = Names(
    "Office_Products_user_behaviours.tsv", "Office_Products_text.tsv", "Office_Products_image.lmdb"
)
CASES = {
    "hm-50W": Case(HM, {"subset": "50W"}, HM_50W, 10),
    "hm-20W": Case(HM, {"subset": "20w"}, HM_20W, 20),
    "hm-5W": Case(HM, {"subset": "5W"}, HM_5W, 12),
    "mind": Case(Mind, {"subset": "60W"}, MIND, 20),
    "bili_food": Case(BiliKwai, {"subset": "Bili_Food"}, FOOD, 20, 4),
    "bili": Case(BiliKwai, {"subset": "bili"}, BILI, 15),
    "stream": Case(BiliKwai, {"subset": "kwai"}, STREAM, 12),
    "iisan-scientific": Case(Amazon, {"subset": "Scientific"}, SCIENTIFIC, 10),
    "iisan-instrument": Case(Amazon, {"subset": "instrument"}, INSTRUMENT, 10),
    "iisan-office": Case(Amazon, {"subset": "office"}, OFFICE, 10),
    "odmt-arts": Case(Amazon, {"subset": "arts", "release": "odmt"}, ARTS, 12),
    "odmt-office": Case(Amazon, {"subset": "office", "release": "odmt"}, OFFICE_ODMT, 12),
}


def ready(root: Path, case: Case, needs: ModelNeeds = IDS, **options: Any) -> LineData:  # noqa: ANN401
    data = case.data(root=str(root), **{**case.options, **options})
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


def assert_same(data: LineData, tree: Tree, max_len: int, min_len: int = 5) -> None:
    """Windows, targets and hidden items by plain loops, all users and the order of the catalogue."""
    kept, users = plain_windows(tree.lines, tree.items, max_len, min_len)
    names = data.item_names
    assert names == ["", *kept]
    assert set(data.user_names) == {"", *users}
    seen = 0
    for batch in data.train_dataloader():
        for user, items in zip(batch.user_B.tolist(), batch.items_BS.tolist(), strict=True):
            assert [item for item in items if item] == users[data.user_names[user]].train
            seen += 1
    assert seen == len(users)
    for stage, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        for batch in loader:
            for row, shown, target, hidden in zip(*(part.tolist() for part in batch[:4]), strict=True):
                user = users[data.user_names[row]]
                expected = (user.val_history, user.val_target, user.val_hidden)
                if stage == "test":
                    expected = (user.test_history, user.test_target, user.test_hidden)
                assert ([item for item in shown if item], target) == expected[:2]
                assert {item for item in hidden if item} == expected[2]


def present(data: LineData, modality: str) -> set[str]:
    content = data.items.content(np.arange(data.spec.n_items), [modality])
    there = content[modality]["present"].tolist()
    return {name for name, real in zip(data.item_names, there, strict=True) if real}


@pytest.mark.parametrize("name", CASES)
def test_every_part_as_its_paper_cuts_it(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    tree = make_lines(tmp_path / "one" / "two", case.names)
    modalities = {"text": bool(case.names.texts), "image": bool(case.names.pictures)}
    needs = ModelNeeds({kind: BOTH.transforms[kind] for kind, there in modalities.items() if there})
    data = ready(tmp_path, case, needs)
    assert (data.max_len, data.min_len) == (case.max_len, case.min_len)
    assert_same(data, tree, case.max_len, case.min_len)
    names = set(data.item_names) - {""}
    if not case.names.texts:
        assert data.raw_title(1) == ""
    else:
        titles = {item: texts[0].replace("\t", " ") for item, texts in tree.texts.items()}
        odd = tree.items[2] if case.names.texts == 2 else ""  # the second part is the abstract's there
        for row, item in enumerate(data.item_names[1:], start=1):
            assert data.raw_title(row) == ("a title" if item == odd else titles[item])
        assert present(data, "text") == {item for item in names if titles[item]}
    if case.names.pictures:
        assert present(data, "image") == names


def test_several_columns_of_text(tmp_path: Path) -> None:
    tree = make_lines(tmp_path, MIND)
    data = ready(tmp_path, CASES["mind"], TEXT, text=["title", "abstract"])
    for row, item in enumerate(data.item_names[1:], start=1):
        if item != tree.items[2]:
            assert data.raw_title(row) == ". ".join(text for text in tree.texts[item] if text)
    assert "of two parts abstract 2" in data.raw_title(data.item_names.index(tree.items[2]))


@pytest.mark.parametrize("kind", EVERY_DAMAGE)
def test_any_damage_is_survived(tmp_path: Path, kind: Damage) -> None:
    tree = make_lines(tmp_path, INSTRUMENT, damage=[kind])
    assert_same(ready(tmp_path, CASES["iisan-instrument"], BOTH), tree, 10)


def test_all_damages_at_once(tmp_path: Path) -> None:
    tree = make_lines(tmp_path, INSTRUMENT, n_items=60, damage=EVERY_DAMAGE)
    data = ready(tmp_path, CASES["iisan-instrument"], BOTH)
    assert_same(data, tree, 10)
    bad = {item for kind in EVERY_DAMAGE if kind.endswith("covers") for item in tree.damaged[kind]}
    unknown = {"v99999", "v99998"}
    assert present(data, "image") == set(data.item_names) - {""} - bad - unknown


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("duplicate_users", "1 lines repeated a user name: the later line stands"),
        ("no_tab", "2 lines without a user or without a tab were dropped"),
        ("unknown_items", "2 items are in interactions only: the item table tells nothing of them"),
        ("duplicate_items", "3 rows of the item table repeated an id and were dropped"),
        ("few_columns", "3 lines of items had fewer than 2 columns: missing texts are empty"),
        ("crlf", "3 lines of fewer than 5 interactions were dropped"),
    ],
)
def test_damage_is_counted(tmp_path: Path, kind: Damage, expected: str) -> None:
    make_lines(tmp_path, INSTRUMENT, damage=[kind])
    assert expected in ready(tmp_path, CASES["iisan-instrument"]).report()


@pytest.mark.parametrize("name", ["iisan-scientific", "hm-20W"])
def test_hostile_records_are_refused(tmp_path: Path, name: str) -> None:
    hostile = tmp_path / "executed"
    tree = make_lines(tmp_path, CASES[name].names, hostile=hostile)
    data = ready(tmp_path, CASES[name], IMAGE)
    assert present(data, "image") == set(data.item_names) - {"", tree.items[1]}
    bad = {item: reason for item, _, _, reason in pl.read_csv(data.cache / "bad_items.csv").rows()}
    assert list(bad) == [tree.items[1]]
    assert bad[tree.items[1]].startswith("refused: the record asks for posix.mkdir")
    assert not hostile.exists()


def test_sizes_are_compared_before_and_after_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_lines(tmp_path, SCIENTIFIC)
    case = CASES["iisan-scientific"]
    notes = ready(tmp_path, case).report()
    assert "of iisan scientific: 30 lines of items instead of 20,825" in notes
    assert "of iisan scientific: 40 users instead of 12,076" in notes
    assert "of iisan scientific (windows of 13): 37 users instead of 12,076" in notes
    assert "windows of" not in ready(tmp_path, case, max_len=9).report()
    kept, users = plain_windows(tree.lines, tree.items, 10, 5)
    sizes = Statistics(len(users), len(kept), sum(len(user.train) + 2 for user in users.values()))
    part = Amazon.parts["iisan scientific"]._replace(windowed=Windowed(10, 5, sizes), n_rows=30)
    monkeypatch.setitem(Amazon.parts, "iisan scientific", part)
    events = [item for _, history in tree.lines for item in history]
    whole = Statistics(len(tree.lines), len(set(events)), len(events))
    monkeypatch.setitem(Amazon.subsets, "iisan scientific", whole)
    assert "Not the published size" not in ready(tmp_path, case, cache_dir=str(tmp_path / "c")).report()


def test_published_sizes_of_iisan() -> None:
    sizes = [files.windowed.sizes for files in Amazon.parts.values() if files.windowed]
    assert sizes == [(12_076, 20_314, 81_711), (10_000, 19_246, 75_022), (10_000, 22_785, 71_276)]
    rows: list[int | None] = [files.n_rows for files in (*Amazon.parts.values(), HM.parts["50W"])]
    assert rows == [20_825, 33_921, None, None, None, 86_733]


def test_without_a_file_of_items(tmp_path: Path) -> None:
    tree = make_lines(tmp_path, INSTRUMENT)
    (tmp_path / INSTRUMENT.items).unlink()
    first = list(dict.fromkeys(item for _, history in tree.lines for item in history))
    data = ready(tmp_path, CASES["iisan-instrument"], IMAGE)
    assert_same(data, tree._replace(items=first), 10)
    assert "There is no file of items (Musical_Instruments_items.tsv)" in data.report()
    with pytest.raises(DataNotFoundError, match=r"title of the items.*--model\.text null"):
        ready(tmp_path, CASES["iisan-instrument"], BOTH)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError) as caught:
        ready(tmp_path / "no", CASES["iisan-office"])
    for part in ("am_Office_Products_users_10K.tsv", "no such folder", "GAIR-Lab/IISAN", "--data.root"):
        assert part in str(caught.value)
    with pytest.raises(UnknownSubsetError, match="There are: scientific, instrument, office"):
        Amazon(str(tmp_path), "arts")
    with pytest.raises(UnknownSubsetError, match="There are: 50W, 20W, 5W"):
        HM(str(tmp_path), "60W")
    with pytest.raises(
        ValueError, match="Expected release to be one of iisan, odmt, 2018, 2023, found '2014'"
    ):
        Amazon(str(tmp_path), release="2014")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="The items of 50W have no texts"):
        HM(str(tmp_path), "50W", text=["title"])
    with pytest.raises(ValueError, match="Expected text to be a list of some of title, abstract"):
        Mind(str(tmp_path), "60W", text=["body"])
    with pytest.raises(ValueError, match="Expected max_len >= 1, found 0"):
        HM(str(tmp_path), "50W", max_len=0)
    make_lines(tmp_path, HM_50W)
    with pytest.raises(ValueError, match=r"items of 50W have no texts.*--model\.text null"):
        ready(tmp_path, CASES["hm-50W"], BOTH)
    make_lines(tmp_path, MIND)
    with pytest.raises(ValueError, match="Mind has the modalities text, but the model wants 'image'"):
        ready(tmp_path, CASES["mind"], BOTH)


def test_alien_tables(tmp_path: Path) -> None:
    make_lines(tmp_path, MIND)
    (tmp_path / MIND.items).write_text("a\tb\nc\td\n")
    with pytest.raises(BadTableError, match="Are the two files of the same data set"):
        ready(tmp_path, CASES["mind"])
    (tmp_path / MIND.users).write_text("")
    with pytest.raises(BadTableError, match="found an empty file"):
        ready(tmp_path, CASES["mind"])


def test_pictures_of_another_set(tmp_path: Path) -> None:
    make_lines(tmp_path, SCIENTIFIC)
    make_lines(tmp_path / "other", OFFICE._replace(prefix="C"), seed=1)
    with pytest.raises(DataNotFoundError, match="none of these items"):
        ready(tmp_path, CASES["iisan-scientific"], IMAGE, images="other/am_op.lmdb")
    with pytest.raises(DataNotFoundError, match=r"images: nowhere.*Correct --data\.images"):
        ready(tmp_path, CASES["iisan-scientific"], IMAGE, images="nowhere")

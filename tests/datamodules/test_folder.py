"""Somebody's own folder: tables and columns are found or asked for, bad lines and files are counted."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.folder import Folder
from datamodules.guess import date_times
from tests.data_makers.folder import EVERY_DAMAGE, Damage, Style, Tree, make_folder_tree
from tests.data_makers.media_transforms import FramesTransform, LoudnessTransform
from tests.data_makers.parts import jpeg
from tests.data_makers.transforms import LetterTransform, PixelTransform
from tests.datamodules.reference import plain_windows
from zoo.types import ModelNeeds

pytestmark = pytest.mark.filterwarnings("ignore:Bad ")

IDS = ModelNeeds({})
TEXT = ModelNeeds({"text": LetterTransform()})
ALL = ModelNeeds({"text": LetterTransform(), "image": PixelTransform(), "audio": LoudnessTransform()})


def ready(root: Path, needs: ModelNeeds = IDS, **options: Any) -> Folder:  # noqa: ANN401
    data = Folder(str(root), **options)
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


def assert_same(data: Folder, tree: Tree) -> None:
    """The windows of the histories that were written, by plain loops."""
    kept, users = plain_windows(list(tree.histories.items()), data.item_names[1:], 20, 5)
    assert set(data.item_names[1:]) == set(kept)
    assert set(data.user_names) == {"", *users}
    for batch in data.test_dataloader():
        for user, history, target in zip(batch.user_B, batch.history_BL, batch.target_B, strict=True):
            plain = users[data.user_names[user]]
            assert [item for item in history.tolist() if item] == plain.test_history
            assert target == plain.test_target


STYLES = {
    "plain": Style(),
    "tabs": Style(
        "ratings.tsv", ("userId", "movieId", "stars", "ts"), "movies.tsv", ("movieId", "name"), "\t"
    ),
    "semicolons, dates": Style(separator=";", times="dates"),
    "bars": Style("events.txt", ("visitor", "sku", "n", "when"), "meta.txt", ("sku", "headline"), "|"),
    "no item table": Style(items=""),
    "no header": Style(header=False),
    "no header, dates": Style(header=False, times="dates"),
    "odd names": Style(
        columns=("wer", "was", "wie", "wann"), item_columns=("was", "wort", "art", "bild", "ton")
    ),
    "no time": Style(columns=("user", "item"), times="none"),
}


@pytest.mark.parametrize("name", STYLES)
def test_tables_and_columns_are_found(tmp_path: Path, name: str) -> None:
    style = STYLES[name]
    tree = make_folder_tree(tmp_path / "mine", style)
    # A column of stars looks like ids of users where no name says what it is.
    number = "1" if not style.header else "wer"
    options = {"user_column": number} if name in ("no header", "no header, dates", "odd names") else {}
    data = ready(tmp_path / "mine", TEXT if style.items else IDS, **options)
    assert_same(data, tree)
    report = data.report()
    assert f"{style.interactions} (with {'a' if style.header else 'no'} header, " in report
    assert "(--data.user_column)" in report
    if style.items:
        assert [data.raw_title(row) for row in range(1, data.spec.n_items)] == [
            tree.titles[item] for item in data.item_names[1:]
        ]
    if name == "plain":
        said = (
            "interactions.csv (with a header, commas): user is 'user_id' (--data.user_column); item is "
            "'item_id' (--data.item_column); time is 'timestamp' (--data.time_column); not read by models: "
            "'rating'."
        )
        assert said in report
    if name == "no time":
        assert "No column is a time: the order of the file counts (--data.time_column)." in report


def test_all_modalities_by_column(tmp_path: Path) -> None:
    tree = make_folder_tree(tmp_path / "mine")
    for style in (Style(), Style(item_columns=("id", "words", "kind", "where", "sounds"))):
        make_folder_tree(tmp_path / "mine", style, media=False)
        data = ready(tmp_path / "mine", ALL)
        assert_same(data, tree)
        content = data.items.content(np.arange(data.spec.n_items), list(ALL.transforms))
        assert all(content[modality]["present"][1:].all() for modality in ALL.transforms)
        assert data.cover(1) is not None
        assert set(style.item_columns[2:3]) <= set(data.item_table.columns)


def test_files_called_by_item(tmp_path: Path) -> None:
    tree = make_folder_tree(tmp_path / "mine", Style(item_columns=("item_id", "title")), media=False)
    covers = tmp_path / "mine" / "covers"
    covers.mkdir()
    for item in tree.items[:20]:
        (covers / f"{item}.jpg").write_bytes(jpeg(np.random.default_rng(0), (8, 8)))
    data = ready(tmp_path / "mine", ModelNeeds({"image": PixelTransform()}))
    present = data.items.content(np.arange(data.spec.n_items), ["image"])["image"]["present"].tolist()
    assert present == [name in tree.items[:20] for name in data.item_names]
    with pytest.raises(DataNotFoundError, match=r"videos/<item id>\.mp4 in .*--model\.video null"):
        ready(tmp_path / "mine", ModelNeeds({"video": FramesTransform()}))


@pytest.mark.parametrize("kind", EVERY_DAMAGE)
def test_any_damage_is_survived(tmp_path: Path, kind: Damage) -> None:
    tree = make_folder_tree(tmp_path / "mine", damage=[kind])
    assert_same(ready(tmp_path / "mine", ALL), tree)


def test_all_damages_at_once(tmp_path: Path) -> None:
    tree = make_folder_tree(tmp_path / "mine", n_items=60, damage=EVERY_DAMAGE)
    assert_same(ready(tmp_path / "mine", ALL), tree)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mixed_separators", "1 lines had another separator and were read all the same"),
        ("few_columns", "1 lines had too few columns and were dropped"),
        ("unknown_items", "3 items are in interactions only"),
        ("duplicate_rows", "2 interactions repeat another of the same user, item and time: were dropped"),
        ("bad_times", "2 interactions without a readable time were dropped"),
        ("negative_times", "interactions have a time before 1970 and come first"),
        ("milliseconds", "Times are in several units"),
        ("renumbered", "interactions write an item's number otherwise"),
        ("duplicate_items", "3 rows of the item table repeated an id and were dropped"),
    ],
)
def test_damage_is_counted(tmp_path: Path, kind: Damage, expected: str) -> None:
    make_folder_tree(tmp_path / "mine", damage=[kind])
    assert expected in ready(tmp_path / "mine").report()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("leaving_paths", "leads out of"),
        ("addresses", "an address, not a file: download it first"),
        ("long_names", "cannot be read: "),
        ("missing_files", "the file is missing"),
        ("truncated_files", "cannot be read"),
    ],
)
def test_bad_files_are_reported_and_masked(tmp_path: Path, kind: Damage, reason: str) -> None:
    tree = make_folder_tree(tmp_path / "mine", damage=[kind])
    data = ready(tmp_path / "mine", ALL)
    present = data.items.content(np.arange(data.spec.n_items), ["image"])["image"]["present"].tolist()
    hit = [name for name in data.item_names if name in tree.damaged[kind]]
    assert [name for name, there in zip(data.item_names[1:], present[1:], strict=True) if not there] == hit
    bad = pl.read_csv(data.cache / "bad_items.csv", infer_schema=False)
    assert sorted(bad["item"]) == sorted(hit)
    assert bad["reason"].str.contains(reason, literal=True).all()


def test_what_options_name_comes_first(tmp_path: Path) -> None:
    tree = make_folder_tree(tmp_path / "mine")
    data = ready(tmp_path / "mine", TEXT, text_columns=["genre", "title"], items="items.csv")
    assert data.raw_title(1).startswith("g")
    assert data.raw_title(1).endswith(tree.titles[data.item_names[1]])
    other = ready(tmp_path / "mine", TEXT)
    assert other.raw_title(1) == tree.titles[other.item_names[1]], "options make other tables"
    captions = ModelNeeds({"caption": LetterTransform()})
    assert ready(tmp_path / "mine", captions, caption_column="title").items.content(
        np.array([1]), ["caption"]
    )
    with pytest.raises(ValueError, match=r"modality caption .*--data\.caption_column"):
        ready(tmp_path / "mine", captions)
    with pytest.raises(ValueError, match="may have the modalities text, caption, image, audio, video"):
        ready(tmp_path / "mine", ModelNeeds({"smell": LetterTransform()}))
    with pytest.raises(DataNotFoundError, match=r"that items\.csv names .*--data\.media_root"):
        ready(tmp_path / "mine", ALL, media_root=str(tmp_path))
    with pytest.raises(
        BadTableError, match=r"the column 'usr' \(--data\.user_column\) .*found 'user_id', 'item_id'"
    ):
        ready(tmp_path / "mine", user_column="usr")
    with pytest.raises(BadTableError, match=r"the column 'no' \(--data\.id_column\)"):
        ready(tmp_path / "mine", id_column="no")
    with pytest.raises(
        DataNotFoundError, match=r"the file other\.csv in .*found interactions\.csv, items\.csv"
    ):
        ready(tmp_path / "mine", interactions="other.csv")


def test_what_cannot_be_told_is_asked(tmp_path: Path) -> None:
    make_folder_tree(tmp_path / "a", Style(columns=("wer", "was", "wie", "wann"), items=""))
    with pytest.raises(
        BadTableError,
        match=r"columns of users and items in .*'wer', 'was', 'wie', 'wann'.*--data\.user_column and",
    ):
        ready(tmp_path / "a")
    assert ready(tmp_path / "a", user_column="wer", item_column="was").spec.n_items > 10
    make_folder_tree(tmp_path / "b")
    (tmp_path / "b" / "more_ratings.csv").write_text("user,item\na,b\n")
    with pytest.raises(
        BadTableError, match=r"one table of interactions .*more_ratings\.csv.*--data\.interactions"
    ):
        ready(tmp_path / "b")
    assert ready(tmp_path / "b", interactions="interactions.csv").spec.n_items > 10
    make_folder_tree(tmp_path / "c")
    (tmp_path / "c" / "notes.txt").write_text("a table\nof notes\n")
    assert ready(tmp_path / "c").roles.items is not None
    (tmp_path / "c" / "items.csv").rename(tmp_path / "c" / "meta.csv")
    with pytest.raises(
        BadTableError, match=r"one table of items .*meta\.csv.*notes\.txt.*--data\.items FILE"
    ):
        ready(tmp_path / "c")


def test_tables_that_do_not_fit(tmp_path: Path) -> None:
    make_folder_tree(tmp_path / "a")
    (tmp_path / "a" / "items.csv").write_text("item_id,title\n" + "".join(f"z{k},t\n" for k in range(50)))
    with pytest.raises(BadTableError, match="items with others, such as"):
        ready(tmp_path / "a")
    (tmp_path / "a" / "items.csv").write_text("kind,words\n" + "".join(f"z{k},t\n" for k in range(50)))
    with pytest.raises(BadTableError, match=r"Expected a column of item ids in .*--data\.id_column"):
        ready(tmp_path / "a")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="no such folder"):
        ready(tmp_path / "no")
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(DataNotFoundError, match=r"found photo\.jpg. A table of interactions is text"):
        ready(tmp_path)
    with pytest.raises(DataNotFoundError, match="is a file"):
        ready(tmp_path / "photo.jpg")
    (tmp_path / "a.csv").write_bytes(b"")
    with pytest.raises(BadTableError, match="empty file"):
        ready(tmp_path)
    (tmp_path / "a.csv").write_bytes("user,item\n".encode("utf-16"))
    with pytest.raises(BadTableError, match="UTF-16"):
        ready(tmp_path)


def test_dates() -> None:
    day = 1_614_816_000_000  # the fourth of March 2021
    for text in (
        "2021-03-04",
        "2021-03-04T00:00:00Z",
        "2021-03-04 00:00:00+00:00",
        "2021/03/04",
        "04.03.2021",
    ):
        assert date_times(pl.Series([text])).to_list() == [day], text
    assert date_times(pl.Series(["03/04/2021", "03/25/2021"])).to_list()[0] == day
    assert date_times(pl.Series(["04/03/2021", "25/03/2021"])).to_list()[1] == day + 21 * 86_400_000
    mixed = date_times(pl.Series(["2021-03-04", "2021-03-04 00:00:01", "soon", None]))
    assert mixed.to_list() == [day, day + 1000, None, None]

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datamodules.errors import BadTableError, DataNotFoundError, EmptyDataError, UnknownSubsetError
from datamodules.ninerec import NineRec
from datamodules.ninerec_files import read_items, read_pairs
from datamodules.tables import Report
from tests.data_makers.ninerec import EVERY_DAMAGE, Damage, Tree, make_ninerec
from tests.data_makers.transforms import LetterTransform, PixelTransform
from tests.datamodules.reference import plain_windows
from zoo.types import ModelNeeds

pytestmark = pytest.mark.filterwarnings("ignore:Not the published size", "ignore:Bad ")

NEEDS = ModelNeeds({"text": LetterTransform(), "image": PixelTransform()})


def ready(root: Path, subset: str = "QB", needs: ModelNeeds = NEEDS, language: str = "en") -> NineRec:
    data = NineRec(str(root), subset, language=language)  # type: ignore[arg-type]
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


def assert_same_windows(data: NineRec, tree: Tree) -> None:
    """The windows of the data module are those of the histories that were written."""
    kept, users = plain_windows(list(tree.histories.items()), tree.items, 20, 5)
    assert data.item_names == ["", *kept]
    assert set(data.user_names) == {"", *users}
    for batch in data.test_dataloader():
        for user, history, target in zip(batch.user_B, batch.history_BL, batch.target_B, strict=True):
            plain = users[data.user_names[user]]
            assert [item for item in history.tolist() if item] == plain.test_history
            assert target == plain.test_target


@pytest.mark.parametrize("subset", ["QB", "TN", "KU", "Bili_Food"])
def test_reads_what_was_written(tmp_path: Path, subset: str) -> None:
    tree = make_ninerec(tmp_path, subset)
    data = ready(tmp_path, subset)
    assert_same_windows(data, tree)
    for row, name in enumerate(data.item_names[1:], start=1):
        assert data.raw_title(row) == tree.titles[name][1].strip()
    content = data.items.content(np.arange(data.spec.n_items), ["text", "image"])
    assert content["text"]["present"][1:].all()
    assert content["image"]["present"][1:].all()
    assert not content["image"]["present"][0]


@pytest.mark.parametrize("subset", list(NineRec.subsets))
def test_all_eleven_sets(tmp_path: Path, subset: str) -> None:
    tree = make_ninerec(tmp_path, subset, n_users=20)
    assert_same_windows(ready(tmp_path, subset), tree)


def test_subset_in_any_case_and_root_in_any_depth(tmp_path: Path) -> None:
    make_ninerec(tmp_path / "Downstream_datasets", "QB", n_users=20)
    for root in (tmp_path, tmp_path / "Downstream_datasets", tmp_path / "Downstream_datasets" / "QB"):
        assert NineRec(str(root), "qb").folder == tmp_path / "Downstream_datasets" / "QB"


@pytest.mark.parametrize("user_first", [False, True])
@pytest.mark.parametrize("subset", ["KU", "Bili_Music"])
def test_column_order_of_the_pair_file(tmp_path: Path, subset: str, user_first: bool) -> None:
    """In these sets users and items are both small integers."""
    tree = make_ninerec(tmp_path, subset, user_first=user_first)
    data = ready(tmp_path, subset, ModelNeeds({}))
    assert_same_windows(data, tree)
    order = "user, item, time" if user_first else "item, user, time"
    assert f"_pair.csv has the columns {order}." in data.report()


def test_column_order_where_both_columns_hold_known_ids(tmp_path: Path) -> None:
    items = pl.DataFrame({"item": ["1", "2", "3", "4"]})
    rows = [(1, 1), (2, 1), (3, 2), (4, 2), (1, 2), (3, 1)]
    for name, flip in (("item_first", False), ("user_first", True)):
        lines = [f"{b},{a},7\n" if flip else f"{a},{b},7\n" for a, b in rows]
        (tmp_path / name).write_text("".join(lines))
        read = read_pairs(tmp_path / name, items, Report())
        assert read["item"].to_list() == [str(a) for a, _ in rows]
    (tmp_path / "doubt").write_text("1,2,7\n2,1,8\n")
    assert read_pairs(tmp_path / "doubt", items, Report())["item"].to_list() == ["1", "2"]


@pytest.mark.parametrize("kind", EVERY_DAMAGE)
@pytest.mark.parametrize("subset", ["QB", "KU"])
def test_any_damage_is_survived(tmp_path: Path, subset: str, kind: Damage) -> None:
    tree = make_ninerec(tmp_path, subset, damage=[kind])
    data = ready(tmp_path, subset)
    assert_same_windows(data, tree)


def test_all_damages_at_once(tmp_path: Path) -> None:
    tree = make_ninerec(tmp_path, "QB", n_items=80, damage=EVERY_DAMAGE)
    assert_same_windows(ready(tmp_path), tree)


@pytest.mark.parametrize(
    ("kind", "subset", "expected"),
    [
        ("duplicate_users", "QB", "2 lines repeated a user name: the later line stands"),
        ("duplicate_items", "QB", "3 rows of the item table repeated an id and were dropped"),
        ("unknown_items", "KU", "5 interactions with an item that the item table lacks were dropped"),
        ("no_tab", "QB", "1 lines without a user or without a tab were dropped"),
        ("bad_times", "KU", "interactions without a readable time were dropped"),
        ("short_users", "QB", "4 lines of fewer than 5 interactions were dropped"),
        ("few_columns", "QB", "3 items had fewer than three columns: missing titles count as empty"),
    ],
)
def test_damage_of_tables_is_counted(tmp_path: Path, kind: Damage, subset: str, expected: str) -> None:
    make_ninerec(tmp_path, subset, damage=[kind])
    assert expected in ready(tmp_path, subset, ModelNeeds({})).report()


@pytest.mark.parametrize(
    ("kind", "modality", "reason", "usable"),
    [
        ("empty_titles", "text", "the text is empty", False),
        ("not_utf8", "text", "not UTF-8: undecodable bytes were replaced", True),
        ("truncated_covers", "image", "cannot be read", False),
        ("empty_covers", "image", "the file is empty", False),
        ("renamed_covers", "image", "not a picture in one of the formats", False),
        ("missing_covers", "image", "the file is missing", False),
        ("huge_covers", "image", "too large", False),
    ],
)
def test_bad_items_are_reported_and_masked(
    tmp_path: Path, kind: Damage, modality: str, reason: str, usable: bool
) -> None:
    tree = make_ninerec(tmp_path, damage=[kind])
    data = NineRec(str(tmp_path), language="zh")
    data.bind(NEEDS)
    expected = rf"Bad {modality} of 3 items \({0 if usable else 3} unusable"
    with pytest.warns(UserWarning, match=expected) as caught:
        data.prepare_data()
    data.setup()
    assert any(str(data.cache / "bad_items.csv") in str(warning.message) for warning in caught)
    bad = pl.read_csv(data.cache / "bad_items.csv")
    assert set(bad["item"]) == set(tree.damaged[kind])
    assert set(bad["modality"]) == {modality}
    assert bad["reason"].str.contains(reason, literal=True).all()
    rows = np.array([data.item_names.index(item) for item in tree.damaged[kind]])
    present = data.items.content(rows, [modality])[modality]["present"]
    assert present.tolist() == [usable] * 3
    if modality == "image":
        assert all(data.cover(int(row)) is None for row in rows)


def test_odd_titles_arrive_whole(tmp_path: Path) -> None:
    tree = make_ninerec(tmp_path)
    items = read_items(tmp_path / "QB" / "QB_item.csv", Report())
    assert items["item"].to_list() == tree.items
    assert items["title_en"].to_list() == [tree.titles[item][1].strip() for item in tree.items]
    assert items["title_zh"].to_list() == [tree.titles[item][0] for item in tree.items]
    assert any("\n" in title for title in items["title_en"])
    assert any(title.startswith('said "') for title in items["title_en"])


def test_unquoted_commas_and_marks_of_other_systems(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    lines = 'v1,"一, 二",one, two , three \r\n\r\nv2,一 "二" 三,a "b" c\r\n'
    path.write_bytes(b"\xef\xbb\xbf" + lines.encode())
    report = Report()
    items = read_items(path, report)
    assert items.rows() == [("v1", "一, 二", "one, two , three"), ("v2", '一 "二" 三', 'a "b" c')]
    assert [number for what, number in report.counts.items() if "unquoted commas" in what] == [1]


def test_a_quote_that_never_closes(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text('v1,a,b\nv2,a,"never closed\n' + "".join(f"v{row},a,b\n" for row in range(3, 200)))
    with pytest.raises(BadTableError, match="opened in line 2 and not closed"):
        read_items(path, Report())


def test_unknown_subset_says_what_is_near() -> None:
    with pytest.raises(UnknownSubsetError, match=r"'Bili_Foods'\. Did you mean Bili_Food"):
        NineRec("nowhere", "Bili_Foods")
    with pytest.raises(UnknownSubsetError, match="There are: Bili_500K, Bili_2M"):
        NineRec("nowhere", "xyz")


def test_missing_folder_says_what_and_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError) as caught:
        NineRec(str(tmp_path / "no"), "TN").prepare_data()
    message = str(caught.value)
    files = ["TN_item.csv", "TN_pair.csv", "TN_behaviour.tsv", "TN_cover", "no such folder"]
    ways = ["drive.google.com", "Downstream Datasets", "Source Datasets", "--data.root", "forbid"]
    for part in [str(tmp_path / "no" / "TN"), *files, *ways]:
        assert part in message
    assert not (tmp_path / "no").exists()


def test_a_folder_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(DataNotFoundError, match=r"nothing of NineRec there but holiday\.jpg"):
        NineRec(str(tmp_path)).prepare_data()
    make_ninerec(tmp_path, "KU", n_users=5)
    with pytest.raises(DataNotFoundError, match="found these data sets there: KU"):
        NineRec(str(tmp_path), "QB").prepare_data()
    with pytest.raises(DataNotFoundError, match="is a file"):
        NineRec(str(tmp_path / "holiday.jpg")).prepare_data()


def test_missing_parts(tmp_path: Path) -> None:
    make_ninerec(tmp_path, covers=False)
    ready(tmp_path, needs=ModelNeeds({"text": LetterTransform()}))
    with pytest.raises(DataNotFoundError, match=r"QB_cover.*Or train without image"):
        ready(tmp_path)
    (tmp_path / "QB" / "QB_behaviour.tsv").unlink()
    with pytest.raises(DataNotFoundError, match=r"QB_pair\.csv or QB_behaviour\.tsv.*found neither"):
        ready(tmp_path)


def test_empty_and_alien_tables(tmp_path: Path) -> None:
    make_ninerec(tmp_path, "KU")
    pairs = tmp_path / "KU" / "KU_pair.csv"
    pairs.write_text("")
    with pytest.raises(BadTableError, match="found an empty file"):
        ready(tmp_path, "KU")
    pairs.write_text("1 2 3\n4 5 6\n")
    with pytest.raises(BadTableError, match="'1 2 3' as the first line"):
        ready(tmp_path, "KU")
    pairs.write_text("".join(f"x{row},y,{row}\n" for row in range(10)))
    with pytest.raises(BadTableError, match="found 10 of 10 with others"):
        ready(tmp_path, "KU")


def test_empty_after_filtering(tmp_path: Path) -> None:
    make_ninerec(tmp_path)
    data = NineRec(str(tmp_path), min_len=31)
    with pytest.raises(EmptyDataError, match="60 lines of fewer than 31 interactions were dropped"):
        data.prepare_data()


def test_a_modality_it_does_not_have(tmp_path: Path) -> None:
    make_ninerec(tmp_path)
    with pytest.raises(ValueError, match="has the modalities text, image, but the model wants 'video'"):
        ready(tmp_path, needs=ModelNeeds({"video": PixelTransform()}))


def test_the_published_size_is_checked_with_a_warning(tmp_path: Path) -> None:
    make_ninerec(tmp_path, "QB")
    data = NineRec(str(tmp_path))
    with pytest.warns(UserWarning, match="60 users instead of 17,722, 40 items instead of 6,121"):
        data.prepare_data()


def test_ids_cannot_leave_the_folder(tmp_path: Path) -> None:
    """An id is looked up in the folder's listing and never joined to its path."""
    make_ninerec(tmp_path)
    secret = tmp_path / "secret.jpg"
    cover = next((tmp_path / "QB" / "QB_cover").iterdir())
    secret.write_bytes(cover.read_bytes())
    data = NineRec(str(tmp_path))
    ids = ["../../secret", str(secret.with_suffix("")), cover.stem]
    raw = data.raw_content("image", pl.DataFrame({"item": ids}))
    assert raw.values == [None, None, None, cover.name]


def test_languages_differ_in_text_only(tmp_path: Path) -> None:
    make_ninerec(tmp_path)
    english, chinese = ready(tmp_path, language="en"), ready(tmp_path, language="zh")
    assert english.items.folders["text"] != chinese.items.folders["text"]
    assert english.items.folders["image"] == chinese.items.folders["image"]
    assert english.spec.fingerprint == chinese.spec.fingerprint


def test_few_users_with_small_numbers_and_one_unknown_item(tmp_path: Path) -> None:
    """Every user number is also an item's, and the item column has an unknown id: the counts decide."""
    items = pl.DataFrame({"item": [str(number) for number in range(1, 41)]})
    lines = [f"{item},{item % 7 + 1},{item}\n" for item in range(1, 40)]
    (tmp_path / "pairs").write_text("".join(lines) + "99,1,50\n")
    assert read_pairs(tmp_path / "pairs", items, Report())["item"].to_list()[-1] == "99"


def test_many_users_with_numbers_keep_the_order_of_the_file(tmp_path: Path) -> None:
    tree = make_ninerec(tmp_path, "Bili_Dance", n_users=300)
    data = ready(tmp_path, "Bili_Dance", ModelNeeds({}))
    lines = (tmp_path / "Bili_Dance" / "Bili_Dance_pair.csv").read_text().splitlines()
    order = list(dict.fromkeys(line.split(",")[1] for line in lines))
    assert data.user_names[1:] == [user for user in order if user in tree.histories]


def test_covers_may_be_one_folder_deeper_and_not_two(tmp_path: Path) -> None:
    make_ninerec(tmp_path)
    covers = tmp_path / "QB" / "QB_cover"
    for depth in (1, 2):
        covers.rename(tmp_path / "QB" / "inner")
        covers.mkdir()
        (tmp_path / "QB" / "inner").rename(covers / "QB_cover")
        if depth == 1:
            assert ready(tmp_path).cover(1) is not None
    with pytest.raises(DataNotFoundError, match="two folders deeper"):
        ready(tmp_path)

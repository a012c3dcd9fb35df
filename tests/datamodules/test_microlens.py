"""MicroLens as released and as it should not be: what is read is what was written, or is counted."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from datamodules.errors import BadTableError, DataNotFoundError, UnknownSubsetError
from datamodules.histories import EvalWindows, TrainWindows
from datamodules.microlens import MicroLens
from datamodules.microlens_files import read_titles
from datamodules.sampler import EpochRows
from datamodules.splits import leave_two_out
from datamodules.tables import Report
from tests.data_makers.media_transforms import FramesTransform, LoudnessTransform
from tests.data_makers.microlens import EVERY_DAMAGE, Damage, Media, Tree, make_microlens
from tests.data_makers.transforms import LetterTransform, PixelTransform
from tests.datamodules.reference import plain_windows, tables_of
from zoo.types import ModelNeeds

pytestmark = pytest.mark.filterwarnings("ignore:Not the published size", "ignore:Bad ")

IDS = ModelNeeds({})
TEXTS = ModelNeeds({"text": LetterTransform(), "caption": LetterTransform()})
NEEDS = {
    "image": ModelNeeds({"image": PixelTransform()}),
    "audio": ModelNeeds({"audio": LoudnessTransform()}),
    "video": ModelNeeds({"video": FramesTransform()}),
}


def ready(root: Path, subset: str = "100K", needs: ModelNeeds = IDS, **options: Any) -> MicroLens:  # noqa: ANN401
    data = MicroLens(str(root), subset, **options)
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


def assert_same(data: MicroLens, tree: Tree) -> None:
    """The windows of the authors' VideoRec code, by plain loops; of users in any order."""
    kept, users = plain_windows(list(tree.histories.items()), data.item_names[1:], 10, 5)
    assert set(data.item_names[1:]) == set(kept)
    assert set(data.user_names[1:]) >= set(users)
    for batch in data.test_dataloader():
        for user, history, target in zip(batch.user_B, batch.history_BL, batch.target_B, strict=True):
            plain = users.get(data.user_names[user])
            if plain is not None:
                assert [item for item in history.tolist() if item] == plain.test_history
                assert target == plain.test_target


@pytest.mark.parametrize(
    ("m", "train", "val", "test"),
    [(13, (0, 11), (1, 12), (2, 13)), (5, (0, 3), (0, 4), (0, 5)), (40, (27, 38), (28, 39), (29, 40))],
)
def test_worked_slices(m: int, train: tuple[int, int], val: tuple[int, int], test: tuple[int, int]) -> None:
    """Section 2.1 of MicroLens' description, histories of 10; of longer ones the last 13 are kept."""
    items = [f"v{place:02d}" for place in range(m)]
    split = leave_two_out(tables_of([("u", items)], items), 10, 5)
    first = max(m - 13, 0)  # catalogue row 1

    def places(rows: np.ndarray[Any, Any]) -> list[int]:
        return [int(item) - 1 + first for item in rows if item]

    trained = TrainWindows(split.windows, 10, m + 1).__getitems__(EpochRows(0, np.array([0])))
    assert places(trained.items_BS[0]) == list(range(*train))
    for stage, (start, end), oldest in (("val", val, first), ("test", test, first)):
        row = EvalWindows(split.windows, 10, stage)[0]  # type: ignore[arg-type]
        assert [*places(row.history_BL[0]), *places(row.target_B)] == list(range(start, end))
        assert places(row.hidden_BH[0]) == list(range(oldest, end - 1))


@pytest.mark.parametrize(("subset", "name"), [("50K", "50k"), ("100K", "100k"), ("1M", "1M")])
@pytest.mark.parametrize("pairs", ["tsv", "csv"])
def test_three_sets_in_both_forms(tmp_path: Path, subset: str, name: str, pairs: str) -> None:
    tree = make_microlens(tmp_path, name, old_header=subset == "50K")
    for root, called in ((tmp_path, subset), (tmp_path / f"MicroLens-{name}", f"microlens-{name}")):
        data = ready(root, called, TEXTS, pairs=pairs)
        assert_same(data, tree)
        assert f"Interactions are read from MicroLens-{name}_pairs.{pairs}." in data.report()
        for row, item in enumerate(data.item_names[1:], start=1):
            assert data.raw_title(row) == tree.titles[item]


def test_the_folder_as_it_is_downloaded(tmp_path: Path) -> None:
    tree = make_microlens(tmp_path, pairs=["csv"])
    (tmp_path / "MicroLens-100k").rename(tmp_path / "MicroLens-100k-Dataset")
    make_microlens(tmp_path, "50k", seed=3)
    data = ready(tmp_path)
    assert data.folder.name == "MicroLens-100k-Dataset"
    assert_same(data, tree)
    with pytest.raises(DataNotFoundError, match=r"MicroLens-100k_pairs\.tsv in .*Or set --data\.pairs auto"):
        ready(tmp_path, pairs="tsv")


def test_texts_captions_and_numbers(tmp_path: Path) -> None:
    tree = make_microlens(tmp_path)
    data = ready(tmp_path, needs=TEXTS, text=["title", "tag", "caption"])
    present = data.items.content(np.arange(data.spec.n_items), ["text", "caption"])
    for row, item in enumerate(data.item_names[1:], start=1):
        tag = f"label {int(item) % 4}" if int(item) <= 28 else ""
        caption = f"a person does {int(item) % 3}, slowly" if int(item) > 2 else ""
        assert data.raw_title(row) == ". ".join(part for part in (tree.titles[item], tag, caption) if part)
        assert bool(present["caption"]["present"][row]) == bool(caption)
    table = data.item_table
    assert table.select("likes", "views").dtypes == [pl.Int64, pl.Int64]
    assert (table["likes"] == table["views"] // 10).all()
    for said in ("28 items have a tag", "28 items have a caption", "30 items have likes and views"):
        assert said in data.report()


def test_comments_are_those_of_what_trains(tmp_path: Path) -> None:
    tree = make_microlens(tmp_path)
    data = ready(tmp_path)
    comments = data.comments()
    found = {(data.user_names[user], data.item_names[item]) for user, item, _ in comments.rows()}
    expected = {(user, item) for user, history in tree.histories.items() for item in history[:-2][-11:]}
    assert found == expected
    assert comments["comment"].str.ends_with("\ton it").all()
    (tmp_path / "MicroLens-100k" / "MicroLens-100k_comment_en.txt").unlink()
    with pytest.raises(DataNotFoundError, match=r"MicroLens-100k_comment_en\.txt"):
        data.comments()


@pytest.mark.parametrize("kind", EVERY_DAMAGE)
@pytest.mark.parametrize("pairs", ["tsv", "csv"])
def test_any_damage_is_survived(tmp_path: Path, pairs: str, kind: Damage) -> None:
    subset = "50k" if kind in ("open_quote", "not_utf8") else "100k"
    tree = make_microlens(tmp_path, subset, damage=[kind])
    data = ready(tmp_path, subset, TEXTS, pairs=pairs)
    assert_same(data, tree)
    for row, item in enumerate(data.item_names[1:], start=1):
        if not (kind == "not_utf8" and item == "7"):
            assert data.raw_title(row) == tree.titles.get(item, "")


def test_all_damages_at_once(tmp_path: Path) -> None:
    tree = make_microlens(tmp_path, damage=EVERY_DAMAGE, media=["covers", "audio"])
    for pairs in ("tsv", "csv"):
        data = ready(
            tmp_path, needs=ModelNeeds({**TEXTS.transforms, **NEEDS["image"].transforms}), pairs=pairs
        )
        assert_same(data, tree)


@pytest.mark.parametrize(
    ("kind", "pairs", "expected"),
    [
        ("mixed_separators", "csv", "1 lines had another separator and were read all the same"),
        ("few_columns", "csv", "1 lines had too few columns and were dropped"),
        ("unknown_items", "csv", "3 items are in interactions only"),
        ("unknown_items", "tsv", "3 items are in interactions only"),
        ("duplicate_users", "tsv", "1 lines repeated a user name: the later line stands"),
        ("duplicate_rows", "csv", "2 interactions repeat another of the same user, item and time: were kept"),
        ("bad_times", "csv", "1 interactions without a readable time were dropped"),
        ("negative_times", "csv", "interactions have a time before 1970 and come first"),
        ("seconds", "csv", "Times are in several units"),
        ("renumbered", "csv", "interactions write an item's number otherwise"),
        ("renumbered", "tsv", "interactions write an item's number otherwise"),
        ("no_tab", "tsv", "1 lines without a user or without a tab were dropped"),
        ("missing_titles", "tsv", "3 items are in interactions only"),
        ("empty_titles", "tsv", "3 titles are empty"),
        ("odd_likes", "tsv", "1 items have more likes than views"),
        ("odd_likes", "tsv", "1 items have no readable number of likes or views"),
    ],
)
def test_damage_is_counted(tmp_path: Path, kind: Damage, pairs: str, expected: str) -> None:
    make_microlens(tmp_path, damage=[kind])
    assert expected in ready(tmp_path, pairs=pairs).report()


def test_an_open_quote_among_quoted_titles_is_noted(tmp_path: Path) -> None:
    make_microlens(tmp_path, "50k", damage=["open_quote"])
    path = tmp_path / "MicroLens-50k" / "MicroLens-50k_titles.csv"
    path.write_text(
        path.read_text().replace('\n5,"', '\n5,"" "', 1) + "".join(f"{k},t\n" for k in range(100, 160))
    )
    report = Report()
    assert len(read_titles(path, report)) == 30 + 1 + 60
    assert "opened in line" in report.notes[0]
    assert report.notes[0].endswith("It was read line by line.")


@pytest.mark.parametrize(
    ("modality", "media", "kinds", "reason"),
    [
        ("image", "covers", ["truncated_covers"], "cannot be read"),
        ("image", "covers", ["missing_covers"], "the file is missing"),
        ("audio", "audio", ["truncated_audio"], "truncated: "),
        ("video", "videos", ["truncated_videos"], "cannot be decoded"),
        ("video", "videos", ["html_videos"], "cannot be decoded"),
        ("audio", "videos", ["html_videos"], "cannot be decoded"),
        ("video", "frames", ["truncated_frames"], "cannot be read"),
    ],
)
def test_bad_files_are_reported_and_masked(
    tmp_path: Path,
    modality: str,
    media: Media,
    kinds: list[Damage],
    reason: str,
) -> None:
    if media == "videos":
        pytest.importorskip("av", reason="PyAV is not installed")
    tree = make_microlens(tmp_path, media=[media], damage=kinds)
    data = ready(tmp_path, needs=NEEDS[modality])
    hit = tree.damaged[kinds[0]]
    present = data.items.content(np.arange(data.spec.n_items), [modality])[modality]["present"].tolist()
    assert [name for name, there in zip(data.item_names[1:], present[1:], strict=True) if not there] == [
        name for name in data.item_names[1:] if name in hit
    ]
    bad = pl.read_csv(data.cache / "bad_items.csv")
    assert bad["reason"].str.contains(reason, literal=True).all()


def test_released_frames_are_taken_as_they_are(tmp_path: Path) -> None:
    """Five frames lie there and five are wanted: the rule that chose them is not applied again."""
    make_microlens(tmp_path, media=["frames"])
    data = ready(tmp_path, needs=NEEDS["video"])
    frames = data.items.content(np.array([1]), ["video"])["video"]["frames"].numpy()[0]
    assert all((frames[k] != frames[0]).any() for k in range(1, 5))
    folder = data.items.folders["video"]
    third = (
        tmp_path
        / "MicroLens-100k"
        / "MicroLens-100k_frames_interval_1_number_5"
        / f"{data.item_names[1]}-3.jpg"
    )
    third.write_bytes(third.read_bytes() + b"\0")
    assert ready(tmp_path, needs=NEEDS["video"]).items.folders["video"] != folder, "no frame may be stale"


def test_which_clips(tmp_path: Path) -> None:
    make_microlens(tmp_path, media=["frames"])
    with pytest.raises(DataNotFoundError, match="MicroLens-100k_videos, found no such folder"):
        ready(tmp_path, needs=NEEDS["video"], clips="videos")
    (tmp_path / "MicroLens-100k" / "MicroLens-100k_videos").mkdir()
    with pytest.raises(DataNotFoundError, match="none of an item of 100K"):
        ready(tmp_path, needs=NEEDS["video"])
    ready(tmp_path, needs=NEEDS["video"], clips="frames")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError) as caught:
        MicroLens(str(tmp_path / "no"), "1M").prepare_data()
    for part in ("MicroLens-1M_pairs.tsv", "no such folder", "recsys.westlake.edu.cn", "may not be offered"):
        assert part in str(caught.value)
    with pytest.raises(UnknownSubsetError, match="There are: 50K, 100K, 1M, full"):
        MicroLens(str(tmp_path), "10K")
    with pytest.raises(ValueError, match="Expected pairs to be one of auto, tsv, csv"):
        MicroLens(str(tmp_path), pairs="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Expected text to be a list of some of title, tag, caption"):
        MicroLens(str(tmp_path), text=[])


def test_alien_and_missing_tables(tmp_path: Path) -> None:
    make_microlens(tmp_path)
    folder = tmp_path / "MicroLens-100k"
    (folder / "MicroLens-100k_title_en.csv").write_text("only one column\nno separator\n")
    with pytest.raises(BadTableError, match=r"Expected lines of item id, ',', title"):
        ready(tmp_path)
    (folder / "MicroLens-100k_title_en.csv").unlink()
    data = ready(tmp_path)
    assert "There is no file of titles." in data.report()
    with pytest.raises(DataNotFoundError, match=r"title of the items in MicroLens-100k_titles\.csv"):
        ready(tmp_path, needs=ModelNeeds({"text": LetterTransform()}))
    pairs = folder / "MicroLens-100k_pairs.csv"
    pairs.write_text("who,what,when\n1,2,3\n")
    with pytest.raises(BadTableError, match=r"user or userID, item or videoID, timestamp .*found 'who'"):
        ready(tmp_path, pairs="csv")


def test_the_published_size_is_checked(tmp_path: Path) -> None:
    make_microlens(tmp_path)
    data = MicroLens(str(tmp_path))
    with pytest.warns(UserWarning, match="40 users instead of 100,000, 30 items instead of 19,738"):
        data.prepare_data()

"""PixelRec as released and as it should not be: what is read is what was written, or is counted."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from datamodules.errors import BadTableError, DataNotFoundError, UnknownSubsetError
from datamodules.pixelrec import PixelRec
from tests.data_makers.pixelrec import EVERY_DAMAGE, Damage, Tree, make_pixelrec
from tests.data_makers.transforms import LetterTransform, PixelTransform
from tests.datamodules.test_chunks import plain_chunks
from zoo.types import ModelNeeds

pytestmark = pytest.mark.filterwarnings("ignore:Not the published size", "ignore:Bad ")

IDS = ModelNeeds({})
BOTH = ModelNeeds({"text": LetterTransform(), "image": PixelTransform()})
IMAGE = ModelNeeds({"image": PixelTransform()})


def ready(root: Path, subset: str = "200K", needs: ModelNeeds = IDS, **options: Any) -> PixelRec:  # noqa: ANN401
    data = PixelRec(str(root), subset, **options)
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


def assert_same(data: PixelRec, tree: Tree, max_len: int = 10) -> None:
    """Chunks, targets and hidden items of the authors' protocol, by plain loops."""
    names = data.item_names
    assert set(data.user_names) == {"", *tree.histories}
    assert set(names) == {""}.union(*tree.histories.values())
    chunks: dict[str, list[list[str]]] = {user: [] for user in tree.histories}
    seen = []
    for batch in data.train_dataloader():
        for user, items in zip(batch.user_B.tolist(), batch.items_BS.tolist(), strict=True):
            seen.append((data.user_names[user], [names[item] for item in items if item]))
    for user, items in seen:
        chunks[user].append(items)
    for user, history in tree.histories.items():
        width = max_len + 1
        plain = [
            [str(place) for place in chunk] for chunk in plain_chunks(list(range(len(history) - 2)), width)
        ]
        expected = [[history[int(place)] for place in chunk] for chunk in plain]
        assert sorted(chunks[user]) == sorted(expected)
    for without, loader in ((2, data.val_dataloader()), (1, data.test_dataloader())):
        for batch in loader:
            for user, shown, target, hidden in zip(*(part.tolist() for part in batch[:4]), strict=True):
                history = tree.histories[data.user_names[user]]
                assert [names[item] for item in shown if item] == history[:-without][-max_len:]
                assert names[target] == history[-without]
                assert [names[item] for item in hidden if item] == history[:-without]


@pytest.mark.parametrize(
    ("subset", "name"),
    [
        ("50K", "PixelRec50K"),
        ("200K", "Pixel200K"),
        ("1M", "Pixel1M"),
        ("8M", "Pixel8M"),
        ("full", "PixelRec"),
    ],
)
def test_all_five_sets(tmp_path: Path, subset: str, name: str) -> None:
    tree = make_pixelrec(tmp_path, name, n_users=15)
    for called in (subset, name):
        data = ready(tmp_path, called)
        assert data.subset == subset
        assert_same(data, tree)
    report = data.report()
    assert "1 items are in interactions only: the item table tells nothing of them" in report
    assert "and fill no chunk of 11 to train on" in report


def test_last_windows_instead_of_chunks(tmp_path: Path) -> None:
    tree = make_pixelrec(tmp_path)
    data = ready(tmp_path, windowing="last", min_len=5)
    for batch in data.test_dataloader():
        for user, hidden in zip(batch.user_B, batch.hidden_BH, strict=True):
            history = tree.histories[data.user_names[user]]
            assert [data.item_names[item] for item in hidden if item] == history[-13:-1]


def test_texts_covers_and_numbers(tmp_path: Path) -> None:
    tree = make_pixelrec(tmp_path)
    data = ready(tmp_path, needs=BOTH, text=["tag", "title", "description"])
    first = ready(tmp_path, needs=BOTH)
    assert data.items.folders["text"] != first.items.folders["text"]
    assert data.items.folders["image"] == first.items.folders["image"]
    content = data.items.content(np.arange(data.spec.n_items), ["text", "image"])
    for row, name in enumerate(data.item_names):
        title, tag, description = tree.texts.get(name, ("", "", ""))
        assert first.raw_title(row) == title
        joined = ". ".join(part for part in (tag, title, description) if part)
        assert data.raw_title(row) == joined
        assert bool(content["text"]["present"][row]) == bool(joined)
        assert bool(content["image"]["present"][row]) == (name in tree.texts)
    views = data.item_table["view_number"]
    assert views.dtype == pl.Float64
    assert views.null_count() == 2, "a row without counters, and the item without a row"


@pytest.mark.parametrize("kind", EVERY_DAMAGE)
def test_any_damage_is_survived(tmp_path: Path, kind: Damage) -> None:
    tree = make_pixelrec(tmp_path, damage=[kind])
    assert_same(ready(tmp_path, needs=BOTH), tree)


def test_all_damages_at_once(tmp_path: Path) -> None:
    tree = make_pixelrec(tmp_path, n_items=60, damage=EVERY_DAMAGE)
    assert_same(ready(tmp_path, needs=BOTH), tree)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mixed_separators", "3 lines had another separator and were read all the same"),
        ("few_columns", "1 lines had too few columns and were dropped"),
        ("repeated_header", "1 lines repeated the header and were dropped"),
        ("unknown_items", "4 items are in interactions only"),
        ("duplicate_rows", "1 interactions repeat another of the same user, item and time: were kept"),
        ("bad_times", "2 interactions without a readable time were dropped"),
        ("negative_times", "interactions have a time before 1970 and come first"),
        ("milliseconds", "Times are in several units"),
        ("duplicate_items", "3 rows of the item table repeated an id and were dropped"),
        ("item_columns", "3 rows of the item table had too few columns"),
        ("item_columns", "3 counters of items are no numbers and were left out"),
    ],
)
def test_damage_is_counted(tmp_path: Path, kind: Damage, expected: str) -> None:
    make_pixelrec(tmp_path, damage=[kind])
    assert expected in ready(tmp_path).report()


def test_every_line_is_read_or_counted(tmp_path: Path) -> None:
    make_pixelrec(tmp_path, damage=EVERY_DAMAGE)
    data = ready(tmp_path)
    lines = (tmp_path / "dataset" / "Pixel200K.csv").read_text().splitlines()
    counts = data._ready().report.counts
    dropped = ("lines repeated the header and were dropped", "lines had too few columns and were dropped")
    assert len(lines) - 1 == counts["interactions read"] + sum(counts[what] for what in dropped)


def test_pictures_from_the_authors_lmdb(tmp_path: Path) -> None:
    hostile = tmp_path / "executed"
    tree = make_pixelrec(tmp_path, covers="lmdb", hostile=hostile)
    data = ready(tmp_path, needs=IMAGE)
    present = data.items.content(np.arange(data.spec.n_items), ["image"])["image"]["present"].tolist()
    good = set(tree.items) - {tree.items[1]}
    assert [name for name, there in zip(data.item_names, present, strict=True) if there] == [
        name for name in data.item_names if name in good
    ]
    bad = {item: reason for item, _, _, reason in pl.read_csv(data.cache / "bad_items.csv").rows()}
    assert bad.keys() == {tree.items[1], "i192714"}
    assert bad[tree.items[1]].startswith("refused: the record asks for posix.mkdir")
    assert not hostile.exists()
    assert data.cover(data.item_names.index(tree.items[0])) is not None
    assert data.cover(data.item_names.index(tree.items[1])) is None


def test_pictures_by_option(tmp_path: Path) -> None:
    tree = make_pixelrec(tmp_path, covers="lmdb")
    (tmp_path / "pixel200k.lmdb").rename(tmp_path / "elsewhere.mdb")
    with pytest.raises(DataNotFoundError, match=r"image files in .*cover, found no such folder"):
        ready(tmp_path, needs=IMAGE)
    assert ready(tmp_path, needs=IMAGE, images="elsewhere.mdb").cover(1) is not None
    with pytest.raises(DataNotFoundError, match=r"images: nowhere.*Correct --data\.images"):
        ready(tmp_path, needs=IMAGE, images="nowhere")
    make_pixelrec(tmp_path / "other", seed=5)
    with pytest.raises(DataNotFoundError, match="none of these items"):
        ready(tmp_path / "other", needs=IMAGE, images=str(tmp_path / "elsewhere.mdb"))
    assert tree.items


def test_without_item_information(tmp_path: Path) -> None:
    tree = make_pixelrec(tmp_path)
    (tmp_path / "information" / "Pixel200K.csv").unlink()
    data = ready(tmp_path, needs=IMAGE)
    assert_same(data, tree)
    assert "There is no item information" in data.report()
    with pytest.raises(
        DataNotFoundError, match=r"title of the items in the item information.*--model\.text null"
    ):
        ready(tmp_path, needs=BOTH)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError) as caught:
        PixelRec(str(tmp_path / "no"), "1M").prepare_data()
    for part in ("Pixel1M.csv", "item_id, user_id and timestamp", "no such folder", "westlake-repl/PixelRec"):
        assert part in str(caught.value)
    with pytest.raises(UnknownSubsetError, match="There are: 50K, 200K, 1M, 8M, full"):
        PixelRec(str(tmp_path), "50M")
    with pytest.raises(ValueError, match=r"Expected text to be a list of some of title, tag, description"):
        PixelRec(str(tmp_path), text=["titel"])
    with pytest.raises(ValueError, match="Expected windowing to be one of last, chunks"):
        PixelRec(str(tmp_path), windowing="all")  # type: ignore[arg-type]


def test_alien_tables(tmp_path: Path) -> None:
    make_pixelrec(tmp_path)
    table = tmp_path / "dataset" / "Pixel200K.csv"
    table.write_text("who,what,when\nu1,i1,5\n")
    with pytest.raises(
        BadTableError, match=r"item_id or item, user_id or user, timestamp .*found 'who', 'what'"
    ):
        ready(tmp_path)
    table.write_text("item_id,user_id,timestamp\n" + "".join(f"x{k},u1,{k}\n" for k in range(9)))
    with pytest.raises(BadTableError, match="found 9 of 9 items with others"):
        ready(tmp_path)
    make_pixelrec(tmp_path)
    items = tmp_path / "information" / "Pixel200K.csv"
    items.write_text(
        items.read_text() + 'i1,1,1,1,1,1,1,1,"never closed,,\n' + "i2,1,1,1,1,1,1,1,a,b,c\n" * 80
    )
    with pytest.raises(BadTableError, match=r"opened in line \d+ and not closed"):
        ready(tmp_path)

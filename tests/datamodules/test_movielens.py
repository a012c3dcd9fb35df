"""MovieLens' files against a plain reader, as pairs and as histories, whole and damaged."""

import os
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

from datamodules.errors import BadTableError, DataNotFoundError, EmptyDataError, UnknownSubsetError
from datamodules.movielens import MovieLens, MovieLensHistories
from tests.data_makers.movielens import AGES, EVERY_DAMAGE, JOBS, Damage, Form, Tree, make_movielens
from tests.data_makers.transforms import LetterTransform
from tests.datamodules.reference import plain_windows
from zoo.types import ModelNeeds

pytestmark = pytest.mark.filterwarnings("ignore:Not the published size", "ignore:Bad ")

NEEDS = ModelNeeds({}, batch="interaction", attributes=("gender",))
TEXT = ModelNeeds({"text": LetterTransform()}, attributes=("gender", "age"))
FORMS = get_args(Form)


def ready(tree: Tree, needs: ModelNeeds = NEEDS, **options: Any) -> MovieLens:  # noqa: ANN401
    data = MovieLens(str(tree.root), **options)
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


def histories(tree: Tree, form: Form, **options: Any) -> MovieLensHistories:  # noqa: ANN401
    subset = "1M" if form == "1m" else "100K"
    data = MovieLensHistories(
        str(tree.root), **{"subset": subset, "max_len": 5, "windowing": "last", **options}
    )
    data.bind(TEXT)
    data.prepare_data()
    data.setup()
    return data


def split_of(data: MovieLens) -> dict[tuple[str, str], int]:
    """(User, movie) by name -> label, from the converted table."""
    table = pl.read_csv(data.folder / f"{data.name}.inter", separator="\t")
    users, movies, labels = (table[column].to_list() for column in ("userID", "itemID", "x_label"))
    return {
        (data.user_names[user + 1], data.item_names[movie + 1]): label
        for user, movie, label in zip(users, movies, labels, strict=True)
    }


@pytest.mark.parametrize("crlf", [False, True])
def test_reads_what_was_written(tmp_path: Path, crlf: bool) -> None:
    tree = make_movielens(tmp_path, crlf=crlf)
    data = ready(tree)
    first = list(dict.fromkeys(str(rating.movie) for rating in tree.ratings))
    assert data.item_names == ["", *first]
    assert data.user_names == ["", *dict.fromkeys(str(rating.user) for rating in tree.ratings)]
    labels = split_of(data)
    assert set(labels) == {(str(rating.user), str(rating.movie)) for rating in tree.ratings}
    for user in tree.users:
        own = [label for (name, _), label in labels.items() if name == str(user)]
        out = int(0.2 * len(own))
        assert [own.count(label) for label in (0, 1, 2)] == [len(own) - out, out // 2, out - out // 2]
    for row, name in enumerate(data.user_names[1:], start=1):
        gender, age, occupation = tree.users[int(name)]
        expected = {"gender": "FM".index(gender), "age": AGES.index(age), "occupation": occupation}
        assert {key: int(classes[row]) for key, classes in data.items.attributes.items()} == expected
    assert data.spec.n_classes["gender"] == 2
    assert [data.raw_title(row) for row in range(1, 41)] == [tree.titles[int(name)] for name in first]
    assert len(next(iter(data.train_dataloader())).user_B) == min(2048, data.spec.n_edges)


def test_the_cut_follows_its_seed_or_the_time(tmp_path: Path) -> None:
    tree = make_movielens(tmp_path)
    same = [split_of(ready(tree, cut_seed=seed)) for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]
    by_time = split_of(ready(tree, cut="time"))
    times = {(str(rating.user), str(rating.movie)): rating.time for rating in tree.ratings}
    for user in map(str, tree.users):
        own = sorted((times[pair], label) for pair, label in by_time.items() if pair[0] == user)
        assert [label for _, label in own] == sorted(label for _, label in own)


def test_oddities_are_told(tmp_path: Path) -> None:
    tree = make_movielens(tmp_path, short_users=3, damage=["unlisted"])
    data = ready(tree)
    report = data.report()
    for line in (
        "3 users with fewer than 5 ratings were left out",
        "1 rated movies are not in movies.dat",
        "1 users have no gender",
        "2 users have no age",
        "Not the published size (6040, 3706, 1000209)",
    ):
        assert line in report
    assert data.spec.n_users == 26
    assert data.items.attributes["age"][1] == -1
    assert sum(not data.raw_title(row) for row in range(1, data.spec.n_items)) == 1


def test_features_lie_beside_the_raw_files(tmp_path: Path) -> None:
    tree = make_movielens(tmp_path)
    n_movies = len({rating.movie for rating in tree.ratings})
    np.save(tmp_path / "text_feat.npy", np.ones((n_movies, 7), dtype=np.float32))
    data = ready(tree, NEEDS._replace(features=frozenset({"text"})))
    assert data.spec.feature_widths == {"text": 7}
    assert data.items.features("text").shape == (n_movies + 1, 7)
    with pytest.raises(DataNotFoundError, match=r"image_feat\.npy"):
        ready(tree, NEEDS._replace(features=frozenset({"image"})))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    tree = make_movielens(tmp_path)
    folder = ready(tree).folder
    assert ready(tree).folder == folder
    make_movielens(tmp_path, seed=5)
    os.utime(tmp_path / "ratings.dat", (1, 1))
    assert ready(tree).folder != folder


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="grouplens"):
        MovieLens(str(tmp_path / "nowhere")).prepare_data()
    tree = make_movielens(tmp_path / "ml-1m")
    assert ready(tree._replace(root=tmp_path)).spec.n_users == 26
    (tree.root / "users.dat").unlink()
    with pytest.raises(DataNotFoundError, match=r"no users\.dat there"):
        ready(tree)
    with pytest.raises(
        DataNotFoundError, match=r"u\.data, u\.user, u\.item of MovieLens-100K \(or RecBole's ml-100k"
    ):
        MovieLensHistories(str(tmp_path)).prepare_data()
    with pytest.raises(UnknownSubsetError, match="1M, 100K"):
        MovieLens(subset="10M")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    tree = make_movielens(tmp_path)
    for text, found in (
        ("1::2::3::4\n1::2\n", "fewer columns in line 2"),
        ("", "an empty file"),
        ("1::2::3::noon\n", "found 'noon'"),
    ):
        (tmp_path / "ratings.dat").write_text(text)
        with pytest.raises(BadTableError, match=found):
            ready(tree)
    (tmp_path / "ratings.dat").write_text("1::2::3::4\n")
    with pytest.raises(EmptyDataError, match="found none among 1 ratings"):
        ready(tree)
    with pytest.raises(ValueError, match="random, time"):
        MovieLens(cut="date")  # type: ignore[arg-type]


def assert_same(data: MovieLensHistories, tree: Tree, form: Form) -> None:
    """Histories, targets, titles and attributes by plain loops."""
    lines: dict[str, list[tuple[int, int, str]]] = {}
    for place, rating in enumerate(tree.ratings):
        lines.setdefault(str(rating.user), []).append((rating.time, place, str(rating.movie)))
    plain = [(user, [movie for _, _, movie in sorted(taken)]) for user, taken in lines.items()]
    unlisted = {str(rating.movie) for rating in tree.ratings} - {str(movie) for movie in tree.titles}
    kept, users = plain_windows(plain, [*map(str, tree.titles), *unlisted], 5, 5)
    assert data.item_names == ["", *kept]
    assert data.user_names == ["", *users]
    for batch in data.test_dataloader():
        for row, shown, target, hidden in zip(*(part.tolist() for part in batch[:4]), strict=True):
            user = users[data.user_names[row]]
            assert ([item for item in shown if item], target) == (user.test_history, user.test_target)
            assert {item for item in hidden if item} == user.test_hidden
    for row, name in enumerate(data.item_names[1:], start=1):
        title = tree.titles.get(int(name), "unknown")
        assert data.raw_title(row) == ("" if title == "unknown" else title)
    for row, name in enumerate(data.user_names[1:], start=1):
        gender, age, job = tree.users.get(int(name), ("", 0, -1))
        expected = {
            "gender": "FM".index(gender) if gender else -1,
            "age": AGES.index(age) if age in AGES else -1,
            "occupation": job,
        }
        assert {key: int(classes[row]) for key, classes in data.items.attributes.items()} == expected
    assert data.spec.n_classes == {"gender": 2, "age": 7, "occupation": 21}


@pytest.mark.parametrize("form", FORMS)
def test_histories_of_every_form(tmp_path: Path, form: Form) -> None:
    tree = make_movielens(tmp_path, form=form, short_users=2)
    assert_same(histories(tree, form), tree, form)
    data = histories(tree, form, text=["genres", "title"])
    for row, name in enumerate(data.item_names[1:], start=1):
        title = tree.titles[int(name)]
        assert data.raw_title(row) == tree.genres[int(name)] + ("" if title == "unknown" else f". {title}")
    assert MovieLensHistories().windowing == "chunks"
    with pytest.raises(ValueError, match="some of title, genres"):
        MovieLensHistories(text=["director"])
    with pytest.raises(DataNotFoundError, match=r"image files in .*posters.*put your own as posters"):
        data.raw_content("image", data.item_table)


def test_both_forms_of_100k_are_the_same_pairs(tmp_path: Path) -> None:
    found = []
    for form in ("100k", "recbole"):
        data = ready(make_movielens(tmp_path / form / "ml-100k", form=form), subset="ml-100k")
        found.append((split_of(data), data.items.attributes["occupation"].tolist(), data.spec.fingerprint))
        assert data.name == "ml100k"
        assert data.raw_title(1) in ("", *make_movielens(tmp_path / "again", form=form).titles.values())
    assert found[0] == found[1]
    assert JOBS[0] < JOBS[-1]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [*EVERY_DAMAGE, None])
def test_any_damage_is_survived(tmp_path: Path, form: Form, kind: Damage | None) -> None:
    tree = make_movielens(tmp_path, form=form, damage=[kind] if kind else EVERY_DAMAGE)
    assert_same(histories(tree, form), tree, form)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("short_lines", "1 lines of u.data had too few columns and were dropped"),
        ("long_lines", "1 lines of u.data had more columns: what is beyond was left out"),
        ("mixed_separators", "2 lines of u.data had another separator and were read all the same"),
        ("bad_times", "2 ratings without a readable time were dropped"),
        ("milliseconds", "Times are in several units"),
        ("padded_ids", "2 ratings write the number of their user otherwise (7 for 007): taken as it"),
        ("padded_ids", "2 ratings write the number of their item otherwise (7 for 007): taken as it"),
        ("duplicate_ratings", "1 interactions repeat another of the same user, item and time: were dropped"),
        ("duplicate_movies", "1 lines repeat the item of an earlier one and were dropped"),
        ("unlisted", "1 items are in interactions only: the item table tells nothing of them"),
    ],
)
def test_damage_is_counted(tmp_path: Path, kind: Damage, expected: str) -> None:
    assert expected in histories(make_movielens(tmp_path, form="100k", damage=[kind]), "100k").report()


def test_pairs_of_damaged_files(tmp_path: Path) -> None:
    tree = make_movielens(tmp_path, damage=EVERY_DAMAGE)
    data = ready(tree)
    assert set(split_of(data)) == {(str(rating.user), str(rating.movie)) for rating in tree.ratings}
    assert "1 ratings of a pair that an earlier line rates were dropped" in data.report()


def test_headers_of_recbole(tmp_path: Path) -> None:
    tree = make_movielens(tmp_path, form="recbole")
    ratings = tmp_path / "ml-100k.inter"
    ratings.write_text(ratings.read_text().replace("timestamp:float", "when:float"))
    with pytest.raises(BadTableError, match="no time in the header"):
        histories(tree, "recbole")
    ratings.write_text("")
    with pytest.raises(BadTableError, match="an empty file"):
        histories(tree, "recbole")

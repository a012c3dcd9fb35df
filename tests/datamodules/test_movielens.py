"""MovieLens-1M's files against a plain converter, whole and damaged."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from datamodules.errors import BadTableError, DataNotFoundError, EmptyDataError
from datamodules.movielens import MovieLens
from tests.data_makers.movielens import AGES, Tree, make_movielens
from zoo.types import ModelNeeds

NEEDS = ModelNeeds({}, batch="interaction", attributes=("gender",))


def ready(tree: Tree, needs: ModelNeeds = NEEDS, **options: Any) -> MovieLens:  # noqa: ANN401
    data = MovieLens(str(tree.root), **options)
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


def split_of(data: MovieLens) -> dict[tuple[str, str], int]:
    """(User, movie) by name -> label, from the converted table."""
    table = pl.read_csv(data.folder / "ml1m.inter", separator="\t")
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
    tree = make_movielens(tmp_path, short_users=3, unlisted=True)
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


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    tree = make_movielens(tmp_path)
    for text, found in (
        ("1::2::3::4\n1::2\n", "line 2 of .*fewer columns"),
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

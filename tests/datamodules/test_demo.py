"""The demo catalogue: bytes, layout, planted structure, and what is known about it."""

import hashlib
import io
import json
import wave
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from datamodules import demo_render, demo_titles
from datamodules.baselines import markov_ranks, popularity_ranks
from datamodules.demo import Demo, read_truth, write_demo
from datamodules.demo_oracle import oracle_ranks
from datamodules.demo_rules import IMAGE, LAWS, PLATFORMS, TEXT
from datamodules.demo_world import Items, Shelf, World, make_items, make_users, walk
from datamodules.histories import EvalRows, EvalWindows
from zoo.types import ModelNeeds


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("demo"), "tiny", 0)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    root = tmp_path_factory.mktemp("demo")
    write_demo(root / "small-0", "small", 0, modalities=())
    module = Demo(root=str(root), size="small")
    # Only tables are needed: what it would draw is not missed.
    super(Demo, module).prepare_data()
    module.setup()
    return module


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def test_same_size_and_seed_give_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    again = checksums(write_demo(tmp_path / "again", "tiny", 0))
    assert again == checksums(tiny)
    assert len(again) == 3 * 150 + 5
    other = checksums(write_demo(tmp_path / "other", "tiny", 1))
    assert other["DEMO_pair.csv"] != again["DEMO_pair.csv"]


def test_killed_generation_is_redone(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """Not an error that anybody handles."""

    drawn = 0

    def dying(*args: object) -> bytes:
        nonlocal drawn
        drawn += 1
        if drawn == 20:
            raise Killed
        return b"half a catalogue"

    with monkeypatch.context() as patch:
        patch.setattr(demo_render, "cover", dying)
        with pytest.raises(Killed):
            write_demo(tmp_path, "tiny", 0)
    # What SIGKILL leaves, which runs no handler: folders under their temporary names.
    part = tmp_path / "DEMO" / "DEMO_cover.part"
    part.mkdir()
    (part / "v1.jpg").write_bytes(b"half")
    assert not (tmp_path / "DEMO" / "DEMO_cover").exists()
    assert checksums(write_demo(tmp_path, "tiny", 0)) == checksums(tiny)
    assert not part.exists()


def test_another_catalogue_in_the_folder_is_refused(tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"seed 3, .* found size 'tiny' and seed 0, .* Delete"):
        write_demo(tiny.parent, "tiny", 3)


def test_unknown_size(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tiny, small, large, found 'huge'"):
        write_demo(tmp_path, "huge", 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="found 'huge'"):
        Demo(size="huge")  # type: ignore[arg-type]


def test_files_are_what_their_names_say(tiny: Path) -> None:
    items = pl.read_csv(tiny / "DEMO_item.csv", has_header=False, new_columns=["item", "zh", "en"])
    assert items["item"].n_unique() == 150
    assert not items["item"].is_sorted()
    pairs = pl.read_csv(tiny / "DEMO_pair.csv", has_header=False, new_columns=["item", "user", "time"])
    assert set(pairs["item"]) <= set(items["item"])
    assert pairs["time"].is_sorted()
    users = pl.read_csv(tiny / "DEMO_user.csv")
    assert users.columns == ["user", "gender", "age"]
    assert set(pairs["user"]) == set(users["user"])
    assert pairs.group_by("user").len()["len"].min() == 5
    name = items["item"][7]
    assert Image.open(tiny / "DEMO_cover" / f"{name}.jpg").size == (96, 96)
    assert Image.open(tiny / "DEMO_video" / f"{name}.gif").n_frames == 8  # type: ignore[attr-defined]
    with wave.open(io.BytesIO((tiny / "DEMO_audio" / f"{name}.wav").read_bytes())) as clip:
        assert (clip.getnchannels(), clip.getframerate(), clip.getnframes()) == (1, 8000, 4000)


def test_titles_tell_the_topic_and_no_item(tiny: Path) -> None:
    items = pl.read_csv(tiny / "DEMO_item.csv", has_header=False, new_columns=["item", "zh", "en"])
    topics = read_truth(tiny).items.attributes["topic"]
    words = Counter[str]()
    for topic, zh, en in zip(topics, items["zh"], items["en"], strict=True):
        assert 1 <= len(zh) <= 10
        assert 1 <= len(en.split()) <= 10
        assert not any(character.isdigit() for character in zh + en)
        assert set(demo_titles.TOPICS_EN[topic].split()) & set(en.split())
        assert any(word in zh for word in demo_titles.TOPICS_ZH[topic].split())
        words.update(set(en.split()))
    assert min(words.values()) > 1


def test_topics_share_no_word() -> None:
    for topics in (demo_titles.TOPICS_EN, demo_titles.TOPICS_ZH):
        assert len(topics) == LAWS["topic"].values
        words = " ".join(topics).split()
        assert len(words) == len(set(words))
    english = set(" ".join(demo_titles.TOPICS_EN).split())
    assert not english & {*demo_titles.NEUTRAL_EN, *demo_titles.MOMENTS_EN}
    assert not english & set(" ".join(demo_titles.PATTERNS_EN).split())


def test_shared_reader_finds_the_catalogue(tiny: Path) -> None:
    root = tiny.parent.parent / "read"
    module = Demo(root=str(root), size="tiny")
    module.bind(ModelNeeds(transforms={}))
    module.prepare_data()
    module.setup()
    assert module.spec.n_users == 301
    assert 140 <= module.spec.n_items <= 151
    names = module.item_names
    picture = module.cover(1)
    assert picture is not None
    assert picture.size == (96, 96)
    items = pl.read_csv(
        root / "tiny-0" / "DEMO" / "DEMO_item.csv", has_header=False, new_columns=["item", "zh", "en"]
    )
    assert items.filter(pl.col("item") == names[1])["en"].item() == module.raw_title(1)
    latents = module.latents()
    assert len(latents.popularity) == module.spec.n_items - 1
    topic = demo_titles.TOPICS_EN[latents.attributes["topic"][0]]
    assert set(topic.split()) & set(module.raw_title(1).split())


def rows_of(module: Demo) -> tuple[np.ndarray, EvalRows]:
    """Training sequences and test rows of all users."""
    users = np.arange(module.spec.n_users - 1)
    windows = module._ready().windows
    test = EvalWindows(windows, module.max_len, "test").__getitems__(users.tolist())
    return windows.last(users + 1, module.max_len + 1, without=2), test


def test_oracle_leaves_room_above_markov(small: Demo) -> None:
    train_UL, test = rows_of(small)
    n_items, items = small.spec.n_items, small.latents()

    def hit_rate(rank_U: np.ndarray) -> float:
        return float((rank_U <= 10).mean())

    def oracle(known: tuple[str, ...]) -> float:
        return hit_rate(oracle_ranks(items, test.history_BL, test.target_B, test.hidden_BH, known))

    popular = hit_rate(popularity_ranks(train_UL, test.target_B, test.hidden_BH, n_items))
    markov = hit_rate(markov_ranks(train_UL, test.history_BL[:, -1], test.target_B, test.hidden_BH, n_items))
    text, image, both, everything = oracle(TEXT), oracle(IMAGE), oracle(TEXT + IMAGE), oracle(tuple(LAWS))
    assert both >= 1.5 * markov
    assert both >= 1.5 * max(text, image)
    assert min(text, image, markov) > 1.2 * popular
    assert everything > both
    assert everything - both < both - max(text, image)


def test_planted_shares(small: Demo) -> None:
    truth = read_truth(small.folder)
    assert truth.noise.mean() == pytest.approx(truth.parameters["world"]["noise"], abs=0.01)
    assert truth.items.cold.mean() == pytest.approx(truth.parameters["world"]["cold"], abs=0.001)
    train_UL, test = rows_of(small)
    items = small.latents()
    train_counts = np.bincount(train_UL.ravel(), minlength=small.spec.n_items)[1:]
    assert train_counts[items.cold].mean() < 0.1 * train_counts[~items.cold].mean()
    assert items.cold[test.target_B - 1].mean() > 0.03
    # Heavy tail: a tenth of the items has more than a quarter of the interactions.
    top = np.sort(train_counts)[::-1][: len(train_counts) // 10]
    assert top.sum() > 0.25 * train_counts.sum()


def test_taste_leans_on_gender_and_age(small: Demo) -> None:
    users = read_truth(small.folder).users
    for of_user, favourite in ((users.gender, "colour"), (users.age, "topic")):
        n_groups = int(of_user.max()) + 1
        # Guess the group from the favourite by majority, against guessing the largest group.
        table = np.zeros((LAWS[favourite].values, n_groups))
        np.add.at(table, (users.favourites[favourite], of_user), 1)
        assert table.max(1).sum() > 1.15 * table.sum(0).max()


def test_parameters_are_plain(tiny: Path) -> None:
    parameters = json.loads((tiny / "DEMO_truth.json").read_text())
    assert parameters["size"] == "tiny"
    assert set(parameters["laws"]) == set(LAWS)
    with np.load(tiny / "DEMO_truth.npz", allow_pickle=False) as arrays:
        assert arrays["noise"].shape == (pl.read_csv(tiny / "DEMO_pair.csv", has_header=False).height,)


def test_oracle_knows_only_what_it_is_told() -> None:
    """With two items alike in what is known, popularity decides."""
    n = 6
    values = np.arange(n) % 2
    items = Items(
        {name: (values if name == "topic" else np.zeros(n, np.int64)) for name in LAWS},
        np.array([0.3, 0.1, 0.2, 0.2, 0.1, 0.1]),
        np.zeros(n, bool),
    )
    history = np.array([[0, 1]])
    target = np.array([3])
    assert oracle_ranks(items, history, target, history, known=()).tolist() == [2]
    law = LAWS["topic"]
    assert law.step == 1
    # Topic 1 follows topic 0: the unpopular items 2 and 6 of topic 1 now come before item 3, item 4 is best.
    assert oracle_ranks(items, history, target, history, known=("topic",)).tolist() == [4]
    assert oracle_ranks(items, history, np.array([4]), history, known=("topic",)).tolist() == [1]
    assert oracle_ranks(items, history, np.array([1]), history).tolist() == [n + 1]


def test_the_first_platform_is_what_it_was(tiny: Path) -> None:
    """Measured on it, published numbers hold only while its tables stay the same to the byte."""
    hasher = hashlib.sha256()
    for name in ("DEMO_item.csv", "DEMO_pair.csv", "DEMO_user.csv", "DEMO_truth.json"):
        hasher.update((tiny / name).read_bytes())
    assert hasher.hexdigest()[:16] == "193d30af2301f0d6"


def test_the_second_platform_shares_words_and_laws_but_no_item_and_no_user(
    tiny: Path, tmp_path: Path
) -> None:
    other = write_demo(tmp_path, "tiny", 0, modalities=(), platform="b")
    columns = ["item", "zh", "en"]
    read = [pl.read_csv(at / "DEMO_item.csv", has_header=False, new_columns=columns) for at in (tiny, other)]
    assert not set(read[0]["item"]) & set(read[1]["item"])
    users = [set(pl.read_csv(at / "DEMO_user.csv")["user"]) for at in (tiny, other)]
    assert not users[0] & users[1]
    first, second = read_truth(tiny), read_truth(other)
    assert first.parameters["laws"] == second.parameters["laws"]
    topics = second.items.attributes["topic"]
    for topic, en in zip(topics, read[1]["en"], strict=True):
        assert set(demo_titles.TOPICS_EN[topic].split()) & set(en.split())
    # Another mix: topics are alike on the first platform, not on the second, where tastes follow the items.
    shares = np.bincount(topics, minlength=12)
    assert np.ptp(np.bincount(first.items.attributes["topic"])) <= 1
    assert shares.max() > 2 * shares.min() > 0
    tastes = np.bincount(second.users.favourites["topic"], minlength=12)
    assert np.corrcoef(shares, tastes)[0, 1] > 0.3
    assert not np.allclose(np.sort(first.items.popularity), np.sort(second.items.popularity))


def test_on_the_even_platform_every_modality_adds_to_what_can_be_known() -> None:
    world, platform = World(users=1_500, items=1_500), PLATFORMS["even"]
    items, users = make_items(world, 0, platform), make_users(world, 0, platform)
    (block,) = walk(world, Shelf(items, platform.rules), users, 0, platform)
    order = np.lexsort((block.timestamp, block.user))
    rows_UL = np.zeros((world.users, world.longest), np.int64)
    lengths_U = np.bincount(block.user, minlength=world.users)
    place_E = np.arange(len(order)) - np.repeat(np.cumsum(lengths_U) - lengths_U, lengths_U)
    user_E = block.user[order]
    rows_UL[user_E, place_E + world.longest - lengths_U[user_E]] = block.item[order] + 1
    history_UL, target_U = rows_UL[:, :-1], rows_UL[:, -1]
    known: tuple[str, ...] = ()
    rates = []
    for attribute in ("topic", "colour", "sound", "motion"):
        known += (attribute,)
        rank_U = oracle_ranks(items, history_UL, target_U, history_UL, known, rules=platform.rules)
        rates.append((rank_U <= 10).mean())
    assert all(more > 1.3 * less for less, more in pairwise(rates)), rates


def test_both_platforms_live_side_by_side(tiny: Path, tmp_path: Path) -> None:
    modules = [Demo(root=str(tmp_path), size="tiny", platform=name) for name in ("a", "b")]
    for module in modules:
        module.bind(ModelNeeds(transforms={}))
        module.prepare_data()
        module.setup()
    assert modules[0].spec.fingerprint != modules[1].spec.fingerprint
    assert modules[0].cache != modules[1].cache
    assert checksums(modules[0].folder) == checksums(tiny)
    with pytest.raises(ValueError, match=r"platform a .* found .* platform b"):
        write_demo(modules[1].root, "tiny", 0)
    with pytest.raises(ValueError, match="a, b, even, found 'c'"):
        Demo(platform="c")  # type: ignore[arg-type]

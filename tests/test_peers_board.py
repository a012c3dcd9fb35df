"""RecBole's row of a board is of the board's data, ranked by its rule; a fake worker trains here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks.peers.board import COURSE, NAME, Order, main, make_rows
from benchmarks.peers.board_data import histories_of
from benchmarks.peers.contender import Entry, WorkerError
from benchmarks.peers.environments import Environments
from datamodules.base import RecDataModule
from datamodules.protocols import GlobalTime
from datamodules.tools.baseline import baseline
from tests.data_makers.fake_peer import BATCHES, BEST
from tests.data_makers.miniatures import MINIATURES
from zoo.leaderboard.board import rows_of
from zoo.leaderboard.ranked import record_ranks
from zoo.leaderboard.records import read_board
from zoo.leaderboard.runfile import DEFAULT_FOLDER, find_runs
from zoo.types import ModelNeeds

FAKE = "tests.data_makers.fake_peer"
(FILE,) = find_runs(DEFAULT_FOLDER, [f"ml100k/{NAME}"])


def movies(root: Path, **options: Any) -> RecDataModule:  # noqa: ANN401
    """MovieLens in RecBole's form, in chunks of 11."""
    tree = MINIATURES["ml100k-recbole"]
    if not root.exists():
        tree.make(root)
    data = tree.read(root, **options)
    assert isinstance(data, RecDataModule)
    return data


def ready(data: RecDataModule) -> RecDataModule:
    data.bind(ModelNeeds({}))
    data.prepare_data()
    data.setup()
    return data


def order(out: Path, variant: str = "", **options: Any) -> Order:  # noqa: ANN401
    return Order(
        FILE,
        out,
        Environments(Path("nowhere")),
        entry=Entry("RecBole", worker=FAKE, variant=variant),
        **options,
    )


def plain_ranks(data: RecDataModule) -> dict[str, int]:
    """User -> rank, one by one, from the scores of the fake's best epoch and the tables themselves."""
    tables = data.tables()
    row_of = {name: row for row, name in enumerate(data.item_names)}
    n_users, n_items = len(data.user_names) - 1, len(data.item_names) - 1
    score_UI = np.random.default_rng(0).random((n_users, n_items), dtype=np.float32)
    found = {}
    for user in range(n_users):
        line = tables.items_of[tables.offsets[user] : tables.offsets[user + 1]]
        names = tables.items["item"].gather(line).to_list()
        *seen, target = [row_of[name] - 1 for name in names]
        if user < n_users // 2:
            score_UI[user, target] = 2.0
        others = set(range(n_items)) - {*seen, target}
        rivals = [item for item in others if score_UI[user, item] >= score_UI[user, target]]
        found[tables.users[user]] = 1 + len(rivals)
    return found


def test_the_row_is_what_a_plain_count_finds_and_stands_on_the_board(tmp_path: Path) -> None:
    data, out = movies(tmp_path / "raw"), tmp_path / "out"
    assert make_rows(data, order(out, seeds=2)) == 0
    seed = out / "ml100k" / NAME / "seed-1"
    ranks = pl.read_parquet(seed / "ranks.parquet")
    expected = plain_ranks(data)
    assert dict(zip(ranks["user"], ranks["rank"], strict=True)) == expected
    content = json.loads((seed / "results.json").read_text())
    metrics = content["rows"][0]["metrics"]
    gains = [1 / np.log2(rank + 1) if rank <= 10 else 0.0 for rank in expected.values()]
    assert metrics["ndcg@10"] == pytest.approx(np.mean(gains))
    assert metrics["hr@5"] == pytest.approx(np.mean([rank <= 5 for rank in expected.values()]))
    assert metrics["mrr@20"] == pytest.approx(np.mean([(r <= 20) / r for r in expected.values()]))
    assert (content["seed"], content["epoch"], content["cost"]["parameters"]) == (1, BEST - 1, 1)
    assert content["versions"]["torch"]
    assert content["slices"].keys() >= {"popularity", "activity"}
    baseline(movies(tmp_path / "raw"), out / "ml100k" / "popularity" / "seed-0", record_ranks)
    board = read_board("ml100k", out, DEFAULT_FOLDER)
    assert not board.apart
    rows = {row.model: row for row in rows_of(board, {}, everything=False)}
    assert rows.keys() == {NAME, "popularity"}
    assert (rows[NAME].title, rows[NAME].role) == ("RecBole 1.2.1's SASRec (its own training)", "baseline")
    assert rows[NAME].seeds == (0, 1)


def test_a_finished_seed_is_kept_and_another_training_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = movies(tmp_path / "raw"), tmp_path / "out"
    make_rows(data, order(out))
    seed = out / "ml100k" / NAME / "seed-0"
    before = (seed / "results.json").stat().st_mtime_ns
    make_rows(data, order(out, variant="ends"))  # is not even started
    assert f"ml100k/{NAME}/seed-0 is finished" in capsys.readouterr().out
    assert (seed / "results.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="holds another experiment"):
        make_rows(data, order(out, patience=7))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds something else"):
        make_rows(data, order(tmp_path / "taken"))


def test_what_was_interrupted_goes_on_after_its_last_epoch(tmp_path: Path) -> None:
    data, out = movies(tmp_path / "raw"), tmp_path / "out"
    seed = out / "ml100k" / NAME / "seed-0"
    for done in (2, 4):
        with pytest.raises(WorkerError, match="tired"):
            make_rows(data, order(out, variant="tires"))
        assert [path.name for path in seed.glob("*.state*")] == [f"epoch-{done}.state"]
        (record,) = read_board("ml100k", out, DEFAULT_FOLDER).lost
        assert record.state == "failed"
    make_rows(data, order(out, variant="tires"))
    course = json.loads((seed / COURSE).read_text())
    assert [point[0] for point in course["points"]] == [BATCHES * epoch for epoch in range(1, BEST + 4)]
    assert not list(seed.glob("*.state*"))
    make_rows(data, order(tmp_path / "at-once"))
    ranks = [path.joinpath("ml100k", NAME, "seed-0", "ranks.parquet") for path in (out, tmp_path / "at-once")]
    assert pl.read_parquet(ranks[0]).equals(pl.read_parquet(ranks[1]))


def test_what_a_limit_ended_goes_on_when_the_limit_is_raised(tmp_path: Path) -> None:
    data, out = movies(tmp_path / "raw"), tmp_path / "out"
    seed = out / "ml100k" / NAME / "seed-0"
    make_rows(data, order(out, most=2))
    trained = json.loads((seed / "results.json").read_text())["trained"]
    assert (trained["epochs"], trained["ended_by"]) == (2, "most")
    assert [path.name for path in seed.glob("*.state*")] == ["epoch-2.state"]
    make_rows(data, order(out))
    make_rows(data, order(tmp_path / "at-once"))
    found = [
        json.loads((path / seed.relative_to(out) / "results.json").read_text())
        for path in (out, tmp_path / "at-once")
    ]
    assert found[0]["trained"] == found[1]["trained"]
    assert (found[0]["trained"]["epochs"], found[0]["trained"]["ended_by"]) == (BEST + 3, "patience")
    assert found[0]["rows"] == found[1]["rows"]
    assert not list(seed.glob("*.state*"))


def test_a_training_that_diverged_is_no_row(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="found NaN: its training has diverged"):
        make_rows(movies(tmp_path / "raw"), order(tmp_path / "out", variant="diverges"))
    board = read_board("ml100k", tmp_path / "out", DEFAULT_FOLDER)
    assert not board.records
    assert "diverged" in board.lost[0].message


def test_other_data_are_refused(tmp_path: Path) -> None:
    found = histories_of(ready(movies(tmp_path / "raw", windowing="last", max_len=4)))
    assert np.diff(found.offsets).max() == 4 + 3  # what trains ours, and no more
    with pytest.raises(ValueError, match="all but the last two of everybody's items train"):
        histories_of(ready(movies(tmp_path / "raw", train_fraction=0.5)))
    with pytest.raises(ValueError, match=r"found others: RecBole's row would not be of the same"):
        histories_of(ready(movies(tmp_path / "raw", protocol=GlobalTime())))


def test_wrong_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"there is no option --model\.lr"):
        main(["ml100k", "--model.lr", "1"])
    with pytest.raises(SystemExit, match=rf"There is no run '{NAME}'"):
        main(["demo"])
    with pytest.raises(SystemExit, match="nowhere"):
        main(["ml100k", "--data.root", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])

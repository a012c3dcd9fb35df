import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.zoo.leaderboard.made import lost_run, made_run, run_file
from zoo.leaderboard.board import Filters, Row, rows_of
from zoo.leaderboard.estimates import estimate
from zoo.leaderboard.published import Figure, read_published, require_known, verdict
from zoo.leaderboard.records import Board, read_board
from zoo.leaderboard.text import markdown
from zoo.provenance import seal

FIGURES = {"t:a": Figure("t:a", "Nobody", "Table 1", "any", {"hr@10": 0.9, "ndcg@10": 0.05}, "one seed")}


def board_of(folder: Path, protocol: str = "") -> Board:
    return read_board("toy", folder / "out", folder / "runs", protocol)


def rows(folder: Path, everything: bool = False) -> dict[str, Row]:
    return {row.model: row for row in rows_of(board_of(folder), FIGURES, everything)}


def reasons(board: Board) -> dict[str, str]:
    return {f"{each.record.model}-{each.record.seed}": each.reason for each in board.apart}


def test_only_what_agrees_stands_in_one_column(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for model in ("morec", "idrec"):
        for seed in range(2):
            made_run(out, model, seed)
    made_run(out, "elsewhere", protocol="global time")
    made_run(out, "others", data="d2")
    made_run(out, "nowhere", data=None)
    made_run(out, "unsaid", protocol=None)
    made_run(out, "python", config=None)
    made_run(out, "morec", 2, config="another")
    edited = made_run(out, "edited") / "results.json"
    edited.write_text(edited.read_text().replace('"seed"', '"Seed"').replace("2.0", "1.0"))
    bare = made_run(out, "bare") / "results.json"
    bare.write_text(json.dumps({k: v for k, v in json.loads(bare.read_text()).items() if k != "checksum"}))
    swapped = made_run(out, "swapped")
    (swapped / "ranks.parquet").write_bytes(b"other")
    found = board_of(tmp_path)
    assert {record.model for record in found.records} == {"morec", "idrec"}
    assert reasons(found) == {
        "elsewhere-0": "another protocol: global time",
        "others-0": "another catalogue, or other histories: data d2, not d1",
        "nowhere-0": "no fingerprint of its data",
        "unsaid-0": "no protocol",
        "python-0": "no configuration: not made by the command",
        "morec-2": "another configuration than most of its seeds",
        "edited-0": "edited: its checksum does not fit its content",
        "bare-0": "no checksum: made by hand, or by an older version",
        "swapped-0": "ranks.parquet is missing, or is not the one that belongs to it",
    }


def test_a_filter_by_protocol_makes_it_the_board(tmp_path: Path) -> None:
    for seed in range(2):
        made_run(tmp_path / "out", "morec", seed)
    made_run(tmp_path / "out", "morec", 5, protocol="global time", config="g")
    found = board_of(tmp_path, "GLOBAL")
    assert [record.seed for record in found.records] == [5]
    assert not found.apart


def test_failed_and_unfinished_seeds_are_not_hidden(tmp_path: Path) -> None:
    made_run(tmp_path / "out", "morec")
    lost_run(tmp_path / "out", "morec", 1, "Traceback\nValueError: NaN")
    lost_run(tmp_path / "out", "morec", 2)
    broken = made_run(tmp_path / "out", "morec", 3) / "results.json"
    broken.write_text("{")
    row = rows(tmp_path)["morec"]
    assert (row.seeds, row.failed, row.unfinished) == ((0,), (1, 3), (2,))


def test_copies_other_numbers_of_processes_and_no_numbers_stand_apart(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for seed in range(2):
        made_run(out, "morec", seed)
    shutil.copytree(out / "toy" / "morec" / "seed-0", out / "toy" / "morec" / "seed-2")
    made_run(out, "morec", 3, processes=4)
    made_run(out, "empty", rows=[{"slice_name": "all", "metrics": {"hr@10": math.nan}, "users": 0}])
    assert reasons(board_of(tmp_path)) == {
        "morec-2": "copied: it is a run of seed 0",
        "morec-3": "4 processes share a batch, 1 in most of its seeds",
        "empty-0": "no metrics over all users",
    }


@pytest.mark.parametrize(
    "rows",
    ["none", [1], [{"slice_name": "all"}], [{"slice_name": "all", "metrics": {"hr@10": "much"}}], {"a": 1}],
)
def test_a_file_edited_into_nonsense_spoils_nothing_else(rows: object, tmp_path: Path) -> None:
    made_run(tmp_path / "out", "morec")
    path = made_run(tmp_path / "out", "edited") / "results.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rows": rows}))
    found = board_of(tmp_path)
    assert reasons(found) == {"edited-0": "edited: its checksum does not fit its content"}
    assert "edited/seed-0" in markdown(found, rows_of(found, FIGURES, False))


def test_files_of_another_version_or_cut_off_spoil_nothing_else(tmp_path: Path) -> None:
    for model in ("morec", "idrec", "odmt"):
        made_run(tmp_path / "out", model)
    toy = tmp_path / "out" / "toy"
    (toy / "morec" / "run.json").write_text(
        '{"title": "T", "board": "toy", "name": "morec", "data": "d", "new": 1}'
    )
    (toy / "idrec" / "run.json").write_text('{"title": "T"}')
    (toy / "odmt" / "seed-0" / "job.json").write_text("")
    found = rows(tmp_path)
    assert found["morec"].title == "T"
    assert found["idrec"].title == "idrec"
    assert found["odmt"].failed == (0,)
    assert "Remove the folder" in board_of(tmp_path).lost[0].message


def test_the_interval_takes_seeds_and_users_in() -> None:
    value_SU = np.array([[1.0, 0.0] * 50] * 2)
    same = estimate([0.5, 0.5], value_SU, [])
    assert math.isclose(same.half, 1.959964 * math.sqrt(0.25 / 99), rel_tol=0.02)
    apart = estimate([0.4, 0.6], value_SU, [])
    assert apart.half > 3 * same.half  # two seeds: their spread counts, and one degree of freedom
    alone = estimate([0.5], None, [0.1])
    assert math.isclose(alone.half, 0.1)
    assert math.isnan(estimate([0.5], np.array([[0.5]]), []).half)  # one user


def test_rows_are_tested_against_the_best_baseline(tmp_path: Path) -> None:
    for seed in range(3):
        made_run(tmp_path / "out", "morec", seed, 0.5)
        made_run(tmp_path / "out", "idrec", seed, 0.3)
        made_run(tmp_path / "out", "weak", seed, 0.1)
    made_run(tmp_path / "out", "popularity", 0, 0.2)
    for model, values in (("idrec", {}), ("weak", {}), ("popularity", {"ranker": "popularity", "model": ""})):
        run_file(tmp_path / "runs", model, role="baseline", **values)
    run_file(tmp_path / "runs", "morec", published=["t:a"])
    found = rows(tmp_path)
    assert list(found) == ["morec", "idrec", "popularity", "weak"]
    assert found["idrec"].versus is None  # it is what the others are compared with
    versus = found["morec"].versus
    assert versus is not None
    assert versus.p_users < 0.01
    assert versus.p_seeds < 0.05
    assert versus.over_users.difference == pytest.approx(
        found["morec"].metrics["hr@10"].mean - found["idrec"].metrics["hr@10"].mean
    )
    popular = found["popularity"].versus
    assert popular is not None
    assert math.isnan(popular.p_seeds)  # one seed says nothing of seeds
    said = {each.metric: each.verdict.kind for each in found["morec"].beside}
    assert said == {"hr@10": "not reproduced", "ndcg@10": "exceeded"}
    assert found["morec"].costs.memory_bytes == 3 * 2**28 - 2**29
    assert found["morec"].slices["cold"]["1-9"]["n"] == 50


def test_users_are_matched_by_name(tmp_path: Path) -> None:
    for seed in range(3):
        made_run(tmp_path / "out", "morec", seed, 0.5)
        made_run(tmp_path / "out", "idrec", seed, 0.3, users=lambda at: f"{at:09}")
    run_file(tmp_path / "runs", "idrec", role="baseline")
    versus = rows(tmp_path)["morec"].versus
    assert versus is not None
    assert math.isnan(versus.p_users)  # the same catalogue, but nobody knows who is who
    assert versus.p_seeds < 0.05


def test_the_baseline_is_named_whatever_is_shown(tmp_path: Path) -> None:
    for seed in range(2):
        made_run(tmp_path / "out", "morec", seed, 0.5)
        made_run(tmp_path / "out", "odmt", seed, 0.4)
        made_run(tmp_path / "out", "best", seed, 0.3, modalities=[], ids=True)
        made_run(tmp_path / "out", "worse", seed, 0.2)
    for name in ("best", "worse"):
        run_file(tmp_path / "runs", name, role="baseline")
    board = board_of(tmp_path)
    shown = [row for row in rows_of(board, FIGURES, False) if Filters(frozenset({"text"})).lets(row)]
    assert [row.model for row in shown] == ["morec", "odmt", "worse"]
    text = markdown(board, shown)
    assert "best baseline |" not in text
    assert "Over best, the best baseline" in text
    assert "corrected for 3 comparisons (Holm)" in text


def test_one_seed_is_said_to_know_of_users_alone(tmp_path: Path) -> None:
    made_run(tmp_path / "out", "morec")
    board = board_of(tmp_path)
    assert "one seed, it is over users alone" in markdown(board, rows_of(board, FIGURES, False))


def test_what_was_typed_over_a_run_file_is_said(tmp_path: Path) -> None:
    run_file(tmp_path / "runs", "morec", options={"model.lr": 0.1})
    made_run(tmp_path / "out", "morec", 0, typed=["--model.lr=0.1"])
    made_run(tmp_path / "out", "morec", 1, typed=["--trainer.max_epochs=1", "--data.root=x"])
    assert rows(tmp_path)["morec"].changed == ("--trainer.max_epochs=1", "without --model.lr=0.1")
    board = board_of(tmp_path)
    said = "other options than their run files say: morec --trainer.max_epochs=1 without --model.lr=0.1."
    assert said in markdown(board, rows_of(board, FIGURES, False))


def test_a_deterministic_baseline_is_paired_with_every_seed(tmp_path: Path) -> None:
    for seed in range(3):
        made_run(tmp_path / "out", "morec", seed, 0.5)
    made_run(tmp_path / "out", "markov", 0, 0.2)
    run_file(tmp_path / "runs", "markov", ranker="markov", model="")
    versus = rows(tmp_path)["morec"].versus
    assert versus is not None
    assert (versus.seeds, versus.p_seeds < 0.05) == (3, True)


def test_what_was_never_run_is_a_row_if_asked_for(tmp_path: Path) -> None:
    made_run(tmp_path / "out", "morec")
    run_file(tmp_path / "runs", "odmt", published=["t:a"])
    assert "odmt" not in rows(tmp_path)
    row = rows(tmp_path, everything=True)["odmt"]
    assert {each.verdict.kind for each in row.beside} == {"not run"}
    assert not row.done


def test_filters(tmp_path: Path) -> None:
    made_run(tmp_path / "out", "morec")
    made_run(tmp_path / "out", "idrec", modalities=[], ids=True)
    found = rows(tmp_path)
    assert [m for m, row in found.items() if Filters(frozenset({"text"})).lets(row)] == ["morec"]
    assert [m for m, row in found.items() if Filters(frozenset({"ids"})).lets(row)] == ["idrec"]
    assert not any(Filters(max_parameters=1e6).lets(row) for row in found.values())


def test_published_figures_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    table = "t:\n  paper: A\n  where: T1\n  protocol: p\n  metrics: [hr@10, ndcg@10]\n  unit: percent\n"
    path.write_text(f"{table}  rows:\n    a: [12.5, null]\n")
    found = read_published(path)
    assert found["t:a"].metrics == {"hr@10": 0.125}
    require_known({"toy/a": ("t:a",)}, found)
    with pytest.raises(ValueError, match=r"toy/a: there is no published figure 't:b'. Did you mean t:a"):
        require_known({"toy/a": ("t:b",)}, found)
    path.write_text(f"{table}  rows:\n    a: [12.5]\n")
    with pytest.raises(ValueError, match=r"t:a: expected 2 values"):
        read_published(path)
    path.write_text("t: {paper: A}")
    with pytest.raises(ValueError, match=r"t: expected metrics, paper, protocol, rows, where"):
        read_published(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"units": "percent"}, "no 'units'. Did you mean unit"),
        ({"unit": "permille"}, "unit: expected percent or share, found 'permille'"),
        ({"rows": ["a"]}, "rows: expected names with their values"),
        ({"metrics": "hr@10"}, "metrics: expected a list of names"),
        ({"rows": {"a": ["12.5 %"]}}, "t:a: hr@10: expected a number or null, found '12.5 %'"),
        ({"rows": {"a": [math.nan]}}, "t:a: hr@10: expected a number or null"),
        ({"rows": {"a": [12.5]}}, "t:a: hr@10: expected 0 to 1, found 12.5. Is the unit percent?"),
    ],
)
def test_bad_published_figures_say_what_is_wrong(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "published.yaml"
    table = {"paper": "A", "where": "T1", "protocol": "p", "metrics": ["hr@10"], "rows": {"a": [0.1]}}
    path.write_text(yaml.safe_dump({"t": {**table, **change}}))
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        read_published(path)
    assert str(path) in str(error.value)


def test_verdicts() -> None:
    assert verdict(0.2, None, None, None).kind == "not run"
    assert verdict(0.2, 0.19, 0.18, 0.1961).kind == "reached"  # two per cent are rounding and small print
    assert verdict(0.2, 0.19, 0.18, 0.1959).kind == "not reproduced"
    assert verdict(0.2, 0.22, 0.205, 0.23).kind == "exceeded"
    assert "within 2 % of our interval" in verdict(0.2, 0.19, 0.18, 0.1961).words
    nan = math.nan
    assert verdict(0.2, 0.1, nan, nan).kind == "not reproduced"  # without an interval the mean counts
    assert verdict(0.2, 0.3, nan, nan).kind == "exceeded"
    assert "within 2 % of ours" in verdict(0.2, 0.201, nan, nan).words


def test_metrics_of_pairs(tmp_path: Path) -> None:
    import polars as pl

    from zoo.provenance import file_digest

    for seed in range(2):
        folder = made_run(tmp_path / "out", "bpr", seed)
        table = pl.DataFrame({"user": ["u1", "u2"], "recall@20": [0.5, 0.0], "ndcg@20": [0.25, 0.0]})
        table.write_parquet(folder / "users.parquet")
        content = json.loads((folder / "results.json").read_text())
        content["rows"][0]["metrics"] = {"recall@20": 0.25, "ndcg@20": 0.125}
        content["users"] = {"file": "users.parquet", "sha256": file_digest(folder / "users.parquet")}
        (folder / "results.json").write_text(json.dumps(seal(content)))
    row = rows(tmp_path)["bpr"]
    assert row.metrics["recall@20"].mean == 0.25
    assert row.metrics["recall@20"].high > 0.5

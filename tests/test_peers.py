"""Other libraries are driven as agreed, judged alike and installed once; no library is needed to see that."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.goals import GOALS, MISSING, goal_lines
from benchmarks.measure import Unequal
from benchmarks.peers.contender import Contender, Entry, WorkerError, running
from benchmarks.peers.environments import PEERS, STAMP, Environments
from benchmarks.peers.gate import Rules, gate_rows
from benchmarks.peers.histories import Histories
from benchmarks.peers.judge import gains, paired_interval, ranks
from benchmarks.peers.protocol import Channel, Pacer, Setting, Stage
from benchmarks.peers.rows import evaluation_row, shape_histories, training_row
from tests.data_makers.fake_peer import BATCHES, BEST, ORDER
from zoo.metrics.ranking import target_rank

FAKE = "tests.data_makers.fake_peer"
FAKES = (Entry("ours", worker=FAKE), Entry("other", worker=FAKE))
NOWHERE = Environments(Path("nowhere"))


def some_histories(users: int = 40, items: int = 60) -> Histories:
    """Histories of five to twelve items without repetitions."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 13, users)
    rows = [rng.choice(items, length, replace=False) for length in lengths]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Histories(offsets, np.concatenate(rows), items)


def test_a_loop_goes_as_far_as_it_is_told() -> None:
    asked = [
        {"do": "steps", "count": 2},
        {"do": "epoch"},
        {"do": "scores", "stage": "val", "users": 1, "file": "f"},
    ]
    source, target = io.StringIO("".join(json.dumps(request) + "\n" for request in asked)), io.StringIO()
    saved: list[Stage] = []
    pacer = Pacer(Channel(source, target), lambda stage, users, path: saved.append(stage))
    pacer.begin(parameters=3)
    pacer.step(10)
    pacer.step(20)
    pacer.step(30)
    with pytest.raises(SystemExit):  # nothing more is asked
        pacer.epoch()
    first, two, epoch, scores, last = map(json.loads, target.getvalue().splitlines())
    assert first == {"ready": True, "parameters": 3}
    assert (two["labels"], two["steps"]) == (30, 2)
    assert (epoch["labels"], epoch["steps"]) == (30, 1)
    assert scores == {"done": True}
    assert saved == ["val"]
    assert last["peak_mb"] > 0


def test_unknown_settings_and_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="found depth"):
        Setting.parse(['{"data": "a", "folder": "b", "depth": 3}'])
    with pytest.raises(ValueError, match="found 'rest'"):
        Setting.parse(['{"data": "a", "folder": "b", "mode": "rest"}'])
    with pytest.raises(ValueError, match="found 'dance'"):
        Pacer(Channel(io.StringIO('{"do": "dance"}\n'), io.StringIO()), lambda *_: None).begin()


def test_contenders_train_in_turns(tmp_path: Path) -> None:
    row = training_row("few", some_histories(), tmp_path / "run", NOWHERE, 2, FAKES, steps=2, warm_ups=1)
    assert (tmp_path / "run" / ORDER).read_text("utf-8") == "0" + "1" + "0011" * 2
    assert row.rates.keys() == row.peak_mb.keys() == {"ours", "other"}
    assert row.rates["other"].minimum > 0
    assert row.notes["other: parameters"] == 1


def test_a_worker_that_ends_says_why(tmp_path: Path) -> None:
    some_histories().save(tmp_path / "histories.npz")
    setting = Setting(tmp_path / "histories.npz", tmp_path / "all")
    with pytest.raises(WorkerError, match=r"(?s)found its end, code 1.*this is no answer.*out of luck"):
        Contender(Entry("lost", worker=FAKE, variant="ends"), Path(sys.executable), setting)
    entries = [Entry("lost", worker=FAKE, variant="stops")]
    with running(entries, setting, NOWHERE) as (lost,), pytest.raises(WorkerError, match="all of it"):
        lost.ask("epoch")


def test_the_gate_stops_behind_the_best_epoch_and_judges_its_scores(tmp_path: Path) -> None:
    rules, kept = Rules(FAKES, patience=3 * BATCHES, seeds=(0, 1)), tmp_path / "kept"
    rows = gate_rows(some_histories(), tmp_path / "gate", NOWHERE, rules, kept)
    quality, reach, best, rates = rows
    assert quality.rates["ours"] == quality.rates["other"]
    assert quality.rates["ours"].median >= 0.5  # half of the users' targets are ahead
    assert quality.notes["ours less other"] == "+0.0000 to +0.0000 (95 %)"
    assert quality.notes["other: best epochs"] == f"{BEST}, {BEST}"
    assert all(reach.rates[name].median <= best.rates[name].median for name in ("ours", "other"))
    assert best.less_is_better
    assert rates.rates["ours"].median > 0
    steps = (tmp_path / "gate" / "0" / ORDER).read_text("utf-8")
    assert steps.count("0") == steps.count("1") == BATCHES * (BEST + 3)
    again = gate_rows(some_histories(), tmp_path / "again", NOWHERE, rules, kept)
    assert [row.plain() for row in again] == [row.plain() for row in rows]
    assert not (tmp_path / "again" / "0" / ORDER).exists()


def test_wrong_metrics_end_an_evaluation(tmp_path: Path) -> None:
    with pytest.raises(Unequal, match="ours reports"):
        evaluation_row("mini", "mini", tmp_path / "run", NOWHERE, 1, FAKES)


def test_ranks_are_those_of_our_metrics() -> None:
    generator = torch.Generator().manual_seed(0)
    user_UD = torch.randint(-2, 3, (50, 4), generator=generator).float()
    table_ID = torch.randint(-2, 3, (31, 4), generator=generator).float()
    target_U = torch.randint(1, 31, (50,), generator=generator)
    hidden_UH = torch.randint(1, 31, (50, 5), generator=generator)
    _, expected_U = target_rank(user_UD, table_ID, target_U, hidden_UH)
    scores_UI = (user_UD @ table_ID[1:].T).numpy()
    found_U = ranks(scores_UI, target_U.numpy() - 1, list(hidden_UH.numpy() - 1))
    assert found_U.tolist() == expected_U.tolist()


def test_an_item_that_a_model_does_not_know_is_ranked_last() -> None:
    scores_UI = np.array([[0.0, -np.inf, 1.0]], dtype=np.float32)
    assert ranks(scores_UI, np.array([1]), None).tolist() == [3]
    assert ranks(scores_UI, np.array([0]), [np.array([2])]).tolist() == [1]


def test_intervals_are_of_paired_differences() -> None:
    ours_U = gains(np.array([1, 2, 30, 4]))
    assert paired_interval(ours_U, ours_U) == (0.0, 0.0)
    low, high = paired_interval(ours_U, ours_U - 0.25)
    assert low == pytest.approx(0.25)
    assert high == pytest.approx(0.25)


def test_histories_are_cut_and_padded_from_their_end(tmp_path: Path) -> None:
    histories = Histories(np.array([0, 5, 8]), np.arange(8), 9).last(4)
    histories.save(tmp_path / "histories.npz")
    histories = Histories.load(tmp_path / "histories.npz")
    assert histories.items.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert [row.tolist() for row in histories.read("train")] == [[1, 2], [5]]
    assert histories.target("val").tolist() == [3, 6]
    assert histories.target("test").tolist() == [4, 7]
    assert histories.padded("test", 2, 9).tolist() == [[2, 3], [5, 6]]
    assert histories.padded("train", 3, 9, users=1).tolist() == [[9, 1, 2]]


def test_shapes_are_cut_to_what_all_use() -> None:
    assert np.diff(shape_histories("mini", 10).offsets).max() == 13


def fake_python(path: Path, pip: str) -> Path:
    """An interpreter that makes environments of itself, and whose pip does as told."""
    path.write_text(
        "#!/bin/sh\n"
        'if [ "$2" = venv ]\n'
        'then mkdir -p "$4/bin" "$4/lib/python3.11/site-packages" && cp "$0" "$4/bin/python"\n'
        f'else echo "$@"; {pip}; fi\n',
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path


def test_an_environment_is_made_once_and_anew_for_other_versions(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "peers", fake_python(tmp_path / "python", "true"))
    interpreter = environments.interpreter("rectools")
    assert "rectools[torch]==" in (tmp_path / "peers" / "rectools" / "pip.log").read_text("utf-8")
    assert environments.packages("rectools").name == "site-packages"
    unable = Environments(environments.root, tmp_path / "missing")
    assert unable.interpreter("rectools") == interpreter
    (tmp_path / "peers" / "rectools" / STAMP).write_text("rectools==0.1\n", encoding="utf-8")
    with pytest.raises(FileNotFoundError):
        unable.interpreter("rectools")


def test_a_failed_installation_shows_what_pip_said(tmp_path: Path) -> None:
    python = fake_python(tmp_path / "python", "echo no such version; exit 1")
    with pytest.raises(RuntimeError, match="no such version"):
        Environments(tmp_path / "peers", python).interpreter("replay")
    assert not (tmp_path / "peers" / "replay" / STAMP).exists()


def test_every_library_is_pinned() -> None:
    for peer in PEERS.values():
        assert any(line.startswith(peer.distribution) and "==" in line for line in peer.requirements)


def test_goals_stand_beside_what_was_measured() -> None:
    row = {
        **{"row": "encodes", "case": "mini, length 10", "unit": "encodes per batch", "shape": {}},
        **{"rates": {}, "ours_over": {"plain": 2.345}, "check": "", "peak_mb": {}, "notes": {}},
    }
    lines = list(goal_lines([row]))
    assert len(lines) == 2 + len(GOALS)
    assert "mini, length 10: 2.3 times" in lines[3]
    assert MISSING in lines[2]


@pytest.mark.slow
def test_our_command_is_a_contender(tmp_path: Path) -> None:
    histories = some_histories(200)
    histories.save(tmp_path / "histories.npz")
    setting = Setting(tmp_path / "histories.npz", tmp_path / "all", width=8, batch=64, max_len=10)
    with running([Entry("ours"), Entry("plain", variant="plain")], setting, NOWHERE) as both:
        found = [contender.ask("epoch") for contender in both]
        assert [contender.scores("test", 30).shape for contender in both] == [(30, 60)] * 2
        labels = int((np.diff(histories.offsets) - 3).sum())
        assert [answer["labels"] for answer in found] == [labels, labels]
        assert all(contender.stop() > 0 for contender in both)

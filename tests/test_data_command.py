"""``mmzoo data`` through the command itself, on small trees, whole and hostile."""

import csv
import inspect
import json
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cli
from datamodules.raw_content import RawContent
from datamodules.tools import ACTIONS, HELP, check, look, sheet
from datamodules.tools.look import Limits
from tests.data_makers.mmrec import make_mmrec
from tests.data_makers.ninerec import EVERY_DAMAGE, Tree, make_ninerec
from tests.data_makers.pixelrec import make_pixelrec
from tests.test_cli import failed


def data(action: str, root: Path, out: Path, *options: str, name: str = "nineRec") -> int:
    """Runs ``mmzoo data`` in this process and returns its status."""
    line = ["data", action, "--data", name, "--data.root", str(root), "--out", str(out), *options]
    try:
        cli.main(line)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 99
    return 0


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "check.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_help_names_every_action_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["data", "--help"])
    cli.main(["data", "check", "--help"])
    assert capsys.readouterr().out == 2 * HELP
    for action in ACTIONS:
        function = getattr(import_module(f"datamodules.tools.{action}"), action)
        for option in set(inspect.signature(function).parameters) - {
            "data",
            "needs",
            "out",
            "draw",
            "limits",
            "record",
        }:
            assert f"--{option}" in HELP, option
    assert all(f"--limits.{limit}" in HELP for limit in inspect.signature(Limits).parameters)


def test_what_is_mistyped_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean check" in failed(["data", "chek"], capsys)
    assert "add --data NAME" in failed(["data", "stats"], capsys)
    assert "Did you mean ninerec" in failed(["data", "stats", "--data", "ninrec"], capsys)
    assert "Did you mean size" in failed(["data", "stats", "--data", "demo", "--data.sze", "tiny"], capsys)
    assert "Did you mean count" in failed(["data", "show", "--data", "demo", "--cuont", "3"], capsys)
    assert "trainer.max_epochs" in failed(
        ["data", "stats", "--data", "demo", "--trainer.max_epochs", "3"], capsys
    )
    there = ["--data", "nineRec", "--data.root", str(tmp_path)]
    assert "Expected the data set QB" in failed(["data", "check", *there], capsys)
    assert "Did you mean image" in failed(["data", "check", *there, "--modalities", "imge"], capsys)
    assert "Name the model too" in failed(["data", "prepare", *there, "--modalities", "text"], capsys)


def test_check_of_a_clean_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_ninerec(tmp_path / "raw")
    assert data("check", tmp_path / "raw", tmp_path / "out") == 0
    assert rows(tmp_path / "out") == []
    assert not (tmp_path / "raw" / ".mmzoo").exists()
    assert "40        0        0          0      0      0        0     0" in capsys.readouterr().out


def hostile(root: Path) -> Tree:
    """Everything that the maker can damage, and what only this check looks at."""
    tree = make_ninerec(root, n_items=60, damage=EVERY_DAMAGE)
    covers = root / "QB" / "QB_cover"
    spared = [item for item in tree.items if not any(item in hit for hit in tree.damaged.values())]
    (covers / f"{spared[1]}.jpg").write_bytes((covers / f"{spared[0]}.jpg").read_bytes())
    (covers / "stranger.jpg").write_bytes(b"belongs to nobody")
    return tree._replace(items=spared)


def test_check_of_a_hostile_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = hostile(tmp_path / "raw")
    assert data("check", tmp_path / "raw", tmp_path / "out") == 1
    found = {(row["modality"], row["kind"], row["item"], row["lost"]) for row in rows(tmp_path / "out")}
    unreadable = {"missing_covers": "missing", "huge_covers": "large"}
    last = {}  # several kinds of damage may hit one cover: the last one stands
    for damage in ("truncated_covers", "empty_covers", "renamed_covers", "missing_covers", "huge_covers"):
        last.update(dict.fromkeys(tree.damaged[damage], damage))
    for item, damage in last.items():
        assert ("image", unreadable.get(damage, "corrupt"), item, "yes") in found, (damage, item)
    lost = {item for modality, _, item, lost in found if modality == "image" and lost == "yes"}
    assert lost == set(last)
    for item in tree.damaged["empty_titles"]:
        assert ("text", "missing", item, "yes") in found
    for item in tree.items[:2]:
        assert ("image", "duplicate", item, "no") in found
    assert any(row["kind"] == "dropped" for row in rows(tmp_path / "out"))
    assert "1 files" in (text := capsys.readouterr().out)
    assert "stranger.jpg" in text
    assert not (tmp_path / "raw" / ".mmzoo").exists()


@pytest.mark.parametrize("stopped", [("text", 14), ("image", 38)])
def test_a_check_that_was_stopped_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: tuple[str, int]
) -> None:
    hostile(tmp_path / "raw")
    assert data("check", tmp_path / "raw", tmp_path / "whole") == 1
    seen: list[tuple[str, int]] = []

    def watched(raw: RawContent, row: int, limits: Limits) -> look.Looked:
        seen.append((raw.modality, row))
        if len(seen) > 1 and seen[-1] == stopped and stopped not in seen[:-1]:
            raise KeyboardInterrupt
        return look.look(raw, row, limits)

    monkeypatch.setattr(check, "look", watched)
    monkeypatch.setattr(check, "_PIECE", 4)
    assert data("check", tmp_path / "raw", tmp_path / "out", "--threads", "1") == 130
    with open(tmp_path / "out" / f"check-{stopped[0]}.part", "a") as file:
        file.write('{"digest": "0')  # killed while it wrote
    assert data("check", tmp_path / "raw", tmp_path / "out", "--threads", "1") == 1
    order = [(modality, row) for modality in ("text", "image") for row in range(1, 61)]
    begun = order.index(stopped) - 1  # the first of the piece that was open
    assert all(seen.count(one) == 1 for one in order[:begun])
    assert set(seen) == set(order)
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["check.csv"]


def test_check_of_tables_that_cannot_be_read(tmp_path: Path) -> None:
    make_ninerec(tmp_path / "raw", covers=False)
    (tmp_path / "raw" / "QB" / "QB_behaviour.tsv").write_bytes(b"")
    assert data("check", tmp_path / "raw", tmp_path / "out") == 1
    (row,) = rows(tmp_path / "out")
    assert (row["modality"], row["kind"]) == ("table", "corrupt")


def test_a_hostile_record_is_reported_and_never_run(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    make_pixelrec(tmp_path / "raw", covers="lmdb", hostile=tmp_path / "executed")
    assert data("check", tmp_path / "raw", tmp_path / "out", name="pixelrec") == 1
    assert any("refused" in row["reason"] and row["lost"] == "yes" for row in rows(tmp_path / "out"))
    assert not (tmp_path / "executed").exists()


def test_covers_that_are_not_there_are_an_error_only_if_asked_for(tmp_path: Path) -> None:
    make_ninerec(tmp_path / "raw", covers=False)
    assert data("check", tmp_path / "raw", tmp_path / "out") == 0
    assert data("check", tmp_path / "raw", tmp_path / "out", "--modalities", "text,image") == 1


def manifest(cache: Path) -> dict[str, str]:
    (path,) = cache.glob("*/manifest.json")
    return {entry["file"]: entry["sha256"] for entry in json.loads(path.read_text())["files"]}


def test_prepared_files_are_the_same_to_the_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_ninerec(tmp_path / "raw", damage=["truncated_covers", "empty_titles"])
    for cache in ("one", "two"):
        options = ["--data.cache_dir", str(tmp_path / cache), "--model", "morec", "--data.max_len", "7"]
        assert data("prepare", tmp_path / "raw", tmp_path / "out", *options) == 0
    sums = manifest(tmp_path / "one")
    assert sums == manifest(tmp_path / "two")
    kinds = {file.partition("-")[0] for file in sums}
    assert kinds == {"tables", "windows", "text", "image"}
    assert data("prepare", tmp_path / "raw", tmp_path / "out", *options) == 0
    assert manifest(tmp_path / "two") == sums
    damaged = next((tmp_path / "two").glob("*/image-*/pixels.npy"))
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    wrong = ["data", "prepare", "--data", "nineRec", "--data.root", str(tmp_path / "raw"), *options]
    assert "pixels.npy. Something changed or damaged" in failed(wrong, capsys)
    assert manifest(tmp_path / "two") == sums


def test_a_copy_of_the_raw_files_gives_the_same_fingerprint(tmp_path: Path) -> None:
    make_ninerec(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)
    for root in ("one", "two"):
        options = ["--data.cache_dir", str(tmp_path / "cache" / root), "--model", "morec"]
        assert data("prepare", tmp_path / root, tmp_path / "out", *options) == 0
    first, second = (manifest(tmp_path / "cache" / root) for root in ("one", "two"))
    assert first.keys() != second.keys()
    assert sorted(first.values()) == sorted(second.values())
    found = [json.loads(path.read_text()) for path in (tmp_path / "cache").glob("*/*/manifest.json")]
    assert found[0]["sha256"] == found[1]["sha256"]


def test_only_some_of_a_models_modalities_are_prepared(tmp_path: Path) -> None:
    make_ninerec(tmp_path / "raw")
    options = ["--data.cache_dir", str(tmp_path / "cache"), "--model", "morec", "--modalities", "text"]
    assert data("prepare", tmp_path / "raw", tmp_path / "out", *options) == 0
    assert {file.partition("-")[0] for file in manifest(tmp_path / "cache")} == {"tables", "windows", "text"}


def test_stats_count_what_a_plain_reader_counts(tmp_path: Path) -> None:
    tree = make_ninerec(tmp_path / "raw", "Bili_Food")
    options = ["--data.subset", "Bili_Food", "--data.cache_dir", str(tmp_path / "cache")]
    assert data("stats", tmp_path / "raw", tmp_path / "out", *options) == 0
    found = json.loads((tmp_path / "out" / "stats.json").read_text())
    lengths = [len(history) for history in tree.histories.values()]
    taken = [item for history in tree.histories.values() for item in history]
    assert found["tables"]["users"] == len(lengths)
    assert found["tables"]["items"] == len(tree.items)
    assert found["tables"]["interactions"] == sum(lengths)
    assert found["tables"]["items without an interaction"] == len(set(tree.items) - set(taken))
    repeats = sum(len(history) - len(set(history)) for history in tree.histories.values())
    assert found["tables"]["repeats of a pair"] == repeats
    windows = [history[-23:] for history in tree.histories.values()]
    trained = {item for window in windows for item in window[:-2]}
    again = sum(window[-1] in window[:-1] for window in windows)
    cold = sum(window[-1] not in trained for window in windows)
    test = {"users": len(windows), "targets": len(windows), "repeat targets": again}
    assert found["protocol"]["test"] == {**test, "targets never in training": cold}
    kept = {item for window in windows for item in window}
    assert found["protocol"]["items never in training"] == len(kept - trained)
    assert found["content"]["image"] == {"items": len(kept), "missing": 0}
    assert found["time"]["first"].startswith("2020-09-13")
    assert len(found["histograms"]) == 4
    assert Image.open(tmp_path / "out" / "stats.png").size > (1000, 1000)


def test_stats_without_times_and_covers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_ninerec(tmp_path / "raw", covers=False)
    assert data("stats", tmp_path / "raw", tmp_path / "out") == 0
    found = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert found["time"] == {}
    assert found["content"]["image"]["items"] == 0
    assert [panel["title"] for panel in found["histograms"]] == [
        "History lengths", "Item popularity", "Title lengths",
    ]  # fmt: skip


def test_show_draws_the_same_users_for_the_same_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "WIDE_FONTS", ())
    tree = make_ninerec(tmp_path / "raw", damage=["truncated_covers", "missing_covers"])
    options = ["--count", "3", "--seed", "4", "--items", "5"]
    for out in ("one", "two"):
        assert data("show", tmp_path / "raw", tmp_path / out, *options) == 0
    first, second = (Image.open(tmp_path / out / "show.png") for out in ("one", "two"))
    assert np.array_equal(np.asarray(first), np.asarray(second))
    capsys.readouterr()
    user = next(iter(tree.histories))
    assert data("show", tmp_path / "raw", tmp_path / "out", "--users", user, "--items", "3") == 0
    text = capsys.readouterr().out
    places = [text.index(f" {item} ") for item in tree.histories[user][-3:]]
    assert places == sorted(places)
    assert "validation" in text
    assert "letters that no font here has" in text  # the titles are Chinese
    assert data("show", tmp_path / "raw", tmp_path / "out", "--users", "nobody") == 99


def test_show_without_covers_is_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_ninerec(tmp_path / "raw", covers=False)
    assert data("show", tmp_path / "raw", tmp_path / "out", "--count", "2") == 0
    assert "there is no picture" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_the_layout_of_mmrec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_mmrec(tmp_path / "raw", attributes=True, mappings=True)
    out = tmp_path / "out"
    for action in [action for action in ACTIONS if action != "baseline"]:
        assert data(action, tmp_path / "raw", out, name="mmrec") == 0, action
    with pytest.raises(SystemExit, match="expected a data set of histories, found MMRec, which deals pairs"):
        cli.main(
            ["data", "baseline", "--data", "mmrec", "--data.root", str(tmp_path / "raw"), "--out", str(out)]
        )
    sums = {entry["file"] for entry in json.loads((out / "manifest.json").read_text())["files"]}
    assert {"baby.inter", "image_feat.npy", "text_feat.npy"} <= sums
    found = json.loads((out / "stats.json").read_text())
    assert found["tables"]["interactions"] == len(folder.lines)
    assert found["protocol"]["users"] == folder.n_users
    assert found["attributes"]["gender"] == {"0": 15, "1": 15, "unknown": 0}
    assert "validation" in capsys.readouterr().out
    assert not (out / "show.png").exists()


def test_check_of_damaged_features(tmp_path: Path) -> None:
    folder = make_mmrec(tmp_path / "raw", damage=["other_labels"])
    features = np.load(folder.path / "image_feat.npy")
    features[3], features[5], features[7] = np.nan, 0, features[8]
    np.save(folder.path / "image_feat.npy", features)
    payload = np.array([{"a": 1}], dtype=object)
    np.save(folder.path / "text_feat.npy", payload, allow_pickle=True)
    assert data("check", tmp_path / "raw", tmp_path / "out", name="mmrec") == 1
    found = {(row["modality"], row["kind"], row["item"], row["lost"]) for row in rows(tmp_path / "out")}
    assert found == {
        ("table", "dropped", "", "yes"),
        ("image", "corrupt", "3", "yes"),
        ("image", "missing", "5", "no"),
        ("image", "duplicate", "7", "no"),
        ("image", "duplicate", "8", "no"),
        ("text", "corrupt", "", "yes"),
    }

"""Protocols through the real command: options, what results state, a checkpoint under another protocol."""

import json
from pathlib import Path

import pytest

import cli
from tests.command import mmzoo, succeeded

QUIET = ("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false")
TINY = ("--data", "demo", "--data.size", "tiny", *QUIET)
FIT = ("fit", "--model", "idrec", *TINY, "--trainer.max_epochs", "1")


def results(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "results.json").read_text())
    return found


@pytest.mark.slow
def test_global_time_behind_a_filter_and_tests_under_others(tmp_path: Path) -> None:
    options = (
        "--data.protocol", "GlobalTime", "--data.protocol.train_share", "0.7", "--data.filter.users", "6",
    )  # fmt: skip
    said = succeeded(*FIT, *options, "--run_dir", "one", cwd=tmp_path)
    found = results(tmp_path / "one")
    text = str(found["protocol"])
    assert text.startswith("global time: the first 0.7 of all interactions train")
    assert "core of users with 6 and items with 5" in text
    assert f"Protocol: {text}\n95 % CI" in said
    assert "Leak" not in said
    assert "was trained under" not in said
    assert isinstance(found["data"], str)
    (checkpoint,) = (tmp_path / "one" / "checkpoints").glob("best*.ckpt")
    line = ("test", "--ckpt_path", str(checkpoint), *TINY, "--run_dir", "two")
    # The same training, so that rows mean the same items, but other targets.
    other = succeeded(*line, *options, "--data.protocol.target", "all", cwd=tmp_path)
    assert f"trained under the protocol '{text}'" in " ".join(other.split())
    assert results(tmp_path / "two")["data"] != found["data"]
    refused = mmzoo(*line, cwd=tmp_path)
    assert "the same data set, subset, protocol and filters" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["ColdItems", "ColdUsers"])
def test_cold_protocols_train_and_test(tmp_path: Path, protocol: str) -> None:
    said = succeeded(*FIT, "--data.protocol", protocol, "--data.protocol.share", "0.2", cwd=tmp_path)
    found = results(tmp_path / "runs" / "demo-tiny" / "idrec")
    assert f"Protocol: {found['protocol']}" in said
    assert "Leak through time" in said
    rows = {row["slice_name"]: row["users"] for row in found["rows"]}  # type: ignore[attr-defined]
    assert rows["all"] == (60 if protocol == "ColdUsers" else rows["new"])
    assert rows.get("held_out") == (None if protocol == "ColdUsers" else rows["all"])


@pytest.mark.slow
def test_pairs_are_cut_on_one_clock(tmp_path: Path) -> None:
    line = ("fit", "--model", "bpr", "--data", "demo_cf", "--data.size", "tiny", *QUIET)
    said = succeeded(*line, "--data.cut", "global_time", "--trainer.max_epochs", "1", cwd=tmp_path)
    assert "Protocol: global time, about 8 : 1 : 1; every held-out item of a user a target" in said


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("protocol Globaltime", ["ColdItems, ColdUsers, GlobalTime, LeaveTwoOut", "mean GlobalTime"]),
        ("protocol.share 0.3", ["named before its options"]),
        ("protocol GlobalTime --data.protocol.train_shar 0.3", ["Did you mean train_share"]),
        ("protocol GlobalTime --data.protocol.target middle", ["target", "'all'", "middle"]),
        ("filter.users some", ["users", "int", "some"]),
    ],
)
def test_wrong_options_are_answered_in_words(
    options: str, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["fit", "--model", "idrec", "--data", "demo", *f"--data.{options}".split()])
    text = capsys.readouterr().err
    assert all(part in text for part in expected), text
    assert text.count("\n") <= 3


@pytest.mark.parametrize(
    "options", [["--data.help", "datamodules.demo.Demo"], ["--data.protocol.help", "ColdItems"]]
)
def test_help_shows_them(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["fit", "--model", "idrec", "--data", "demo", *options])
    text = capsys.readouterr().out
    assert all(
        word in text for word in (("protocol", "filter") if "Demo" in options[1] else ("share", "seed"))
    )


def test_every_data_set_of_histories_takes_them(capsys: pytest.CaptureFixture[str]) -> None:
    for data in ("ninerec", "pixelrec", "microlens", "amazon", "hm", "mind", "bili_kwai", "folder", "ml100k"):
        line = [
            "fit",
            "--model",
            "idrec",
            "--data",
            data,
            "--data.protocol",
            "ColdUsers",
            "--data.filter.items",
            "3",
        ]
        with pytest.raises(SystemExit) as stop:
            cli.main([*line, "--print_config"])
        assert stop.value.code in (0, None)
        printed = capsys.readouterr().out
        assert "class_path: datamodules.protocols.ColdUsers" in printed, data
        assert "items: 3" in printed

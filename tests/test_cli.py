"""The command's own words: help, short names, near misses, run folders."""

from pathlib import Path

import pytest

import cli
from zoo.command import has_checkpoints, version


def failed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The last words of a command that ends in an error."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code not in (0, None)
    text = capsys.readouterr().err
    return text + (stop.value.code if isinstance(stop.value.code, str) else "")


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(word in text for word in (*cli.COMMANDS, "list"))


def test_list_shows_models_data_and_encoders(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["list"])
    text = capsys.readouterr().out
    assert all(word in text for word in ("morec", "idrec", "demo", "ninerec", "timm/", "open_clip/"))


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean fit" in failed(["fitt"], capsys)


def test_unknown_model_and_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean morec" in failed(["fit", "--model", "morecc", "--data", "demo"], capsys)
    assert "Did you mean ninerec" in failed(["fit", "--model", "morec", "--data", "ninrec"], capsys)


@pytest.mark.parametrize(
    ("option", "near"),
    [
        ("--model.lrr", "lr"),
        ("--model.widht", "width"),
        ("--data.batchsize", "batch_size"),
        ("--trainer.max_epoch", "max_epochs"),
        ("--model.text.tunne", "tune"),
    ],
)
def test_unknown_option_says_what_is_near(option: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = failed(["fit", "--model", "morec", "--data", "demo", option, "1"], capsys)
    assert option.rpartition(".")[2] in text
    assert f"Did you mean {near}" in text
    assert text.count("\n") <= 2, text


def test_wrong_value_says_what_was_expected(capsys: pytest.CaptureFixture[str]) -> None:
    text = failed(["fit", "--model", "morec", "--data", "demo", "--model.lr", "fast"], capsys)
    assert "lr" in text
    assert "fast" in text
    assert text.count("\n") <= 3, text


def test_expand_leaves_the_command_line_alone() -> None:
    argv = ["fit", "--model", "morec", "--data", "demo"]
    copy = list(argv)
    cli.expand_names(argv)
    assert argv == copy


def test_class_paths_and_files_pass_through() -> None:
    expanded = cli.expand_names(["fit", "--model", "mine.GatedRec", "--data", "some/where.yaml"])
    assert "mine.GatedRec" in expanded.argv
    assert (expanded.model, expanded.data) == ("gatedrec", "where")


def test_versions_of_a_run_folder(tmp_path: Path) -> None:
    assert version(Path("runs/demo/morec")) == 1
    assert version(Path("runs/demo/morec-12")) == 12
    assert not has_checkpoints(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert has_checkpoints(tmp_path)


def test_a_checkpoint_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["test", "--data", "demo", "--ckpt_path"]
    assert "There is no checkpoint" in failed([*line, str(tmp_path / "nothing.ckpt")], capsys)
    (tmp_path / "garbage.ckpt").write_bytes(b"not a checkpoint")
    assert "cannot be read as a checkpoint" in failed([*line, str(tmp_path / "garbage.ckpt")], capsys)


def test_last_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["fit", "--model", "idrec", "--data", "demo", "--ckpt_path", "last"]
    assert "there is no last*.ckpt" in failed([*line, "--run_dir", str(tmp_path)], capsys)

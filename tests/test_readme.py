"""What the README shows is what works: its Python block runs, its names exist, its commands parse."""

import re
from pathlib import Path

import pytest

import cli
from zoo.experiments import cost, curves, sweep, transfer
from zoo.experiments.command import split_line
from zoo.experiments.study import load_study
from zoo.names import short_names

README = Path(__file__).parent.parent / "README.md"


def test_every_model_and_data_set_has_a_row() -> None:
    text = README.read_text()
    for name in short_names("model"):
        assert f"`{name}`" in text, name
    for name in (*short_names("data"), *short_names("study")):
        assert name in text.lower(), name


def test_the_commands_expand() -> None:
    commands = re.findall(r"mmzoo (fit|test|predict) ([^#\n`]*)", README.read_text())
    assert len(commands) >= 6
    for command, options in commands:
        if "--model M" not in options:
            assert cli.expand_names([command, *options.split()]).argv[0] == command


def test_the_commands_of_many_runs_are_understood() -> None:
    lines = re.findall(r"^mmzoo (sweep|transfer|cost|curves) ([^#\n`]*)", README.read_text(), re.MULTILINE)
    assert {command for command, _ in lines} == {"sweep", "transfer", "cost", "curves"}
    for command, options in lines:
        if command == "sweep":
            assert sweep.plan(*split_line(sweep.parser(), options.split())).axes
        elif command == "curves":
            assert curves.plan(*split_line(curves.parser(), options.split()))[0].every()
        elif command == "cost":
            plan = cost.plan(*split_line(cost.parser(), options.split()))
            assert set(plan.models) <= set(short_names("model"))
        else:
            arguments, typed = split_line(transfer.parser(), options.split())
            study = load_study(arguments.study, command, transfer.STUDY) if arguments.study else {}
            assert transfer.plan(arguments, study, typed).cells()


@pytest.mark.slow
def test_the_python_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, str(README), "exec"), names)
    assert {"model", "trainer"} <= set(names)

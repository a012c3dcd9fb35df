"""Every configuration through the real command: it parses, prints itself, and the print parses again."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

import cli
from datamodules.mmrec import MMRec
from tests.miniature import fitting_data
from zoo.experiments import curves, sweep, transfer
from zoo.experiments.command import split_line
from zoo.experiments.curve_runs import first_jobs
from zoo.experiments.grid import combinations
from zoo.experiments.study import load_study
from zoo.names import config_file, config_root, short_names
from zoo.options import flatten


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What ``--print_config`` shows."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "--print_config"])
    out = capsys.readouterr()
    assert stop.value.code in (0, None), out.err
    config = yaml.safe_load(out.out)
    assert isinstance(config, dict)
    return config


def model_for(data: str) -> str:
    """A model that can be trained on a data set: of pairs where it comes in MMRec's layout."""
    path = yaml.safe_load(config_file("data", data).read_text())["class_path"]
    module, _, class_name = path.rpartition(".")
    return "bpr" if issubclass(getattr(import_module(module), class_name), MMRec) else "idrec"


@pytest.mark.parametrize("name", short_names("model"))
def test_model_round_trip(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first = printed(["fit", "--model", name, "--data", fitting_data(name)], capsys)
    assert first["model"]["class_path"].startswith("zoo.models.")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(first))
    assert printed(["fit", "--config", str(tmp_path / "config.yaml")], capsys) == first


@pytest.mark.parametrize("name", short_names("data"))
def test_data_round_trip(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first = printed(["fit", "--model", model_for(name), "--data", name], capsys)
    assert first["data"]["class_path"].startswith("datamodules.")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(first))
    assert printed(["fit", "--config", str(tmp_path / "config.yaml")], capsys) == first


@pytest.mark.parametrize(
    "recipe", sorted((config_root() / "recipe").rglob("*.yaml")), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_recipe_applies(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = recipe.parent.name
    of_pairs = model_for(data) == "bpr"
    model = recipe.stem if recipe.stem in short_names("model") else "bpr" if of_pairs else "morec"
    config = printed(["fit", "--model", model, "--data", data], capsys)
    values = yaml.safe_load(recipe.read_text())
    for option in flatten(values):
        name, _, value = option.removeprefix("--").partition("=")
        if "+" in name:
            continue
        section, *keys = name.split(".")
        node = config[section]
        if isinstance(node, dict) and "init_args" in node:
            node = node["init_args"]
        for key in keys:
            node = node[key]
        assert node == yaml.safe_load(value), option


@pytest.mark.parametrize("name", short_names("study"))
def test_every_value_of_a_study_makes_a_model(name: str, tmp_path: Path) -> None:
    command = yaml.safe_load(config_file("study", name).read_text())["command"]
    if command == "sweep":
        arguments, typed = split_line(sweep.parser(), ["--study", name])
        plan = sweep.plan(arguments, typed)
        assert len({combination.name for combination in combinations(plan.axes, "grid")}) > 1
        sweep.check_axes(plan, plan.jobs(tmp_path), cli.check_line)
    elif command == "curves":
        drawn, _ = curves.plan(*split_line(curves.parser(), ["--study", name]))
        curves.check_lines(first_jobs(drawn, tmp_path), cli.check_line)
    else:
        arguments, typed = split_line(transfer.parser(), ["--study", name])
        matrix = transfer.plan(arguments, load_study(name, "transfer", transfer.STUDY), typed)
        transfer.check_lines(matrix, tmp_path, cli.check_line)


def test_the_command_line_wins_over_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(
        ["fit", "--model.lr", "0.5", "--data", "Demo", "--model", "MoRec", "--trainer.max_epochs=3"], capsys
    )
    assert config["model"]["init_args"]["lr"] == 0.5
    assert config["trainer"]["max_epochs"] == 3


def test_one_encoder_value_changes_and_the_others_stay(capsys: pytest.CaptureFixture[str]) -> None:
    before = printed(["fit", "--model", "morec", "--data", "demo"], capsys)["model"]["init_args"]
    after = printed(["fit", "--model", "morec", "--data", "demo", "--model.text.max_tokens", "7"], capsys)
    assert after["model"]["init_args"]["text"] == {**before["text"], "max_tokens": 7}
    assert after["model"]["init_args"]["image"] == before["image"]

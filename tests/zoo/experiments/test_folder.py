from pathlib import Path

import pytest

from zoo.experiments.folder import experiment_folder

SETTINGS = {"model": "morec", "options": ["--model.lr=0.1"]}


def test_the_same_experiment_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        with experiment_folder(tmp_path / "out", SETTINGS) as folder:
            assert (folder / "experiment.json").is_file()


def test_another_experiment_is_refused_with_what_differs(tmp_path: Path) -> None:
    with experiment_folder(tmp_path / "out", SETTINGS):
        pass
    other = {**SETTINGS, "options": ["--model.lr=0.2"]}
    with (
        pytest.raises(ValueError, match=r'options: there \["--model.lr=0.1"\], here \["--model.lr=0.2"\]'),
        experiment_folder(tmp_path / "out", other),
    ):
        pass


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match="holds something else"), experiment_folder(tmp_path, SETTINGS):
        pass
    with (
        pytest.raises(ValueError, match="is a file"),
        experiment_folder(tmp_path / "notes.txt", SETTINGS),
    ):
        pass


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        experiment_folder(tmp_path / "out", SETTINGS),
        pytest.raises(ValueError, match="Another process works in"),
        experiment_folder(tmp_path / "out", SETTINGS),
    ):
        pass

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from zoo.provenance import code_version, config_hash, git_state, library_versions, source_digest


def config(**trainer: object) -> dict[str, object]:
    return {"trainer": trainer, "model": {"class_path": "zoo.models.morec.MoRec", "init_args": {"lr": 0.1}}}


def test_what_decides_is_in_the_hash_and_where_it_ran_is_not() -> None:
    one = config(max_epochs=3, devices=1, logger=None)
    elsewhere = {
        **config(max_epochs=3, devices=4, default_root_dir="b"),
        "run_dir": "b",
        "seed_everything": 7,
    }
    assert config_hash(one) == config_hash(elsewhere)
    assert config_hash(one) != config_hash(config(max_epochs=4))


def test_onlookers_are_not_in_the_hash_but_what_stops_is() -> None:
    def with_callbacks(*names: str, patience: int = 5) -> dict[str, object]:
        return config(callbacks=[{"class_path": name, "init_args": {"patience": patience}} for name in names])

    stop, table = "zoo.callbacks.checkpoint.StayingEarlyStopping", "zoo.callbacks.table.ResultTable"
    assert config_hash(with_callbacks(stop)) == config_hash(with_callbacks(stop, table))
    assert config_hash(with_callbacks(stop)) != config_hash(with_callbacks(stop, patience=6))
    assert config_hash(with_callbacks(stop)) != config_hash(with_callbacks(stop, "mine.Averaging"))


def test_sources_differ_by_content_and_by_name(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "a.py").write_text("x = 1")
    first = source_digest([package])
    assert source_digest([package]) == first
    (package / "a.py").write_text("x = 2")
    second = source_digest([package])
    (package / "a.py").rename(package / "b.py")
    assert len({first, second, source_digest([package])}) == 3


def test_a_package_counts_whether_it_is_imported_yet_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "not_yet_imported").mkdir()
    (tmp_path / "not_yet_imported" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    before = code_version(["not_yet_imported.models"])["digest"]
    importlib.import_module("not_yet_imported")
    assert code_version(["not_yet_imported.models"])["digest"] == before != code_version()["digest"]
    assert code_version(["nowhere.at.all"])["digest"] == code_version()["digest"]


def test_commit_of_a_work_tree_that_knows_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tree" / "zoo"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(zoo, "__file__", str(package / "__init__.py"))
    assert git_state([package]) == (None, None)

    def git(*words: str) -> str:
        line = ["git", "-C", str(package.parent), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    assert git_state([package]) == (None, None)  # it lies there, but is no part of it
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert git_state([package]) == (git("rev-parse", "HEAD"), False)
    (package / "__init__.py").write_text("x = 1")
    assert git_state([package]) == (git("rev-parse", "HEAD"), True)


def test_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    found = code_version(["tests.zoo"])
    assert (found["commit"], found["dirty"]) == (None, None)
    assert found["version"] == zoo.__version__
    assert library_versions()["python"] == ".".join(map(str, sys.version_info[:3]))

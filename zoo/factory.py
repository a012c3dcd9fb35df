"""Models from Python by their short names."""

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from zoo.base import Recommender
from zoo.checkpoints import CheckpointMismatchError, find_checkpoint, read_checkpoint, stamp_of
from zoo.names import config_file


def merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``base`` in which ``override`` wins, key by key into nested dicts.

    >>> merge({"text": {"name": "bert", "tune": 2}}, {"text": {"tune": 4}})
    {'text': {'name': 'bert', 'tune': 4}}
    """
    merged = dict(base)
    for key, value in override.items():
        known = merged.get(key)
        merged[key] = merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def instantiate(config: dict[str, Any]) -> Recommender:
    """The model of a mapping with ``class_path`` and ``init_args``."""
    module, _, class_name = config["class_path"].rpartition(".")
    model = getattr(importlib.import_module(module), class_name)(**config.get("init_args") or {})
    assert isinstance(model, Recommender)
    return model


def create(name: str, **overrides: Any) -> Recommender:  # noqa: ANN401
    """Makes the model of a short name, as ``mmzoo fit --model <name>`` does before a recipe is applied.

    Args:
        name: A name listed by ``mmzoo list``; case, hyphens and underscores do not matter.
        **overrides: Constructor arguments; dicts are merged into the configured ones, so
            ``text={"tune": 2}`` changes one value of the text encoder.

    Raises:
        ValueError: There is no such name.
        TypeError: The model has no such argument.
    """
    config = yaml.safe_load(config_file("model", name).read_text(encoding="utf-8"))
    config["init_args"] = merge(config.get("init_args") or {}, overrides)
    return instantiate(config)


def load_recommender(place: str | Path, option: str) -> Recommender:
    """A trained model of whatever class, on the CPU and without its data.

    Args:
        place: Its checkpoint, or the folder of its run, whose best one it is then.
        option: What asks for it, for the errors.

    Raises:
        FileNotFoundError: There is neither.
        CheckpointMismatchError: The file is no checkpoint of a recommender that can be imported here.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        path = find_checkpoint(path, "best", option)
    stamp = stamp_of(read_checkpoint(path), f"{option} {path}")
    module, _, name = stamp.class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise CheckpointMismatchError(
            f"{option} {path} holds a {stamp.class_path}, which cannot be imported here. Run the "
            "command where that module is found."
        ) from None
    if not isinstance(found, type) or not issubclass(found, Recommender):
        raise CheckpointMismatchError(f"{option} {path} holds a {stamp.class_path}, which is no recommender.")
    return found.load_from_checkpoint(path, map_location="cpu")


def refuse_training_options(option: str, arguments: Mapping[str, Any], trained_by: str) -> None:
    """Refuses arguments of a part that say how to train it.

    Args:
        option: Where they were given.
        arguments: Of the part's constructor.
        trained_by: The model that trains it.

    Raises:
        ValueError: There are some.
    """
    training = set(inspect.signature(Recommender).parameters) - {"seed"}
    if refused := sorted(training & set(arguments)):
        raise ValueError(
            f"--model.{option}: {', '.join(refused)} would have no effect, because {trained_by} trains this "
            f"part by its own options. Give --model.{refused[0]} instead."
        )


def create_host(name: str, arguments: Mapping[str, Any], trained_by: str | None = None) -> Recommender:
    """Makes the recommender inside another one.

    Args:
        name: A short name, or a class path.
        arguments: Of its constructor; those of a short name's configuration are the defaults.
        trained_by: Who trains it by rates of its own; None if the host is trained by the host's.

    Raises:
        ValueError: There is no such model, or the arguments say how to train it and would not be heeded.
    """
    if trained_by is not None:
        refuse_training_options("host_args", arguments, trained_by)
    try:
        if "." not in name:
            return create(name, **arguments)
        return instantiate({"class_path": name, "init_args": dict(arguments)})
    except (ImportError, AttributeError, AssertionError):
        raise ValueError(
            f"--model.host: there is no recommender {name}. Give a name of mmzoo list."
        ) from None
    except TypeError as error:
        raise ValueError(
            f"--model.host_args: the host {name} does not take them: {error}. Those of a configuration are "
            "for the host it names; with another one give your own, or none: --model.host_args '{}'."
        ) from None

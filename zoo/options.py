"""Options of a command line as words: nested values flattened, single ones taken out."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

ENCODER_FIELD = re.compile(r"(--model\.(?:init_args\.)?(?:text|image|audio|video|caption))\.(\w+)")
"""An option that sets one field of an encoder."""


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted options of a nested mapping, so that one value never replaces its siblings.

    >>> list(flatten({"model": {"text": {"tune": 2}}, "trainer": {"callbacks+": [{"class_path": "A"}]}}))
    ['--model.text.tune=2', '--trainer.callbacks+=[{"class_path": "A"}]']
    """
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, dict) and not name.endswith(".config"):
            yield from flatten(value, name)
        else:
            yield f"--{name}={value if isinstance(value, str) else json.dumps(value)}"


def take_option(argv: Sequence[str], option: str) -> tuple[str | None, list[str]]:
    """The last value of ``--option value`` or ``--option=value``, and the line without it.

    >>> take_option(["fit", "--model", "morec", "--data=demo"], "--model")
    ('morec', ['fit', '--data=demo'])
    """
    value, rest, position = None, [], 0
    while position < len(argv):
        word = argv[position]
        if word == option and position + 1 < len(argv):
            value, position = argv[position + 1], position + 1
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
        else:
            rest.append(word)
        position += 1
    return value, rest


def option_names(argv: Iterable[str]) -> list[str]:
    """Names of the options on a line, without dashes.

    >>> option_names(["--model.lr", "0.1", "--data.size=tiny"])
    ['model.lr', 'data.size']
    """
    return [word.partition("=")[0].removeprefix("--") for word in argv if word.startswith("--")]


def shared_words(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Options of data and model, which mean the same to all commands, and the others.

    >>> shared_words(["--data=demo", "--data.size=tiny", "--count=3"])
    (['--data=demo', '--data.size=tiny'], ['--count=3'])
    """
    shared: list[str] = []
    others: list[str] = []
    for word in words:
        of_both = word.partition("=")[0].partition(".")[0] in ("--data", "--model")
        (shared if of_both else others).append(word)
    return shared, others


def encoder_nulls(words: list[str]) -> list[str]:
    """Writes a null field of an encoder as JSON: one level deeper, jsonargparse reads ``null`` as a word.

    >>> encoder_nulls(["--model.image.config", "null", "--model.image.name=timm/resnet18"])
    ['--model.image', '{"config": null}', '--model.image.name=timm/resnet18']
    """
    joined: list[str] = []
    for word in words:
        if word == "null" and joined and ENCODER_FIELD.fullmatch(joined[-1]):
            word = f"{joined.pop()}=null"
        joined.append(word)
    written: list[str] = []
    for word in joined:
        option, _, value = word.partition("=")
        field = ENCODER_FIELD.fullmatch(option) if value == "null" else None
        written += [field.group(1), f'{{"{field.group(2)}": null}}'] if field else [word]
    return written

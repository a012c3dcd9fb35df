"""The command's parser: jsonargparse's errors cut down to what the user can act on."""

import inspect
import re
import sys
from typing import ClassVar, NoReturn

from lightning.pytorch import LightningDataModule
from lightning.pytorch.cli import LightningArgumentParser

from zoo.base import Recommender
from zoo.encoders.base import EncoderSpec
from zoo.names import near


class ZooParser(LightningArgumentParser):
    """A parser whose errors say, in the user's words, what is wrong and what is near."""

    more: ClassVar[str] = "--print_config shows every option."

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Ends the program with the heart of an error instead of the whole chain of nested types."""
        unknown = UNKNOWN_OPTION.search(message)
        text = short_error(message)
        if unknown:
            name = next(group for group in unknown.groups() if group)
            known = {str(action.dest).rpartition(".")[2] for action in self._actions} | argument_names()
            close = near(name.rpartition(".")[2], sorted(known))
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            text = f"there is no option '{name}'.{hint} {self.more}"
        self.exit(2, f"mmzoo: {text}\n")


UNKNOWN_OPTION = re.compile(
    r"Option '([\w.]+)' is not accepted|Key '([\w.]+)' is not expected|nrecognized arguments: --([\w.]+)"
)


def short_error(message: str) -> str:
    r"""The option and the innermost reason of a jsonargparse error.

    >>> short_error('Parser key "lr":\n  Expected a float. Got value: fast')
    'lr: Expected a float. Got value: fast'
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    head = re.match(r'Parser key "([\w.]+)":', message)
    option = f"{head.group(1)}: " if head else ""
    if choice := NO_CLASS.search(message):
        return option + no_class(*choice.groups())
    reasons = [line.removeprefix("- ") for line in lines[1:] if not line.startswith(TYPE_TALK)]
    given = next((line for line in lines if line.startswith("Given value:")), "")
    if not reasons:
        expected = [line.removeprefix("- ") for line in lines if line.startswith("- Expected")]
        reasons = (
            [" or ".join(expected[:2]) + f". {given}"] if expected else [lines[-1] if lines else message]
        )
    if reasons[0].endswith(":") and len(reasons) > 1:
        reasons[0] += f" {reasons[1]}"
    return f"{option}{reasons[0]}" if len(lines) > 1 else lines[0]


NO_CLASS = re.compile(
    r"Subtypes: \[<class '([\w.]+)'>, <class 'NoneType'>\]\s+Errors:\s+"
    r"- Expected (?:a dot import path string: "
    r"(\S+)|an instantiatable class)"
)
"""A class that may be left out, and what was given as its name, or nothing where only its options were."""


def no_class(base: str, given: str | None) -> str:
    """What to say where one of several classes is to be named.

    Args:
        base: Class path of their base.
        given: The name that none of them has; None where there was none.

    >>> no_class("zoo.nowhere.Base", "Derived")
    "expected a class that derives from zoo.nowhere.Base, found 'Derived'."
    """
    module, _, name = base.rpartition(".")
    cls = getattr(sys.modules.get(module), name, None)
    known = [] if cls is None else sorted(found.__name__ for found in cls.__subclasses__())
    expected = f"one of {', '.join(known)}" if known else f"a class that derives from {base}"
    if given is None:
        return f"expected {expected} to be named before its options, found options only."
    close = near(given, known)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"expected {expected}, found {given!r}.{hint}"


TYPE_TALK = (
    "- Expected a", "- Not a valid subclass", "Given value", "Subtypes", "Errors", "Does not validate",
    "- a class path", "- a dict", "Subclass types expect", "Parser key",
)  # fmt: skip
"""How lines begin that speak of types instead of what the user did."""


def argument_names() -> set[str]:
    """Constructor arguments of the models, data modules and encoder specs imported so far."""
    pending: list[type] = [Recommender, LightningDataModule, EncoderSpec]
    names: set[str] = set()
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        names |= set(inspect.signature(cls).parameters) - {"args", "kwargs"}
    return names

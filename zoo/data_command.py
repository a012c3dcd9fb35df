"""``mmzoo data``: a data set, and perhaps a model's needs, by their options; then what was asked of it.

What can be asked are functions of the data side, which this side knows by their signatures alone: ``data``,
``needs`` (of the model, or None) and ``out`` (a folder) are given to them, and what else they take become
options of the command.
"""

import inspect
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule

from zoo.base import Recommender
from zoo.command import data_label, quiet_the_libraries, readable_errors
from zoo.experiments.command import words_of
from zoo.options import shared_words
from zoo.parser import ZooParser


class DataParser(ZooParser):
    """The parser's errors with this command's own help."""

    more = "mmzoo data --help shows the command's options, --data.help CLASS those of the data."


def run(
    data_class: type[LightningDataModule],
    action: Callable[..., int],
    expanded: Sequence[str],
    own: Sequence[str],
    label: str,
    given: Mapping[str, object],
    parser_class: type[ZooParser] = DataParser,
) -> None:
    """Parses, and does what was asked.

    Args:
        data_class: Base class of the data modules.
        action: What was asked.
        expanded: Options of data and model with short names replaced, as ``fit`` reads them; others that
            come from a recipe are left out here, because nothing is trained.
        own: The action's options.
        label: Short name of the data set.
        given: Further arguments of the action that are no options.
        parser_class: Says where there is more help.

    Raises:
        SystemExit: The action's status is not 0, or something is wrong that its message says.
    """
    quiet_the_libraries()
    shared, _ = shared_words(words_of(expanded))
    with_model = any(word.partition("=")[0] == "--model" for word in shared)
    with readable_errors():
        parser = _parser(parser_class(allow_abbrev=False), data_class, action, with_model, given)
        config = parser.parse_args([*shared, *own])
        out = config.pop("out")
        arguments = {**given, "out": Path(out or Path("runs") / data_label(label, config.data) / "data")}
        made = parser.instantiate_classes(config)
        if with_model:
            made.model.check_transfer()
        arguments |= {"data": made.data, "needs": made.model.needs() if with_model else None}
        taken = inspect.signature(action).parameters
        options: dict[str, Any] = {name: made[name] for name in taken if name not in arguments}
        try:
            status = action(**options, **{name: arguments[name] for name in taken if name in arguments})
        except KeyboardInterrupt:
            print("mmzoo: stopped. The same command goes on from what is prepared.", file=sys.stderr)
            status = 128 + signal.SIGINT
    if status:
        sys.exit(status)


def _parser(
    parser: ZooParser,
    data_class: type[LightningDataModule],
    action: Callable[..., int],
    with_model: bool,
    given: Mapping[str, object],
) -> ZooParser:
    parser.add_lightning_class_args(data_class, "data", subclass_mode=True, required=True)
    if with_model:
        parser.add_lightning_class_args(Recommender, "model", subclass_mode=True, required=True)
    parser.add_argument("--out", type=str | None, default=None, help="Folder of reports and pictures.")
    skip = {"data", "needs", "out", *given} & inspect.signature(action).parameters.keys()
    parser.add_function_arguments(action, skip=set(skip))
    return parser

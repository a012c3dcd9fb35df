"""The ``mmzoo`` command: LightningCLI with short names, recipes and readable errors.

``mmzoo fit --model morec --data demo`` becomes ``fit --config <trainer> --model <yaml> --data <yaml>``
followed by the recipe of the pair and by everything the user typed after the names, which wins.
"""

import io
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from zoo import __version__
from zoo.lean import import_metrics
from zoo.names import Kind, config_file, config_root, near, recipe_file, short_names
from zoo.options import encoder_nulls, flatten, shared_words, take_option

if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = f"""mmzoo {__version__}: multimodal sequential recommenders on PyTorch Lightning

usage: mmzoo COMMAND --model NAME --data NAME [--OPTION VALUE ...]

commands:
  fit        train, keep the epoch that is best in validation, then test it and print the result table
  validate   evaluate a checkpoint on the validation targets
  test       evaluate a checkpoint on the test targets, with 95 % confidence intervals
  predict    write every user's best items to predictions.parquet; without a checkpoint, make frozen features
  sweep      many runs of fit: every value of an option, or a study of several; one table
  transfer   pre-train on some data, go on on other: from scratch, frozen, fine-tuned, ids only; one table
  cost       what models take to train (time, parameters, memory, TPME) and what that buys; table and picture
  curves     quality against noise or what leaks, arms with and without a method; table and picture
  fair       hosts with and without FMMRec: what each recommends and what attackers tell from it; one table
  attack     what attackers tell of user attributes from the vectors of a checkpoint
  leaderboard  run the runs of benchmarks/runs, show them beside the published figures: tables and a page
  recommend  the best items for the users of a file, with new items too: mmzoo recommend --help
  data       prepare, check, count or show a data set: mmzoo data --help
  list       models, data sets, studies and encoders

examples:
  mmzoo fit --model morec --data demo
  mmzoo fit --model morec --data nineRec --data.root ~/NineRec --data.subset QB
  mmzoo fit --model morec --data demo --ckpt_path last           go on with an interrupted run
  mmzoo test --model morec --data demo --ckpt_path best
  mmzoo fit --model morec --data demo --print_config             every value the run would use
  mmzoo sweep --model morec --data demo --vary model.lr=1e-3,2e-3 --seeds 3 --jobs 2
  mmzoo sweep --study mmsr
  mmzoo cost --models iisan,iisan_fft,iisan_lora --data demo
  mmzoo curves --models freedom,guider --data demo_cf --x data.noise=0,0.1,0.2 --y recall@20 --seeds 3

more: mmzoo fit --help, mmzoo sweep --help, mmzoo transfer --help, mmzoo cost --help, mmzoo curves --help
      mmzoo fit --model.help zoo.models.morec.MoRec
      mmzoo fit --data.help datamodules.demo.Demo
"""
COMMANDS = ("fit", "validate", "test", "predict")
EXPERIMENTS = {
    name: f"zoo.experiments.{name}" for name in ("sweep", "transfer", "cost", "curves", "fair", "attack")
} | {"leaderboard": "zoo.leaderboard.command"}
"""Commands of many runs, and the modules that know them."""


class Expanded(NamedTuple):
    """A command line with its short names replaced."""

    argv: list[str]
    model: str
    data: str
    typed: list[str]
    """The model's options that the user gave, without ``--model.``."""


def resolve(kind: Kind, value: str) -> tuple[str, str]:
    """What to give LightningCLI for a name, and the label of the run folder.

    Raises:
        ValueError: Neither a short name, nor a file, nor a class path.
    """
    if value.endswith((".yaml", ".yml")):
        return value, Path(value).stem
    if "." in value:
        return value, value.rpartition(".")[2].lower()
    path = config_file(kind, value)
    return str(path), path.stem


def checkpoint_class(path: str | None) -> str | None:
    """The class a checkpoint was written by; nothing in the file is executed."""
    if path is None or path in ("best", "last"):
        return None
    from zoo.checkpoints import KEY, read_checkpoint

    stored = read_checkpoint(path).get(KEY, {})
    class_path = stored.get("class_path")
    return class_path if isinstance(class_path, str) else None


def expand_names(argv: "Sequence[str]") -> Expanded:
    """Replaces short names by their files and puts the pair's recipe between them and the user's options.

    Args:
        argv: The command line without the program's name; it is not changed (child ranks re-run it).

    Raises:
        ValueError: An unknown name; the message says what is near.
    """
    command, rest = argv[0], list(argv[1:])
    model, rest = take_option(rest, "--model")
    data, rest = take_option(rest, "--data")
    if model is None:
        model = checkpoint_class(take_option(rest, "--ckpt_path")[0])
    head = [command, "--config", str(config_root() / "trainer" / "default.yaml")]
    model_label = data_label = ""
    if model is not None:
        value, model_label = resolve("model", model)
        head += ["--model", value]
    if data is not None:
        value, data_label = resolve("data", data)
        head += ["--data", value]
    recipe = recipe_file(data_label, model_label)
    if model is not None and recipe is not None:
        head += flatten(yaml.safe_load(recipe.read_text(encoding="utf-8")) or {})
    options = (word.partition("=")[0] for word in rest if word.startswith("--model."))
    typed = [option.removeprefix("--model.").removeprefix("init_args.") for option in options]
    words = encoder_nulls(head + rest)
    return Expanded(words, model_label, data_label, [name for name in typed if name != "help"])


def describe(path: Path) -> str:
    """The first comment line of a configuration."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()


def print_list() -> None:
    """Prints models, data sets and encoders."""
    from zoo.encoders.names import list_encoders

    kinds: tuple[tuple[Kind, str], ...] = (
        ("model", "Models (--model NAME)"),
        ("data", "Data sets (--data NAME)"),
        ("study", "Studies (--study NAME of mmzoo sweep, transfer or curves)"),
    )
    for kind, title in kinds:
        print(title)
        for name in short_names(kind):
            print(f"  {name:<22} {describe(config_file(kind, name))}")
        print()
    print("Encoders (--model.text.name NAME, --model.image.name NAME)")
    for name, description in list_encoders():
        print(f"  {name:<42} {description}")


def check_line(argv: "Sequence[str]") -> dict[str, Any]:
    """Parses a command line and makes its model, if it is one of ours, but runs nothing.

    Returns:
        Every value the run would use.

    Raises:
        ValueError: It would be refused; the message is the parser's or the model's.
    """
    printed, errors = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(errors):
            main([*argv, "--print_config"])
    except SystemExit as stop:
        if stop.code not in (0, None):
            text = stop.code if isinstance(stop.code, str) else errors.getvalue()
            raise ValueError(text.strip().removeprefix("mmzoo: ")) from None
    config: dict[str, Any] = yaml.safe_load(printed.getvalue())
    if config["model"]["class_path"].startswith("zoo.models."):  # made in no time, and check their own values
        from zoo.factory import instantiate

        instantiate(config["model"])
    return config


def experiment(name: str, argv: "Sequence[str]") -> None:
    """Runs a command of many runs; each of them is this command again, in a process of its own."""
    command = (sys.executable, str(Path(__file__).resolve()))
    try:
        import_module(EXPERIMENTS[name]).main(argv, command, check_line)
    except (ValueError, OSError) as error:
        sys.exit(f"mmzoo: {error}")
    except KeyboardInterrupt:
        print("mmzoo: stopped. The same command goes on from here.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def data_tools(argv: "Sequence[str]") -> None:
    """Runs ``mmzoo data ACTION``; help and wrong names are answered before anything large is imported."""
    from datamodules.tools import ACTIONS, HELP

    if not argv or "-h" in argv or "--help" in argv or argv[0] == "help":
        print(HELP, end="")
        return
    action, rest = argv[0], list(argv[1:])
    if action not in ACTIONS:
        close = near(action, list(ACTIONS))
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        sys.exit(f"mmzoo data: there is no action '{action}'.{hint} Known: {', '.join(ACTIONS)}.")
    from zoo.experiments.command import words_of

    sys.path.append(os.getcwd())
    try:
        shared, own = shared_words(words_of(rest))
        if not any(word.startswith(("--data=", "--data.help")) for word in shared):
            raise ValueError(f"data {action}: add --data NAME, one of {', '.join(short_names('data'))}.")
        expanded = expand_names(["fit", *shared])
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"mmzoo: {error}")
    import_metrics()
    from datamodules.module import DataModule
    from zoo.data_command import run

    function = getattr(import_module(f"datamodules.tools.{action}"), action)
    run(DataModule, function, expanded.argv[1:], own, expanded.data, given_to(action))


def given_to(action: str) -> dict[str, object]:
    """What the model side gives an action of the data side to work with."""
    if action == "stats":
        from zoo.experiments.panels import draw_panels

        return {"draw": draw_panels}
    if action == "baseline":
        from zoo.leaderboard.ranked import record_ranks

        return {"record": record_ranks}
    return {}


def recommend(argv: "Sequence[str]") -> None:
    """Runs ``mmzoo recommend``; help is answered before anything large is imported."""
    from zoo.recommend_line import HELP, data_words

    if not argv or "-h" in argv or "--help" in argv:
        print(HELP, end="")
        return
    from zoo.experiments.command import words_of

    sys.path.append(os.getcwd())
    try:
        shared, own = shared_words(data_words(words_of(argv)))
        expanded = expand_names(["fit", *shared])
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"mmzoo: {error}")
    import_metrics()
    from datamodules.module import DataModule
    from datamodules.new_items import new_items
    from datamodules.user_files import read_users
    from zoo.data_command import run
    from zoo.recommend_command import RecommendParser
    from zoo.recommend_command import recommend as recommend_to_file

    given = {"read_users": read_users, "open_items": new_items}
    run(DataModule, recommend_to_file, expanded.argv[1:], own, expanded.data, given, RecommendParser)


def main(args: "Sequence[str] | None" = None) -> None:
    """Entry point of the ``mmzoo`` command."""
    argv = list(sys.argv[1:] if args is None else args)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return
    if argv[0] == "--version":
        print(__version__)
        return
    if argv[0] == "list":
        print_list()
        return
    if argv[0] in ("data", "recommend"):
        {"data": data_tools, "recommend": recommend}[argv[0]](argv[1:])
        return
    if argv[0] in EXPERIMENTS:
        experiment(argv[0], argv[1:])
        return
    if argv[0] not in COMMANDS:
        known = [*COMMANDS, *EXPERIMENTS, "recommend", "data", "list"]
        close = near(argv[0], known)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        sys.exit(f"mmzoo: there is no command '{argv[0]}'.{hint} Known: {', '.join(known)}.")
    sys.path.append(os.getcwd())  # a user's own mine.GatedRec is found from where the command runs
    try:
        expanded = expand_names(argv)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"mmzoo: {error}")
    import_metrics()
    from datamodules.module import DataModule
    from zoo.command import run

    run(DataModule, expanded.argv, f"{expanded.data}/{expanded.model}", expanded.typed)


if __name__ == "__main__":
    main()

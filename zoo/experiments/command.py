"""What the commands of many runs have in common on the command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zoo.experiments.jobs import Runner


def positive(text: str) -> int:
    """A number of things, at least one."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {value}")
    return value


def add_runner_options(parser: argparse.ArgumentParser, default_out: str, at_a_time: bool = True) -> None:
    """Adds seeds, runs at a time (else one after the other), threads, devices and the folder."""
    parser.add_argument(
        "--seeds", type=positive, help="runs of each setting, of seeds 0, 1, ... (default: 1)"
    )
    parser.set_defaults(jobs=1)
    if at_a_time:
        parser.add_argument("--jobs", type=positive, default=1, help="runs at a time (default: 1)")
    parser.add_argument(
        "--threads", type=positive, help="CPU threads of a run (default: the cores shared out)"
    )
    parser.add_argument("--gpus", help="CUDA devices dealt to the runs, one each: 0,1")
    parser.add_argument("--out", help=f"folder of the runs and the table (default: {default_out})")


def runner_of(arguments: argparse.Namespace, command: Sequence[str]) -> Runner:
    """How the runs are run."""
    gpus = tuple(arguments.gpus.split(",")) if arguments.gpus else ()
    return Runner(command, arguments.jobs, arguments.threads, gpus)


def split_line(parser: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The command's own options, and those that go to every fit: all others, and what follows ``--``.

    Raises:
        ValueError: A word belongs to no option.
    """
    line = list(argv)
    end = line.index("--") if "--" in line else len(line)
    arguments, rest = parser.parse_known_args(line[:end])
    return arguments, words_of([*rest, *line[end + 1 :]])


def words_of(rest: Sequence[str]) -> list[str]:
    """Options with their values, each as one word.

    Raises:
        ValueError: A word belongs to no option.

    >>> words_of(["--model.lr", "0.1", "--data.size=tiny"])
    ['--model.lr=0.1', '--data.size=tiny']
    """
    words: list[str] = []
    for word in rest:
        if word.startswith("--"):
            words.append(word)
        elif words and "=" not in words[-1]:
            words[-1] += f"={word}"
        else:
            raise ValueError(f"'{word}' belongs to no option.")
    return words


def models_of(text: str) -> dict[str, str]:
    """Models of ``--models`` by their labels.

    Raises:
        ValueError: One is given twice, or there is none.

    >>> models_of("iisan,mine/fast.yaml,mine.models.Slow")
    {'iisan': 'iisan', 'fast': 'mine/fast.yaml', 'slow': 'mine.models.Slow'}
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    models = {model_label(name): name for name in names}
    if not models or len(models) < len(names):
        raise ValueError(f"--models: expected different models, found '{text}'.")
    return models


def model_label(model: str) -> str:
    """How a model is called in a table."""
    if model.endswith((".yaml", ".yml")):
        return Path(model).stem
    return model.rpartition(".")[2].lower()


def finish_command(
    out: Path, failed: Sequence[str], total: int, files: str = "The table, its CSV and results.json"
) -> None:
    """Says where everything is.

    Raises:
        SystemExit: A run failed.
    """
    print(f"{files} are in {out}.")
    if failed:
        sys.exit(
            f"mmzoo: {len(failed)} of {total} runs failed: {', '.join(failed)}. Each has a log.txt in its "
            f"folder below {out}. The same command tries them again."
        )

"""``mmzoo attack``: what attackers find of sensitive attributes in the vectors of any trained model."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from zoo.checkpoints import find_checkpoint
from zoo.experiments.command import positive, split_line
from zoo.experiments.jobs import Check

REPORT = "zoo.callbacks.fairness.FairnessReport"


def main(argv: Sequence[str], command: Sequence[str], check: Check) -> None:
    """Runs ``mmzoo attack``: a test of the checkpoint, and the report after it.

    Args:
        argv: The words after ``attack``.
        command: Program and first arguments of the command that tests.
        check: Not needed: the test looks at its line itself.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        SystemExit: The test failed.
    """
    arguments, extra = split_line(parser(), argv)
    path = Path(arguments.ckpt_path).expanduser()
    if path.is_dir():
        path = find_checkpoint(path, "best")
    line = [f"--ckpt_path={path}", f"--data={arguments.data}"]
    line.append(report_option(names(arguments.attributes), arguments.epochs, arguments.seed))
    done = subprocess.run([*command, "test", *line, *extra], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    found = argparse.ArgumentParser(
        prog="mmzoo attack",
        description="Tests a checkpoint of any model and attacks its users' vectors: how well the strong and "
        "the published attacker tell each sensitive attribute, beside what naming the majority reaches. "
        "fairness.json stands beside results.json.",
        epilog="Every other option goes to mmzoo test: --data.size tiny.",
        allow_abbrev=False,
    )
    found.add_argument("--ckpt_path", required=True, help="a checkpoint, or the folder of a run")
    found.add_argument("--data", required=True, help="the data set it was trained on")
    add_report_options(found)
    found.add_argument("--seed", type=int, default=0, help="of the split of users and the attackers")
    return found


def add_report_options(found: argparse.ArgumentParser) -> None:
    """Adds what both commands of attackers are told."""
    found.add_argument("--attributes", help="user attributes to attack: gender,age (default: all)")
    found.add_argument(
        "--epochs", type=positive, default=1000, help="of the published attacker (default: %(default)s)"
    )


def names(text: str | None) -> list[str] | None:
    """Names with commas between them; None for all.

    >>> names("gender, age"), names(None)
    (['gender', 'age'], None)
    """
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def report_option(attributes: list[str] | None, epochs: int, seed: int = 0) -> str:
    """The option that adds the report to a test."""
    values = {"attributes": attributes, "epochs": epochs, "seed": seed}
    return f"--trainer.callbacks+={json.dumps([{'class_path': REPORT, 'init_args': values}])}"

"""The words of ``mmzoo recommend``: its help, and the data that a checkpoint's run was trained on."""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from zoo.options import take_option

HELP = """mmzoo recommend: the best items for the users of a file

usage: mmzoo recommend --ckpt CHECKPOINT --users FILE [--k 10] [--out FILE] [--OPTION VALUE ...]

options:
  --ckpt PATH               a checkpoint, or the folder of a run: its best one then
  --users FILE              CSV with a header, Parquet or JSON lines: columns user, item and, if known, time;
                            or user and items, a list; or user alone: users of the data set, with all they
                            have there
  --k N                     items a user (default: 10)
  --out FILE                .parquet, .csv or .jsonl: user, rank, item, score
  --data NAME               the catalogue (default: what the run of the checkpoint was trained on);
                            --data.OPTION VALUE changes an option of either
  --other_catalogue true    the catalogue is another one than that of training, on purpose (models of content)
  --new_items PATH          a table of new items with texts and names of files, or its folder: they are
                            recommended too, and may be in histories (models of content)
  --hide_history false      recommend also what a user has
  --html FILE               a page with pictures of the first users; --html_users N says how many (default: 6)
  --batch_size N            users scored at a time (default: 512)
  --device NAME             such as cpu or cuda:0 (default: a GPU if there is one)

Items and users go by the names of the data set. What is unknown is counted and left out.

examples:
  mmzoo recommend --ckpt runs/demo-small/morec --users histories.csv --out recs.parquet --html page.html
  mmzoo recommend --ckpt best.ckpt --data nineRec --data.root ~/NineRec --users u.jsonl --new_items ~/fresh
"""


def data_words(argv: Sequence[str]) -> list[str]:
    """The words with the options of the run's data before them, where no ``--data`` is among them.

    Args:
        argv: Options with their values, each as one word.

    Raises:
        ValueError: The checkpoint is not named, or its run does not say what it was trained on.
    """
    ckpt, _ = take_option(argv, "--ckpt")
    if ckpt is None:
        raise ValueError("recommend: add --ckpt CHECKPOINT, a checkpoint or the folder of a run.")
    if any(word.startswith("--data=") for word in argv):
        return list(argv)
    config = _config_of(Path(ckpt).expanduser())
    if config is None:
        raise ValueError(
            f"recommend: add --data NAME; no config.yaml beside {ckpt} says what it was trained on."
        )
    data = yaml.safe_load(config.read_text(encoding="utf-8")).get("data") or {}
    if not isinstance(data, dict) or not isinstance(data.get("class_path"), str):
        raise ValueError(f"recommend: add --data NAME; {config} does not say what the run was trained on.")
    options = data.get("init_args") or {}
    words = [f"--data.{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in options.items()]
    return [f"--data={data['class_path']}", *words, *argv]


def _config_of(place: Path) -> Path | None:
    """What a run left of its options: in its folder, or above the folder of its checkpoints."""
    folders = (place,) if place.is_dir() else (place.resolve().parent.parent, place.resolve().parent)
    return next((folder / "config.yaml" for folder in folders if (folder / "config.yaml").is_file()), None)

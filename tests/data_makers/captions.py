"""Captions of a demo catalogue, as a model that describes pictures and clips would write them."""

from pathlib import Path
from random import Random

import polars as pl

from datamodules.demo import NAME, read_truth

WORDS = (
    "red",
    "green",
    "blue",
    "round",
    "square",
    "striped",
    "dotted",
    "fast",
    "slow",
    "loud",
    "quiet",
    "odd",
)


def write_captions(folder: Path, missing: int = 3) -> dict[str, str]:
    """Writes ``DEMO_caption.tsv``: two words of each item's attributes, and noise; some items have none.

    Returns:
        Item -> its caption.
    """
    truth = read_truth(folder)
    names = pl.read_csv(folder / f"{NAME}_item.csv", has_header=False, columns=[0]).to_series().to_list()
    rng = Random(0)
    looks = zip(truth.items.attributes["colour"], truth.items.attributes["shape"], strict=True)
    captions = {
        name: f"a {WORDS[colour]} thing, {WORDS[-1 - shape]}\tand {rng.random():.3f}"
        for name, (colour, shape) in zip(names, looks, strict=True)
    }
    for name in sorted(captions)[:missing]:
        del captions[name]
    lines = [f"{name}\t{caption}\n" for name, caption in captions.items()]
    text = "".join(
        [*lines, lines[0].replace("thing", "repeated"), "a line without a tab\n", "nobody\tknows this\n"]
    )
    (folder / f"{NAME}_caption.tsv").write_text(text, encoding="utf-8")
    return captions

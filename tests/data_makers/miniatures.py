"""A small tree of every data set that is read from files: how it is made, and which options read it."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from datamodules.base import RecDataModule
from datamodules.mmrec import MMRec
from tests.data_makers.amazon import make_amazon
from tests.data_makers.folder import make_folder_tree
from tests.data_makers.hm_tables import make_hm_tables
from tests.data_makers.lines import Names, make_lines
from tests.data_makers.microlens import make_microlens
from tests.data_makers.mind_tables import make_mind_tables
from tests.data_makers.mmrec import make_mmrec
from tests.data_makers.movielens import make_movielens
from tests.data_makers.ninerec import make_ninerec
from tests.data_makers.pixelrec import make_pixelrec
from zoo.names import config_file

GENERATED = ("demo", "demo_b", "demo_even", "demo_cf")
"""Data sets that have no files to begin with."""


class Miniature(NamedTuple):
    """One small tree."""

    data: str
    """Short name of the data set."""
    make: Callable[[Path], object]
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed
    modalities: tuple[str, ...] = ("text", "image")

    def read(self, root: Path, **options: Any) -> RecDataModule | MMRec:  # noqa: ANN401
        """The data module that reads a tree made here."""
        config = yaml.safe_load(config_file("data", self.data).read_text())
        module, _, name = config["class_path"].rpartition(".")
        values = {**config["init_args"], **self.options, **options, "root": str(root)}
        data: RecDataModule | MMRec = getattr(import_module(module), name)(**values)
        return data


def small(make: Callable[..., object], *arguments: object, **options: object) -> Callable[[Path], object]:
    """A maker of 24 users and 20 items."""
    return lambda root: make(root, *arguments, n_users=24, n_items=20, **options)


def movies(**options: object) -> Callable[[Path], object]:
    """A maker of MovieLens' files."""
    return lambda root: make_movielens(root, **options)  # type: ignore[arg-type]  # as the maker takes them


_IISAN = Names(
    "am_Industrial_and_Scientific_users.tsv", "Industrial_and_Scientific_items.tsv", "am_is.lmdb", prefix="B"
)
_ODMT = Names("Office_Products_user_behaviours.tsv", "Office_Products_text.tsv", "Office_Products_image.lmdb")
_FOOD = Names(
    "bilibili_food_users.tsv",
    "bilibili_food_items_texts.tsv",
    "bilibili_food_items_images.lmdb",
    numbered=True,
)
_STREAM = Names("10wu_ks_pairs.tsv", "10wu_ks_title.csv", "10wu_ks_cover.lmdb", separator=",")
_HM = Names("hm_50w_users.tsv", "hm_50w_items.tsv", "hm_images", texts=0)
_MIND = Names("mind_60w_users.tsv", "mind_60w_items.tsv", texts=2, prefix="N")

MINIATURES = {
    "nineRec": Miniature("ninerec", small(make_ninerec)),
    "nineRec-pairs": Miniature("ninerec", small(make_ninerec, "Bili_Food"), {"subset": "Bili_Food"}),
    "pixelrec": Miniature("pixelrec", small(make_pixelrec, covers="lmdb"), {"text": ["title", "tag"]}),
    "microlens": Miniature("microlens", small(make_microlens, pairs=("tsv",), media=["covers"])),
    "microlens-pairs": Miniature("microlens", small(make_microlens, pairs=("csv",), media=["covers"])),
    "amazon-iisan": Miniature("amazon", small(make_lines, _IISAN)),
    "amazon-odmt": Miniature("amazon", small(make_lines, _ODMT), {"release": "odmt", "subset": "office"}),
    "amazon-2018": Miniature(
        "amazon", small(make_amazon, "2018", "packed"), {"release": "2018", "subset": "All_Beauty"}
    ),
    "amazon-2023": Miniature(
        "amazon", small(make_amazon, "2023", "ratings"), {"release": "2023", "subset": "All_Beauty"}
    ),
    "hm-50W": Miniature("hm", small(make_lines, _HM), modalities=("image",)),
    "hm-kaggle": Miniature("hm", small(make_hm_tables), {"subset": "kaggle"}),
    "mind-60W": Miniature("mind", small(make_lines, _MIND), modalities=("text",)),
    "mind-small": Miniature("mind", small(make_mind_tables), {"subset": "small"}, ("text",)),
    "bili_food": Miniature("bili_kwai", small(make_lines, _FOOD), {"subset": "bili_food"}),
    "kwai": Miniature("bili_kwai", small(make_lines, _STREAM), {"subset": "stream"}),
    "folder": Miniature("folder", small(make_folder_tree)),
    "ml100k": Miniature("ml100k", movies(form="100k"), {"max_len": 10}, ("text",)),
    "ml100k-recbole": Miniature("ml100k", movies(form="recbole"), {"max_len": 10}, ("text",)),
    "ml1m_seq": Miniature("ml1m_seq", movies(), {"max_len": 10}, ("text",)),
    "ml1m": Miniature("ml1m", movies(), modalities=()),
    "ml100k_cf": Miniature("ml100k_cf", movies(form="100k"), modalities=()),
    "mmrec": Miniature("mmrec", small(make_mmrec, attributes=True, mappings=True), modalities=()),
    "microlens_fair": Miniature(
        "microlens_fair", small(make_mmrec, "microlens", attributes=True), modalities=()
    ),
}
"""Name -> tree. Every configuration of ``configs/data`` but the generated ones has one."""

"""Bili and Kwai: videos with titles and covers, as PMMRec and ODMT read them.

Li et al., "Multi-Modality is All You Need for Transferable Recommender Systems", ICDE 2024,
https://arxiv.org/abs/2312.09602 (PMMRec); Liu et al., https://arxiv.org/abs/2308.04067 (ODMT).

Not here, for no source says what the files are called and hold: the Kwai source of PMMRec (only its name,
``kuaishou_pick_users_20W``, occurs in the code), its other targets, and the Bili of MoRec. NineRec's Bili and
KU sets are read by ``ninerec.py``.
"""

from typing import ClassVar

from datamodules.lines import LineData, LineFiles
from datamodules.media import SUFFIXES
from datamodules.released import MediaFolder, Statistics

_PARTS = {
    "bili_food": LineFiles(
        "bilibili_food_users.tsv",
        "bilibili_food_items_texts.tsv",
        ("bilibili_food_items_images",),
        min_len=4,
    ),
    "bili": LineFiles("bili_pick_users_10W.tsv", "bili_pick_items_10W.tsv", ("bili_image_10W",), max_len=15),
    "stream": LineFiles(
        "10wu_ks_pairs.tsv", "10wu_ks_title.csv", ("10wu_ks_cover",), separator=",", max_len=12
    ),
}


class BiliKwai(LineData):
    """``bili_food`` (PMMRec, L = 20), ``bili`` (ODMT, L = 15) or ``stream``, which is Kwai's (ODMT, L = 12).

    Items of ``bili`` and ``bili_food`` are called ``v00123``, the record of their cover ``123``. The items
    file of ``stream`` has commas, and what is behind the first is the title.

    PMMRec keeps users of three interactions too, who give no training target; here the shortest has four.
    It hides one item less in the test of a full window: here all of the history is hidden. A third party's
    note counts 100,000 users, 19,683 items and 687,487 interactions in ``stream``, but not whether before or
    after windows are cut: they are not compared.
    """

    parts: ClassVar[dict[str, LineFiles]] = _PARTS
    subsets: ClassVar[dict[str, Statistics | None]] = dict.fromkeys(_PARTS)
    names: ClassVar[dict[str, tuple[str, ...]]] = {
        "bili_food": ("bilibili_food",),
        "stream": ("10wu_ks", "kwai", "KS"),
    }
    media: ClassVar[dict[str, tuple[MediaFolder, ...]]] = {
        "image": (MediaFolder("covers", SUFFIXES), MediaFolder("cover", SUFFIXES))
    }
    how_to_get_it: ClassVar[str] = (
        "bili_food is linked by https://github.com/ICDE24/PMMRec; for bili and stream ask the authors of "
        "https://github.com/xyliugo/ODMT, who name the files and have not published them. Set --data.root to "
        "the folder with these files. None of these repositories grants a licence to the data: do not offer "
        "them again."
    )

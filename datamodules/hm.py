"""H&M: purchases of clothes with pictures, the parts of MoRec, MMSR and ODMT, and H&M's own tables.

Yuan et al., "Where to Go Next for Recommender Systems? ID- vs. Modality-based Recommender Models Revisited",
SIGIR 2023, https://arxiv.org/abs/2303.13835; Li et al., https://arxiv.org/abs/2403.17372 (MMSR); Liu et al.,
https://arxiv.org/abs/2308.04067 (ODMT).

What a paper's part is called differs from H&M's own: a paper's ``v27903`` is no article of Kaggle's tables.
"""

from typing import ClassVar

from datamodules.hm_files import TransactionFiles
from datamodules.lines import LineData, LineFiles, TableFiles
from datamodules.media import SUFFIXES
from datamodules.released import MediaFolder, Statistics

_PARTS = {
    "50W": LineFiles(
        "hm_50w_users.tsv", "hm_50w_items.tsv", ("hm_images",), texts=(), max_len=10, n_rows=86_733
    ),
    "20W": LineFiles("hm_pick_users_20W.tsv", "hm_pick_items_20W.tsv", ("hm_image_20W",), max_len=20),
    "5W": LineFiles("hm_pick_users_5W.tsv", "hm_pick_items_5W.tsv", ("hm_image_20W",), max_len=12),
}


class HM(LineData):
    """A paper's part, or ``kaggle``, the whole tables of H&M's competition.

    L is the paper's: 10 in MoRec (``50W``), 20 in MMSR (``20W``), 12 in ODMT (``5W``). In ``kaggle`` several
    pieces of an article on one day are one purchase, purchases of one day keep the order of the file, and the
    text is ``prod_name`` unless more columns are named (``text``).

    Items are called ``v27903``; their pictures are ``v27903.jpg``, or the record ``27903`` of an LMDB, whose
    pickles are read and never run. A third party's note counts 50,000 users, 61,042 items and 606,922
    interactions in ``5W``, but not whether before or after windows are cut: they are not compared.
    """

    parts: ClassVar[dict[str, LineFiles]] = _PARTS
    subsets: ClassVar[dict[str, Statistics | None]] = dict.fromkeys([*_PARTS, "kaggle"])
    media: ClassVar[dict[str, tuple[MediaFolder, ...]]] = {"image": (MediaFolder("hm_images", SUFFIXES),)}
    how_to_get_it: ClassVar[str] = (
        "Users and items of 50W are in the folder dataset/HM of https://github.com/westlake-repl/IDvs.MoRec, "
        "whose README links the pictures (hm_images.zip); 20W and 5W are named by "
        "https://github.com/MMSR23/MMSR and https://github.com/xyliugo/ODMT: ask their authors. Set "
        "--data.root to the folder with these files. The data are H&M's: see the terms of its competition at "
        "https://www.kaggle.com/competitions/h-and-m-personalized-fashion-recommendations, where "
        "transactions_train.csv, articles.csv and the folder images of kaggle are."
    )

    def files_of(self, part: str) -> TableFiles:
        """The files of a part."""
        return TransactionFiles() if part == "kaggle" else self.parts[part]

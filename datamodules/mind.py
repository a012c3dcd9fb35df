"""MIND: clicks on news with titles and abstracts, as MoRec ships it.

Yuan et al., "Where to Go Next for Recommender Systems? ID- vs. Modality-based Recommender Models Revisited",
SIGIR 2023, https://arxiv.org/abs/2303.13835, who cut it from Wu et al., "MIND: A Large-scale Dataset for News
Recommendation", ACL 2020.

Microsoft's own files (``behaviors.tsv``, ``news.tsv``) are of another kind and not read here; how MoRec made
its lines from them is not published.
"""

from typing import ClassVar

from datamodules.lines import LineData, LineFiles
from datamodules.released import MediaFolder, Statistics

_PARTS = {"60W": LineFiles("mind_60w_users.tsv", "mind_60w_items.tsv", texts=("title", "abstract"))}


class Mind(LineData):
    """The one part, ``60W``: about 630 thousand users and 80 thousand news; exact sizes are not published.

    L is MoRec's, 20. It reads titles only; ``text: [title, abstract]`` reads both. There are no pictures.
    """

    parts: ClassVar[dict[str, LineFiles]] = _PARTS
    subsets: ClassVar[dict[str, Statistics | None]] = dict.fromkeys(_PARTS)
    media: ClassVar[dict[str, tuple[MediaFolder, ...]]] = {}
    how_to_get_it: ClassVar[str] = (
        "Download dataset/MIND of https://github.com/westlake-repl/IDvs.MoRec, or what its README links, and "
        "set --data.root to the folder with these files. MIND is Microsoft's and for research only, see "
        "https://msnews.github.io."
    )

"""MIND: clicks on news with titles and abstracts, as MoRec ships it, and Microsoft's own tables.

Wu et al., "MIND: A Large-scale Dataset for News Recommendation", ACL 2020,
https://aclanthology.org/2020.acl-main.331; cut by Yuan et al., "Where to Go Next for Recommender Systems? ID-
vs. Modality-based Recommender Models Revisited", SIGIR 2023, https://arxiv.org/abs/2303.13835. How MoRec made
its lines from Microsoft's files is not published.
"""

from typing import ClassVar

from datamodules.lines import LineData, LineFiles, TableFiles
from datamodules.mind_files import BehaviorFiles
from datamodules.released import MediaFolder, Statistics

_PARTS = {"60W": LineFiles("mind_60w_users.tsv", "mind_60w_items.tsv", texts=("title", "abstract"))}
SIZES = ("small", "large")


class Mind(LineData):
    """MoRec's part (``60W``), or Microsoft's ``small`` or ``large``.

    ``60W`` has about 630 thousand users and 80 thousand news; exact sizes are not published. L is MoRec's,
    20. It reads titles only; ``text: [title, abstract]`` reads both.

    A history of ``small`` or ``large`` is what the user's first impression says was clicked before, then the
    clicks on impressions by time, of training and validation together. There are no pictures.
    """

    parts: ClassVar[dict[str, LineFiles]] = _PARTS
    subsets: ClassVar[dict[str, Statistics | None]] = dict.fromkeys([*_PARTS, *SIZES])
    names: ClassVar[dict[str, tuple[str, ...]]] = {size: (f"MIND{size}",) for size in SIZES}
    media: ClassVar[dict[str, tuple[MediaFolder, ...]]] = {}
    how_to_get_it: ClassVar[str] = (
        "60W: download dataset/MIND of https://github.com/westlake-repl/IDvs.MoRec or what its README links; "
        "small, large: take the training and the validation set at https://msnews.github.io and unpack each "
        "into a folder of its name, such as MINDsmall_train. Set --data.root to the folder with these files. "
        "MIND is Microsoft's and for research only."
    )

    def files_of(self, part: str) -> TableFiles:
        """The files of a part."""
        return BehaviorFiles(part) if part in SIZES else self.parts[part]

"""Amazon: purchases told by reviews, as IISAN and ODMT ship them, and the raw reviews of 2018 and 2023.

Fu et al., "IISAN", SIGIR 2024, https://arxiv.org/abs/2404.02059; Liu et al. (ODMT),
https://arxiv.org/abs/2308.04067; Ni et al., "Justifying Recommendations using Distantly-Labeled Reviews and
Fine-Grained Aspects", EMNLP 2019 (2018); Hou et al., https://arxiv.org/abs/2403.03952 (2023). Please cite
what you use. The sets of MMRec (Baby, Sports, Elec) are read by ``mmrec.py``.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

from datamodules.amazon_files import ReviewFiles
from datamodules.errors import UnknownSubsetError
from datamodules.headed_files import simplified
from datamodules.lines import LineData, LineFiles, TableFiles, Windowed
from datamodules.media import SUFFIXES
from datamodules.released import MediaFolder, Statistics

Release = Literal["iisan", "odmt", "2018", "2023"]


def _iisan(users: str, items: str, pictures: str, n_rows: int | None, sizes: Sequence[int]) -> LineFiles:
    windowed = Windowed(10, 5, Statistics(*sizes))
    names = (f"am_image_{pictures}", f"am_{pictures}")
    return LineFiles(users, items, names, max_len=10, windowed=windowed, n_rows=n_rows)


def _odmt(tag: str) -> LineFiles:
    return LineFiles(f"{tag}_user_behaviours.tsv", f"{tag}_text.tsv", (f"{tag}_image",), max_len=12)


_PARTS = {
    "iisan scientific": _iisan(
        "am_Industrial_and_Scientific_users.tsv",
        "Industrial_and_Scientific_items.tsv",
        "is",
        20_825,
        (12_076, 20_314, 81_711),
    ),
    "iisan instrument": _iisan(
        "am_Musical_Instruments_users_10K.tsv",
        "Musical_Instruments_items.tsv",
        "mi",
        33_921,
        (10_000, 19_246, 75_022),
    ),
    "iisan office": _iisan(
        "am_Office_Products_users_10K.tsv", "Office_Products_items.tsv", "op", None, (10_000, 22_785, 71_276)
    ),
    "odmt arts": _odmt("Arts_Crafts_and_Sewing"),
    "odmt office": _odmt("Office_Products"),
}


class Amazon(LineData):
    """One category, in one of four forms.

    Args:
        root: Folder with the files, in it or up to two levels below.
        subset: ``scientific``, ``instrument`` or ``office`` of IISAN; ``arts`` or ``office`` of ODMT; of the
            raw reviews any category as in the name of its files, such as ``All_Beauty``, of 2018 also
            ``All_Beauty_5``, their 5-core.
        release: ``iisan`` (L = 10), ``odmt`` (L = 12), or the raw reviews of ``2018`` or ``2023`` (L = 20 by
            default: no paper here cuts these).
        text: Columns that make an item's text: ``title``; of 2018 also ``brand``, ``category``,
            ``description`` and ``feature``, of 2023 ``store``, ``categories``, ``description``, ``features``.
        images: Folder of pictures or LMDB, in the root or elsewhere; by default the authors' names, such as
            ``am_is.lmdb`` or ``am_image_is``, or ``images`` with files ``<item id>.jpg``.
        max_len: History length L; by default the paper's.
        min_len: Users with fewer interactions are left out.
        **kwargs: Of ``RecDataModule``.

    Raises:
        UnknownSubsetError: If the release has no part called ``subset``.
        ValueError: If an option is out of its range.
    """

    parts: ClassVar[dict[str, LineFiles]] = _PARTS
    subsets: ClassVar[dict[str, Statistics | None]] = {
        "iisan scientific": Statistics(12_076, 20_825, 85_211),
        "iisan instrument": Statistics(10_000, 20_618, 83_828),
        "iisan office": Statistics(10_000, 24_053, 77_738),
        "odmt arts": None,
        "odmt office": None,
    }
    media: ClassVar[dict[str, tuple[MediaFolder, ...]]] = {"image": (MediaFolder("images", SUFFIXES),)}
    how_to_get_it: ClassVar[str] = (
        "iisan: the tables are in the folder Dataset of https://github.com/GAIR-Lab/IISAN, its README links "
        "the pictures; odmt: https://github.com/xyliugo/ODMT; 2018: https://nijianmo.github.io/amazon; 2023: "
        "https://amazon-reviews-2023.github.io. Set --data.root to the folder with the files, --data.release "
        "and --data.subset. The reviews are for research; pictures of raw reviews are addresses in the "
        "metadata, to be fetched by yourself."
    )

    def __init__(
        self,
        root: str = "data/Amazon",
        subset: str = "scientific",
        release: Release = "iisan",
        text: list[str] | None = None,
        images: str | None = None,
        max_len: int | None = None,
        min_len: int | None = None,
        **kwargs: Any,  # noqa: ANN401 - the base's arguments
    ) -> None:
        if release not in get_args(Release):
            raise ValueError(
                f"Expected release to be one of {', '.join(get_args(Release))}, found {release!r}."
            )
        self.release: Release = release
        super().__init__(
            root=root, subset=subset, text=text, images=images, max_len=max_len, min_len=min_len, **kwargs
        )

    def part_called(self, name: str) -> str:
        """The release's part of this name; of the raw reviews any that may be a file's.

        Raises:
            UnknownSubsetError: If there is none.
        """
        if self.release in ("2018", "2023"):
            if not simplified(name) or name != name.strip() or set(name) & set("/\\*?[]{}"):
                raise UnknownSubsetError(name, ["any category as in the names of its files: All_Beauty"])
            return f"{self.release} {name}"
        own = [part.split()[1] for part in self.subsets if part.startswith(self.release)]
        if name.lower() not in own:
            raise UnknownSubsetError(name, own)
        return f"{self.release} {name.lower()}"

    def files_of(self, part: str) -> TableFiles:
        """The files of a part."""
        release, name = part.split(" ", 1)
        return self.parts[part] if part in self.parts else ReviewFiles(release, name)

    @property
    def cache_name(self) -> str:
        """Release and part."""
        return f"amazon-{self.subset.replace(' ', '-')}"

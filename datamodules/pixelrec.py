"""PixelRec: five sets of one video platform with covers at full size, titles, tags and descriptions.

Cheng et al., "An Image Dataset for Benchmarking Recommender Systems with Raw Pixels", SDM 2024,
https://arxiv.org/abs/2309.06789. Please cite it if you use the data.

For non-commercial research and education only; nobody but the authors may offer it for download, so it is
read from where the user unpacked it.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from datamodules import pixelrec_files as files
from datamodules.errors import DataNotFoundError
from datamodules.event_sources import headed_events
from datamodules.events import read_events
from datamodules.media import SUFFIXES
from datamodules.raw_content import RawContent
from datamodules.released import MediaFolder, ReleasedData, Statistics, what_is_in
from datamodules.splits import Windowing
from datamodules.tables import Report, Tables, complete_items, distinct_items
from datamodules.texts import check_columns, text_content

HOW_TO_GET_IT = (
    "Download the interactions, the item information and the covers (one archive for all sets, above 100 GB) "
    "from the links at https://github.com/westlake-repl/PixelRec, unpack them, and set --data.root to the "
    "folder that holds them all. The data are for non-commercial research and education and may not be "
    "offered for download again."
)
NAMES: dict[str, tuple[str, ...]] = {
    "50K": ("PixelRec50K", "Pixel50K"),
    "200K": ("Pixel200K", "PixelRec200K"),
    "1M": ("Pixel1M", "PixelRec1M"),
    "8M": ("Pixel8M", "PixelRec8M"),
    "full": ("PixelRec", "PixelRecFull"),
}
"""Part -> what its files or their folder may be called; the first name is the authors'."""


class PixelRec(ReleasedData):
    """One of the five sets, from the files as the authors released them.

    Every item of the interactions is in the catalogue, also what the item information lacks; ids count as
    text. The split is the authors': the last interaction for the test, the one before for validation, and of
    the rest consecutive chunks of L + 1, with all earlier items hidden in an evaluation.

    Args:
        root: Folder with the tables and the pictures, in it or up to two levels below.
        subset: ``50K``, ``200K``, ``1M``, ``8M`` or ``full``.
        text: Columns that make an item's text, in this order: of ``title``, ``tag`` and ``description``.
        images: Folder of covers or the authors' LMDB, in the root or elsewhere; by default a folder called
            ``cover``, ``covers``, ``images`` or ``image``, else an LMDB with the set's name.
        cache_dir: Folder for what is prepared; by default ``.mmzoo`` in the root.
        max_len: History length L.
        min_len: Users with fewer interactions are left out. In the released sets but ``full`` nobody is.
        windowing: ``chunks``, or ``last`` for the last L + 3 interactions of every user only.
        **kwargs: Of ``RecDataModule``.

    Raises:
        UnknownSubsetError: If no set is called ``subset``.
        ValueError: If an option is out of its range.
    """

    subsets: ClassVar[dict[str, Statistics | None]] = {
        "50K": Statistics(50_000, 82_865, 989_494),
        "200K": Statistics(200_000, 96_282, 3_965_656),
        "1M": Statistics(1_001_822, 100_541, 19_886_579),
        "8M": Statistics(8_886_078, 407_082, 158_488_652),
        "full": Statistics(29_845_039, 408_374, 195_755_320),
    }
    names: ClassVar[dict[str, tuple[str, ...]]] = NAMES
    media: ClassVar[dict[str, tuple[MediaFolder, ...]]] = {
        "image": tuple(MediaFolder(name, SUFFIXES) for name in ("cover", "covers", "images", "image"))
    }
    how_to_get_it: ClassVar[str] = HOW_TO_GET_IT

    def __init__(
        self,
        root: str = "data/PixelRec",
        subset: str = "200K",
        text: list[str] = ["title"],  # noqa: B006 - only read
        images: str | None = None,
        cache_dir: str | None = None,
        max_len: int = 10,
        min_len: int = 4,
        windowing: Windowing = "chunks",
        **kwargs: Any,  # noqa: ANN401 - the base's arguments
    ) -> None:
        super().__init__(
            root=root,
            subset=subset,
            cache_dir=cache_dir,
            max_len=max_len,
            min_len=min_len,
            windowing=windowing,
            **kwargs,
        )
        self.text = check_columns(text, files.TEXTS)
        self.images = images

    @cached_property
    def _found(self) -> files.Found:
        return files.find_tables(self.root, NAMES[self.subset])

    @property
    def interaction_file(self) -> Path:
        """The interactions.

        Raises:
            DataNotFoundError: If they are missing.
        """
        if self._found.interactions is None:
            raise DataNotFoundError(
                f"{self.file_name}.csv, or interaction.csv in a folder {self.file_name}, with the columns "
                f"item_id, user_id and timestamp in {self.root.absolute()} or up to two levels below",
                f"none ({what_is_in(self.root)})",
                self.how_to_get_it,
            )
        return self._found.interactions

    @cached_property
    def folder(self) -> Path:
        """Where the interactions lie."""
        return self.interaction_file.parent

    def table_files(self) -> list[Path]:
        """The interactions, and the item information where it is."""
        self.__dict__.pop("_found", None)
        return [self.interaction_file, *([self._found.items] if self._found.items else [])]

    def read_tables(self) -> Tables:
        """Reads both files and compares their sizes with the published ones."""
        file, *information = self.table_files()
        report = Report()
        events = read_events(headed_events(file, files.COLUMNS), report, self.table_folder)
        if information:
            items = complete_items(files.read_items(information[0], report), events.item_names(), report)
        else:
            items = distinct_items(events.item_names())
            report.notes.append("There is no item information: the items have no texts.")
        tables = events.tables(items, report)
        self.compare(tables, tables.n_taken())
        return tables

    def raw_content(self, modality: str, items: pl.DataFrame) -> RawContent:
        """The chosen texts, or the covers from their folder or an LMDB.

        Raises:
            ValueError: If the data set has no such modality.
            DataNotFoundError: If files are missing.
        """
        if modality == "text":
            file = f"the item information ({self.file_name}.csv or item_info.csv)"
            expected = dict.fromkeys(files.TEXTS, file)
            return text_content(modality, items, self.text, self._found.items, expected)
        names = ["", *items["item"].to_list()]
        if modality == "image":
            return self.picture_content(names, self.images, NAMES[self.subset])
        return self.media_content(modality, names)

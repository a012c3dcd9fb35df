"""PixelRec: five sets of one video platform with covers at full size, titles, tags and descriptions.

Cheng et al., "An Image Dataset for Benchmarking Recommender Systems with Raw Pixels", SDM 2024,
https://arxiv.org/abs/2309.06789. Please cite it if you use the data.

For non-commercial research and education only; nobody but the authors may offer it for download, so it is
read from where the user unpacked it.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from datamodules import pixelrec_files as files
from datamodules.errors import DataNotFoundError, UnknownSubsetError
from datamodules.headed_files import find_columns, read_columns, simplified, sniff
from datamodules.lmdb import LmdbContent, is_lmdb, lmdb_names
from datamodules.media import SUFFIXES
from datamodules.raw_content import RawContent
from datamodules.released import MediaFolder, ReleasedData, Statistics, content_of
from datamodules.splits import Windowing
from datamodules.tables import Report, Tables, complete_items, tables_from_events
from datamodules.texts import check_columns, text_content

HOW_TO_GET_IT = (
    "Download the interactions, the item information and the covers (one archive for all sets, above 100 GB) "
    "from the links at https://github.com/westlake-repl/PixelRec, unpack them, and set --data.root to the "
    "folder that holds them all. The data are for non-commercial research and education and may not be "
    "offered for download again."
)
NAMES = {
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
        by_name = {simplified(name): part for part, names in NAMES.items() for name in (part, *names)}
        if simplified(subset) not in by_name:
            raise UnknownSubsetError(subset, self.subsets)
        super().__init__(
            root=root,
            subset=by_name[simplified(subset)],
            cache_dir=cache_dir,
            max_len=max_len,
            min_len=min_len,
            windowing=windowing,
            **kwargs,
        )
        self.text = check_columns(text, files.TEXTS)
        self.images = images

    @property
    def file_name(self) -> str:
        """The authors' name of the set."""
        return NAMES[self.subset][0]

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
            there = (
                ", ".join(sorted(path.name for path in self.root.glob("*"))[:8]) if self.root.exists() else ""
            )
            raise DataNotFoundError(
                f"{self.file_name}.csv, or interaction.csv in a folder {self.file_name}, with the columns "
                f"item_id, user_id and timestamp in {self.root.absolute()} or up to two levels below",
                f"none ({there or 'no such folder, or an empty one'})",
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
        items = pl.DataFrame(schema={"item": pl.String})
        layout = sniff(file)
        events = read_columns(file, layout, find_columns(file, layout, files.COLUMNS), report)
        if information:
            items = complete_items(files.read_items(information[0], report), events["item"], report)
        else:
            items = events.select(pl.col("item").str.strip_chars()).unique(maintain_order=True)
            report.notes.append("There is no item information: the items have no texts.")
        tables = tables_from_events(events, items, report)
        self.compare(tables, len(np.unique(tables.items_of)))
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
        if modality == "image" and (place := self._image_place()) is not None:
            if not is_lmdb(place):
                return content_of(place, self.media["image"][0], modality, names, self.subset, HOW_TO_GET_IT)
            known = set(lmdb_names(place))
            if known.isdisjoint(names):
                raise DataNotFoundError(
                    f"pictures of the items of {self.subset} in {place}",
                    f"{len(known):,} records, none of these items",
                    "Is it the LMDB of another set?",
                )
            values = [name if name in known else None for name in names]
            return LmdbContent(modality, names, values, place, place.name)
        return self.media_content(modality, names)

    def _image_place(self) -> Path | None:
        """What the option names, or an LMDB where there is no folder; None for the usual folders."""
        places = list(dict.fromkeys([self.folder, self.folder.parent, self.root]))
        if self.images is not None:
            choices = [self.root / Path(self.images).expanduser(), Path(self.images).expanduser()]
            found = next((place for place in choices if place.is_dir() or is_lmdb(place)), None)
            if found is None:
                raise DataNotFoundError(
                    f"a folder of covers or an LMDB (images: {self.images}) in {choices[0].absolute()}",
                    "none",
                    "Correct --data.images, or train without image.",
                )
            return found
        if any((place / media.folder).is_dir() for place in places for media in self.media["image"]):
            return None
        names = {simplified(name) for name in NAMES[self.subset]}
        lmdbs = [path for place in places for path in sorted(place.glob("*.lmdb")) if is_lmdb(path)]
        own = [path for path in lmdbs if any(simplified(path.stem).startswith(name) for name in names)]
        return next(iter([*own, *lmdbs]), None)

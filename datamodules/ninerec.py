"""NineRec: two source and nine target data sets with titles in two languages and covers.

Zhang et al., "NineRec: A Benchmark Dataset Suite for Evaluating Transferable Recommendation", TPAMI 2024,
https://doi.org/10.1109/TPAMI.2024.3373868. Please cite it if you use the data.

The authors forbid offering the data for download again, so it is read from where the user unpacked it and is
never fetched or mirrored.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl

from datamodules import ninerec_files as files
from datamodules.errors import DataNotFoundError
from datamodules.media import SUFFIXES
from datamodules.raw_content import RawContent
from datamodules.released import MediaFolder, ReleasedData, Statistics
from datamodules.table_files import read_captions, read_histories
from datamodules.tables import Report, Tables, tables_from_events, tables_from_lines

HOW_TO_GET_IT = (
    "Download the archive 'Downstream Datasets' "
    "(https://drive.google.com/file/d/15RlthgPczrFbP4U7l6QflSImK5wSGP5K), or for Bili_500K and Bili_2M "
    "'Source Datasets' (https://drive.google.com/file/d/1fR5XB-dC0CDsyZ4BvtUJJn7i3OnWJa-9), linked at "
    "https://github.com/westlake-repl/NineRec, unpack it, and set --data.root to the folder that holds the "
    "data sets' folders. The authors forbid offering the data for download again: it is not mirrored "
    "anywhere, and please do not share your copy."
)


class NineRec(ReleasedData):
    """One of the eleven data sets, from the files as the authors released them.

    Args:
        root: Folder that holds the data sets' folders (``QB/QB_item.csv``), or that of the set itself.
        subset: Name of the data set.
        language: Language of the titles.
        cache_dir: Folder for what is prepared; by default ``.mmzoo`` in the root.
        max_len: History length L. Of every user the last L + 3 interactions are used.
        min_len: Users with fewer interactions are left out.
        **kwargs: Of ``RecDataModule``.

    Raises:
        UnknownSubsetError: If no data set is called ``subset``.
    """

    subsets: ClassVar[dict[str, Statistics | None]] = {
        "Bili_500K": Statistics(500_000, 138_033, 7_845_805),
        "Bili_2M": Statistics(2_000_000, 144_146, 24_497_157),
        "Bili_Food": Statistics(6_549, 1_579, 39_740),
        "Bili_Dance": Statistics(10_715, 2_307, 83_392),
        "Bili_Movie": Statistics(16_525, 3_509, 115_576),
        "Bili_Cartoon": Statistics(30_300, 4_724, 215_443),
        "Bili_Music": Statistics(50_664, 6_038, 360_177),
        "KU": Statistics(2_034, 5_370, 18_519),
        "QB": Statistics(17_722, 6_121, 133_664),
        "TN": Statistics(20_211, 3_334, 122_576),
        "DY": Statistics(20_398, 8_299, 139_834),
    }
    """Data set -> published statistics, None where there are none to compare with."""
    media: ClassVar[dict[str, tuple[MediaFolder, ...]]] = {
        "image": (MediaFolder("{subset}_cover", SUFFIXES), MediaFolder("Source_Bili_2M_cover", SUFFIXES)),
    }
    """Modality -> folders that may hold its files; the second belongs to both source data sets."""
    how_to_get_it: ClassVar[str] = HOW_TO_GET_IT

    def __init__(
        self,
        root: str = "data/NineRec",
        subset: str = "QB",
        language: Literal["zh", "en"] = "zh",
        cache_dir: str | None = None,
        max_len: int = 20,
        min_len: int = 5,
        **kwargs: Any,  # noqa: ANN401 - the base's arguments
    ) -> None:
        super().__init__(
            root=root,
            subset=subset,
            cache_dir=cache_dir,
            max_len=max_len,
            min_len=min_len,
            **kwargs,
        )
        if language not in ("zh", "en"):
            raise ValueError(f"Expected language 'zh' or 'en', found {language!r}.")
        self.language = language

    @cached_property
    def folder(self) -> Path:
        """The data set's folder.

        Raises:
            DataNotFoundError: If no folder has the item file; names what was expected and where to get it.
        """
        item_file = f"{self.subset}_item.csv"
        places = [self.root / self.subset, self.root, *sorted(self.root.glob(f"*/{self.subset}"))]
        for place in places:
            if (place / item_file).is_file():
                return place
        expected = (
            f"the data set {self.subset} in {self.root.absolute() / self.subset}, with {item_file}, "
            f"{self.subset}_pair.csv or {self.subset}_behaviour.tsv, and the folder {self.subset}_cover"
        )
        raise DataNotFoundError(expected, self._found(), self.how_to_get_it)

    def _found(self) -> str:
        if not self.root.exists():
            return "no such folder"
        if not self.root.is_dir():
            return f"that {self.root} is a file"
        patterns = ("*_item.csv", "*/*_item.csv", "*/*/*_item.csv")
        found = {path.stem.removesuffix("_item") for p in patterns for path in self.root.glob(p)}
        if found:
            return f"these data sets there: {', '.join(sorted(found))}"
        inside = sorted(path.name for path in self.root.iterdir() if not path.name.startswith("."))
        more = ", …" if len(inside) > 8 else ""
        return f"nothing of NineRec there but {', '.join(inside[:8])}{more}" if inside else "an empty folder"

    @property
    def interaction_file(self) -> Path:
        """The pair file if there is one, as it has the times; the behaviour file otherwise.

        Raises:
            DataNotFoundError: If there is neither.
        """
        choices = [self.folder / f"{self.subset}_pair.csv", self.folder / f"{self.subset}_behaviour.tsv"]
        for path in choices:
            if path.is_file():
                return path
        names = " or ".join(path.name for path in choices)
        raise DataNotFoundError(f"{names} in {self.folder}", "neither", self.how_to_get_it)

    def table_files(self) -> list[Path]:
        """Item file and interaction file, and one of captions where somebody has made it."""
        captions = self.folder / f"{self.subset}_caption.tsv"
        files = [self.folder / f"{self.subset}_item.csv", self.interaction_file]
        return [*files, captions] if captions.is_file() else files

    def read_tables(self) -> Tables:
        """Reads both files and compares their sizes with the published ones."""
        item_file, interactions, *captions = self.table_files()
        report = Report()
        items = files.read_items(item_file, report)
        for file in captions:
            named = items.with_columns(pl.col("item").str.strip_chars())
            items = named.join(read_captions(file), "item", "left", maintain_order="left")
            report.count("items have a caption", len(items) - items["caption"].null_count(), always=True)
        if interactions.suffix == ".tsv":
            tables = tables_from_lines(read_histories(interactions), items, report)
        else:
            events = files.read_pairs(interactions, items, report)
            tables = tables_from_events(events, items, report)
        self.compare(tables, len(tables.items))
        return tables

    def raw_content(self, modality: str, items: pl.DataFrame) -> RawContent:
        """Titles in the chosen language, captions, or the files of a modality by item id.

        Raises:
            ValueError: If the data set has no such modality.
            DataNotFoundError: If the folder of the files is missing.
        """
        names = ["", *items["item"].to_list()]
        if modality == "text":
            titles = [None, *items[f"title_{self.language}"].to_list()]
            return RawContent(modality, names, titles, None, f"{self.subset}_item.csv")
        if modality == "caption":
            if "caption" not in items.columns:
                raise ValueError(
                    f"{self.subset} has no captions: expected {self.subset}_caption.tsv in {self.folder}, "
                    "with lines of item id, tab, caption. Make it with a model that describes pictures or "
                    "clips, or leave the modality out (--model.caption null)."
                )
            captions = [None, *items["caption"].to_list()]
            return RawContent(modality, names, captions, None, f"{self.subset}_caption.tsv")
        return self.media_content(modality, names)

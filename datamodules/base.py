"""The Lightning data module of every data set: preparation into a cache, windows, and the loaders.

A data set is a subclass that says which files it reads, how they become ``Tables``, and where raw content
lies. Everything prepared is kept under a key of all it was made from, so nothing stale is ever read.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import polars as pl
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from datamodules.attributes import Attribute, check_attributes
from datamodules.cache import check_space, digest, file_stamp, make_cache, make_folder
from datamodules.catalogue import Catalogue, check_fraction, note_bad_items, report_text
from datamodules.collate import PairCollate, SequenceCollate, eval_collate
from datamodules.histories import EvalRows, EvalWindows, TrainWindows
from datamodules.item_store import ItemStore, Preparation
from datamodules.known import KnownData
from datamodules.loader import ResumableLoader
from datamodules.pairs import TrainPairs
from datamodules.protocols import Frame, KCore, LeaveTwoOut, Protocol
from datamodules.raw_content import RawContent
from datamodules.ready_features import vector_content, vector_file
from datamodules.sampler import EvalSampler, TrainBatchSampler
from datamodules.splits import Stage, Windowing
from datamodules.tables import Tables
from zoo.types import CatalogSpec, ContentTransform

LAYOUT = 4
"""Raised when cached tables or windows change their meaning, so that older ones are not read."""


class RecDataModule(KnownData, ABC):
    """Reads a data set once into a cache, and deals batches from there.

    Without a trainer, call ``bind`` with what the model needs, then ``prepare_data`` and ``setup``.

    Args:
        root: Folder with the raw data.
        cache_dir: Folder for what is prepared; by default ``.mmzoo`` in the root.
        max_len: History length L.
        min_len: Users with fewer interactions are left out.
        batch_size: Rows in a training batch of one process: users, or pairs for models of pairs.
        eval_batch_size: Users in an evaluation batch of one process.
        num_workers: Processes that make training batches; with 0 the trainer's own does.
        seed: Of order and negatives; by default that of ``seed_everything``, or else 0.
        train_fraction: Share of the users whose histories train; all are evaluated. Smaller shares lie inside
            larger ones.
        fraction_seed: Of the draw of that share, and of nothing else.
        windowing: ``last`` uses the last L + 3 interactions of every user. ``chunks`` uses all: what trains
            is cut into pieces of L + 1 from its end, and what does not fill the oldest piece is left out; all
            earlier items are hidden in an evaluation.
        protocol: What trains and what is evaluated: ``LeaveTwoOut``, which is the default, ``GlobalTime``,
            ``ColdItems`` or ``ColdUsers``, each with its options (``--data.protocol.help GlobalTime``).
        features: Modality -> file of ready vectors (``.npy``, row k for item k + 1, or a ``.json`` of item ->
            list), for encoders called ``features``.
        filter: How many interactions ``users`` and ``items`` must have; others are left out before all else.
        bucket: Put histories of about one length into a training batch; ``datamodules.sampler.alike`` says
            what changes.

    Raises:
        ValueError: If a number is out of its range.
    """

    spec: CatalogSpec
    """Sizes of the catalogue; there after ``setup``."""
    table_folder: Path | None = None
    """Where the tables are being written, and what is too large for the memory may be put; else none is."""

    def __init__(
        self,
        root: str,
        cache_dir: str | None = None,
        max_len: int = 20,
        min_len: int = 5,
        batch_size: int = 64,
        eval_batch_size: int = 512,
        num_workers: int = 0,
        seed: int | None = None,
        train_fraction: float = 1.0,
        fraction_seed: int = 0,
        windowing: Windowing = "last",
        protocol: Protocol | None = None,
        filter: KCore | None = None,
        features: dict[str, str] | None = None,
        bucket: bool = False,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        self._frame = Frame(max_len, min_len, windowing)
        self._frame.check()
        check_fraction(train_fraction, fraction_seed)
        self.root = Path(root).expanduser()
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else self.root / ".mmzoo"
        self.max_len = max_len
        self.min_len = min_len
        self.train_fraction = train_fraction
        self.fraction_seed = fraction_seed
        self.windowing: Windowing = windowing
        self.protocol = LeaveTwoOut() if protocol is None else protocol
        self.filter = filter
        self.features = dict(features or {})
        self.bucket = bucket

    # What a data set says -----------------------------------------------------------------------------

    @abstractmethod
    def table_files(self) -> list[Path]:
        """Raw files the tables are read from.

        Raises:
            DataNotFoundError: If one is missing.
        """

    def table_options(self) -> list[object]:
        """What else the tables depend on; mostly nothing."""
        return []

    @abstractmethod
    def read_tables(self) -> Tables:
        """Reads the raw files."""

    def user_attributes(self, users: pl.Series) -> dict[str, Attribute]:
        """Sensitive attributes of the named users, who are user rows 1, 2 and so on; mostly none."""
        return {}

    # Preparation --------------------------------------------------------------------------------------

    @property
    def cache(self) -> Path:
        """Where this data set's prepared files lie."""
        return self.cache_dir / self.cache_name

    def prepare_data(self) -> None:
        """Reads, cuts and prepares whatever is not in the cache yet; one process of a machine does it.

        Raises:
            DataNotFoundError: If raw files are missing.
            DiskFullError: If the disk cannot hold the cache.
            ValueError: If the model cannot be trained or tested on what this data gives.
        """
        self.protocol.check(self.needs, type(self).__name__)
        told = self._catalogue is not None
        self._forget()
        files = self.table_files()
        raw_bytes = sum(file.stat().st_size for file in files)
        make_cache(self.cache)
        tables = make_folder(self._tables_folder(), raw_bytes, self._write_tables)
        windows = make_folder(
            self._windows_folder(), raw_bytes, lambda part: self._write_windows(tables, part)
        )
        self._catalogue = catalogue = self._load(windows)
        work = self._preparations()
        needed = sum(preparation.needed_bytes() for preparation in work)
        if needed:
            check_space(self.cache, needed)
        store = ItemStore({p.raw.modality: p.run() for p in work}, catalogue.counts_I)
        note_bad_items(store, self.cache / "bad_items.csv")
        if not told:
            rank_zero_info(report_text(self.cache_name, catalogue.report, store))

    def tables(self) -> Tables:
        """All interactions, mapped; there after ``prepare_data``."""
        return Tables.load(self._tables_folder())

    def setup(self, stage: str | None = None) -> None:
        """Opens what ``prepare_data`` left in the cache.

        Raises:
            RuntimeError: If it was not called, or the raw files have changed since.
        """
        folder = self._windows_folder()
        if not folder.exists():
            raise RuntimeError(
                f"Expected prepared data of {self.cache_name} in {folder}, found none. Call prepare_data() "
                "before setup(); if a trainer did, the raw files have changed in the meantime."
            )
        self._catalogue = catalogue = self._catalogue or self._load(folder)
        stores = {work.raw.modality: work.folder for work in self._preparations()}
        if missing := [modality for modality, store in stores.items() if not store.exists()]:
            raise RuntimeError(
                f"Expected prepared {' and '.join(missing)} of {self.cache_name} in {self.cache}, found "
                "none. Call prepare_data() with this model before setup()."
            )
        users = pl.read_parquet(folder / "users.parquet")["user"]
        attributes = self.user_attributes(users)
        check_attributes(self.needs.attributes, attributes, catalogue.users_R, self.cache_name)
        self.items = ItemStore(stores, catalogue.counts_I, {k: v.class_U for k, v in attributes.items()})
        self.items.held_out_I = catalogue.held_out_I
        pairs = self.needs.batch == "pair"
        self.spec = CatalogSpec(
            n_items=len(catalogue.counts_I),
            n_users=catalogue.windows.n_users,
            state_shapes={},
            n_classes={name: attribute.n_classes for name, attribute in attributes.items()},
            max_len=self.max_len,
            # A model of pairs has a vector for every user: its rows must mean the same people.
            fingerprint=digest([self.item_names, self.user_names] if pairs else self.item_names),
            protocol=self.protocol_text,
        )

    def _tables_folder(self) -> Path:
        made_of = [LAYOUT, self.cache_name, *map(file_stamp, self.table_files()), *self.table_options()]
        return self.cache / f"tables-{digest(made_of)}"

    def _windows_folder(self) -> Path:
        more = [part for part in (self.protocol, self.filter) if part not in (None, LeaveTwoOut())]
        cut = [*self._frame, *more]
        return self.cache / f"windows-{digest([self._tables_folder().name, *cut])}"

    def _write_tables(self, folder: Path) -> None:
        self.table_folder = folder
        try:
            self.read_tables().save(folder)
        finally:
            self.table_folder = None

    def _write_windows(self, tables_folder: Path, folder: Path) -> None:
        Catalogue.write(folder, Tables.load(tables_folder), self.protocol, self._frame, self.filter)

    def _load(self, folder: Path) -> Catalogue:
        return Catalogue.load(folder, self.train_fraction, self.fraction_seed)

    def _preparations(self) -> list[Preparation]:
        transforms = self.needs.transforms.items()
        return [Preparation(self.cache, self._asked(*asked), asked[1]) for asked in transforms]

    def _asked(self, modality: str, transform: ContentTransform) -> RawContent:
        """What a model reads of a modality: raw content, or vectors that come with the data."""
        file = vector_file(self.features, modality, transform, self.root)
        if file is None:
            return self._raw(modality)
        return vector_content(modality, file, self._ready().items["item"], self.cache)

    # Loaders ------------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches: a ``SequenceBatch`` of users, or a ``PairBatch`` if the model asks for pairs."""
        needs, seed, catalogue = self.needs, self._seed(), self._ready()
        windows, users_R, n_drawn = catalogue.windows, catalogue.users_R, catalogue.n_drawn
        modalities = [modality for modality in needs.transforms if modality not in needs.cached]
        dataset: TrainPairs | TrainWindows
        collate: PairCollate | SequenceCollate
        if needs.batch == "pair":
            dataset = TrainPairs(windows, n_drawn, seed, users_R)
            collate = PairCollate(self.items, modalities)
        else:
            dataset = TrainWindows(windows, self.max_len, n_drawn, needs.negatives, seed, users_R)
            collate = SequenceCollate(self.items, modalities)
        length_R = dataset.lengths() if self.bucket and isinstance(dataset, TrainWindows) else None
        return ResumableLoader(
            dataset,
            TrainBatchSampler(len(dataset), self.batch_size, seed, *self._ranks(), length_R=length_R),
            collate_fn=collate,
            num_workers=self.num_workers,
            pin_memory=self._pin(),
            persistent_workers=True,
        )

    def val_dataloader(self) -> DataLoader[EvalRows]:
        """Every user once, the target being the item before the last, or as the protocol has it."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[EvalRows]:
        """Every user once, the target being the last item, or as the protocol has it."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader[EvalRows]:
        """Every user once: the whole history, no target."""
        return self._eval_loader("predict")

    def _eval_loader(self, stage: Stage) -> DataLoader[EvalRows]:
        catalogue = self._ready()
        dataset = EvalWindows(catalogue.windows, self.max_len, stage, catalogue.places.get(stage))
        return DataLoader(
            dataset,
            batch_size=self.eval_batch_size,
            sampler=EvalSampler(len(dataset), *self._ranks()),
            collate_fn=eval_collate,  # type: ignore[arg-type]  # takes what __getitems__ answers
            pin_memory=self._pin(),
        )

    @property
    def protocol_text(self) -> str:
        """What is evaluated how, in one line."""
        return self.protocol.describe(self._frame, "" if self.filter is None else self.filter.text())

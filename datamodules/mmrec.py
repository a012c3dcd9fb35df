"""Data sets in MMRec's layout: user-item pairs split by labels, feature matrices, user attributes.

Zhou, "MMRec: Simplifying Multimodal Recommendation", 2023, https://arxiv.org/abs/2302.03497. The authors'
sets, those of GUIDER and of FMMRec, and whatever you write as the layout says
(``datamodules/mmrec_files.py``).
"""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, get_args

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.utils.data import DataLoader

from datamodules.attributes import check_attributes, warn_of_absent_classes
from datamodules.cache import digest
from datamodules.errors import DataNotFoundError, EmptyDataError
from datamodules.features import BadRows, FeatureFile, find_features
from datamodules.interactions import (
    EvalLabels,
    InteractionStore,
    LabelRows,
    Lists,
    TrainInteractions,
    interaction_collate,
    label_collate,
)
from datamodules.loader import ResumableLoader
from datamodules.mmrec_files import Ids, Layout, Pairs, read_layout, read_names
from datamodules.module import DataModule
from datamodules.sampler import EvalSampler, TrainBatchSampler
from datamodules.tables import Report
from zoo.types import CatalogSpec, ModelNeeds

HOW_TO_GET_IT = (
    "Baby, Sports and Elec are linked at https://github.com/enoche/MMRec/tree/master/data, FMMRec's ml1m at "
    "https://github.com/WeixinChen98/FMMRec, its microlens at "
    "https://recsys.westlake.edu.cn/MicroLens-Fairness-Dataset/. Put a set's files into one folder, named as "
    "the set, and set --data.root to the folder that holds it and --data.name to its name."
)


class Statistics(NamedTuple):
    """What is published of a data set."""

    users: int
    items: int
    interactions: int


PUBLISHED = {
    "baby": Statistics(19_445, 7_050, 160_792),
    "sports": Statistics(35_598, 18_357, 296_337),
    "elec": Statistics(192_403, 63_001, 1_689_188),
    "ml1m": Statistics(6_040, 3_706, 1_000_209),
    "ml100k": Statistics(943, 1_682, 100_000),
    "microlens": Statistics(5_936, 12_414, 123_368),
}
"""Name -> statistics in MMRec's and FMMRec's repositories."""


class _Read(NamedTuple):
    """What a folder holds, checked against what the model needs."""

    layout: Layout
    files: dict[str, FeatureFile]
    notes: list[str]


class MMRec(DataModule):
    """A data set in MMRec's layout, split by its labels: every user has several targets or none.

    Only training items are hidden in an evaluation, as in MMRec: in the test, validation items stay
    candidates unless ``hide_validation``.

    Args:
        root: Folder that holds the data sets' folders (``baby/baby.inter``), or that of the set itself.
        name: Name of the data set: of its folder and its table.
        batch_size: Training pairs in a batch of one process.
        eval_batch_size: Users in an evaluation batch of one process.
        hide_validation: Hide validation items in the test.
        bad_features: What becomes of feature rows that are not finite: ``refuse`` them, or make them the
            ``mean`` of the good ones.
        num_workers: Processes that make training batches; with 0 the trainer's own does.
        seed: Of order and negatives; by default that of ``seed_everything``, or else 0.

    Raises:
        ValueError: If a number is out of its range.
    """

    name: str
    items: InteractionStore
    """The catalogue, its users and the training pairs; there after ``setup``."""
    how_to_get_it: ClassVar[str] = HOW_TO_GET_IT
    default_needs: ClassVar[ModelNeeds] = ModelNeeds(transforms={}, batch="interaction")

    def __init__(
        self,
        root: str = "data/MMRec",
        name: str = "baby",
        batch_size: int = 2048,
        eval_batch_size: int = 1024,
        hide_validation: bool = False,
        bad_features: BadRows = "refuse",
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        if bad_features not in get_args(BadRows):
            raise ValueError(f"Expected bad_features 'refuse' or 'mean', found {bad_features!r}.")
        self.root = Path(root).expanduser()
        self.name = name
        self.hide_validation = hide_validation
        self.bad_features: BadRows = bad_features
        self._read: _Read | None = None
        self._told = False

    # Reading ------------------------------------------------------------------------------------------

    @cached_property
    def folder(self) -> Path:
        """The folder with ``<name>.inter``.

        Raises:
            DataNotFoundError: If there is none; says what is there and where to get it.
        """
        for place in (self.root / self.name, self.root):
            if (place / f"{self.name}.inter").is_file():
                return place
        there = sorted({path.stem for depth in ("*", "*/*") for path in self.root.glob(f"{depth}.inter")})
        found = f"these data sets there: {', '.join(there)}" if there else "no .inter file there"
        raise DataNotFoundError(
            f"the data set {self.name} in {self.root.absolute() / self.name}, with {self.name}.inter",
            found if self.root.is_dir() else "no such folder",
            self.how_to_get_it,
        )

    @property
    def feature_root(self) -> Path:
        """The folder with the feature matrices."""
        return self.folder

    def prepare_data(self) -> None:
        """Reads everything once, so that what is wrong is seen and told before training.

        Raises:
            DataNotFoundError: If the data set, or features that the model reads, are missing.
            BadTableError: If a file cannot be understood.
            EmptyDataError: If there is no training pair.
        """
        for cached in ("folder", "data_fingerprint"):
            self.__dict__.pop(cached, None)
        read = self._read_folder()
        for modality in sorted(self.needs.features):
            file = read.files[modality]
            if note := file.check_rows(file.bad_rows(), self.bad_features):
                rank_zero_warn(note)
                read.notes.append(note)
        self._read = read
        if not self._told:
            rank_zero_info(self.report())
            self._told = True

    def setup(self, stage: str | None = None) -> None:
        """Opens the data set.

        Raises:
            UnknownAttributeError: If the model asks for an attribute that users do not have.
        """
        layout, files, _ = self._read = self._read or self._read_folder()
        self.items = InteractionStore(
            layout.n_items,
            layout.n_users,
            layout.train,
            {name: attribute.class_U for name, attribute in layout.attributes.items()},
            layout.noise_E,
            files,
            self.bad_features,
        )
        pairs = digest([layout.train.user_E.tobytes(), layout.train.item_E.tobytes()])
        self.spec = CatalogSpec(
            n_items=layout.n_items,
            n_users=layout.n_users,
            state_shapes={},
            n_classes={name: attribute.n_classes for name, attribute in layout.attributes.items()},
            # Users have rows and pairs are part of the model: they must mean the same.
            fingerprint=digest([*self.item_names, "", *self.user_names, pairs]),
            protocol=self.protocol_text,
            n_edges=len(layout.train.user_E),
            feature_widths={modality: file.width for modality, file in files.items()},
        )

    def _read_folder(self) -> _Read:
        needs = self.needs
        if needs.transforms or needs.batch != "interaction":
            raise ValueError(
                f"The model learns from {needs.batch} batches and raw content "
                f"({', '.join(needs.transforms) or 'none'}), but {self.name} comes in MMRec's layout: pairs "
                "split by labels, and features. Take a collaborative model, or histories such as --data demo."
            )
        layout = read_layout(self.folder, self.name)
        trained_R = np.unique(layout.train.user_E)
        notes = check_attributes(needs.attributes, layout.attributes, trained_R, self.name)
        held = {"validation": layout.val.user_E, "test": layout.test.user_E}
        notes += warn_of_absent_classes(needs.attributes, layout.attributes, held)
        files, bad = find_features(self.feature_root, layout.n_items, needs.features, self.name)
        return _Read(layout, files, notes + bad)

    def _ready(self) -> _Read:
        if self._read is None:
            raise RuntimeError(
                "Expected a data module after setup(), found one before. Call prepare_data() and setup()."
            )
        return self._read

    # Loaders ------------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of training pairs, with fresh negatives in every pass of every epoch."""
        needs, layout, seed = self.needs, self._ready().layout, self._seed()
        attributes = [layout.attributes[name].class_U for name in needs.attributes]
        attributes_UA = np.stack(attributes, axis=1) if attributes else None
        dataset = TrainInteractions(layout.train, layout.n_users, seed, attributes_UA)
        return ResumableLoader(
            dataset,
            TrainBatchSampler(len(dataset), self.batch_size, seed, *self._ranks(), passes=needs.passes),
            collate_fn=interaction_collate,
            num_workers=self.num_workers,
            pin_memory=self._pin(),
            persistent_workers=True,
        )

    def val_dataloader(self) -> DataLoader[LabelRows]:
        """Every user with validation pairs once."""
        layout = self._ready().layout
        return self._eval_loader("validation", layout.val, layout.train)

    def test_dataloader(self) -> DataLoader[LabelRows]:
        """Every user with test pairs once."""
        layout = self._ready().layout
        hidden = [layout.train, layout.val] if self.hide_validation else [layout.train]
        return self._eval_loader("test", layout.test, *hidden)

    def predict_dataloader(self) -> DataLoader[LabelRows]:
        """Every user with a training pair once: no targets, and all the user's pairs hidden."""
        layout = self._ready().layout
        return self._eval_loader("training", None, layout.train, layout.val, layout.test)

    def _eval_loader(self, split: str, targets: Pairs | None, *hidden: Pairs) -> DataLoader[LabelRows]:
        layout = self._ready().layout
        sizes = layout.n_users, layout.n_items
        users_R: Ids = np.unique(layout.train.user_E if targets is None else targets.user_E)
        if not len(users_R):
            raise EmptyDataError(
                f"Expected {split} pairs in {self.name}, found none: no line of a user who trains has that "
                "label in x_label. Label some, or leave this evaluation out (--trainer.limit_val_batches 0)."
            )
        kept = [] if targets is None else [targets]
        dataset = EvalLabels(users_R, Lists.of(*sizes, *kept), Lists.of(*sizes, *hidden))
        return DataLoader(
            dataset,
            batch_size=self.eval_batch_size,
            sampler=EvalSampler(len(dataset), *self._ranks()),
            collate_fn=label_collate,  # type: ignore[arg-type]  # takes what __getitems__ answers
            pin_memory=self._pin(),
        )

    # For people ---------------------------------------------------------------------------------------

    @property
    def split_text(self) -> str:
        """Where the labels come from, in a few words."""
        return "labels of the file"

    @property
    def protocol_text(self) -> str:
        """What is evaluated how, in one line."""
        hidden = "training and in the test validation" if self.hide_validation else "training"
        return f"{self.split_text}; every held-out item of a user a target, {hidden} items hidden"

    @cached_property
    def data_fingerprint(self) -> str:
        """Digest of item names, test pairs and the pairs hidden from them; there after ``setup``."""
        layout = self._ready().layout
        splits = [layout.test, layout.train, *([layout.val] if self.hide_validation else [])]
        pairs = [part.tobytes() for split in splits for part in split]
        return digest([*self.item_names, "", digest(pairs)])

    @cached_property
    def item_names(self) -> list[str]:
        """Catalogue row -> item: its raw name if ``i_id_mapping.csv`` has it, or its number in the table."""
        return self._names("i_id_mapping.csv", "itemID", self._ready().layout.n_items)

    @cached_property
    def user_names(self) -> list[str]:
        """User row -> user: the raw name if ``u_id_mapping.csv`` has it, or the number in the table."""
        return self._names("u_id_mapping.csv", "userID", self._ready().layout.n_users)

    def _names(self, file: str, column: str, n_rows: int) -> list[str]:
        return read_names(self.folder / file, column, n_rows) or ["", *map(str, range(n_rows - 1))]

    def report(self) -> str:
        """What was read, left out and found bad, in a few lines."""
        layout, files, notes = self._ready()
        sizes = Report()
        users, items = layout.n_users - 1, layout.n_items - 1
        splits = [len(pairs.user_E) for pairs in (layout.train, layout.val, layout.test)]
        sizes.count("users", users, always=True)
        sizes.count("items", items, always=True)
        trained = len(np.unique(layout.train.item_E))
        sizes.count("items without a training pair: they have a row and are ranked", items - trained)
        sizes.notes.append(
            "{:,} training, {:,} validation and {:,} test pairs".format(*splits)
            + f"; density {sum(splits) / max(users * items, 1):.3%}"
        )
        sizes.notes += [f"{file.modality} features, {file.width:,} wide" for file in files.values()]
        sizes.notes += [f"{name}: {part.n_classes} classes" for name, part in layout.attributes.items()]
        if layout.noise_E is not None:
            sizes.count("training pairs are planted noise", int(layout.noise_E.sum()), always=True)
        published = PUBLISHED.get(self.name)
        read = Statistics(users, items, layout.report.counts["lines read"])
        if published not in (None, read):
            sizes.notes.append(f"Not the published size {tuple(published or ())}. Is the download complete?")
        return "\n  ".join([f"{self.name}:", *layout.report.merged(sizes).lines(), *notes])

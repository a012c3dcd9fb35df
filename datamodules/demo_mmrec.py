"""The demo catalogue in MMRec's layout: pairs with labels, features, attributes, planted noise.

Exports lie beside the catalogue, one folder for each way to cut and to disturb it. The truth file says which
lines are noise: the catalogue's own, and what was injected into the training pairs here. No model reads it.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from datamodules import demo_features
from datamodules.cache import locked, make_folder
from datamodules.demo import (
    BIG,
    FOLDERS,
    NAME,
    WORLDS,
    PlatformName,
    Size,
    read_attributes,
    read_truth,
    write_demo,
)
from datamodules.demo_rules import PLATFORMS
from datamodules.features import FILES
from datamodules.mmrec import MMRec
from datamodules.mmrec_files import Ids, write_features, write_layout
from datamodules.protocols.labels import cut_labels, cut_text
from datamodules.splits import Cut

EXPORT = 1
"""Raised when the same catalogue gives another export."""
DATA = "demo"
TRIES = 200


class Way(NamedTuple):
    """How a catalogue is cut and disturbed."""

    cut: Cut = "random"
    cut_seed: int = 0
    noise: float = 0.0
    noise_seed: int = 0

    @property
    def folder(self) -> str:
        """Name of the export's folder."""
        cut = f"random-{self.cut_seed}" if self.cut == "random" else self.cut
        noise = f"-noise-{self.noise:g}-{self.noise_seed}" if self.noise else ""
        return f"{cut}{noise}-v{EXPORT}"


def write_demo_mmrec(catalogue: Path, way: Way, modalities: Collection[str] = tuple(FILES)) -> Path:
    """Writes an export of a demo catalogue, or what is missing of it.

    Users and items are numbered by first appearance, the same in all exports of a catalogue; repeated pairs
    are merged at their first time, and are noise only if every one was.

    Args:
        catalogue: The folder that ``write_demo`` returned.
        way: How to cut and disturb it.
        modalities: Whose features are wanted; their content must have been drawn.

    Returns:
        The export's folder.
    """
    parent = catalogue.parent / "MMRec"
    size = 3 * (catalogue / f"{NAME}_pair.csv").stat().st_size
    folder = make_folder(parent / way.folder, size, lambda part: _write_tables(catalogue, way, part))
    for modality in modalities:
        path = folder / FILES[modality]
        if not path.is_file():
            with locked(path):
                if not path.is_file():
                    write_features(path, _features(catalogue, modality)[_item_rows(folder, catalogue)])
    return folder


def _write_tables(catalogue: Path, way: Way, folder: Path) -> None:
    pairs = _merged_pairs(catalogue)
    user_R, item_R = pairs["user"].to_physical().to_numpy(), pairs["item"].to_physical().to_numpy()
    user_R, item_R = user_R.astype(np.int64), item_R.astype(np.int64)
    label_R = cut_labels(way.cut, way.cut_seed, user_R, pairs["time"].to_numpy())
    train = np.flatnonzero(label_R == 0)
    twins, noisy = inject(user_R, item_R, train, way.noise, way.noise_seed)
    twin_times = pairs["time"].gather(twins)
    table = pl.DataFrame(
        {
            "userID": np.concatenate([user_R, user_R[twins]]),
            "itemID": np.concatenate([item_R, noisy]),
            "rating": np.ones(len(pairs) + len(twins), dtype=np.int64),
            "timestamp": pl.concat([pairs["time"], twin_times]),
            "x_label": np.concatenate([label_R, np.zeros(len(twins), dtype=np.int64)]),
            "noise": np.concatenate([pairs["noise"].to_numpy(), np.ones(len(twins), dtype=bool)]),
            "injected": np.arange(len(pairs) + len(twins)) >= len(pairs),
        }
    ).sort("userID", "timestamp", maintain_order=True)
    users, items = (pairs[name].unique(maintain_order=True).cast(pl.String) for name in ("user", "item"))
    row_R = table["userID"].to_numpy() + 1
    attributes = {
        f"u_{name}": found.class_U[row_R] for name, found in read_attributes(catalogue, users).items()
    }
    write_layout(
        folder,
        DATA,
        table.drop("noise", "injected").hstack(pl.DataFrame(attributes)),
        truth={name: table[name].to_numpy() for name in ("noise", "injected")},
        names={
            "i_id_mapping.csv": pl.DataFrame({"item": items, "itemID": np.arange(len(items))}),
            "u_id_mapping.csv": pl.DataFrame({"user": users, "userID": np.arange(len(users))}),
        },
    )


def _merged_pairs(catalogue: Path) -> pl.DataFrame:
    """Distinct pairs by their first lines: ``user`` and ``item`` as enumerations, time, noise."""
    lines = pl.read_csv(
        catalogue / f"{NAME}_pair.csv", has_header=False, new_columns=["item", "user", "time"]
    ).with_columns(noise=pl.Series(read_truth(catalogue).noise))
    merged = lines.group_by("user", "item", maintain_order=True).agg(
        pl.col("time").first(), pl.col("noise").all()
    )
    enums = {name: pl.Enum(merged[name].unique(maintain_order=True)) for name in ("user", "item")}
    return merged.cast(enums)  # type: ignore[arg-type]  # a mapping of names to types


def inject(
    user_R: Ids, item_R: Ids, train: Ids, rate: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draws additional training pairs: any item, all with equal chance, that the user has no pair with.

    Users get them in proportion to their training pairs, at most one for each. The pairs of a lower rate are
    among those of a higher one.

    Args:
        user_R: Users of all pairs, from 0.
        item_R: Their items, from 0.
        train: Rows that train.
        rate: Additional pairs relative to the training pairs, 0 to 1.
        seed: Of the draw, and of nothing else.

    Returns:
        Rows of the pairs whose users (and times) the additional ones take over, and the additional items.
    """
    rng = np.random.default_rng(seed)
    n_items = int(item_R.max()) + 1
    twins = rng.permutation(train)
    item_T = np.full(len(twins), -1, dtype=np.int64)
    taken = np.sort(user_R * n_items + item_R)
    todo = np.arange(len(twins))
    for _ in range(TRIES):
        drawn = rng.integers(0, n_items, len(todo))
        key = user_R[twins[todo]] * n_items + drawn
        # A user's second draw of one item in the same round is refused too: the first of equal keys stands.
        _, first = np.unique(key, return_index=True)
        fresh = np.zeros(len(todo), dtype=bool)
        fresh[first] = True
        fresh &= taken[np.minimum(np.searchsorted(taken, key), len(taken) - 1)] != key
        item_T[todo[fresh]] = drawn[fresh]
        taken = np.sort(np.concatenate([taken, key[fresh]]))
        todo = todo[~fresh]
        if not len(todo):
            break
    kept = np.flatnonzero(item_T >= 0)[: round(rate * len(train))]
    return twins[kept], item_T[kept]


# Features -------------------------------------------------------------------------------------------------


def _features(catalogue: Path, modality: str) -> npt.NDArray[np.float32]:
    """Features of all items in the order of the item file; made once for a catalogue."""
    folder = catalogue.parent / f"features-v{demo_features.VERSION}"
    folder.mkdir(exist_ok=True)
    path = folder / f"{modality}.npy"
    if not path.is_file():
        with locked(path):
            if not path.is_file():
                write_features(path, _make_features(catalogue, modality))
    rows: npt.NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return rows


def _make_features(catalogue: Path, modality: str) -> npt.NDArray[np.float32]:
    table = _item_table(catalogue)
    if modality == "text":
        return demo_features.text_features(table["en"].to_list())
    ending, suffix = FOLDERS[modality]
    files = [catalogue / f"{NAME}_{ending}" / f"{item}{suffix}" for item in table["item"]]
    make = {
        "image": demo_features.image_features,
        "audio": demo_features.audio_features,
        "video": demo_features.video_features,
    }
    return make[modality](files)


def _item_table(catalogue: Path) -> pl.DataFrame:
    path = catalogue / f"{NAME}_item.csv"
    return pl.read_csv(path, has_header=False, new_columns=["item", "zh", "en"], infer_schema=False)


def _item_rows(folder: Path, catalogue: Path) -> npt.NDArray[np.int64]:
    """Row of the item file of each of the export's items."""
    items = pl.read_csv(folder / "i_id_mapping.csv", separator="\t")["item"]
    return items.cast(pl.Enum(_item_table(catalogue)["item"])).to_physical().to_numpy().astype(np.int64)


class DemoCF(MMRec):
    """The generated catalogue as user-item pairs with features, for collaborative models; made on first use.

    Attributes ``gender`` (2 classes) and ``age`` (4) lean on what users like. ``items.noise_E`` says which
    training pairs are noise: about 6 in 100 of the catalogue's own, and what ``noise`` injects.

    Args:
        root: Folder for generated catalogues, one folder in it for each size and seed.
        size: ``tiny`` (300 users, 150 items), ``small`` (3,000 and 1,500) or ``large`` (1,000,000 and
            100,000; features are made when a model needs them).
        world_seed: Of the catalogue itself.
        platform: As for the demo catalogue of histories.
        cut: About 8 : 1 : 1: within each user at ``random``, as MMRec's sets are cut, or by ``time``, or by
            ``global_time``.
        cut_seed: Of the random cut.
        noise: Additional random training pairs, as a share of the training pairs.
        noise_seed: Of these pairs; those of a smaller share are among those of a larger one.
        batch_size: Training pairs in a batch of one process.
        eval_batch_size: Users in an evaluation batch of one process.
        hide_validation: Hide validation items in the test.
        num_workers: Processes that make training batches; with 0 the trainer's own does.
        seed: Of order and negatives; by default that of ``seed_everything``, or else 0.

    Raises:
        ValueError: If an option is unknown or out of its range.
    """

    how_to_get_it: ClassVar[str] = "Call prepare_data(): it generates the demo catalogue."

    def __init__(
        self,
        root: str = "data/demo",
        size: Size = "small",
        world_seed: int = 0,
        platform: PlatformName = "a",
        cut: Cut = "random",
        cut_seed: int = 0,
        noise: float = 0.0,
        noise_seed: int = 0,
        batch_size: int = 512,
        eval_batch_size: int = 1024,
        hide_validation: bool = False,
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        known: dict[str, tuple[Any, Collection[Any]]] = {
            "size": (size, get_args(Size)),
            "platform": (platform, PLATFORMS),
            "cut": (cut, get_args(Cut)),
        }
        for option, (value, values) in known.items():
            if value not in values:
                raise ValueError(f"Expected {option} to be one of {', '.join(values)}, found {value!r}.")
        if not 0 <= noise <= 1:
            raise ValueError(f"Expected 0 <= noise <= 1, found {noise}.")
        self.way = Way(cut, cut_seed, noise, noise_seed)
        name = f"{size}-{world_seed}" if platform == "a" else f"{platform}-{size}-{world_seed}"
        self.home = Path(root).expanduser() / name
        self.size: Size = size
        self.world_seed = world_seed
        self.platform: PlatformName = platform
        super().__init__(
            root=str(self.home / "MMRec" / self.way.folder),
            name=DATA,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            hide_validation=hide_validation,
            num_workers=num_workers,
            seed=seed,
        )

    @property
    def split_text(self) -> str:
        """How the pairs are cut, in a few words."""
        return cut_text(self.way.cut, self.way.cut_seed)

    def prepare_data(self) -> None:
        """Generates the catalogue and its export, where they are missing, then reads the export."""
        big = WORLDS[self.size].items >= BIG
        wanted = [modality for modality in FILES if modality in self.needs.features or not big]
        drawn = [modality for modality in FOLDERS if modality in wanted]
        catalogue = write_demo(self.home, self.size, self.world_seed, drawn, self.platform)
        write_demo_mmrec(catalogue, self.way, wanted)
        super().prepare_data()

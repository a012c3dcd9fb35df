"""The demo catalogue: a generated world in NineRec's released layout, read like the real thing.

It is written once, the same to the byte for the same size and seed, with the truth about it in a side file:
what users like, what items are made of and which interactions are noise. So what a model can find is known.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
from tqdm.auto import tqdm

from datamodules import demo_render, demo_titles
from datamodules.attributes import UNKNOWN, Attribute
from datamodules.cache import make_folder, write_json
from datamodules.demo_rules import LAWS, PLATFORMS, Platform
from datamodules.demo_world import (
    AGES,
    Interactions,
    Items,
    Shelf,
    Users,
    World,
    make_items,
    make_users,
    walk,
)
from datamodules.ninerec import NineRec
from datamodules.released import MediaFolder, Statistics

Size = Literal["tiny", "small", "large"]
PlatformName = Literal["a", "b", "even"]
WORLDS: dict[str, World] = {
    "tiny": World(users=300, items=150),
    "small": World(users=3_000, items=1_500),
    "large": World(users=1_000_000, items=100_000),
}
NAME = "DEMO"
VERSION = 1
"""Raised when the same size and seed give another tree."""
FOLDERS = {"image": ("cover", ".jpg"), "audio": ("audio", ".wav"), "video": ("video", ".gif")}
"""Modality -> ending of its folder's name and of its files' names."""
ATTRIBUTES = {"gender": ("F", "M"), "age": tuple(map(str, AGES))}
"""Column of the user file -> what it may hold, in the order of the classes."""
BIG = 10_000
"""Items from which on a modality is only drawn when a model needs it."""


class Truth(NamedTuple):
    """What the side file knows; rows are those of the item file, the user file and the pair file."""

    items: Items
    users: Users
    noise: npt.NDArray[np.bool_]
    parameters: dict[str, Any]


def write_demo(
    root: Path | str,
    size: Size = "small",
    seed: int = 0,
    modalities: Sequence[str] = tuple(FOLDERS),
    platform: PlatformName = "a",
) -> Path:
    """Writes a demo catalogue, or what is missing of it; a killed call leaves nothing half-written.

    The tables, the truth and each modality's folder are each made beside their place and then renamed.

    Args:
        root: Folder that comes to hold the catalogue's folder.
        size: Name of a world.
        seed: Same size and seed, same bytes.
        modalities: Of ``image``, ``audio`` and ``video``.
        platform: ``b`` has other users and other items than ``a`` under the same laws, words and looks;
            ``even`` has other laws.

    Returns:
        The catalogue's folder, ``root/DEMO``.

    Raises:
        ValueError: If the size is unknown, or the folder holds another catalogue.
        DiskFullError: If the disk is full.
    """
    if size not in WORLDS:
        raise ValueError(f"Expected a size out of {', '.join(WORLDS)}, found {size!r}.")
    world = WORLDS[size]
    place = PLATFORMS[platform]
    laws = place.rules.laws
    parameters = {"version": VERSION, "size": size, "seed": seed, "world": asdict(world), "laws": laws}
    if platform != "a":
        parameters["platform"] = {"name": place.name, "place": place.place, "topic_mix": place.topic_mix}
    parameters = json.loads(json.dumps(parameters))
    folder = make_folder(
        Path(root) / NAME,
        60 * world.users * 10,
        lambda part: _write_tables(part, world, PLATFORMS[platform], parameters),
    )
    found = json.loads((folder / f"{NAME}_truth.json").read_text("utf-8"))
    if found != parameters:
        raise ValueError(
            f"Expected the demo catalogue of size {size!r} and seed {seed}, platform {platform} (version "
            f"{VERSION}) in {folder}, found size {found['size']!r} and seed {found['seed']}, platform "
            f"{_platform_of(found)} (version {found['version']}). Delete that folder or set another root."
        )
    for modality in modalities:
        ending, suffix = FOLDERS[modality]
        make_folder(folder / f"{NAME}_{ending}", 8_192 * world.items, _media_writer(folder, modality, suffix))
    return folder


def _platform_of(parameters: dict[str, Any]) -> str:
    return str(parameters.get("platform", {"name": "a"})["name"])


def _key(parameters: dict[str, Any]) -> str:
    """What titles and media are drawn from, with their kind and their row."""
    platform = _platform_of(parameters)
    return str(parameters["seed"]) if platform == "a" else f"{parameters['seed']} {platform}"


def _write_tables(folder: Path, world: World, platform: Platform, parameters: dict[str, Any]) -> None:
    """Writes items, users, pairs and truth."""
    seed, key = parameters["seed"], _key(parameters)
    items, users = make_items(world, seed, platform), make_users(world, seed, platform)
    rng = platform.rng(seed, 4)
    # Numbers out of order: an id tells nothing, not even its place in the file.
    first_item, first_user = platform.place * world.items + 1, platform.place * world.users + 1
    item_names = "v" + pl.Series(rng.permutation(world.items) + first_item).cast(pl.String)
    user_names = "u" + pl.Series(rng.permutation(world.users) + first_user).cast(pl.String)
    places = _places(items.attributes["topic"])
    pl.DataFrame(
        {
            "item": item_names,
            "zh": [demo_titles.title_zh(*at, Random(f"{key} zh {row}")) for row, at in enumerate(places)],
            "en": [demo_titles.title_en(*at, Random(f"{key} en {row}")) for row, at in enumerate(places)],
        }
    ).write_csv(folder / f"{NAME}_item.csv", include_header=False)
    pl.DataFrame(
        {
            "user": user_names,
            "gender": pl.Series(["F", "M"]).gather(users.gender),
            "age": pl.Series(AGES).gather(users.age),
        }
    ).write_csv(folder / f"{NAME}_user.csv")
    noise = []
    bar = tqdm(total=world.users, desc="writing demo users", unit="user", disable=None)
    with open(folder / f"{NAME}_pair.csv", "wb") as file, bar:
        for block in walk(world, Shelf(items, platform.rules), users, seed, platform):
            _pairs(block, item_names, user_names).write_csv(file, include_header=False)
            noise.append(block.noise)
            bar.update(len(np.unique(block.user)))
    _write_truth(folder, items, users, np.concatenate(noise))
    write_json(folder / f"{NAME}_truth.json", parameters)


def _places(topics: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Topic of each item, and its number within that topic."""
    series = pl.Series(topics)
    within = pl.DataFrame({"topic": series}).select(pl.int_range(pl.len()).over("topic")).to_series()
    return list(zip(series.to_list(), within.to_list(), strict=True))


def _pairs(block: Interactions, item_names: pl.Series, user_names: pl.Series) -> pl.DataFrame:
    """Rows of the pair file: item first, as the files are, not as the authors describe them."""
    return pl.DataFrame(
        {
            "item": item_names.gather(block.item),
            "user": user_names.gather(block.user),
            "time": block.timestamp,
        }
    )


def _write_truth(folder: Path, items: Items, users: Users, noise: npt.NDArray[np.bool_]) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {"noise": noise, "gender": users.gender, "age": users.age}
    arrays |= {"popularity": items.popularity, "cold": items.cold}
    arrays |= {f"item_{name}": values.astype(np.int8) for name, values in items.attributes.items()}
    arrays |= {f"user_{name}": values.astype(np.int8) for name, values in users.favourites.items()}
    np.savez(folder / f"{NAME}_truth.npz", allow_pickle=False, **arrays)


def read_truth(folder: Path) -> Truth:
    """Reads the side file of a catalogue written by ``write_demo``."""
    with np.load(folder / f"{NAME}_truth.npz", allow_pickle=False) as file:
        items = Items(
            {name: file[f"item_{name}"].astype(np.int64) for name in LAWS}, file["popularity"], file["cold"]
        )
        users = Users(
            {name: file[f"user_{name}"].astype(np.int64) for name in LAWS}, file["gender"], file["age"]
        )
        noise = file["noise"]
    return Truth(items, users, noise, json.loads((folder / f"{NAME}_truth.json").read_text("utf-8")))


def read_attributes(folder: Path, users: pl.Series) -> dict[str, Attribute]:
    """Gender and age from the user file.

    Args:
        folder: Of the catalogue.
        users: Names of user rows 1, 2 and so on.
    """
    table = pl.read_csv(folder / f"{NAME}_user.csv", infer_schema=False)
    row_U = users.cast(pl.Enum(table["user"])).to_physical()
    found = {}
    for name, values in ATTRIBUTES.items():
        classes = table[name].gather(row_U).cast(pl.Enum(values)).to_physical().to_numpy()
        found[name] = Attribute(np.concatenate([[UNKNOWN], classes.astype(np.int64)]), len(values))
    return found


def _media_writer(folder: Path, modality: str, suffix: str) -> Callable[[Path], None]:
    """What fills a modality's folder, one file an item."""

    def write(part: Path) -> None:
        truth = read_truth(folder)
        key = _key(truth.parameters)
        values = {name: array.tolist() for name, array in truth.items.attributes.items()}
        names = pl.read_csv(folder / f"{NAME}_item.csv", has_header=False, columns=[0]).to_series()
        for row, name in enumerate(tqdm(names, desc=f"drawing demo {modality}", unit="item", disable=None)):
            rng = Random(f"{key} {modality} {row}")
            if modality == "image":
                look = values["colour"][row], values["shape"][row], values["texture"][row]
                content = demo_render.cover(*look, rng)
            elif modality == "audio":
                content = demo_render.clip(values["sound"][row], rng)
            else:
                content = demo_render.video(values["motion"][row], rng)
            (part / f"{name}{suffix}").write_bytes(content)

    return write


class Demo(NineRec):
    """A generated catalogue with planted structure; made on first use, nothing is downloaded.

    Args:
        root: Folder for generated catalogues, one folder in it for each size and seed.
        size: ``tiny`` (300 users, 150 items), ``small`` (3,000 and 1,500) or ``large`` (1,000,000 and
            100,000; the files of a modality are drawn when a model needs them).
        world_seed: Of the catalogue itself.
        platform: ``b`` is a second platform: other users, other items, another popularity and mix of topics,
            but the same words, looks and laws, so that what is learnt on ``a`` is worth something there. On
            ``even`` title, cover, sound and clip tell one attribute each, and all four decide alike.
        language: Language of the titles.
        cache_dir: Folder for what is prepared; by default ``.mmzoo`` beside the catalogue.
        max_len: History length L. Of every user the last L + 3 interactions are used.
        min_len: Users with fewer interactions are left out.
        batch_size: Rows in a training batch of one process: users, or pairs for models of pairs.
        **kwargs: Of ``RecDataModule``.

    Raises:
        ValueError: If the size is unknown.
    """

    subsets: ClassVar[dict[str, Statistics | None]] = {NAME: None}
    media: ClassVar[dict[str, tuple[MediaFolder, ...]]] = {
        modality: (MediaFolder(f"{{subset}}_{ending}", (suffix,)),)
        for modality, (ending, suffix) in FOLDERS.items()
    }
    how_to_get_it: ClassVar[str] = "Call prepare_data(): it generates the demo catalogue."

    def __init__(
        self,
        root: str = "data/demo",
        size: Size = "small",
        world_seed: int = 0,
        platform: PlatformName = "a",
        language: Literal["zh", "en"] = "en",
        cache_dir: str | None = None,
        max_len: int = 10,
        min_len: int = 5,
        batch_size: int = 32,
        **kwargs: Any,  # noqa: ANN401 - the base's arguments
    ) -> None:
        if size not in get_args(Size):
            raise ValueError(f"Expected size to be one of {', '.join(get_args(Size))}, found {size!r}.")
        if platform not in PLATFORMS:
            raise ValueError(f"Expected platform to be one of {', '.join(PLATFORMS)}, found {platform!r}.")
        name = f"{size}-{world_seed}" if platform == "a" else f"{platform}-{size}-{world_seed}"
        super().__init__(
            root=str(Path(root) / name),
            subset=NAME,
            language=language,
            cache_dir=cache_dir,
            max_len=max_len,
            min_len=min_len,
            batch_size=batch_size,
            **kwargs,
        )
        self.size: Size = size
        self.world_seed = world_seed
        self.platform: PlatformName = platform

    @property
    def cache_name(self) -> str:
        """Platform, size and seed: one cache folder may serve several catalogues."""
        return f"demo-{self.root.name}"

    def prepare_data(self) -> None:
        """Generates the catalogue if it is missing, then reads it as NineRec is read."""
        big = WORLDS[self.size].items >= BIG
        wanted = [name for name in FOLDERS if name in self.needs.transforms or not big]
        write_demo(self.root, self.size, self.world_seed, wanted, self.platform)
        super().prepare_data()

    def user_attributes(self, users: pl.Series) -> dict[str, Attribute]:
        """Gender and age."""
        return read_attributes(self.folder, users)

    def latents(self) -> Items:
        """What the catalogue's items are made of: row r - 1 of the arrays is catalogue row r."""
        truth = read_truth(self.folder)
        names = pl.read_csv(self.folder / f"{NAME}_item.csv", has_header=False, columns=[0]).to_series()
        place = {name: row for row, name in enumerate(names)}
        rows = np.array([place[name] for name in self.item_names[1:]])
        attributes = {name: values[rows] for name, values in truth.items.attributes.items()}
        return Items(attributes, truth.items.popularity[rows], truth.items.cold[rows])

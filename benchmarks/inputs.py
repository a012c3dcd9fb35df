"""What comes before training: pictures from the prepared store, and interactions from raw files."""

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import lmdb
import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from PIL import Image

from benchmarks.measure import Row, in_turns, require
from benchmarks.shapes import LONGEST, Shape, make_histories
from datamodules.histories import EvalWindows
from datamodules.item_store import ItemStore, Preparation
from datamodules.media import open_image
from datamodules.ninerec import NineRec
from datamodules.raw_content import RawContent
from datamodules.released import Statistics
from zoo.encoders.image import DEFAULT_SIZE, ImageTransform

SUBSET = "DY"
MAX_LEN = 20


def write_pictures(folder: Path, count: int) -> RawContent:
    """JPEG files of smooth noise at the towers' resolution, as compressible as photographs of products."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    names = [f"{number}.jpg" for number in range(count)]
    for name in names:
        coarse = Image.fromarray(rng.integers(0, 256, (28, 28, 3), dtype=np.uint8))
        side = (DEFAULT_SIZE, DEFAULT_SIZE)
        coarse.resize(side, Image.Resampling.BICUBIC).save(folder / name, quality=90)
    return RawContent("image", ["", *names], [None, *names], folder, "*.jpg")


def write_lmdb(path: Path, pixels_N3HW: torch.Tensor) -> None:
    """Pictures as rows of colours, uncompressed, a key each: the authors' layout without the pickle."""
    arrays = pixels_N3HW.permute(0, 2, 3, 1).contiguous().numpy()
    with lmdb.open(str(path), map_size=2 * arrays.nbytes + 2**26) as store, store.begin(write=True) as writer:
        for row, array in enumerate(arrays, start=1):
            writer.put(str(row).encode(), array.tobytes())


def read_lmdb(reader: Any, row: int) -> torch.Tensor:  # noqa: ANN401  # LMDB has no types
    """One picture as MoRec's loader makes it: a picture object, floats in the other order, normalised."""
    side = (DEFAULT_SIZE, DEFAULT_SIZE, 3)
    picture = Image.fromarray(np.frombuffer(reader.get(str(row).encode()), dtype=np.uint8).reshape(side))
    pixels_HW3 = torch.from_numpy(np.array(picture.convert("RGB")))
    return pixels_HW3.permute(2, 0, 1).contiguous().float().div_(255).sub_(0.5).div_(0.5)


def pictures_row(root: Path, count: int, steps: int) -> Row:
    """Batches of 64 pictures as tensors: from the store, and decoded from their files."""
    raw = write_pictures(root / "pictures", count)
    transform = ImageTransform(DEFAULT_SIZE)
    with contextlib.redirect_stderr(io.StringIO()):
        folder = Preparation(root, raw, transform).run()
    store = ItemStore({"image": folder}, np.zeros(count + 1, dtype=np.int64))
    rng = np.random.default_rng(1)

    def mapped(rows: npt.NDArray[np.int64]) -> torch.Tensor:
        return store.content(rows, ["image"])["image"]["pixels"]

    def decoded(rows: npt.NDArray[np.int64]) -> torch.Tensor:
        files = [str(raw.values[row]) for row in rows]
        pixels = transform([open_image(root / "pictures" / file) for file in files])["pixels"]
        return torch.from_numpy(pixels)

    write_lmdb(root / "lmdb", mapped(np.arange(1, count + 1)))

    def batch() -> npt.NDArray[np.int64]:
        return np.sort(rng.integers(1, count + 1, 64))

    with lmdb.open(str(root / "lmdb"), readonly=True, lock=False) as arrays, arrays.begin() as reader:

        def raw_arrays(rows: npt.NDArray[np.int64]) -> torch.Tensor:
            return torch.stack([read_lmdb(reader, row) for row in rows.tolist()])

        rows = batch()
        require(torch.equal(mapped(rows), decoded(rows)), "pixels of the store and of the files")
        normalised = mapped(rows).float().div_(255).sub_(0.5).div_(0.5)
        require(torch.equal(normalised, raw_arrays(rows)), "pixels of the store and of the LMDB")
        work = {"ours": mapped, "raw arrays in LMDB": raw_arrays, "decode JPEG": decoded}
        rates = in_turns({name: partial(_count, act, batch) for name, act in work.items()}, steps)
    size = (root / "pictures" / str(raw.values[1])).stat().st_size
    return Row(
        kind="input",
        case=f"pictures {DEFAULT_SIZE} x {DEFAULT_SIZE}",
        unit="images per CPU-s",
        shape={"pictures": count, "batch": 64, "side": DEFAULT_SIZE, "file_bytes": size},
        rates=rates,
        check="pixels equal to the last bit",
        notes={"LMDB": "normalised on the host, as its authors do; ours on the device, not counted here"},
    )


def _count(act: Callable[[npt.NDArray[np.int64]], torch.Tensor], batch: Callable[[], Any]) -> int:
    return len(act(batch()))


def write_interactions(folder: Path, interactions: int) -> int:
    """A NineRec tree without pictures: rows of item, user and time in no order; returns how many."""
    shape = Shape(interactions // 12, max(interactions // 100, 500), shortest=5, mean=12.0, sigma=0.0)
    offsets, item = make_histories(shape)
    user = np.repeat(np.arange(shape.users), np.diff(offsets))
    time = 1_600_000_000_000 + 1000 * (np.arange(len(user)) - offsets[user])
    order = np.random.default_rng(2).permutation(len(user))
    folder.mkdir(parents=True)
    pairs = pl.DataFrame({"item": "v" + pl.Series(item).cast(pl.String), "user": user, "time": time})
    pairs[order].write_csv(folder / f"{SUBSET}_pair.csv", include_header=False)
    names = pl.DataFrame({"item": "v" + pl.Series(np.arange(shape.items)).cast(pl.String)})
    titled = names.with_columns(zh=pl.lit("title"), en=pl.lit("title"))
    titled.write_csv(folder / f"{SUBSET}_item.csv", include_header=False)
    return len(user)


class Interactions(NineRec):
    """NineRec's files at a size nobody published."""

    subsets: ClassVar[dict[str, Statistics | None]] = {SUBSET: None}


def prepare(root: Path) -> NineRec:
    """Ours: tables and windows from the raw files, nothing cached before."""
    shutil.rmtree(root / ".mmzoo", ignore_errors=True)
    data = Interactions(str(root), SUBSET, max_len=MAX_LEN)
    data.prepare_data()
    return data


def read_in_a_loop(path: Path) -> dict[str, list[str]]:
    """Windows by dictionaries and lists, a line after the other, as the papers' scripts read them."""
    events: dict[str, list[tuple[int, str]]] = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            item, user, time = line.rstrip("\n").split(",")
            events.setdefault(user, []).append((int(time), item))
    histories = {}
    for user, rows in events.items():
        if len(rows) >= 5:
            rows.sort(key=lambda row: row[0])
            histories[user] = [item for _, item in rows[-(MAX_LEN + 3) :]]
    return histories


def check_windows(data: NineRec, plain: dict[str, list[str]]) -> str:
    """Compares everybody's window.

    Raises:
        Unequal: One differs.
    """
    data.setup()
    rows = data.predict_dataloader().dataset
    assert isinstance(rows, EvalWindows)
    windows = rows.windows
    names = np.array(data.item_names)
    require(set(data.user_names[1:]) == set(plain), "the users")
    for row, user in enumerate(data.user_names[1:], start=1):
        ours = names[windows.items[windows.offsets[row] : windows.offsets[row + 1]]].tolist()
        require(ours == plain[user], f"the history of user {user}")
    return f"the windows of all {len(plain):,} users equal"


def interactions_row(root: Path, interactions: int, steps: int) -> Row:
    """Interactions per second from the raw pair file to windows."""
    count = write_interactions(root / SUBSET, interactions)
    path = root / SUBSET / f"{SUBSET}_pair.csv"
    check = check_windows(prepare(root), read_in_a_loop(path))

    def ours() -> int:
        prepare(root)
        return count

    def plain() -> int:
        read_in_a_loop(path)
        return count

    return Row(
        kind="input",
        case="prepared interactions",
        unit="interactions per CPU-s",
        shape={"interactions": count, "longest": LONGEST, "file_bytes": path.stat().st_size},
        rates=in_turns({"ours": ours, "Python loop": plain}, steps, warm_ups=1),
        check=check,
        notes={"ours_also": "parses ids strictly, reads the items, writes tables and windows to disk"},
    )


def input_rows(pictures: int, interactions: int, steps: int) -> Iterator[Row]:
    """Both, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield pictures_row(Path(folder) / "store", pictures, steps)
        yield interactions_row(Path(folder) / "tables", interactions, max(3, steps // 4))

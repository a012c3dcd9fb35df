"""Pictures out of the LMDB files of PixelRec, MoRec and their kin: their records are pickles, none is run.

A record is a pickled object of a class ``LMDB_Image`` with the fields ``image`` (raw bytes), ``size``
(height, width) and ``channels``. Unpickling a stranger's file runs whatever it says. Here its instructions
are read as data: plain values are put together, the one object's fields are taken, and every record that
asks for more (a function to call, another class) is refused with a reason.
"""

import os
import pickletools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from datamodules.cache import digest, file_stamp
from datamodules.errors import BadImageError, BadMediaError, BadTableError, DataNotFoundError
from datamodules.media import MAX_PIXELS
from datamodules.raw_content import RawContent

CLASSES = ("LMDB_Image",)
"""Names of the classes that a record may be of, whatever module it claims."""
SERVICE_KEYS = (b"__keys__", b"__len__")
_PUSHED = frozenset(
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
"""Instructions that push a plain value."""
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Mark:
    """Where a collection of unknown length begins."""


class _Class(NamedTuple):
    """The name of an allowed class; nothing is imported for it."""

    name: str


@dataclass
class _Record:
    """An object of an allowed class, before and after its fields are known."""

    fields: Mapping[str, Any] | None = None


def parse_record(record: bytes) -> Mapping[str, Any]:
    """The fields of the object in a pickle, which is read and never run.

    Args:
        record: The pickle.

    Raises:
        BadImageError: If it is no pickle, or holds anything but one object of an allowed class with plain
            values; the message says what.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for code, argument, _ in pickletools.genops(record):
            if code.name == "STOP":
                break
            _step(code.name, argument, stack, memo)
        (found,) = stack
    except BadImageError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError) as error:
        raise BadImageError(f"the record is damaged: {error}") from error
    if not isinstance(found, _Record) or not isinstance(found.fields, dict):
        raise BadImageError(f"the record is no picture but a {type(found).__name__.lstrip('_')}")
    return found.fields


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:  # noqa: ANN401 - as read
    """Carries out one instruction that only puts values together."""
    if name in _PUSHED:
        stack.append(_CONSTANTS.get(name, argument))
    elif name in ("PROTO", "FRAME"):
        pass
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
        memo[argument] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name == "MARK":
        stack.append(_Mark())
    elif name in _TUPLES:
        stack.append(tuple(_taken(stack, _TUPLES[name])))
    elif name in ("TUPLE", "LIST"):
        stack.append((tuple if name == "TUPLE" else list)(_to_mark(stack)))
    elif name == "EMPTY_DICT":
        stack.append({})
    elif name == "EMPTY_LIST":
        stack.append([])
    elif name in ("SETITEM", "SETITEMS"):
        pairs = _taken(stack, 2) if name == "SETITEM" else _to_mark(stack)
        # A key of nested tuples could take ages to hash.
        if not all(isinstance(key, str) for key in pairs[::2]):
            raise TypeError("a field whose name is no text")
        stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        module, class_name = argument.split(" ", 1) if name == "GLOBAL" else _taken(stack, 2)
        if class_name not in CLASSES:
            raise BadImageError(f"refused: the record asks for {module}.{class_name}, not for a picture")
        stack.append(_Class(class_name))
    elif name == "NEWOBJ":
        made, arguments = _taken(stack, 2)
        if not isinstance(made, _Class) or arguments:
            raise BadImageError("refused: the record makes an object that is no picture")
        stack.append(_Record())
    elif name == "BUILD":
        (fields,) = _taken(stack, 1)
        stack[-1].fields = fields
    else:
        raise BadImageError(
            f"refused: the record holds the instruction {name}, which a picture does not need"
        )


def _taken(stack: list[Any], number: int) -> list[Any]:
    if len(stack) < number:
        raise IndexError("values are missing")
    taken = stack[len(stack) - number :]
    del stack[len(stack) - number :]
    return taken


def _to_mark(stack: list[Any]) -> list[Any]:
    place = max(place for place, value in enumerate(stack) if isinstance(value, _Mark))
    taken = stack[place + 1 :]
    del stack[place:]
    return taken


def picture(fields: Mapping[str, Any]) -> Image.Image:
    """The picture of a record: bytes of (height, width, 3), or floats of (3, height, width) from -1 to 1.

    Raises:
        BadImageError: If fields are missing, the picture is too large, or its bytes are not as many as they
            should be.
    """
    content, size, channels = (fields.get(name) for name in ("image", "size", "channels"))
    if not isinstance(content, bytes) or not isinstance(size, tuple | list) or len(size) != 2:
        raise BadImageError(f"expected the fields image, size and channels, found {', '.join(fields)}"[:200])
    shape = (*size, channels)
    if not all(isinstance(number, int) and 0 < number <= MAX_PIXELS for number in shape):
        raise BadImageError("expected height, width and channels, found others or none")
    total = int(np.prod(shape, dtype=object))
    if total > 3 * MAX_PIXELS:
        raise BadImageError(f"too large: {size[1]} by {size[0]}, at most {MAX_PIXELS:,} pixels")
    if len(content) == total and channels in (1, 3):
        return Image.frombytes("RGB" if channels == 3 else "L", (size[1], size[0]), content).convert("RGB")
    if len(content) == 4 * total and 3 in shape:
        colours = (
            2 if channels == 3 else shape.index(3)
        )  # the size may be the first two of (3, height, width)
        height, width = shape[:colours] + shape[colours + 1 :]
        floats = np.frombuffer(content, dtype="<f4").reshape(3, height, width)
        if not np.isfinite(floats).all():
            raise BadImageError("damaged: values that are no numbers")
        pixels = ((floats + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    raise BadImageError(f"damaged: {len(content):,} bytes for {size[0]} by {size[1]} by {channels}")


def is_lmdb(path: Path) -> bool:
    """Whether a file or folder is called and made like an LMDB."""
    return (
        (path / "data.mdb").is_file()
        if path.is_dir()
        else path.is_file() and path.suffix in (".lmdb", ".mdb")
    )


@lru_cache(maxsize=4)
def _opened(path: Path, stamp: str, process: int) -> Any:  # noqa: ANN401 - of an untyped library
    """One environment a file, as the library wants it; another one when the file changes, or after a fork."""
    return _library().open(
        str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, max_readers=512
    )


def _library() -> Any:  # noqa: ANN401 - an untyped library
    try:
        import lmdb
    except ImportError as error:
        raise ModuleNotFoundError(
            "To read pictures from an LMDB file, install the library: "
            f"{Path(sys.executable).name} -m pip install 'mmzoo[lmdb]'. Or unpack the folder of covers."
        ) from error
    return lmdb


def _data_file(path: Path) -> Path:
    return path / "data.mdb" if path.is_dir() else path


def lmdb_names(path: Path) -> list[str]:
    """Keys of all records but the service keys.

    Raises:
        BadTableError: If the file is none of this kind, or damaged.
    """
    try:
        environment = _opened(path, file_stamp(_data_file(path)), os.getpid())
        with environment.begin() as transaction:
            keys = [bytes(key) for key in transaction.cursor().iternext(values=False)]
    except _library().Error as error:
        raise BadTableError(
            f"Expected pictures in the LMDB file {path}, found one that cannot be read ({error}). "
            "Is it whole? Make it or download it again."
        ) from error
    return [key.decode("utf-8", "replace") for key in keys if key not in SERVICE_KEYS]


@dataclass(frozen=True)
class LmdbContent(RawContent):
    """Pictures in an LMDB, which ``folder`` names; the values are their keys."""

    @cached_property
    def key(self) -> str:
        """Changes when the file does, or the order of items."""
        assert self.folder is not None
        stamp = file_stamp(_data_file(self.folder))
        return digest([self.modality, stamp, *self.names, *(value or "" for value in self.values)])

    def read(self, row: int, open_raw: Callable[[Path], Any]) -> tuple[Any, str]:
        """The picture of a row; ``open_raw``, which opens files, is not asked."""
        value = self.values[row]
        if value is None or self.folder is None:
            return None, "the record is missing"
        try:
            environment = _opened(self.folder, file_stamp(_data_file(self.folder)), os.getpid())
            with environment.begin() as transaction:
                record = transaction.get(value.encode())
            return (None, "the record is missing") if record is None else (picture(parse_record(record)), "")
        except BadMediaError as error:
            return None, str(error)
        except _library().Error as error:
            return None, f"cannot be read: {error}"

    def file_of(self, row: int) -> str:
        """File and key."""
        return f"{self.source}: {self.values[row] or 'no such key'}"


def lmdb_content(place: Path, modality: str, names: Sequence[str], subset: str) -> LmdbContent:
    """The pictures of a catalogue in an LMDB, whose keys are the items' names or their numbers.

    Some authors' scripts write ``v00123`` under the key ``123``.

    Args:
        place: The LMDB.
        modality: Mostly ``image``.
        names: Catalogue row -> item.
        subset: Whose items they are, for the error.

    Raises:
        BadTableError: If the file is none of this kind, or damaged.
        DataNotFoundError: If no record is one of an item.
    """
    known = set(lmdb_names(place))
    by_name = [name if name in known else None for name in names]
    by_number = [number if (number := _number(name)) in known else None for name in names]
    keys = max(by_name, by_number, key=lambda found: len(found) - found.count(None))
    if keys.count(None) == len(keys):
        raise DataNotFoundError(
            f"pictures of the items of {subset} in {place}",
            f"{len(known):,} records, none of these items",
            "Is it the LMDB of another set?",
        )
    return LmdbContent(modality, names, keys, place, place.name)


def _number(name: str) -> str:
    """The number in a name like ``v00123`` as the authors' scripts write it; empty where there is none."""
    digits = name.removeprefix("v")
    return digits.lstrip("0") or "0" if digits.isascii() and digits.isdigit() else ""

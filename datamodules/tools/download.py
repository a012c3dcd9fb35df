"""``mmzoo data download``: fetches a data set where its owner offers that, or says how to come by it."""

import json
from pathlib import Path
from typing import Any

from datamodules.cache import write_json
from datamodules.demo import Demo
from datamodules.demo_mmrec import DemoCF
from datamodules.errors import BadTableError, DataNotFoundError, DownloadError, size_text
from datamodules.mmrec import MMRec
from datamodules.module import DataModule
from datamodules.tools.fetch import Remote, fetch, file_sums
from datamodules.tools.raw import known_kind
from datamodules.tools.sources import Source, offer_of
from datamodules.tools.unpack import unpack

FILE = "downloads.json"
"""What was fetched into a data set's folder: address, size, checksum."""


def download(data: DataModule, out: Path, base_url: str | None = None, retries: int = 5) -> int:
    """Downloads into the data's root; goes on where it was stopped, and fetches nothing twice.

    Args:
        data: The data set.
        out: Not used: the files belong to the data.
        base_url: Address of a copy of your own in the place of the owner's server.
        retries: Further attempts after a connection that broke.

    Returns:
        0 if the data set lies there now, 1 if it has to be fetched by hand.

    Raises:
        DownloadError: A file cannot be fetched, or is not what it should be.
    """
    data = known_kind(data)
    if isinstance(data, Demo | DemoCF):
        print("The demo is generated on first use: there is nothing to download.")
        return 0
    offer = offer_of(data)
    if offer is None:
        print("No direct download: its owners do not offer it, ask for an agreement, or it is your own.")
        return _looked(data)
    print(offer.terms)
    for source in offer.sources:
        _get(source, base_url or source.base, data.root, retries)
    if offer.rest:
        print(offer.rest)
    return _looked(data)


def _looked(data: Any) -> int:  # noqa: ANN401 - either kind of data
    """Says whether the tables are found now, or else what is expected where."""
    try:
        files = [data.feature_root] if isinstance(data, MMRec) else data.table_files()
    except (DataNotFoundError, BadTableError) as error:
        print(error)
        return 1
    print(f"Found: {', '.join(map(str, files))}. mmzoo data check looks at all of it.")
    return 0


def _get(source: Source, base: str, root: Path, retries: int) -> None:
    target, url = root / source.file, f"{base.rstrip('/')}/{source.path}"
    noted = _read(root)
    note = noted.get(source.file)
    if target.is_file():
        note = _check(source, target, note, url)
    else:
        found = fetch(Remote(url, source.known, source.max_bytes), target, retries)
        if note and note["sha256"] != found.sha256:
            print(
                f"{source.file} is another file than the one that lay here before: its owner has changed it."
            )
        note = found._asdict()
        print(f"{source.file}: {size_text(found.bytes)}, sha256 {found.sha256}")
    files = note.get("files")
    if source.unpacked and (files is None or any(_size(root / file) != size for file, size in files.items())):
        paths = unpack(target, root, source.unpacked)
        note["files"] = {path.relative_to(root).as_posix(): _size(path) for path in paths}
        print(f"{source.file}: {len(paths)} files unpacked in {root}")
    write_json(root / FILE, {**noted, source.file: note})


def _check(source: Source, target: Path, note: dict[str, Any] | None, url: str) -> dict[str, Any]:
    """A file that lies there: whether it is the one that was fetched, or that the owner describes.

    Raises:
        DownloadError: It is not.
    """
    name, _, right = source.known.partition(":")
    sums = file_sums(target, *([name] if name else []))
    wrong = (name and sums[name] != right) or (note and note["sha256"] != sums["sha256"])
    if wrong:
        expected = f"{name} {right}" if name else f"sha256 {(note or {})['sha256']}"
        found = sums[name] if name else sums["sha256"]
        raise DownloadError(
            f"Expected {target} with the checksum {expected}, found {found}: it was changed or is not whole. "
            "Remove it and run the same command again."
        )
    print(
        f"{source.file} is there already, and has the right checksum."
        if name or note
        else f"{source.file} is there."
    )
    size = target.stat().st_size
    return note or {"url": url, "bytes": size, "sha256": sums["sha256"], "etag": "", "modified": ""}


def _read(root: Path) -> dict[str, dict[str, Any]]:
    path = root / FILE
    noted: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return noted


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1

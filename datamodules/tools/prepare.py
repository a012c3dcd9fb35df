"""``mmzoo data prepare``: everything that training would prepare first, ahead of it."""

from pathlib import Path
from time import perf_counter

from datamodules.base import RecDataModule
from datamodules.errors import size_text
from datamodules.mmrec import MMRec
from datamodules.module import DataModule
from datamodules.tools.manifest import changed, prepared_files, read_manifest, sums, write_manifest
from datamodules.tools.raw import known_kind
from datamodules.tools.texts import aligned, names_of
from zoo.types import ModelNeeds


def prepare(data: DataModule, needs: ModelNeeds | None, out: Path, modalities: str | None = None) -> int:
    """Prepares a data set and lists what lies where, with sizes, seconds and checksums.

    What is already there is not made again, and a killed run goes on where it was. The checksums of what is
    there from earlier are compared with the manifest's.

    Args:
        data: The data set.
        needs: What a model asks of it; without one, tables and windows only.
        out: Folder for the manifest of data that have no cache.
        modalities: Some of the model's, with commas between them.

    Raises:
        ValueError: If modalities are named without the model whose towers say how they are prepared, or a
            prepared file is not what it was.
    """
    if needs is not None and modalities is not None:
        chosen = names_of("--modalities", modalities, sorted(needs.transforms))
        needs = needs._replace(transforms={modality: needs.transforms[modality] for modality in chosen})
    elif modalities is not None:
        raise ValueError(
            "--modalities: how a modality is prepared depends on the tower that reads it. Name the model "
            "too: --model morec --modalities text,image."
        )
    data = known_kind(data)
    return _layout(data, needs, out) if isinstance(data, MMRec) else _histories(data, needs)


def _histories(data: RecDataModule, needs: ModelNeeds | None) -> int:
    start = perf_counter()
    data.bind((needs or data.default_needs)._replace(transforms={}))
    data.prepare_data()
    seconds = {"tables and windows": perf_counter() - start}
    if needs is not None and needs.transforms:
        start = perf_counter()
        data.bind(needs)
        data.prepare_data()
        seconds["content"] = perf_counter() - start
    data.setup()
    before = read_manifest(data.cache)
    entries = sums(prepared_files(data.cache), data.cache)
    wrong = changed(before, entries)
    if wrong:
        folders = sorted({file.partition("/")[0] for file in wrong})
        raise ValueError(
            f"Expected prepared files in {data.cache} as they were written, found other bytes in "
            f"{', '.join(wrong)}. Something changed or damaged them: remove {' and '.join(folders)} there "
            "and run this again."
        )
    path = write_manifest(data.cache, data.cache_name, entries)
    sizes: dict[str, int] = {}
    for entry in entries:
        folder = entry.file.partition("/")[0]
        sizes[folder] = sizes.get(folder, 0) + entry.bytes
    print(f"{data.cache_name} in {data.cache}:")
    print(aligned(["folder", "size"], [[folder, size_text(size)] for folder, size in sorted(sizes.items())]))
    _tell(seconds, sum(sizes.values()), path)
    return 0


def _layout(data: MMRec, needs: ModelNeeds | None, out: Path) -> int:
    """The layout is read as it lies; what there is to make is a conversion into it."""
    start = perf_counter()
    if needs is not None:
        data.bind(needs)
    data.prepare_data()
    data.setup()
    seconds = {"reading, and conversion where there is any": perf_counter() - start}
    tables = sorted(path for path in data.folder.iterdir() if path.is_file() and path.suffix != ".lock")
    features = [file.path for file in data.items.files.values() if file.path.parent != data.folder]
    entries = [*sums(tables, data.folder), *sums(features, data.feature_root)]
    out.mkdir(parents=True, exist_ok=True)
    path = write_manifest(out, data.name, entries)
    print(f"{data.name} in {data.folder}: MMRec's layout is read as it lies, there is no content to prepare.")
    print(aligned(["file", "size"], [[entry.file, size_text(entry.bytes)] for entry in entries]))
    _tell(seconds, sum(entry.bytes for entry in entries), path)
    return 0


def _tell(seconds: dict[str, float], total: int, manifest: Path) -> None:
    print(f"{size_text(total)} in all. Checksums: {manifest}")
    print("Seconds: " + ", ".join(f"{what} {value:.1f}" for what, value in seconds.items()) + ".")

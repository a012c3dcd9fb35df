"""``mmzoo data check``: every table, item and file looked at; nothing is prepared and nothing executed."""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from datamodules.cache import write_atomic
from datamodules.errors import DataNotFoundError
from datamodules.mmrec import MMRec
from datamodules.module import DataModule
from datamodules.raw_content import FramesContent, RawContent
from datamodules.tables import Tables
from datamodules.tools.check_layout import check_layout
from datamodules.tools.look import KINDS, Finding, Limits, Looked, look, table_findings
from datamodules.tools.progress import Progress
from datamodules.tools.raw import MODALITIES, known_kind, make_generated, open_contents
from datamodules.tools.texts import aligned, names_of
from zoo.types import ModelNeeds

_PIECE = 16
_SHOWN = 5


def check(
    data: DataModule,
    needs: ModelNeeds | None,
    out: Path,
    modalities: str | None = None,
    threads: int | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> int:
    """Looks at everything and reports: counts on the terminal, a row a finding in ``check.csv``.

    A check that was stopped goes on where it was: what has been looked at is beside the report until then.

    Args:
        data: The data set.
        needs: What a model asks of it; without one everything is looked at that lies there.
        out: Folder for the report.
        modalities: What to open, with commas between the names; then it has to be there.
        threads: Files open at a time; by default one a core.
        limits: What is too short or too large.

    Returns:
        1 if the tables cannot be read or rows of them are lost, or an item goes without content that the
        data set should have; 0 otherwise, whatever else is odd.

    Raises:
        DataNotFoundError: If there is no such data set.
    """
    data = known_kind(data)
    asked = _asked(modalities, needs)
    if isinstance(data, MMRec):
        found, sizes = check_layout(data)
        return report(found, [], out, sizes)
    make_generated(data, asked or MODALITIES)
    findings: list[Finding] = []
    notes: list[str] = []
    names = ", ".join(os.path.relpath(path, data.root) for path in data.table_files())
    print(f"{data.cache_name}: {names} in {data.root}")
    try:
        tables = data.read_tables()
    except DataNotFoundError:
        raise
    except (ValueError, OSError) as error:
        findings.append(Finding("", "table", "corrupt", "yes", names, str(error)))
        return report(findings, notes, out)
    findings += table_findings(tables.report, names)
    notes += [*tables.report.lines(), *_short_histories(tables, data.min_len)]
    contents = open_contents(data, tables.items, asked)
    if asked:
        findings += [Finding("", name, "missing", "yes", "", why) for name, why in contents.absent.items()]
    else:
        notes += [
            f"There is no {name} (named in --modalities, that is an error): {why}"
            for name, why in contents.absent.items()
        ]
    progress = {modality: Progress(out, raw, limits) for modality, raw in contents.raw.items()}
    for modality, raw in contents.raw.items():
        try:
            findings += look_at_all(raw, limits, threads, progress[modality])
        except ModuleNotFoundError as error:
            findings.append(Finding("", modality, "missing", "yes", "", f"Not looked at: {error}"))
        notes += _strangers(raw)
    sizes = {modality: len(raw.names) - 1 for modality, raw in contents.raw.items()}
    status = report(findings, notes, out, {"table": len(tables.items), **sizes})
    for part in progress.values():
        part.forget()
    return status


def _asked(modalities: str | None, needs: ModelNeeds | None) -> list[str] | None:
    if modalities is not None:
        return names_of("--modalities", modalities, MODALITIES)
    return sorted(needs.transforms) or None if needs is not None else None


def _short_histories(tables: Tables, min_len: int) -> list[str]:
    short = int((np.diff(tables.offsets) < min_len).sum())
    return [f"{short:,} users have fewer than {min_len} interactions and are left out"] if short else []


def look_at_all(
    raw: RawContent, limits: Limits, threads: int | None = None, progress: Progress | None = None
) -> list[Finding]:
    """Opens the content of all items, side by side, and finds what several share."""
    rows = range(1, len(raw.names))
    looked: list[Looked] = progress.read() if progress else []
    if progress:
        progress.write(looked)
    todo = rows[len(looked) :]
    pieces = [todo[first : first + _PIECE] for first in range(0, len(todo), _PIECE)]
    title = f"checking {raw.modality}"
    bar = tqdm(total=len(rows), initial=len(looked), desc=title, unit="item", disable=None)
    with bar, ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        try:
            for part in pool.map(lambda piece: [look(raw, row, limits) for row in piece], pieces):
                looked += part
                if progress:
                    progress.add(part)
                bar.update(len(part))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or leaving would open all the rest first
            raise
    groups: dict[bytes, list[int]] = {}
    for row, one in zip(rows, looked, strict=True):
        if one.digest is not None:
            groups.setdefault(one.digest, []).append(row)
    findings = []
    for row, one in zip(rows, looked, strict=True):
        found = list(one.found)
        same = groups.get(one.digest, []) if one.digest is not None else []
        if len(same) > 1 and not any(lost for _, lost, _ in found):
            found.append(("duplicate", False, _shared(raw, row, same)))
        findings += [
            Finding(raw.names[row], raw.modality, kind, "yes" if lost else "no", raw.file_of(row), reason)
            for kind, lost, reason in found
        ]
    return findings


def _shared(raw: RawContent, row: int, same: Sequence[int]) -> str:
    shown = [raw.names[other] for other in same[: _SHOWN + 1] if other != row][:_SHOWN]
    more = ", …" if len(same) - 1 > len(shown) else ""
    return f"the same as {len(same) - 1:,} others: {', '.join(shown)}{more}"


def _strangers(raw: RawContent) -> list[str]:
    """Files beside those of the items; a folder may serve several data sets, so this is only told."""
    if raw.folder is None or not raw.folder.is_dir() or isinstance(raw, FramesContent):
        return []
    known = {value for value in raw.values if value is not None}
    with os.scandir(raw.folder) as entries:
        there = {entry.name for entry in entries if entry.is_file()}
    strangers = sorted(there - known)
    if not strangers or there.isdisjoint(known):  # a database of pictures holds no files of items
        return []
    some = ", ".join(strangers[:_SHOWN]) + (", …" if len(strangers) > _SHOWN else "")
    return [f"{len(strangers):,} files in {raw.folder} belong to no item: {some}"]


def report(
    findings: Sequence[Finding], notes: Sequence[str], out: Path, sizes: dict[str, int] | None = None
) -> int:
    """Prints counts, writes ``check.csv``, and answers with the exit status."""
    for note in notes:
        print(f"  {note}")
    parts = list(dict.fromkeys([*(sizes or {}), *(finding.modality for finding in findings)]))
    counts = Counter((finding.modality, finding.kind) for finding in findings)
    lost = [finding for finding in findings if finding.lost == "yes"]
    rows = [
        [
            part,
            (sizes or {}).get(part, "?"),
            *(counts[part, kind] for kind in KINDS),
            sum(finding.modality == part for finding in lost),
        ]
        for part in parts
    ]
    if rows:
        print(aligned(["", "items", *KINDS, "lost"], rows))
    for finding in lost[:_SHOWN]:
        print(f"  {' '.join(filter(None, [finding.modality, finding.item, finding.file]))}: {finding.reason}")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "check.csv"
    write_atomic(path, _csv(findings))
    print(f"{len(findings):,} findings, {len(lost):,} of them of something lost: {path}")
    return int(bool(lost))


def _csv(findings: Iterable[Finding]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Finding._fields)
    writer.writerows(findings)
    return text.getvalue().encode("utf-8", "backslashreplace")

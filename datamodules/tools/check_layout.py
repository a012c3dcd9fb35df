"""What is wrong with a data set in MMRec's layout: its table, and the rows of its feature matrices."""

import hashlib

import numpy as np
from tqdm.auto import tqdm

from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.features import FILES, FeatureFile, open_features
from datamodules.mmrec import MMRec
from datamodules.mmrec_files import read_layout
from datamodules.tools.look import Finding, table_findings

_BLOCK = 4096


def check_layout(data: MMRec) -> tuple[list[Finding], dict[str, int]]:
    """Findings of the table and of every feature file that lies there, and how many items each has.

    The demo and MovieLens are converted into the layout for it, if that is not done.

    Raises:
        DataNotFoundError: If there is no such data set.
    """
    try:
        data.prepare_data()
        layout = read_layout(data.folder, data.name)
    except DataNotFoundError:
        raise
    except (ValueError, OSError) as error:
        return [Finding("", "table", "corrupt", "yes", f"{data.name}.inter", str(error))], {}
    findings = table_findings(layout.report, f"{data.name}.inter")
    data.setup()
    sizes = {"table": layout.n_items - 1}
    for modality, name in FILES.items():
        path = data.feature_root / name
        if not path.is_file():
            continue
        sizes[modality] = layout.n_items - 1
        try:
            file = open_features(modality, path)
            findings += _rows(file, data.item_names)
        except (BadTableError, OSError) as error:
            findings.append(Finding("", modality, "corrupt", "yes", name, str(error)))
    return findings, sizes


def _rows(file: FeatureFile, names: list[str]) -> list[Finding]:
    """Rows that are not finite, zero or shared; they are read block by block.

    Raises:
        BadTableError: If the file has another number of rows than there are items, or is cut short.
    """
    if file.rows != len(names) - 1:
        raise BadTableError(
            f"Expected one row for each of {len(names) - 1:,} items in {file.path}, found {file.rows:,} rows."
        )
    bad = set(file.bad_rows().tolist())
    matrix = np.load(file.path, mmap_mode="r", allow_pickle=False)
    groups: dict[bytes, list[int]] = {}
    found: dict[int, tuple[str, str, str]] = {}
    bar = tqdm(total=file.rows, desc=f"checking {file.modality} features", unit="item", disable=None)
    with bar:
        for start in range(0, file.rows, _BLOCK):
            block = np.ascontiguousarray(matrix[start : start + _BLOCK])
            empty = set(np.flatnonzero((block == 0).all(axis=1)).tolist())
            for place, row in enumerate(block):
                number = start + place
                if number in bad:
                    found[number] = ("corrupt", "yes", "holds NaN or infinity")
                elif place in empty:
                    found[number] = ("missing", "no", "is zero: the item had no content, or was left out")
                else:
                    groups.setdefault(hashlib.blake2b(row.data, digest_size=16).digest(), []).append(number)
            bar.update(len(block))
    for same in groups.values():
        if len(same) > 1:
            others = ", ".join(names[number + 1] for number in same[:5])
            text = f"is that of {len(same):,} items: {others}{', …' if len(same) > 5 else ''}"
            found |= {number: ("duplicate", "no", text) for number in same}
    return [
        Finding(names[number + 1], file.modality, kind, lost, file.path.name, f"row {number} {reason}")
        for number, (kind, lost, reason) in sorted(found.items())
    ]

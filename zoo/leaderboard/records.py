"""What the runs of a board left, and which of it may stand in one table."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from zoo.experiments.jobs import RESULTS, read_state
from zoo.leaderboard.runfile import RunFile, read_run_file, run_files
from zoo.leaderboard.running import RUN, read_results
from zoo.provenance import file_digest, is_sealed

State = Literal["finished", "failed", "unfinished"]


class Record(NamedTuple):
    """A run of a seed."""

    model: str
    seed: int
    state: State
    folder: Path
    content: dict[str, Any]
    """``results.json``; empty if there is none."""
    message: str = ""
    """Why it failed."""
    options: tuple[str, ...] | None = None
    """What was run; None if nobody says."""

    @property
    def metrics(self) -> dict[str, float]:
        """Test metrics over all users; of a file edited by hand whatever of it still are some."""
        rows = self.content.get("rows")
        every = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
        found = next((row.get("metrics") for row in every if row.get("slice_name") == "all"), None)
        values = found.items() if isinstance(found, Mapping) else ()
        return {name: float(value) for name, value in values if isinstance(value, int | float)}

    @property
    def users(self) -> Path | None:
        """The file of what every user adds."""
        name = (self.content.get("users") or {}).get("file")
        return None if name is None else self.folder / Path(name).name

    @property
    def setting(self) -> tuple[str, int]:
        """Configuration, and processes: a batch has as many parts as there are of them."""
        return str(self.content.get("config")), int(self.content.get("processes") or 1)

    @property
    def place(self) -> tuple[str, str]:
        """Protocol and data: only what agrees in both can be compared."""
        return str(self.content.get("protocol")), str(self.content.get("data"))


class Apart(NamedTuple):
    """A record that stands in no common column, and why."""

    record: Record
    reason: str


class Board(NamedTuple):
    """What is there of a data set."""

    name: str
    files: dict[str, RunFile]
    """Model -> its run file, as far as one is known."""
    records: list[Record]
    """Those that may be compared."""
    apart: list[Apart]
    lost: list[Record]
    """Failed and unfinished ones."""
    protocols: tuple[str, ...] = ()
    """All that something was evaluated under, whatever was asked for."""

    @property
    def protocol(self) -> str:
        """How everything in the table was evaluated."""
        return self.records[0].place[0] if self.records else ""

    @property
    def data(self) -> str:
        """Fingerprint of what everything in the table was evaluated on."""
        return self.records[0].place[1] if self.records else ""


def boards(out: Path) -> list[str]:
    """Boards that something was run of."""
    if not out.is_dir():
        return []
    return sorted(path.name for path in out.iterdir() if path.is_dir() and any(path.glob("*/seed-*")))


def read_board(name: str, out: Path, runs: Path, protocol: str = "") -> Board:
    """Reads everything that is there of a data set.

    Args:
        name: Of the board.
        out: Folder of the leaderboard.
        runs: Folder of the run files; what is not there any more is known from beside its runs.
        protocol: Only results whose protocol contains this, whatever the case.
    """
    files = known_files(name, out, runs)
    records = read_records(out / name)
    lost = [record for record in records if record.state != "finished"]
    done = [record for record in records if record.state == "finished"]
    protocols = tuple(sorted({record.place[0] for record in done}))
    if protocol:
        done = [record for record in done if protocol.lower() in record.place[0].lower()]
    kept, apart = sort_out(done)
    return Board(name, files, kept, apart, lost, protocols)


def known_files(name: str, out: Path, runs: Path) -> dict[str, RunFile]:
    """Model -> run file: from the folder of run files, else as it was when it was run."""
    found = {}
    for path in sorted((out / name).glob(f"*/{RUN}")) if (out / name).is_dir() else []:
        values = read_results(path)
        file = None if values is None else RunFile.of_plain(values)
        if file is not None:
            found[path.parent.name] = file
    if runs.is_dir():
        found |= {path.stem: read_run_file(path) for path in run_files(runs).get(name, [])}
    return found


def read_records(folder: Path) -> list[Record]:
    """All runs of a board, by model and seed."""
    found = []
    for path in sorted(folder.glob("*/seed-*"), key=lambda p: (p.parent.name, _seed(p))):
        record = read_record(path)
        if record is not None:
            found.append(record)
    return found


def read_record(path: Path) -> Record | None:
    """The run in a folder; None where nothing was run."""
    run = Record(path.parent.name, _seed(path), "unfinished", path, {})
    try:
        state = read_state(path)
    except ValueError as error:
        return run._replace(state="failed", message=str(error))
    content = read_results(path / RESULTS)
    options = (state or {}).get("options")
    run = run._replace(options=tuple(map(str, options)) if isinstance(options, list) else None)
    if content is not None and (state is None or state.get("finished")):
        return run._replace(state="finished", content=content)
    if state is None:
        return None
    if "failed" in state:
        return run._replace(state="failed", message=str(state["failed"]))
    if state.get("finished"):
        return run._replace(state="failed", message=f"{RESULTS} is missing, or cannot be read")
    return run


def _seed(path: Path) -> int:
    text = path.name.partition("-")[2]
    return int(text) if text.isdecimal() else -1


def sort_out(records: Sequence[Record]) -> tuple[list[Record], list[Apart]]:
    """Those that may be compared with each other, and the others.

    What agrees in protocol and data with most of the models is kept; seeds of a model whose configuration is
    not that of most of its seeds are not.
    """
    apart: list[Apart] = []
    sound: list[Record] = []
    for record in records:
        reason = fault(record)
        if reason:
            apart.append(Apart(record, reason))
        else:
            sound.append(record)
    places = Counter(place for _, place in sorted({(record.model, record.place) for record in sound}))
    if not places:
        return [], apart
    usual = max(places, key=lambda place: (places[place], place))
    settings = {
        model: Counter(r.setting for r in sound if r.model == model and r.place == usual)
        for model in {record.model for record in sound}
    }
    kept = []
    for record in sound:
        if record.place != usual:
            apart.append(Apart(record, _other_place(record.place, usual)))
        elif record.setting != (common := settings[record.model].most_common(1)[0][0]):
            apart.append(Apart(record, _other_setting(record.setting, common)))
        else:
            kept.append(record)
    return kept, apart


def fault(record: Record) -> str:
    """What keeps a result out of any table, whatever the others are; empty if nothing does."""
    content = record.content
    if "checksum" not in content:
        return "no checksum: made by hand, or by an older version"
    if not is_sealed(content):
        return "edited: its checksum does not fit its content"
    if not content.get("data"):
        return "no fingerprint of its data"
    if not content.get("protocol"):
        return "no protocol"
    if not content.get("config"):
        return "no configuration: not made by the command"
    if not record.metrics or not all(map(math.isfinite, record.metrics.values())):
        return "no metrics over all users"
    if record.seed >= 0 and content.get("seed", record.seed) not in (None, record.seed):
        return f"copied: it is a run of seed {content['seed']}"
    users = record.users
    if users is not None and (not users.is_file() or file_digest(users) != content["users"]["sha256"]):
        return f"{users.name} is missing, or is not the one that belongs to it"
    return ""


def _other_setting(found: tuple[str, int], usual: tuple[str, int]) -> str:
    if found[0] != usual[0]:
        return "another configuration than most of its seeds"
    return f"{found[1]} processes share a batch, {usual[1]} in most of its seeds"


def _other_place(found: tuple[str, str], usual: tuple[str, str]) -> str:
    if found[0] != usual[0]:
        return f"another protocol: {found[0]}"
    return f"another catalogue, or other histories: data {found[1]}, not {usual[1]}"

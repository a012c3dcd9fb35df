"""What holds for all data sets: the tools run, bytes come out again, a bad line costs that line only."""

import gzip
import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import cli
from datamodules.base import RecDataModule
from datamodules.errors import BadTableError, DataNotFoundError, DiskFullError, EmptyDataError
from datamodules.tools.check import check
from datamodules.tools.prepare import prepare
from datamodules.tools.show import show
from datamodules.tools.stats import stats
from tests.data_makers.miniatures import GENERATED, MINIATURES, Miniature
from tests.data_makers.transforms import LetterTransform, PixelTransform
from zoo.experiments.panels import draw_panels
from zoo.names import short_names
from zoo.types import ContentTransform, ModelNeeds

pytestmark = [
    pytest.mark.filterwarnings("ignore:Not the published size", "ignore:Bad "),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]
TRANSFORMS: dict[str, ContentTransform] = {"text": LetterTransform(), "image": PixelTransform()}
HISTORIES = [name for name, miniature in MINIATURES.items() if miniature.modalities]


def needs_of(miniature: Miniature) -> ModelNeeds | None:
    """What a model would ask for; nothing of pairs, which come with their features."""
    wanted = {modality: TRANSFORMS[modality] for modality in miniature.modalities}
    return ModelNeeds(wanted) if wanted else None


def test_every_data_set_has_a_miniature() -> None:
    assert {miniature.data for miniature in MINIATURES.values()} == set(short_names("data")) - set(GENERATED)


@pytest.mark.parametrize("name", MINIATURES)
def test_the_tools_run_and_make_the_same_bytes_again(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    miniature, out = MINIATURES[name], tmp_path / "out"
    miniature.make(tmp_path / "raw")
    raw = sorted(path for path in (tmp_path / "raw").rglob("*") if path.is_file())
    needs, manifests = needs_of(miniature), []
    for folder in ("one", "two"):
        options = (
            {} if miniature.data in ("mmrec", "microlens_fair") else {"cache_dir": str(tmp_path / folder)}
        )
        data = miniature.read(tmp_path / "raw", **options)
        assert prepare(data, needs, tmp_path / folder / "out") == 0
        cache = data.cache if isinstance(data, RecDataModule) else tmp_path / folder / "out"
        manifests.append((cache / "manifest.json").read_bytes())
    assert manifests[0] == manifests[1]
    assert len(json.loads(manifests[0])["files"]) >= 1
    data = miniature.read(tmp_path / "raw", **options)
    status = check(data, needs, out)
    found = (out / "check.csv").read_text()
    assert status == int(",yes," in found), found
    assert {line.split(",")[2] for line in found.splitlines()[1:]} <= {
        "missing",
        "duplicate",
        "short",
        "dropped",
    }, found
    assert stats(data, out, draw_panels) == show(data, out, count=2) == 0
    counted = json.loads((out / "stats.json").read_text())
    assert counted["protocol"]["test"]["users"] > 0
    assert "validation" in capsys.readouterr().out
    assert [path for path in raw if not path.is_file()] == []


# Bad lines --------------------------------------------------------------------------------------------------

Lines = list[bytes]


def cut_in_half(lines: Lines, at: list[int]) -> Lines:
    return [line[: len(line) // 3] if place in at else line for place, line in enumerate(lines)]


def garbage(lines: Lines, at: list[int]) -> Lines:
    return [b"\xff\xfe\x00\x01\x80garbage" if place in at else line for place, line in enumerate(lines)]


def open_quotes(lines: Lines, at: list[int]) -> Lines:
    return [b'"' + line if place in at else line for place, line in enumerate(lines)]


def other_separator(lines: Lines, at: list[int]) -> Lines:
    return [re.sub(rb"[\t,|;]|::", b";", line) if place in at else line for place, line in enumerate(lines)]


def twice(lines: Lines, at: list[int]) -> Lines:
    return [copy for place, line in enumerate(lines) for copy in [line] * (1 + (place in at))]


def with_nul(lines: Lines, at: list[int]) -> Lines:
    return [line + b"\0" if place in at else line for place, line in enumerate(lines)]


def empty_lines(lines: Lines, at: list[int]) -> Lines:
    return [
        new for place, line in enumerate(lines) for new in ([b"", b"  ", line] if place in at else [line])
    ]


def web_page(lines: Lines, at: list[int]) -> Lines:
    return [*lines, b"<html><body>Too many requests</body></html>"]


MUTATIONS: list[Callable[[Lines, list[int]], Lines]] = [
    cut_in_half,
    garbage,
    open_quotes,
    other_separator,
    twice,
    with_nul,
    empty_lines,
    web_page,
]


def interaction_table(data: RecDataModule, root: Path) -> Path:
    """The file of interactions; its lines are changed in place, unpacked if they were packed."""
    named = {getattr(data, attribute, None) for attribute in ("interaction_file",)}
    path = next((path for path in data.table_files() if path in named), data.table_files()[0])
    if path.suffix == ".gz":
        plain = path.with_suffix("")
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
        return plain
    assert root in path.parents
    return path


def histories(data: RecDataModule) -> dict[str, list[str]]:
    """User -> items, as the tables have them; of several lines of a user the last."""
    tables = data.read_tables()
    items = tables.items["item"].to_list()
    return {
        user: [items[row] for row in tables.items_of[begin:end]]
        for user, begin, end in zip(tables.users, tables.offsets[:-1], tables.offsets[1:], strict=True)
    }


@pytest.mark.parametrize("name", HISTORIES)
def test_a_bad_line_costs_that_line_only(tmp_path: Path, name: str) -> None:
    miniature = MINIATURES[name]
    miniature.make(tmp_path)
    data = miniature.read(tmp_path)
    assert isinstance(data, RecDataModule)
    path = interaction_table(data, tmp_path)
    data = miniature.read(tmp_path)
    assert isinstance(data, RecDataModule)
    clean, content = histories(data), path.read_bytes()
    lines = content.rstrip(b"\n").split(b"\n")
    at = [len(lines) // 2, len(lines) // 2 + 3]
    touched = {word for place in at for word in re.split(r"[^\w.-]+", lines[place].decode())}
    spared = {user: items for user, items in clean.items() if user not in touched}
    assert len(spared) >= 5
    for mutate in MUTATIONS:
        path.write_bytes(b"\n".join([*mutate(lines, at), b""]))
        data._forget()
        found = histories(data)
        assert {user: found.get(user) for user in spared} == spared, mutate.__name__
        report = data.read_tables().report
        lost = sum(map(len, clean.values())) - sum(map(len, found.values()))
        if mutate is not cut_in_half and lost > 0:  # of a history in one line, a part is a history too
            assert "dropped" in " ".join(report.lines()), (mutate.__name__, lost, report)


def quote_is_open(lines: Lines) -> bool:
    """Whether a quote is open at the end of some lines."""
    return b"".join(lines).count(b'"') % 2 == 1


@pytest.mark.parametrize("name", HISTORIES)
def test_a_bad_line_of_items_costs_that_item_only(tmp_path: Path, name: str) -> None:
    miniature = MINIATURES[name]
    miniature.make(tmp_path)
    data = miniature.read(tmp_path)
    assert isinstance(data, RecDataModule)
    interactions = interaction_table(data, tmp_path)
    clean = histories(data)
    for path in set(data.table_files()) - {interactions}:
        content = path.read_bytes()
        plain = gzip.decompress(content) if path.suffix == ".gz" else content
        lines = plain.rstrip(b"\n").split(b"\n")
        whole = [
            place
            for place, line in enumerate(lines)
            if not quote_is_open(lines[:place]) and not quote_is_open([line])
        ]
        whole = whole if len(whole) > 8 else list(range(len(lines)))  # quotes are letters there
        at = [whole[len(whole) // 2], whole[len(whole) // 2 + 3]]
        words = {word for place in at for word in re.split(r"[^\w.-]+", lines[place].decode("latin-1"))}
        spared = {user: items for user, items in clean.items() if not words & {*items, user}}
        for mutate in MUTATIONS:
            if mutate in (open_quotes, cut_in_half):  # a quote may span lines there
                continue
            changed = b"\n".join([*mutate(lines, at), b""])
            path.write_bytes(gzip.compress(changed) if path.suffix == ".gz" else changed)
            data._forget()
            found = histories(data)
            assert {user: found.get(user) for user in spared} == spared, (path.name, mutate.__name__)
        path.write_bytes(content)


@pytest.mark.parametrize("name", HISTORIES)
def test_a_full_disk_leaves_nothing_half_made(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    miniature, usage = MINIATURES[name], shutil.disk_usage(tmp_path)
    miniature.make(tmp_path)
    data = miniature.read(tmp_path)
    assert isinstance(data, RecDataModule)
    data.bind(needs_of(miniature) or data.default_needs)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    with pytest.raises(DiskFullError, match=r"--data\.cache_dir"):
        data.prepare_data()
    assert not [path for path in data.cache.iterdir() if path.is_dir()]
    monkeypatch.undo()
    data.prepare_data()
    data.setup()
    assert data.spec.n_users > 1


@pytest.mark.parametrize("name", MINIATURES)
def test_a_file_that_is_none_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    miniature = MINIATURES[name]
    miniature.make(tmp_path)
    data = miniature.read(tmp_path)
    if isinstance(data, RecDataModule):
        path = interaction_table(data, tmp_path)
    else:
        (path,) = [
            p for p in tmp_path.rglob("*") if p.name in ("ratings.dat", "u.data") or p.suffix == ".inter"
        ]
    content = path.read_bytes()
    wrong = {
        "empty": b"",
        "page": b"<html><body>Too many requests</body></html>\n" * 3,
        "zip": b"PK\x03\x04" + bytes(range(256)) * 4,
        "utf-16": content.decode("utf-8", "replace").encode("utf-16"),
    }
    for kind, bytes_ in wrong.items():
        path.write_bytes(bytes_)
        with pytest.raises((BadTableError, DataNotFoundError, EmptyDataError)) as caught:
            read_all(miniature, tmp_path)
        assert path.name in str(caught.value) or isinstance(caught.value, EmptyDataError), (
            kind,
            caught.value,
        )


def read_all(miniature: Miniature, root: Path) -> None:
    data = miniature.read(root)
    data.bind(data.default_needs)
    data.prepare_data()
    data.setup()


@pytest.mark.parametrize("name", MINIATURES)
def test_half_a_file_is_read_or_refused(tmp_path: Path, name: str) -> None:
    miniature = MINIATURES[name]
    miniature.make(tmp_path)
    data = miniature.read(tmp_path)
    files = data.table_files() if isinstance(data, RecDataModule) else list(tmp_path.rglob("*.inter"))
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * 0.7)])
        with suppress(BadTableError, DataNotFoundError, EmptyDataError):  # another error is a fault of ours
            read_all(miniature, tmp_path)
        path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("name", MINIATURES)
def test_a_model_is_trained_on_it(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    miniature = MINIATURES[name]
    miniature.make(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # taken back afterwards, whatever the run sets
    options = {"root": str(tmp_path / "raw"), **miniature.options}
    words = [
        word for key, value in options.items() for word in (f"--data.{key}", json.dumps(value).strip('"'))
    ]
    absent = [m for m in ("text", "image") if m not in miniature.modalities and miniature.modalities]
    model = "morec" if miniature.modalities else "bpr"
    line = ["fit", "--model", model, "--data", miniature.data, *words, "--run_dir", "run"]
    quiet = [
        "--trainer.max_epochs",
        "1",
        "--trainer.accelerator",
        "cpu",
        "--trainer.enable_progress_bar",
        "false",
    ]
    cli.main([*line, *quiet, *(word for modality in absent for word in (f"--model.{modality}", "null"))])
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results

"""What the pages show is what works: Python blocks run, names exist, commands parse, links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

import cli
from benchmarks.claims_table import BEGIN, END
from zoo.experiments import cost, curves, sweep, transfer
from zoo.experiments.command import split_line
from zoo.experiments.study import load_study
from zoo.names import short_names

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "benchmarks/FINDINGS.md",
    "benchmarks/TECHNIQUES.md",
    "datamodules/README.md",
    "zoo/encoders/README.md",
    "zoo/experiments/README.md",
    "zoo/models/README.md",
)


def commands(page: str, names: str) -> list[tuple[str, list[str]]]:
    """The commands a page shows, with their words; those of the claims have tests of their own."""
    before, _, rest = (ROOT / page).read_text(encoding="utf-8").partition(BEGIN)
    found = re.findall(rf"mmzoo ({names}) ([^#\n`]*)", before + rest.partition(END)[2])
    return [(command, shlex.split(options)) for command, options in found]


def anchors(page: Path) -> set[str]:
    """What a link may name in a page: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_model_and_data_set_has_a_row() -> None:
    text = README.read_text()
    for name in short_names("model"):
        assert f"`{name}`" in text, name
    for name in (*short_names("data"), *short_names("study")):
        assert name in text.lower(), name


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    prose = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^()\s]*)\)", prose):
        if not link.startswith("https://"):
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize(("page", "at_least"), [(page, 10 if page == "README.md" else 0) for page in PAGES])
def test_the_commands_expand(page: str, at_least: int) -> None:
    found = commands(page, "fit|test|predict")
    assert len(found) >= at_least
    for command, words in found:
        if words[:2] not in ([], ["--model", "M"]):
            assert cli.expand_names([command, *words]).argv[0] == command


@pytest.mark.parametrize("page", ["README.md", "zoo/experiments/README.md"])
def test_the_commands_of_many_runs_are_understood(page: str) -> None:
    lines = [(name, words) for name, words in commands(page, "sweep|transfer|cost|curves") if words]
    assert {command for command, _ in lines} == {"sweep", "transfer", "cost", "curves"}
    for command, words in lines:
        if command == "sweep":
            assert sweep.plan(*split_line(sweep.parser(), words)).axes
        elif command == "curves":
            assert curves.plan(*split_line(curves.parser(), words))[0].every()
        elif command == "cost":
            plan = cost.plan(*split_line(cost.parser(), words))
            assert set(plan.models) <= set(short_names("model"))
        else:
            arguments, typed = split_line(transfer.parser(), words)
            study = load_study(arguments.study, command, transfer.STUDY) if arguments.study else {}
            assert transfer.plan(arguments, study, typed).cells()


@pytest.mark.slow
def test_the_python_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, str(README), "exec"), names)
    assert {"model", "trainer"} <= set(names)

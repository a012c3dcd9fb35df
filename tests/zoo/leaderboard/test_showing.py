import csv
import io
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.zoo.experiments.test_jobs import COMMAND
from tests.zoo.leaderboard.made import lost_run, made_run, run_file
from zoo.leaderboard import command, svg
from zoo.leaderboard.svg import Series, Spot
from zoo.provenance import seal

HOSTILE = '<img src=x onerror="alert(1)">'
PUBLISHED = """
t:
  paper: A & B <b>
  where: Table 1
  protocol: p
  metrics: [hr@10]
  hides: the test | split chose the epoch
  rows: {a: [0.9]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(2):
        made_run(tmp_path / "out", "morec", seed, 0.5)
        made_run(tmp_path / "out", "idrec", seed, 0.3)
    made_run(tmp_path / "out", "other", protocol="global | time")
    lost_run(tmp_path / "out", "broken", 0, f"Traceback\nValueError: {HOSTILE}")
    run_file(tmp_path / "runs", "morec", published=["t:a"], title=HOSTILE, notes=HOSTILE, paper="5 % & more_")
    run_file(tmp_path / "runs", "idrec", role="baseline")
    (tmp_path / "published.yaml").write_text(PUBLISHED)
    return tmp_path


def show(folder: Path, *words: str) -> None:
    where = ["--out", str(folder / "out"), "--runs", str(folder / "runs")]
    command.main(
        ["show", *words, *where, "--published", str(folder / "published.yaml")], COMMAND, lambda _: None
    )


class Reader(HTMLParser):
    """Tags, their attributes, and what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def page(folder: Path, *words: str) -> tuple[Reader, str]:
    show(folder, "--html", str(folder / "page.html"), *words)
    text = (folder / "page.html").read_text()
    reader = Reader()
    reader.feed(text)
    return reader, text


def test_markdown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(folder)
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["morec", "idrec", "broken"]
    assert "HR@10 not reproduced" in lines[2]
    assert "best baseline" in lines[3]
    assert "failed" in lines[4]
    assert "another protocol: global \\| time" in out
    assert "Protocol: leave two out, among the whole catalogue. Data: d1." in out
    assert "corrected for 1 comparison (Holm)" in out


def test_csv_and_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(folder, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[0]["title"] == HOSTILE
    assert float(rows[0]["hr@10_low"]) < float(rows[0]["hr@10_mean"]) < float(rows[0]["hr@10_high"])
    assert rows[2]["failed"] == "1"
    show(folder, "--format", "json")
    (board,) = json.loads(capsys.readouterr().out)
    assert board["apart"] == [{"run": "other/seed-0", "reason": "another protocol: global | time"}]
    assert board["rows"][0]["slices"]["cold"]["1-9"]["n"] == 50


def test_several_boards_are_one_csv(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_run(folder / "out", "bpr", board="pairs")
    show(folder, "--format", "csv")
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["board"] for row in found] == ["pairs", "toy", "toy", "toy"]
    assert {row["model"] for row in found} == {"bpr", "morec", "idrec", "broken"}


def test_latex_escapes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_run(folder / "out", "a_b&c", 0)
    show(folder, "--format", "latex")
    out = capsys.readouterr().out
    assert r"a\_b\&c & paper" in out
    assert r"$\pm$" in out
    body = out.partition("% toy")[0]
    assert not re.search(r"(?<!\\)[%#_]", body.replace(r"\_", ""))
    assert out.count(r"\begin{tabular}") == out.count(r"\end{tabular}") == 1


def test_a_table_lands_in_the_results_only_if_asked(folder: Path) -> None:
    results = folder / "results"
    show(folder, "--results", str(results))
    assert not results.exists()
    show(folder, "--results", str(results), "--write")
    assert [path.name for path in results.iterdir()] == ["toy.csv"]
    assert "broken" not in (results / "toy.csv").read_text()


def test_the_page_asks_nobody_and_takes_no_name_for_markup(folder: Path) -> None:
    made_run(folder / "out", HOSTILE.replace("/", ""), 0, 0.2)
    reader, text = page(folder)
    assert "img" not in reader.tags
    assert "b" not in reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert HOSTILE in reader.text
    assert "A & B <b>" in reader.text
    addresses = [value for name, value in reader.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith("#") for value in addresses)
    assert "//" not in re.sub(r'xmlns="http://www\.w3\.org/2000/svg"', "", text)
    assert text.count("<script>") == text.count("</script>") == 1
    assert "default-src 'none'" in text


def test_the_page_has_what_sorting_and_pictures_need(folder: Path) -> None:
    reader, text = page(folder, "toy")
    assert ("aria-sort", "none") in reader.attributes
    assert reader.tags.count("button") == 13
    assert reader.tags.count("svg") >= 3
    assert "Not comparable with the table above" in reader.text
    assert "broken/seed-0" in reader.text
    assert re.search(r'class="missed"[^>]*>HR@10 not reproduced', text)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_what_pictures_show_is_also_text_and_columns_are_explained(folder: Path) -> None:
    for seed in range(2):
        path = folder / "out" / "toy" / "morec" / f"seed-{seed}" / "results.json"
        content = json.loads(path.read_text())
        content["slices"]["missing"] = {"complete": content["slices"]["cold"]["1-9"]}
        path.write_text(json.dumps(seal(content)))
    reader, text = page(folder)
    labels = [value for name, value in reader.attributes if name == "aria-label"]
    assert any("the best is morec with HR@10" in label for label in labels)
    assert "by what the target lacks" not in reader.text  # one group is everybody
    assert text.count("<summary>The numbers</summary>") == 1
    assert re.search(r"<th scope=\"row\">morec</th><td>0\.\d{4} ± 0\.0500</td>", text)
    heads = re.findall(r'<button type="button" title="([^"]+)">', text)
    assert len(heads) == 13
    assert all(unescape(head) in reader.text for head in heads)  # on a screen that nothing can be pointed on


def test_a_board_without_rows_or_figures_is_a_page(folder: Path) -> None:
    lost_run(folder / "out", "alone", 0, board="empty")
    reader, _ = page(folder, "empty")
    assert "unfinished" in reader.text
    reader, _ = page(folder, "toy", "--modality", "audio")
    assert "Nothing to show." in reader.text
    made_run(folder / "out", "one", board="one")
    _, text = page(folder, "one")
    assert ">seeds</button>" in text
    assert ">published</button>" not in text  # nothing could stand there


def test_other_experiments_on_the_page(folder: Path) -> None:
    curves, matrix = folder / "noise", folder / "platforms"
    curves.mkdir()
    matrix.mkdir()
    points = [
        {"arm": HOSTILE, "level": str(x), "x_mean": x, "y_mean": 0.3 - x, "y_sd": 0.01} for x in (0.0, 0.1)
    ]
    (curves / "results.json").write_text(json.dumps({"x": "noise", "y": "recall@20", "points": points}))
    run = {"target": "demo_b", "fraction": 0.1, "state": "finished"}
    runs = [
        {**run, "source": "demo", "arm": "finetuned", "hr@10": 0.2},
        {**run, "source": None, "arm": "scratch", "hr@10": 0.1},
        {**run, "source": None, "arm": "scratch", "state": "failed", "hr@10": None},
    ]
    content = {"runs": runs, "fine_tuned_minus_scratch": []}
    (matrix / "results.json").write_text(json.dumps(content))
    reader, _ = page(folder, "--with", str(curves), "--with", str(matrix))
    assert "Recall@20 against noise" in reader.text
    assert "demo → demo_b, fine-tuned" in reader.text
    assert "nothing → demo_b, from scratch" in reader.text
    assert "img" not in reader.tags
    with pytest.raises(ValueError, match=r"cannot be read"):
        page(folder, "--with", str(folder))


def test_what_is_unknown_is_said(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no board 'toi'. Did you mean toy"):
        show(folder, "toi")
    with pytest.raises(ValueError, match=r"expected a number such as"):
        show(folder, "--max-parameters", "many")
    with pytest.raises(ValueError, match=r"no option --nonsense"):
        show(folder, "--nonsense=1")
    with pytest.raises(ValueError, match=r"no 'txt'. Did you mean text"):
        show(folder, "--modality", "txt,image")
    with pytest.raises(ValueError, match=r"no result is of 'chunks'. There are: global"):
        show(folder, "--protocol", "chunks")
    with pytest.raises(ValueError, match=r"add --html"):
        show(folder, "--with", str(folder))
    with pytest.raises(ValueError, match=r"Nothing was run"):
        command.main(["show", "--out", str(folder / "nowhere")], COMMAND, lambda _: None)


def test_labels_do_not_lie_on_each_other() -> None:
    spots = [Spot(10.0 + at % 3, 0.2 + 0.001 * at, label=f"a rather long name {at}") for at in range(12)]
    taken: list[svg.Box] = []
    for spot in spots:
        svg.label(spot.label, 300 + 5 * spot.x, 200 + 300 * spot.y, taken)
    for at, one in enumerate(taken):
        for other in taken[at + 1 :]:
            assert not (one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3])


def test_axes_of_any_range_have_numbers() -> None:
    for low, high in ((60.0, 66.0), (5.1, 5.2), (1.0, 1.0), (1.0, 1e6)):
        scale = svg.Scale.around([low, high], 0, 100, logs=True)
        assert len(scale.ticks()) > 1
        assert all(0 <= scale.at(tick) <= 100 for tick in scale.ticks())


def test_a_single_point_and_missing_intervals_are_drawn() -> None:
    assert "<circle" in svg.scatter([Spot(5.0, 0.1, label="a")], "x", "y", True, "one")
    assert "nan" not in svg.groups(["g"], [Series("a", [Spot(0, 0.2)])], "y", "one")
    assert "nan" not in svg.lines([Series("a", [Spot(0, 0.2), Spot(1, 0.3)])], "x", "y", "one")

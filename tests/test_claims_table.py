"""The claims: every arm is a command, verdicts follow the stated rules, tables are those of the files."""

import json
import math
import shlex
from pathlib import Path

import pytest

import cli
from benchmarks import claim_verdicts, claims_table
from benchmarks.claim_verdicts import Arm, Book, Claim, read_book, read_measured, verdicts, word_of
from benchmarks.claims_table import (
    BEGIN,
    END,
    LONG,
    README,
    chosen,
    note,
    put_between,
    require_same_line,
    values_of,
    waves,
    words,
)
from zoo.experiments.stats import Contrast

BOOK = read_book()


@pytest.mark.parametrize("name", [name for name, arm in BOOK.arms.items() if arm.line])
def test_every_arm_is_a_command_with_known_names(name: str, tmp_path: Path) -> None:
    line = words(BOOK.arms[name], 0, tmp_path)
    assert not any("{" in word and "{folder}" in word for word in line)
    assert cli.expand_names(["fit", *line]).argv[0] == "fit"
    assert "--data" in line
    assert "--model" in line


def test_every_paper_has_claims_and_every_arm_is_used() -> None:
    assert {claim.paper for claim in BOOK.claims} == set(BOOK.papers)
    used = {arm for claim in BOOK.claims for arm in claim.arms}
    begun = {name for arm in BOOK.arms.values() for name in arm.after}
    assert set(BOOK.arms) - used - begun == {"text"}  # shown beside the others in the README
    assert begun <= set(BOOK.arms)


def test_the_readmes_hold_the_tables_of_the_files() -> None:
    measured = read_measured(BOOK)
    found = verdicts(BOOK, measured)
    for path, table in (
        (README, claim_verdicts.short_table(found, BOOK.papers)),
        (LONG, claim_verdicts.long_table(found, BOOK, measured)),
    ):
        text = path.read_text(encoding="utf-8")
        assert text.partition(BEGIN)[2].partition(END)[0].strip() == table, f"{path}: claims_table --write"


def claim(rule: claim_verdicts.Rule = "better", margin: float = 0.0) -> Claim:
    return Claim("c", "P", "it helps", "table 1", "a", "b", rule=rule, margin=margin)


@pytest.mark.parametrize(
    ("rule", "difference", "lower", "upper", "p", "word"),
    [
        ("better", 0.1, 0.05, 0.15, 0.01, "holds"),
        ("better", 0.1, -0.05, 0.25, 0.2, "does not hold: no difference shown"),
        ("better", -0.1, -0.15, -0.05, 0.01, "does not hold: the opposite"),
        ("better", 0.1, 0.01, 0.19, 0.08, "does not hold: not shown after the correction"),
        ("better", -0.1, -0.19, -0.01, 0.08, "does not hold: not shown after the correction"),
        ("no_worse", -0.005, -0.009, 0.0, math.nan, "holds"),
        ("no_worse", -0.02, -0.05, 0.01, math.nan, "does not hold: not shown"),
        ("no_worse", -0.02, -0.03, -0.01, math.nan, "does not hold: worse"),
        ("no_better", 0.001, -0.01, 0.009, math.nan, "holds"),
        ("no_better", 0.02, 0.01, 0.03, math.nan, "does not hold: better"),
        ("no_better", 0.02, -0.01, 0.05, math.nan, "does not hold: not shown"),
    ],
)
def test_rules(
    rule: claim_verdicts.Rule, difference: float, lower: float, upper: float, p: float, word: str
) -> None:
    assert word_of(claim(rule, 0.01), Contrast(difference, lower, upper, p), p) == word


def test_what_was_not_measured_is_not_run_and_p_is_corrected() -> None:
    arms = {name: Arm(name, line="--model morec --data demo") for name in "abcd"}
    claims = [
        claim(),
        claim()._replace(name="d", worse="c"),
        claim()._replace(name="e", worse="d"),
        Claim("f", "P", "big", "abstract", why="needs a cluster"),
        Claim("g", "P", "cheap", "abstract", rule="saving", saving={"published": 0.5, "measured": 0.46}),
        Claim("h", "P", "cheap", "abstract", rule="saving", saving={"published": 0.5, "measured": 0.44}),
    ]
    rows = {"a": [0.30, 0.42, 0.35], "b": [0.21, 0.30, 0.25], "c": [0.20, 0.32, 0.26, 0.9]}
    measured = {name: {"hr@10": values} for name, values in rows.items()}
    found = verdicts(Book(arms, {"P": "2020"}, claims), measured)
    words_ = [each.word for each in found]
    assert words_[:4] == ["holds", "holds", "not run", "not testable here"]
    assert words_[4:] == ["holds", "does not hold: less is saved"]
    assert found[0].p == ".007"  # the larger of two, corrected by one
    assert found[1].seeds == 3  # those that both have
    measured["b"]["hr@10"][1] = math.nan
    assert verdicts(Book(arms, {"P": "2020"}, claims), measured)[0].word == "not run"


def test_values_of_an_arm_that_has_changed_are_not_read(tmp_path: Path) -> None:
    path, arm = tmp_path / "measured.yaml", Arm("a", line="--model morec --data demo")
    note(arm, [{"hr@10": 0.1, "new: hr@10": 0.5}, {"hr@10": 0.2}], path)
    note(arm._replace(name="b"), [{"hr@10": 0.3}], path)
    book = Book({"a": arm, "b": arm._replace(name="b", line="--model idrec --data demo")}, {}, [])
    assert read_measured(book, path) == {"a": {"hr@10": [0.1, 0.2]}}
    assert read_measured(book, tmp_path / "none.yaml") == {}


def test_sources_of_a_transfer_come_first() -> None:
    (pmmrec,) = [claim for claim in BOOK.claims if claim.name == "pmmrec-transfer"]
    found = [[arm.name for arm in wave] for wave in waves(BOOK, [pmmrec], {})]
    assert found == [["pmmrec"], ["pmmrec_b"], ["pmmrec_b_tuned"]]
    line = words(BOOK.arms["pmmrec_b_tuned"], 2, Path("here"), "demo")
    assert "here/pmmrec-2" in line
    assert line[-2:] == ["--data.root", "demo"]


def test_runs_of_an_arm_that_has_changed_are_refused(tmp_path: Path) -> None:
    arm = Arm("a", line="--model morec --data demo")
    for _ in range(2):
        require_same_line(arm, tmp_path)
    with pytest.raises(ValueError, match=r"as it was before \(mmzoo fit --model morec --data demo\)"):
        require_same_line(arm._replace(line="--model idrec --data demo"), tmp_path)


def test_claims_are_asked_for_by_name_by_paper_or_as_missing() -> None:
    assert [each.name for each in chosen(BOOK, {}, ["morec-cold", "morec-cold"])] == ["morec-cold"]
    assert {each.paper for each in chosen(BOOK, {}, ["odmt"])} == {"ODMT"}
    missing = chosen(BOOK, {}, ["missing"])
    assert {each.name for each in missing} == {each.name for each in BOOK.claims if each.better}
    with pytest.raises(ValueError, match="Did you mean morec-cold"):
        chosen(BOOK, {}, ["morec-cald"])


def test_values_are_those_of_all_users_and_of_cold_items(tmp_path: Path) -> None:
    rows = [
        {"slice_name": name, "metrics": {"hr@10": value, "mrr@5": 1.0}}
        for name, value in (("all", 0.1), ("repeat", 0.2), ("new", 0.3))
    ]
    (tmp_path / "results.json").write_text(json.dumps({"rows": rows}))
    assert values_of(tmp_path) == {"hr@10": 0.1, "new: hr@10": 0.3}


def test_bad_books_are_refused(tmp_path: Path) -> None:
    text = claim_verdicts.CLAIMS.read_text()
    path = tmp_path / "claims.yaml"
    for old, new, message in (
        ("better: image", "better: picture", "unknown arm"),
        ("name: morec-new", "name: morec-cold", "one name"),
        ("{line: --model idrec --model.width 64 --data demo}", "{seeds: 3}", "a line or a command"),
    ):
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(ValueError, match=message):
            read_book(path)


def test_a_file_without_marks_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("text")
    with pytest.raises(ValueError, match="has no"):
        put_between(path, "table")
    path.write_text(f"a\n{BEGIN}\nold\n{END}\nb")
    put_between(path, "new")
    assert path.read_text() == f"a\n{BEGIN}\nnew\n{END}\nb"


def test_lines_split_as_a_shell_would() -> None:
    assert shlex.split(BOOK.arms["guider_vbpr_noise"].line)[-1] == '{"reg_weight": 1.0e-4}'
    assert claims_table.metric_of(BOOK.arms["guider_vbpr_noise"]) == "recall@20"

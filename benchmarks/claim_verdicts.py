"""Claims as checks: what is compared, what was measured, and the verdict by a rule that was stated before.

``claims.yaml`` says what is claimed and run, ``claims_measured.yaml`` what was found, seed by seed. A verdict
is never guessed: what was not measured is not run.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple, get_args

import yaml

from zoo.experiments.stats import Contrast, holm, paired_t

CLAIMS = Path(__file__).with_name("claims.yaml")
MEASURED = Path(__file__).with_name("claims_measured.yaml")
LEVEL = 0.05
REACHED = 0.9
"""Share of a published saving that has to be reached."""
SEEDS = 5
Rule = Literal["better", "no_worse", "no_better", "saving"]
NOT_RUN, UNTESTABLE, HOLDS = "not run", "not testable here", "holds"


class Arm(NamedTuple):
    """Something that is run with several seeds."""

    name: str
    line: str = ""
    """Options of ``mmzoo fit``; empty where a command of its own makes the values."""
    command: str = ""
    seeds: int = SEEDS
    after: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is run."""
        return f"mmzoo fit {self.line}" if self.line else self.command


class Claim(NamedTuple):
    """One row of the table."""

    name: str
    paper: str
    claim: str
    source: str
    better: str = ""
    worse: str | float = ""
    metric: str = "hr@10"
    rule: Rule = "better"
    margin: float = 0.0
    saving: Mapping[str, float] = {}  # a named tuple's defaults are never changed
    command: str = ""
    why: str = ""
    ours: bool = False

    @property
    def arms(self) -> tuple[str, ...]:
        """Arms that it compares."""
        return tuple(arm for arm in (self.better, self.worse) if isinstance(arm, str) and arm)


class Book(NamedTuple):
    """All claims, arms and papers."""

    arms: dict[str, Arm]
    papers: dict[str, str]
    claims: list[Claim]


class Verdict(NamedTuple):
    """What became of a claim."""

    claim: Claim
    word: str
    number: str = "-"
    """The difference with its interval, or a saving."""
    p: str = "-"
    seeds: int = 0


Measured = dict[str, dict[str, list[float]]]
"""Arm -> metric -> value of every seed."""


def read_book(path: Path = CLAIMS) -> Book:
    """Reads and checks the claims.

    Raises:
        ValueError: An arm, rule or key is unknown, or a claim can never have a verdict.
    """
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    arms = {
        name: Arm(name, **{**arm, "after": tuple(arm.get("after", ()))})
        for name, arm in values["arms"].items()
    }
    claims = [Claim(**claim) for claim in values["claims"]]
    for arm in arms.values():
        if bool(arm.line) == bool(arm.command):
            raise ValueError(f"{path}: the arm {arm.name} needs a line or a command.")
    for claim in claims:
        unknown = [arm for arm in claim.arms if arm not in arms]
        if unknown or claim.paper not in values["papers"] or claim.rule not in get_args(Rule):
            raise ValueError(f"{path}: {claim.name} names an unknown arm, paper or rule.")
        if sum(map(bool, (claim.why, claim.saving, claim.better))) != 1:
            raise ValueError(
                f"{path}: {claim.name} needs arms, a saving, or a reason why it cannot be tested."
            )
    names = [claim.name for claim in claims]
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: two claims have one name.")
    return Book(arms, values["papers"], claims)


def read_measured(book: Book, path: Path = MEASURED) -> Measured:
    """What was measured of the arms as they are now; of arms that have changed since nothing is known."""
    if not path.is_file():
        return {}
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return {
        name: each["values"]
        for name, each in found.items()
        if name in book.arms and each["run"] == book.arms[name].text
    }


def contrast(claim: Claim, measured: Measured) -> tuple[Contrast, int] | None:
    """The paired difference of a claim and its seeds; None where it cannot be tested yet."""
    if not claim.better:
        return None
    better = measured.get(claim.better, {}).get(claim.metric, [])
    if isinstance(claim.worse, str):
        worse = measured.get(claim.worse, {}).get(claim.metric, [])
    else:
        worse = [float(claim.worse)] * len(better)
    n = min(len(better), len(worse))
    numbers = all(map(math.isfinite, (*better[:n], *worse[:n])))  # a slice may have had no user
    return (paired_t(better[:n], worse[:n]), n) if n >= 2 and numbers else None


def verdicts(book: Book, measured: Measured) -> list[Verdict]:
    """All claims; p values are corrected for the number of claims of a paper that were tested."""
    found = {claim.name: contrast(claim, measured) for claim in book.claims}
    corrected: dict[str, float] = {}
    for paper in book.papers:
        tested = [
            claim.name
            for claim in book.claims
            if claim.paper == paper and claim.rule == "better" and found[claim.name] is not None
        ]
        p_values = [each[0].p for name in tested if (each := found[name]) is not None]
        corrected |= dict(zip(tested, holm(p_values), strict=True))
    return [_verdict(claim, found[claim.name], corrected.get(claim.name, math.nan)) for claim in book.claims]


def _verdict(claim: Claim, found: tuple[Contrast, int] | None, p: float) -> Verdict:
    if claim.why:
        return Verdict(claim, UNTESTABLE)
    if claim.saving:
        published, measured = claim.saving["published"], claim.saving["measured"]
        word = HOLDS if measured >= REACHED * published else "does not hold: less is saved"
        return Verdict(claim, word, f"{measured:.0%} saved, published {published:.0%}")
    if found is None:
        return Verdict(claim, NOT_RUN)
    test, seeds = found
    number = f"{test.difference:+.4f} {test.interval()}"
    return Verdict(claim, word_of(claim, test, p), number, p_text(p), seeds)


def word_of(claim: Claim, test: Contrast, p: float) -> str:
    """The verdict of a comparison.

    Args:
        claim: Says the rule.
        test: The paired difference.
        p: Corrected.
    """
    if claim.rule == "no_worse":
        if test.lower > -claim.margin:
            return HOLDS
        return "does not hold: worse" if test.upper < 0 else "does not hold: not shown"
    if claim.rule == "no_better":
        if test.upper < claim.margin:
            return HOLDS
        return "does not hold: better" if test.lower > 0 else "does not hold: not shown"
    if p < LEVEL:
        return HOLDS if test.difference > 0 else "does not hold: the opposite"
    if test.lower > 0 or test.upper < 0:
        return "does not hold: not shown after the correction"
    return "does not hold: no difference shown"


def p_text(p: float) -> str:
    """A p value for a table.

    >>> p_text(0.0123), p_text(1e-9), p_text(math.nan)
    ('.012', '< .001', '-')
    """
    if math.isnan(p):
        return "-"
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"


def means(claim: Claim, measured: Measured) -> str:
    """Both means of a comparison."""

    def of(arm: str | float) -> str:
        if not isinstance(arm, str):
            return f"{arm:g}"
        values = measured.get(arm, {}).get(claim.metric, [])
        return f"{fmean(values):.3f}" if values else "-"

    return f"{of(claim.better)} / {of(claim.worse)}" if claim.better else "-"


def short_table(found: Sequence[Verdict], papers: Mapping[str, str]) -> str:
    """Claim, verdict and number, paper by paper."""
    lines = ["| claim | verdict | difference, 95 % over seeds | |", "|---|---|---|---|"]
    for paper, where in papers.items():
        lines.append(f"| **{paper}** ({where}) | | | |")
        lines += [
            f"| {_title(each.claim)} | {each.word} | {each.number} | `{each.claim.name}` |"
            for each in found
            if each.claim.paper == paper
        ]
    return "\n".join(lines)


def long_table(found: Sequence[Verdict], book: Book, measured: Measured) -> str:
    """Everything that is known of every claim."""
    head = (
        "claim | source | metric and rule | means | difference, 95 % | p (Holm) | seeds | verdict | command"
    )
    lines = [f"| {head} |", "|" + "---|" * 9]
    for each in found:
        claim = each.claim
        rule = f"{claim.rule}, margin {claim.margin:g}" if claim.margin else claim.rule
        compared = f"{claim.metric}, {rule}" if claim.better else claim.rule if claim.saving else "-"
        cells = [
            f"`{claim.name}`: {_title(claim)}",
            claim.source,
            compared,
            means(claim, measured),
            each.number,
            each.p,
            str(each.seeds or "-"),
            f"{each.word}: {claim.why}" if claim.why else each.word,
            command_of(claim, book),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def command_of(claim: Claim, book: Book) -> str:
    """What makes the values of a claim."""
    if claim.why:
        return "-"
    if claim.command:
        return f"`{claim.command}`"
    texts = dict.fromkeys(book.arms[arm].text for arm in claim.arms)
    return "; ".join(f"`{text}`" for text in texts)


def _title(claim: Claim) -> str:
    return f"{claim.claim} (ours)" if claim.ours else claim.claim

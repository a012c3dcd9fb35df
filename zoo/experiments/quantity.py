"""What a curve is drawn by: a test metric, or what attackers tell of an attribute."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from zoo.experiments.jobs import Job, Outcome
from zoo.experiments.tables import title
from zoo.names import near

LEVEL = "level"
"""The number of the level itself; nothing that a run measures."""
LEAKS = "fairness.json"
"""What the attackers leave in a run's folder."""
MEASURES = {
    "auc": "AUC",
    "balanced": "balanced accuracy",
    "accuracy": "accuracy",
    "published": "published measure",
}
"""Measures of a leak, and how they are headed; the last one is of FMMRec's own attacker."""
SIDES = {"user": "users' vectors", "item": "items they consumed"}


class Quantity(NamedTuple):
    """Something that a run measures.

    Args:
        name: As it is asked for: ``recall@20``, ``auc:gender``, ``auc:gender:item``.
        attribute: Of the users, where attackers measure it.
        side: Whose vectors are attacked: the users', or the mean of the items each has consumed.
    """

    name: str
    attribute: str = ""
    side: str = "user"

    @classmethod
    def of(cls, text: str, option: str) -> "Quantity":
        """What a text asks for.

        Raises:
            ValueError: There is no such metric or measure.
        """
        kind, colon, rest = text.strip().partition(":")
        if not colon:
            names = metric_names()
            if kind not in names:
                close = near(kind, names)
                hint = f" Did you mean {' or '.join(close)}?" if close else ""
                raise ValueError(
                    f"{option}: expected a test metric such as recall@20 or hr@10, or a measure of attackers "
                    f"such as auc:gender, found '{text}'.{hint}"
                )
            return cls(kind)
        attribute, _, side = rest.partition(":")
        if kind not in MEASURES or not attribute or side not in ("", *SIDES):
            raise ValueError(
                f"{option}: expected MEASURE:ATTRIBUTE or MEASURE:ATTRIBUTE:SIDE with a measure out of "
                f"{', '.join(MEASURES)} and a side out of {', '.join(SIDES)}, found '{text}'."
            )
        return cls(text.strip(), attribute, side or "user")

    @property
    def kind(self) -> str:
        """Its metric or measure."""
        return self.name.partition(":")[0]

    @property
    def leak(self) -> bool:
        """Whether attackers measure it."""
        return bool(self.attribute)

    @property
    def title(self) -> str:
        """How it is headed in the table.

        >>> Quantity.of("auc:gender", "--x").title
        'AUC of gender'
        """
        if not self.leak:
            return title(self.name)
        from_items = "" if self.side == "user" else " (items)"
        return f"{MEASURES[self.kind]} of {self.attribute}{from_items}"

    @property
    def long_title(self) -> str:
        """How it is called in the picture."""
        if not self.leak:
            return f"test {self.title}"
        return f"{MEASURES[self.kind]} of an attack on {self.attribute} ({SIDES[self.side]})"

    def read(self, job: Job, outcome: Outcome) -> float:
        """What a finished run measured.

        Raises:
            ValueError: It measured other things; the message names them.
        """
        found = leaks_of(job) if self.leak else outcome.metrics()
        key = f"{self.kind}:{self.attribute}:{self.side}" if self.leak else self.name
        if key in found:
            return found[key]
        advice = "Ask for one of these." if found else "Its test printed no report of attackers."
        raise ValueError(
            f"{job.name} measured no {self.name}, but {', '.join(found) or 'nothing of that kind'}. {advice} "
            "What has finished is not run again."
        )


def leaks_of(job: Job) -> dict[str, float]:
    """Measures of all leaks that a run reported; empty if it reported none."""
    path = job.folder / LEAKS
    if not path.is_file():
        return {}
    rows: list[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    found: dict[str, float] = {}
    for row in rows:
        place = f"{row['attribute']}:{row['side']}"
        strong = {"auc": "auc", "balanced": "balanced accuracy", "accuracy": "accuracy"}
        found |= {f"{measure}:{place}": float(row["strong"][key]) for measure, key in strong.items()}
        found[f"published:{place}"] = float(row["published"])
    return found


def metric_names() -> list[str]:
    """Test metrics of all models."""
    from zoo.metrics.ranking import metric_gains
    from zoo.metrics.topk import NAMES

    return list(dict.fromkeys([*metric_gains()[0], *NAMES]))

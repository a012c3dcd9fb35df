"""What every recommender must survive, as checks that run in seconds on a small catalogue.

``check_recommender`` runs them all on a user's own model; the project's tests run them on every shipped one.
"""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningDataModule

from zoo.base import Recommender
from zoo.collaborative import CollaborativeRecommender
from zoo.conformance.case import Case as Case
from zoo.conformance.case import model_factory as model_factory
from zoo.conformance.checks import CHECKS as CHECKS
from zoo.conformance.pairs import PAIR_CHECKS as PAIR_CHECKS


def checks_of(model: type[Recommender]) -> tuple[Callable[[Case], None], ...]:
    """The checks of a family of models: of those of pairs, or of all others."""
    return PAIR_CHECKS if issubclass(model, CollaborativeRecommender) else CHECKS


def check_recommender(model: str | type[Recommender], data: LightningDataModule, **overrides: Any) -> None:  # noqa: ANN401
    """Runs every check on a model.

    Args:
        model: A class, a YAML file or a short name.
        data: A small data module with planted structure, such as ``datamodules.demo.Demo(size="tiny")``, or
            ``datamodules.demo_mmrec.DemoCF(size="tiny")`` for a model of pairs.
        **overrides: Constructor arguments of the model.

    Raises:
        AssertionError: A check failed; the message says which and why.
    """
    make = model_factory(model, overrides)
    case = Case(make, data)
    for check in checks_of(type(make())):
        try:
            check(case)
        except AssertionError as error:
            raise AssertionError(f"{check.__name__}: {check.__doc__} {error}") from error

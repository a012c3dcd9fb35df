"""What every recommender must survive, as checks that run in seconds on a small catalogue.

``check_recommender`` runs them all on a user's own model; the project's tests run them on every shipped one.
"""

from typing import Any

from lightning.pytorch import LightningDataModule

from zoo.base import Recommender
from zoo.conformance.case import Case as Case
from zoo.conformance.case import model_factory as model_factory
from zoo.conformance.checks import CHECKS as CHECKS


def check_recommender(model: str | type[Recommender], data: LightningDataModule, **overrides: Any) -> None:  # noqa: ANN401
    """Runs every check on a model.

    Args:
        model: A class, a YAML file or a short name.
        data: A small data module with planted structure, such as ``datamodules.demo.Demo(size="tiny")``.
        **overrides: Constructor arguments of the model.

    Raises:
        AssertionError: A check failed; the message says which and why.
    """
    case = Case(model_factory(model, overrides), data)
    for check in CHECKS:
        try:
            check(case)
        except AssertionError as error:
            raise AssertionError(f"{check.__name__}: {check.__doc__} {error}") from error

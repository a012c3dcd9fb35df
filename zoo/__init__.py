"""Multimodal sequential recommenders on PyTorch Lightning."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.base import Recommender as Recommender
    from zoo.collaborative import CollaborativeRecommender as CollaborativeRecommender
    from zoo.factory import create as create
    from zoo.sequential import SequentialRecommender as SequentialRecommender

__version__ = "0.1.0"
__all__ = ["CollaborativeRecommender", "Recommender", "SequentialRecommender", "__version__", "create"]

_HOMES = {
    "create": "zoo.factory",
    "CollaborativeRecommender": "zoo.collaborative",
    "Recommender": "zoo.base",
    "SequentialRecommender": "zoo.sequential",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Imports a public name when it is first used, so that ``import zoo`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)

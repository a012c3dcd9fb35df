"""Sequential models that read the layer states of frozen towers: states are computed once and kept."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.encoders.base import Encoded
from zoo.encoders.tower import Tower, evaluating
from zoo.fusion.momef import masked
from zoo.sequential import SequentialRecommender
from zoo.types import CatalogSpec


class StateRecommender(SequentialRecommender):
    """Base of IISAN and CROSSAN: a side network on kept states, a head for each of its towers, a fusion.

    No gradient enters a tower, so each is frozen: give encoders ``cached: true``, or ``tune: none`` to run
    them in every step.

    Args:
        groups: Layer states kept of an encoder that names no ``states``: state 0, and the last one of each of
            so many groups of blocks (fewer where the tower has fewer blocks).
        **kwargs: Arguments of the sequential base, see ``zoo.sequential.SequentialRecommender``.

    Raises:
        ValueError: A tower would be trained, or item ids are asked for.
    """

    side: nn.Module
    """The side network: ``forward(states, present)``, and ``out_widths`` by tower."""
    fusion: nn.Module

    def __init__(self, groups: int = 6, **kwargs: Any) -> None:  # noqa: ANN401  # jsonargparse follows them
        super().__init__(**kwargs)
        if self.item_id:
            raise ValueError(f"{type(self).__name__} knows items by content alone: leave out item_id.")
        running = {m: s for m, s in self.specs.items() if not s.cached}
        if trained := [m for m, s in running.items() if s.adapt or s.tune not in ("none", 0)]:
            raise ValueError(
                f"{type(self).__name__} adapts frozen towers, but {' and '.join(trained)} would be trained. "
                "Set cached: true (states are computed once and kept) or tune: none (it runs in every step)."
            )
        self.groups = groups
        for modality, spec in self.specs.items():
            if spec.states == "none":
                self.specs[modality] = replace(spec, states=groups)

    @property
    def uses_states(self) -> bool:
        """The side network reads layer states."""
        return True

    def components(self) -> dict[str, tuple[str, ...]]:
        """Those of the base, and the side network."""
        return {**super().components(), "side": ("side",)}

    def state_shapes(self) -> dict[str, tuple[int, int]]:
        """Modality -> kept states K and their width."""
        return {m: self._state_shape(m) for m in self.specs}

    @torch.no_grad()
    def _state_shape(self, modality: str) -> tuple[int, int]:
        tower = self.encoder(modality)
        assert isinstance(tower, Tower)
        with evaluating(tower):
            states_NKD = tower(tower.blank()).states_NKD
        return int(states_NKD.shape[1]), int(states_NKD.shape[2])

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes the backbone, the side network, its heads and the fusion."""
        super().build_parts(spec)
        shapes = self.state_shapes()
        self.side = self.make_side(
            {m: n for m, (n, _) in shapes.items()}, {m: d for m, (_, d) in shapes.items()}
        )
        widths = cast(Mapping[str, int], self.side.out_widths)
        self.heads = nn.ModuleDict({name: self.make_head(name, width) for name, width in widths.items()})
        self.fusion = self.make_fusion(len(self.heads))

    @abstractmethod
    def make_side(self, n_states: Mapping[str, int], widths: Mapping[str, int]) -> nn.Module:
        """The side network for modalities with so many kept states of such widths."""

    def make_head(self, name: str, width: int) -> nn.Module:
        """From the output of a tower of the side network to the model's width: two layers, no activation."""
        return nn.Sequential(nn.Linear(width, width), nn.Linear(width, self.width))

    @abstractmethod
    def make_fusion(self, n_towers: int) -> nn.Module:
        """From one vector a tower to one vector."""

    def tower_parts(self, parts: dict[str, Encoded]) -> list[Encoded]:
        """Vectors of the side network's towers at the model's width, zero where the item has nothing for one.

        Args:
            parts: Modality -> its kept states, and which items have it.
        """
        states = {m: cast(Tensor, parts[m].states_NKD) for m in self.specs}
        present = {m: cast(Tensor, parts[m].present_N) for m in self.specs}
        ends: dict[str, Encoded] = self.side(states, present)
        found = [end._replace(pooled_ND=self.heads[name](end.pooled_ND)) for name, end in ends.items()]
        return [part._replace(pooled_ND=masked(part)) for part in found]

    def fuse(self, parts: dict[str, Encoded]) -> Tensor:
        """Item vectors (N, D)."""
        return cast(Tensor, self.fusion(self.tower_parts(parts)))

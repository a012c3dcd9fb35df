"""Side networks on the layer states of frozen towers: IISAN and IISAN-Versa.

"IISAN: Efficiently Adapting Multimodal Representation for Sequential Recommendation with Decoupled PEFT",
SIGIR 2024, https://arxiv.org/abs/2404.02059, and "Efficient and Effective Adaptation of Multimodal Foundation
Models in Sequential Recommendation", TKDE 2025, https://arxiv.org/abs/2411.02992; official code of both
GAIR-Lab/IISAN (of 2025-09-18).

A tower walks up the kept states of one modality (intra) or of two (inter), one small block a state. Towers of
one width, one number of steps and one bottleneck walk together: their blocks are one batched product a step.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from zoo.encoders.base import Encoded
from zoo.fusion.sanb import SANB, Activation, Linears, gate

Mode = Literal["intra_inter", "intra", "inter"]


class Step(NamedTuple):
    """What enters a tower's block: fresh states, and the running state times ``keep`` (None: all of it)."""

    fresh_ND: Tensor
    keep: Tensor | None = None

    def onto(self, running_ND: Tensor | None) -> Tensor:
        """The sum of both; there is no running state at the start."""
        if running_ND is None:
            return self.fresh_ND
        return self.fresh_ND + (running_ND if self.keep is None else self.keep * running_ND)


class Shape(NamedTuple):
    """What towers must share to walk together."""

    steps: int
    width: int
    bottleneck: int


class Tower(nn.Module, ABC):
    """Where one tower's inputs come from, and its gates; its blocks are in the stack it belongs to.

    Args:
        sources: Modalities it reads.
        shape: Steps, width and bottleneck.
        gated: Mix by gates; otherwise add.
        remove_first: Start from the first state in the place of zeros, and make no block for it.
    """

    def __init__(self, sources: Sequence[str], shape: Shape, *, gated: bool, remove_first: bool) -> None:
        super().__init__()
        self.sources = tuple(sources)
        self.shape = shape
        self.remove_first = remove_first
        self.gate_K = nn.Parameter(torch.zeros(shape.steps)) if gated else None

    def present(self, present: Mapping[str, Tensor]) -> Tensor:
        """Whether an item has anything for this tower, (N,) bool."""
        return torch.stack([present[m] for m in self.sources]).any(dim=0)

    @abstractmethod
    def walk(
        self, states: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[Tensor | None, Iterator[Step]]:
        """The running state to start from (None: zeros), and what every step takes in.

        Args:
            states: Modality -> its kept states (N, K, D), zero where the modality is absent.
            present: Modality -> whether the items have it, (N,) bool.
        """


class IntraTower(Tower):
    """One modality: step j takes g h_j + (1 - g) z in, z being the running state."""

    def walk(
        self, states: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[Tensor | None, Iterator[Step]]:
        """See ``Tower.walk``."""
        kept = states[self.sources[0]].unbind(dim=1)
        start_ND = kept[0] if self.remove_first else None
        return start_ND, self._steps(kept[-self.shape.steps :])

    def _steps(self, kept: Sequence[Tensor]) -> Iterator[Step]:
        if self.gate_K is None:
            yield from map(Step, kept)
            return
        for share, state_ND in zip(gate(self.gate_K), kept, strict=True):
            yield Step(share * state_ND, 1.0 - share)


class InterTower(Tower):
    """Two modalities, aligned at the top: step j takes m + g a_j + (1 - g) b_j in; m is not gated.

    Where an item has one of the two, that one's share is 1. With ``remove_first`` the start is the mean of
    both first states (their sum without gates).

    Args:
        sources: The modality whose share is g, and the other one.
        widths: Of their states; the wider one's are transformed.
        shape: Steps, width (the narrower one) and bottleneck.
        gated: Mix by gates; otherwise add.
        remove_first: Start from the first states in the place of zeros, and make no block for them.
    """

    def __init__(
        self,
        sources: Sequence[str],
        widths: Mapping[str, int],
        shape: Shape,
        *,
        gated: bool,
        remove_first: bool,
    ) -> None:
        super().__init__(sources, shape, gated=gated, remove_first=remove_first)
        self.n_states = shape.steps + remove_first
        self.transforms = nn.ModuleDict(
            {m: Linears(self.n_states, widths[m], shape.width) for m in sources if widths[m] != shape.width}
        )

    def walk(
        self, states: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[Tensor | None, Iterator[Step]]:
        """See ``Tower.walk``."""
        a_kept, b_kept = (self._kept(m, states[m], present[m]) for m in self.sources)
        a_N1, b_N1 = (present[m][:, None] for m in self.sources)
        start_ND = None
        if self.remove_first:
            start_ND = a_kept[0] + b_kept[0]
            if self.gate_K is not None:
                start_ND = start_ND * torch.where(a_N1 & b_N1, 0.5, 1.0)
        return start_ND, self._steps(a_kept[self.remove_first :], b_kept[self.remove_first :], a_N1, b_N1)

    def _kept(self, modality: str, states_NKD: Tensor, present_N: Tensor) -> tuple[Tensor, ...]:
        """The upper states at the width of the tower; zero where the modality is absent."""
        states_NKD = states_NKD[:, -self.n_states :]
        if modality in self.transforms:
            # The bias must not make something of nothing.
            states_NKD = self.transforms[modality](states_NKD).masked_fill(~present_N[:, None, None], 0.0)
        return states_NKD.unbind(dim=1)

    def _steps(
        self, a_kept: Sequence[Tensor], b_kept: Sequence[Tensor], a_N1: Tensor, b_N1: Tensor
    ) -> Iterator[Step]:
        if self.gate_K is None:
            yield from (Step(a_ND + b_ND) for a_ND, b_ND in zip(a_kept, b_kept, strict=True))
            return
        for share, a_ND, b_ND in zip(gate(self.gate_K), a_kept, b_kept, strict=True):
            a_share_N1, b_share_N1 = torch.where(b_N1, share, 1.0), torch.where(a_N1, 1.0 - share, 1.0)
            yield Step(a_share_N1 * a_ND + b_share_N1 * b_ND)


def pairs(modalities: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Names of the pairs of modalities, and both of each, the later one first.

    >>> pairs(["text", "image"])
    {'image_text': ('image', 'text')}
    """
    return {f"{later}_{first}": (later, first) for first, later in combinations(modalities, 2)}


class SideNetwork(nn.Module):
    """IISAN's towers: one a modality, one a pair of modalities.

    With two modalities these are the papers' three towers; with more there is one for every pair. Of a pair
    the gate weighs the modality that comes later in ``widths``, as the papers' gate weighs the image.

    Args:
        widths: Modality -> width of its states.
        n_states: Modality -> kept states K, state 0 included.
        bottleneck: Width k of the blocks, or one for each modality; a pair has that of the narrower one, and
            of two equally wide the first one's.
        mode: Which towers there are.
        gated: Mix by learned gates; otherwise add.
        remove_first: Start from state 0 in the place of zeros, and make no block for it.
        activation: Of the blocks.

    Raises:
        ValueError: There is no tower for these modalities, or no block for their states.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        n_states: Mapping[str, int],
        bottleneck: int | Mapping[str, int] = 64,
        mode: Mode = "intra_inter",
        gated: bool = True,
        remove_first: bool = False,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        if few := [m for m, n in n_states.items() if n <= remove_first]:
            raise ValueError(
                f"remove_first leaves {' and '.join(few)} without a block: keep one more layer state."
            )
        narrow = dict.fromkeys(widths, bottleneck) if isinstance(bottleneck, int) else dict(bottleneck)
        towers: dict[str, Tower] = {}
        if mode != "inter":
            for m in widths:
                shape = Shape(n_states[m] - remove_first, widths[m], narrow[m])
                towers[m] = IntraTower([m], shape, gated=gated, remove_first=remove_first)
        if mode != "intra":
            for pair, (later, m) in pairs(widths).items():
                narrower = min((m, later), key=lambda name: widths[name])
                steps = min(n_states[m], n_states[later]) - remove_first
                shape = Shape(steps, widths[narrower], narrow[narrower])
                towers[pair] = InterTower([later, m], widths, shape, gated=gated, remove_first=remove_first)
        if not towers:
            raise ValueError("An inter tower reads two modalities, but there is one: use mode: intra.")
        self.towers = nn.ModuleDict(towers)
        self.together: dict[Shape, list[str]] = {}
        for name, tower in towers.items():
            self.together.setdefault(tower.shape, []).append(name)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                SANB(len(names), shape.width, shape.bottleneck, activation) for _ in range(shape.steps)
            )
            for shape, names in self.together.items()
        )

    def tower(self, name: str) -> Tower:
        """The tower of a modality, or of a pair such as ``image_text``."""
        return cast(Tower, self.towers[name])

    @property
    def out_widths(self) -> dict[str, int]:
        """Tower -> width of what it gives."""
        return {name: self.tower(name).shape.width for name in self.towers}

    def forward(self, states: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Encoded]:
        """Walks all towers.

        Args:
            states: Modality -> kept states (N, K, D); what stands where it is absent is not read.
            present: Modality -> whether the items have it, (N,) bool.

        Returns:
            Tower -> its last running state, and for which items it means anything.
        """
        # Chosen, not multiplied: what is stored for an absent modality may be no number.
        clean = {m: s.masked_fill(~present[m][:, None, None], 0.0) for m, s in states.items()}
        found: dict[str, Encoded] = {}
        for names, blocks in zip(self.together.values(), self.blocks, strict=True):
            group = [self.tower(name) for name in names]
            starts, steps = zip(*(tower.walk(clean, present) for tower in group), strict=True)
            running: Sequence[Tensor | None] = starts
            for block, *inputs in zip(cast(nn.ModuleList, blocks), *steps, strict=True):
                x_GND = torch.stack([step.onto(z_ND) for step, z_ND in zip(inputs, running, strict=True)])
                running = block(x_GND).unbind()
            for name, tower, z_ND in zip(names, group, running, strict=True):
                assert z_ND is not None
                found[name] = Encoded(z_ND, present_N=tower.present(present))
        return {name: found[name] for name in self.towers}

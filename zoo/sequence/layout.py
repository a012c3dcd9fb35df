"""Where the real positions of a batch stand when padding is left out.

Norms, projections and feed-forward layers work on rows, one after the other. Only attention wants histories
side by side; they are padded for it within groups of about equal length.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor

SPREAD = 1.15
"""With at most this many slots a position, rows stay padded: moving them costs more than computing them."""


class Layout(NamedTuple):
    """The P real positions of a batch, and the slots of its groups, A in all, that attention sees.

    A row, of R, is a slot where the groups are nearly full, and otherwise a position.
    """

    back_P: Tensor
    """Distance of each position from the newest one of its history."""
    slot_P: Tensor
    """Which slot it is."""
    groups: tuple[tuple[int, int], ...]
    """Users of a group, and slots of each."""
    newest_B: Tensor | None = None
    """Which slot is each user's newest; None where users stand in the groups as in the batch."""

    @classmethod
    def of(
        cls,
        positions_P: Tensor,
        n_users: int,
        length: int,
        groups: tuple[tuple[int, int], ...] = (),
        newest_B: Tensor | None = None,
    ) -> Self:
        """The layout of a left-padded batch; reads shapes only, never a value on a device.

        Args:
            positions_P: Flat indices into (B, L) of what holds an item, in order.
            n_users: Users B.
            length: Length L of the padded histories.
            groups: Users and slots a user of each group. Without, and on accelerators, where every group
                costs launches, all users are one group.
            newest_B: Each user's last slot, counted through the groups; with ``groups``.
        """
        back_P = length - 1 - positions_P % length
        if newest_B is None or positions_P.device.type != "cpu":
            return cls(back_P, positions_P, ((n_users, length),))
        return cls(back_P, newest_B[positions_P // length] - back_P, groups, newest_B)

    @property
    def n_slots(self) -> int:
        """Slots A of all groups."""
        return sum(users * slots for users, slots in self.groups)

    @property
    def keeps_slots(self) -> bool:
        """Whether a row is a slot."""
        return self.n_slots <= SPREAD * len(self.slot_P)

    def enter(self, position_PD: Tensor) -> Tensor:
        """Positions to rows (R, D)."""
        return self._spread(position_PD) if self.keeps_slots else position_PD

    def leave(self, row_RD: Tensor) -> Tensor:
        """Rows to positions (P, D)."""
        return self._gather(row_RD) if self.keeps_slots else row_RD

    def to_slots(self, row_RD: Tensor) -> Tensor:
        """Rows to slots (A, D)."""
        return row_RD if self.keeps_slots else self._spread(row_RD)

    def to_rows(self, slot_AD: Tensor) -> Tensor:
        """Slots to rows (R, D)."""
        return slot_AD if self.keeps_slots else self._gather(slot_AD)

    def to_users(self, state_BD: Tensor) -> Tensor:
        """One vector a user, from the order of the groups to that of the batch."""
        if self.newest_B is None:
            return state_BD
        return torch.empty_like(state_BD).index_copy(0, self.newest_B.argsort(), state_BD)

    def _spread(self, position_PD: Tensor) -> Tensor:
        empty_AD = position_PD.new_zeros(self.n_slots, position_PD.shape[1])
        return empty_AD.index_copy(0, self.slot_P, position_PD)

    def _gather(self, slot_AD: Tensor) -> Tensor:
        return slot_AD.index_select(0, self.slot_P)

    def split(self, slot_AD: Tensor) -> list[Tensor]:
        """Slots as one (users, slots, D) a group."""
        parts = slot_AD.split([users * slots for users, slots in self.groups])  # type: ignore[no-untyped-call]
        return [part.unflatten(0, group) for part, group in zip(parts, self.groups, strict=True)]

    def real(self) -> list[Tensor]:
        """Which slots hold an item, (users, slots) a group."""
        real_A = torch.zeros(self.n_slots, dtype=torch.bool, device=self.slot_P.device)
        return self.split(real_A.index_fill_(0, self.slot_P, True))

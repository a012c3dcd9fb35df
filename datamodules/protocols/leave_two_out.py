"""Leave two out: what MoRec, NineRec, MicroLens, PMMRec and most others evaluate by."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.protocols.base import Division, Frame, Protocol
from datamodules.protocols.leak import note_leak
from datamodules.splits import leave_two_out
from datamodules.tables import Tables


@dataclass(frozen=True)
class LeaveTwoOut(Protocol):
    """Everybody's last item is tested on, the one before validated on, all before trains.

    It is the protocol of the papers and the default. With ``windowing: last`` only the last L + 3
    interactions of a user exist: older ones neither train nor are hidden, and items in no such window are no
    candidates. With ``chunks`` (PixelRec) all count. Negatives are drawn from the whole catalogue, held-out
    items included, as the authors do.
    """

    def divide(self, tables: Tables, frame: Frame, folder: Path | None = None) -> Division:
        """Cuts by arithmetic on compressed rows, in blocks; with a folder no interactions are in memory."""
        split = leave_two_out(tables, *frame, folder)
        ends = tables.offsets[split.kept_lines + 1]
        length = np.diff(split.windows.offsets)[1:]
        trains = ends - length, ends - 2
        note_leak(split.report, tables.items_of, tables.times_of, trains, ends - 1)
        n_items = len(split.kept_items) + 1
        return Division(split.windows, split.kept_items, split.kept_lines, n_items, {}, split.report)

    def text(self) -> str:
        """One line."""
        return "leave two out: a user's last item is tested, the one before validated"

    def used(self, frame: Frame) -> str:
        """How much of a history is used."""
        last = f"the last {frame.max_len + 3} interactions of a user"
        return last if frame.windowing == "last" else super().used(frame)

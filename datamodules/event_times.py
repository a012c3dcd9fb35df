"""Times of interactions, some at a time: what is decided by all of them is supposed first and checked last.

Texts are whole numbers, numbers with fractions or dates. Which of these a file has depends on its last line
too; so the first piece tells what to suppose, and who read all pieces asks whether that was right.
"""

from typing import Literal, NamedTuple, Self

import numpy as np
import polars as pl

from datamodules.guess import Dates
from datamodules.table_checks import finest_of, in_finest, unit_counts, unit_note
from datamodules.tables import Report, microseconds

Kind = Literal["whole", "fractions", "dates"]

_WILD = 10**17
"""From here on a number is in no unit, and may leave the range when it is brought to a finer one."""


class _Read(NamedTuple):
    """Texts in each of the three ways, null where a way does not fit."""

    whole: pl.Series
    fractions: pl.Series | None
    """None where all are whole."""
    dates: pl.Series | None
    """None where dates are not looked for."""


class Times:
    """Reads times in one way and counts what the others would have given.

    Args:
        kind: What the texts are supposed to be.
        dates: How dates are written; None where they are not looked for.
    """

    def __init__(self, kind: Kind = "whole", dates: Dates | None = None) -> None:
        self.kind: Kind = kind
        self._dates = dates
        self._texts = False
        self._rows = self._readable = 0
        self._fit = {"whole": 0, "fractions": 0, "dates": 0, "sample": 0}
        self._units = [0, 0, 0]
        self._negative = 0
        self._wild_negative = np.zeros(3, dtype=np.int64)

    @classmethod
    def like(cls, sample: pl.Series, look_for_dates: bool) -> Self:
        """What a first piece of the times is like.

        Args:
            sample: As many as there are, or more than decide how dates are written.
            look_for_dates: Whether texts may be dates.
        """
        dates = Dates.of(sample) if look_for_dates and sample.dtype == pl.String else None
        tried = cls("whole", dates)
        tried.read(sample)
        return cls(tried.right_kind(), dates)

    def again(self, kind: Kind) -> Self:
        """The same before it read anything, for another kind."""
        return type(self)(kind, self._dates)

    def read(self, times: pl.Series) -> pl.Series:
        """The next times as whole numbers, null where unreadable."""
        ways = self._ways(times)
        chosen = {"whole": ways.whole, "fractions": ways.fractions, "dates": ways.dates}[self.kind]
        if chosen is None and self.kind == "fractions":
            chosen = microseconds(ways.whole.cast(pl.Float64))
        read = pl.repeat(None, len(times), dtype=pl.Int64, eager=True) if chosen is None else chosen
        self._rows += len(times)
        self._readable += len(read) - read.null_count()
        self._units = [old + new for old, new in zip(self._units, unit_counts(read), strict=True)]
        self._negative += int((read < 0).sum())
        wild = read.filter(((read >= _WILD) | (read <= -_WILD)).fill_null(False))
        if len(wild):
            self._wild_negative += [int((wild * unit < 0).sum()) for unit in (1, 10**3, 10**6)]
        return read

    def _ways(self, times: pl.Series) -> _Read:
        if times.dtype.is_integer():
            whole = times.cast(pl.Int64, strict=False)
            fits = len(whole) - whole.null_count()
            self._fit["whole"] += fits
            self._fit["fractions"] += fits
            return _Read(whole, None, None)
        self._texts = True
        texts = times.cast(pl.String).str.strip_chars()
        whole = texts.cast(pl.Int64, strict=False)
        exact = texts.cast(pl.Float64, strict=False) if whole.null_count() else None
        self._fit["whole"] += len(whole) - whole.null_count()
        self._fit["fractions"] += len(whole) if exact is None else int(exact.is_finite().sum())
        dates = None
        if self._dates is not None:
            dates, found = self._dates.read(texts)
            self._fit["dates"] += len(dates) - dates.null_count()
            self._fit["sample"] += found
        return _Read(whole, None if exact is None else microseconds(exact), dates)

    def right_kind(self) -> Kind:
        """What all times that were read are."""
        unread = self._rows - (self._fit["dates"] if self._fit["sample"] else 0)
        if self._texts and self._dates is not None and unread < self._rows / 2:
            return "dates"
        return "fractions" if self._fit["fractions"] > self._fit["whole"] else "whole"

    def in_one_unit(self, times: pl.Series) -> pl.Series:
        """Some of the times in the finest unit that occurs among all."""
        return in_finest(times, self._units)

    @property
    def need_scaling(self) -> bool:
        """Whether there are several units."""
        return finest_of(self._units) > 1

    def count(self, report: Report) -> None:
        """Reports what all times were like."""
        report.count("interactions without a readable time were dropped", self._rows - self._readable)
        note = unit_note(self._units)
        report.notes += [note] if note else []
        place = {1: 0, 10**3: 1, 10**6: 2}[finest_of(self._units)]
        negative = self._negative + int(self._wild_negative[place] - self._wild_negative[0])
        report.count("interactions have a time before 1970 and come first", negative)

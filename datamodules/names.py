"""Names as numbers, in order of first appearance: at once, or for as many pieces as there are."""

import numpy as np
import numpy.typing as npt
import polars as pl

Codes = npt.NDArray[np.uint32]

NONE = np.uint32(2**32 - 1)
"""The code of what has no name."""
_POWERS = 10 ** np.arange(1, 19)
_SMALL = 2**24
_TABLE = 2**27
"""Numbers below this have a table of codes that fits beside data of any size: half a gigabyte."""


def factorise(names: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Codes 0.. in order of first appearance, and the stripped names; null where there is no name."""
    if (numbers := as_numbers(names, _SMALL + 8 * len(names))) is not None:
        first = np.full(int(numbers.max(initial=0)) + 1, -1, dtype=np.int64)
        first[numbers[::-1]] = np.arange(len(numbers))[::-1]  # of several writes the last stands
        values = np.flatnonzero(first >= 0)
        values = values[np.argsort(first[values])]
        first[values] = np.arange(len(values))
        return pl.Series(first[numbers].astype(np.uint32)), pl.Series(values).cast(pl.String)
    raw = names.drop_nulls().unique(maintain_order=True)
    codes = names.cast(pl.Enum(raw)).to_physical()
    stripped = raw.str.strip_chars()
    if stripped.n_unique() == len(raw) and not (stripped == "").any():
        return codes, stripped
    clean = stripped.filter(stripped != "").unique(maintain_order=True)
    mapped = stripped.cast(pl.Enum(clean), strict=False).to_physical()
    return mapped.gather(codes), clean


def as_numbers(names: pl.Series, limit: int) -> npt.NDArray[np.int64] | None:
    """The names as numbers where all are small whole numbers written the usual way: faster to tell apart.

    Where any is not (``007`` is another name than ``7``) there is no answer.

    Args:
        names: Strings or whole numbers.
        limit: The largest number that is small.
    """
    numbers = names.cast(pl.Int64, strict=False)
    if numbers.null_count() or numbers.is_empty():
        return None
    low, high = int(numbers.min()), int(numbers.max())  # type: ignore[arg-type]
    if low < 0 or high > limit:
        return None
    values = numbers.to_numpy()
    if names.dtype == pl.String:  # digits only, and as many as the number has: no zeros or sign before it
        digits = np.searchsorted(_POWERS, values, side="right") + 1
        if not np.array_equal(names.str.len_bytes().to_numpy(), digits):
            return None
    return values


class Names:
    """Numbers the names of one piece after the other; a name has the same code in all of them.

    While all names are small whole numbers a table of them is enough. From the first other name on polars'
    categories tell names apart, and codes go on as they were.

    Args:
        strip: Whether spaces around names do not count, and an empty name is none.
    """

    def __init__(self, strip: bool) -> None:
        self.strip = strip
        self._known = 0
        self._code_of: Codes = np.full(1024, NONE)
        """Code of each number, or of each category."""
        self._numbers: list[npt.NDArray[np.int64]] = []
        self._categories: pl.Categorical | None = None
        self._texts: list[pl.Series] = []

    def __len__(self) -> int:
        """Distinct names so far."""
        return self._known

    def codes(self, names: pl.Series) -> Codes:
        """The code of each name; ``NONE`` where there is none.

        Args:
            names: Strings or whole numbers.
        """
        if self._categories is None:
            numbers = as_numbers(names, _TABLE)
            if numbers is not None:
                codes, new = self._coded(numbers)
                self._numbers.append(new)
                return codes
            if names.null_count() == len(names):
                return np.full(len(names), NONE)
            self._turn_to_texts()
        return self._text_codes(names)

    def names(self) -> pl.Series:
        """All names, in the order of their codes."""
        if self._categories is None:
            return pl.Series(np.concatenate([np.zeros(0, np.int64), *self._numbers])).cast(pl.String)
        return pl.concat([self._texts[0].clear(), *self._texts]).cast(pl.String)

    def _coded(self, places: npt.NDArray[np.integer]) -> tuple[Codes, npt.NDArray[np.int64]]:
        """Codes by the table, which new places are entered into, and these places."""
        size = int(places.max(initial=0)) + 1
        if size > len(self._code_of):
            grown = np.full(max(size, 2 * len(self._code_of)), NONE)
            grown[: len(self._code_of)] = self._code_of
            self._code_of = grown
        codes = self._code_of[places]
        unknown = codes == NONE
        new = pl.Series(places[unknown]).unique(maintain_order=True).to_numpy().astype(np.int64)
        if len(new):
            self._code_of[new] = np.arange(self._known, self._known + len(new), dtype=np.uint32)
            self._known += len(new)
            codes[unknown] = self._code_of[places[unknown]]
        return codes, new

    def _turn_to_texts(self) -> None:
        known = self.names()
        self._numbers.clear()
        self._categories = pl.Categorical(pl.Categories.random())
        self._code_of, self._known = np.full(1024, NONE), 0
        self._text_codes(known)

    def _text_codes(self, names: pl.Series) -> Codes:
        texts = names.cast(pl.String)
        if self.strip:
            texts = texts.str.strip_chars()
            if (texts == "").any():
                texts = texts.to_frame("name").select(pl.col("name").replace("", None))["name"]
        assert self._categories is not None
        texts = texts.cast(self._categories)
        named = texts.is_not_null()
        all_codes = np.full(len(texts), NONE)
        if not named.all():
            texts = texts.filter(named)
        before = self._known
        codes, _ = self._coded(texts.to_physical().to_numpy())
        all_codes[named.to_numpy()] = codes
        # Kept as categories, which cost four bytes and live as long as some series of them does.
        new = codes >= before
        self._texts.append(texts.filter(pl.Series(new)).unique(maintain_order=True))
        return all_codes

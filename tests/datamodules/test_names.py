"""Names of many pieces have the numbers that they have all at once."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from datamodules import names as module
from datamodules.names import NONE, Names, factorise

PLAIN = [str(number) for number in range(40)]
ODD = ["007", " 7", "7 ", "anna", "anna ", "", " ", None, "émile", "+3", "99999999999"]


@pytest.mark.parametrize("trial", range(12))
def test_pieces_are_numbered_like_the_whole(trial: int) -> None:
    rng = np.random.default_rng(trial)
    pool = [*PLAIN, *(ODD if trial % 3 else [])]
    drawn = [pool[place] for place in rng.integers(0, len(pool), 300)]
    drawn[:90] = [PLAIN[place] for place in rng.integers(0, 40, 90)]  # the first pieces are numbers
    series = pl.Series(drawn, dtype=pl.String)
    codes, names = factorise(series)
    cuts = [0, *sorted(rng.integers(0, 300, 4).tolist()), 300]
    several = Names(strip=True)
    found = [several.codes(series[start:stop]) for start, stop in pairwise(cuts)]
    expected = codes.cast(pl.UInt32).fill_null(int(NONE)).to_numpy()
    np.testing.assert_array_equal(np.concatenate(found), expected)
    assert several.names().to_list() == names.to_list()
    assert len(several) == len(names)


def test_names_as_they_are_written() -> None:
    raw = Names(strip=False)
    assert raw.codes(pl.Series(["7", " 7", "7", "", None])).tolist() == [0, 1, 0, 2, int(NONE)]
    assert raw.names().to_list() == ["7", " 7", ""]


def test_numbers_too_large_for_a_table_are_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TABLE", 100)
    several = Names(strip=True)
    assert several.codes(pl.Series([5, 100, 5])).tolist() == [0, 1, 0]
    assert several.codes(pl.Series([101, -1, 5, None])).tolist() == [2, 3, 0, int(NONE)]
    assert several.codes(pl.Series(["100", "-1"])).tolist() == [1, 3]
    assert several.names().to_list() == ["5", "100", "101", "-1"]


def test_nothing_and_nobody() -> None:
    several = Names(strip=True)
    assert several.names().to_list() == []
    assert several.codes(pl.Series([None, None], dtype=pl.String)).tolist() == [int(NONE)] * 2
    assert several.codes(pl.Series([], dtype=pl.String)).tolist() == []
    assert len(several) == 0

"""Histograms keep every value, whatever the numbers look like."""

import numpy as np
import pytest

from datamodules.tools.histograms import BARS, over_time, per_second, popularity, summary, whole_numbers


@pytest.mark.parametrize("values", [[5], [5, 5, 7, 30], list(range(1, 3000)), [0, 9000]])
def test_bars_hold_every_value(values: list[int]) -> None:
    panel = whole_numbers(np.array(values), "title", "across", "upward")
    assert sum(panel.y) == len(values)
    assert len(panel.x) == len(panel.y) + 1
    assert len(panel.y) <= BARS + 1
    assert all(a < b for a, b in zip(panel.x, panel.x[1:], strict=False))
    assert panel.log_across == (max(values) > 1000 and min(values) > 0)


def test_popularity_goes_down_and_leaves_out_what_nobody_took() -> None:
    panel = popularity(np.array([0, 3, 9, 1, 0]))
    assert panel.x == [1, 2, 3]
    assert panel.y == [9, 3, 1]


@pytest.mark.parametrize("parts", [1, 1000, 1_000_000])
def test_units_of_time(parts: int) -> None:
    times = np.arange(1_600_000_000, 1_600_864_000, 100) * parts
    assert per_second(times) == parts
    panel = over_time(times)
    assert sum(panel.y) == len(times)
    assert panel.ticks[0][1] == "2020-09-13"


def test_a_stray_time_does_not_leave_a_single_bar() -> None:
    times = np.concatenate([[0], np.arange(1_600_000_000, 1_600_864_000, 100)])
    panel = over_time(times)
    assert sum(panel.y) == len(times)
    assert "the outer bars hold" in panel.across
    assert min(panel.y) > 0


def test_numbers_that_are_no_times_are_shown_as_they_are() -> None:
    panel = over_time(np.array([1, 1, 2, 7]))
    assert per_second(np.array([1, 1, 2, 7])) is None
    assert panel.ticks == []
    assert sum(over_time(np.array([4, 4])).y) == 2


def test_summary_of_nothing() -> None:
    assert summary(np.array([])) == {}

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from zoo.experiments.stats import (
    gains,
    holm,
    mean_sd,
    paired_bootstrap,
    paired_t,
    student_p,
    student_quantile,
)

TABLE = {  # two-sided 5 % and 1 % points of any printed table of Student's t
    1: (12.7062, 63.6567),
    2: (4.3027, 9.9248),
    3: (3.1824, 5.8409),
    4: (2.7764, 4.6041),
    9: (2.2622, 3.2498),
    30: (2.0423, 2.7500),
    120: (1.9799, 2.6174),
}


@pytest.mark.parametrize("freedom", TABLE)
def test_student_agrees_with_the_printed_table(freedom: int) -> None:
    five, one = TABLE[freedom]
    assert student_p(five, freedom) == pytest.approx(0.05, abs=1e-5)
    assert student_p(-one, freedom) == pytest.approx(0.01, abs=1e-5)
    assert student_quantile(0.95, freedom) == pytest.approx(five, abs=1e-4)
    assert student_p(0.0, freedom) == 1.0


def test_paired_t_by_hand() -> None:
    found = paired_t([3.0, 5.0, 4.0, 6.0], [1.0, 4.0, 2.0, 3.0])  # differences 2, 1, 2, 3
    error = math.sqrt(2 / 3) / 2
    assert found.difference == 2.0
    assert found.p == pytest.approx(student_p(2 / error, 3))
    assert found.upper - found.difference == pytest.approx(3.1824 * error, abs=1e-3)


def test_few_seeds_and_equal_ones() -> None:
    assert math.isnan(paired_t([0.2], [0.1]).p)
    assert paired_t([0.2, 0.3], [0.2, 0.3]).p == 1.0
    same = paired_t([0.4, 0.3], [0.3, 0.2])  # equal but for rounding: nothing is known of the spread
    assert same.difference == pytest.approx(0.1)
    assert math.isnan(same.p)
    assert math.isnan(same.lower)
    assert math.isnan(paired_t([math.nan, 0.2, 0.3], [0.1, 0.1, 0.1]).p)
    assert math.isnan(mean_sd([]).mean)
    assert math.isnan(mean_sd([0.1, math.nan]).sd)
    assert math.isnan(mean_sd([1.0]).sd)


def test_bootstrap_finds_its_level() -> None:
    rng = np.random.default_rng(3)
    p_values = []
    for _ in range(400):  # no difference: a p below 5 % comes about 5 % of the time
        better, worse = rng.random((2, 2, 200)) < 0.3
        p_values.append(paired_bootstrap(better.astype(float), worse.astype(float), draws=500).p)
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.09


def test_bootstrap_interval_is_that_of_the_normal_law() -> None:
    rng = np.random.default_rng(0)
    better, worse = rng.random((1, 1000)), rng.random((1, 1000))  # 1,000 distinct differences
    found = paired_bootstrap(better, worse, draws=4000)
    error = (better - worse).std() / math.sqrt(1000)
    assert found.difference == pytest.approx(float((better - worse).mean()))
    assert found.upper - found.difference == pytest.approx(1.96 * error, rel=0.05)


def test_holm_by_hand() -> None:
    assert holm([0.02, 0.01, 0.3]) == pytest.approx([0.04, 0.03, 0.3])
    assert holm([]) == []


def ranks(path: Path, users: list[str], rank: list[int]) -> Path:
    pl.DataFrame({"user": users, "target": ["v"] * len(users), "rank": rank}).write_parquet(path)
    return path


def test_gains_pair_the_users_whatever_their_order(tmp_path: Path) -> None:
    one = ranks(tmp_path / "1", ["a", "b", "c"], [1, 3, 99])
    two = ranks(tmp_path / "2", ["c", "a", "b"], [10, 11, 1])
    users, gain_SU = gains([one, two], "ndcg@10")
    assert users == ["a", "b", "c"]
    assert gain_SU == pytest.approx(np.array([[1, 0.5, 0], [0, 1, 1 / math.log2(11)]]))


def test_runs_on_other_users_are_not_paired(tmp_path: Path) -> None:
    one, two = ranks(tmp_path / "1", ["a"], [1]), ranks(tmp_path / "2", ["b"], [1])
    with pytest.raises(ValueError, match="other users or targets"):
        gains([one, two], "hr@10")
    with pytest.raises(ValueError, match=r"Expected a metric out of hr@5"):
        gains([one], "hr@11")

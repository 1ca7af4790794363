import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detr_diff.evaluation.bootstrap import Units, draw
from detr_diff.evaluation.paired_bootstrap import Difference, difference, holm

UNITS = 60
DRAWS = draw(Units.of([None] * UNITS), 0, range(1000)) / UNITS


def of_means(first: np.ndarray, second: np.ndarray) -> Difference:
    return difference(first.mean(), second.mean(), DRAWS @ first, DRAWS @ second, UNITS)


def test_of_means_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.1, 0.3):
        hard = rng.normal(size=UNITS)  # what is hard for both
        first, second = hard + rng.normal(size=UNITS), hard + shift + rng.normal(size=UNITS)
        found, expected = of_means(first, second), stats.ttest_rel(second, first)
        assert found.p == pytest.approx(expected.pvalue, abs=0.05)
        assert found.interval == pytest.approx(tuple(expected.confidence_interval()), abs=0.05)
        change = second - first
        assert found.effect == pytest.approx(change.mean() / change.std(ddof=1), rel=0.1)  # Cohen's d


def test_p_is_uniform_when_nothing_differs_and_small_when_something_does() -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(size=(UNITS, 1, 1))
    runs = hard + rng.normal(size=(UNITS, 2, 400))
    alike = [of_means(first, second).p for first, second in runs.swapaxes(0, 2)]
    assert stats.kstest(alike, "uniform").pvalue > 0.01
    assert np.mean(np.array(alike) < 0.05) < 0.09
    better = [of_means(first, second + 0.6).p for first, second in runs.swapaxes(0, 2)]
    assert np.mean(np.array(better) < 0.05) > 0.8


@given(st.lists(st.floats(-1, 1), min_size=20, max_size=20), st.integers(0, 2**32))
def test_p_and_interval_agree_and_turn_with_the_order(drawn: list[float], seed: int) -> None:
    of_second = np.array(drawn)
    of_first = np.random.default_rng(seed).normal(size=20)
    one = difference(0.1, 0.2, of_first, of_second, 20)
    other = difference(0.2, 0.1, of_second, of_first, 20)
    assert one.value == -other.value
    assert one.p == other.p
    assert one.interval == pytest.approx(tuple(-end for end in other.interval[::-1]))
    assert 2 / 21 <= one.p <= 1


@pytest.mark.parametrize("units", [1, 2, 3, 5, 8, 20])
def test_few_units_prove_little(units: int) -> None:
    """One pair in which a model is better was "better, p below 0.001"; of eight, 10 % of equal ones were."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(units, size=(1000, units))
    changes = rng.normal(size=(400, units))
    p = [difference(0.0, own.mean(), np.zeros(1000), own[drawn].mean(1), units).p for own in changes]
    assert np.mean(np.array(p) < 0.05) < 0.09
    one = difference(0.0, 1.0, np.zeros(1000), np.ones(1000), 1)
    assert (one.value, one.p) == (1.0, 1.0)
    assert np.isnan([*one.interval, one.effect]).all()


def test_equal_runs_do_not_differ() -> None:
    values = np.random.default_rng(0).random(100)
    assert difference(0.5, 0.5, values, values + 1e-15, 30) == (0.0, pytest.approx((0, 0)), 1.0, 0.0)
    nothing = difference(np.nan, 0.5, values, values, 30)
    assert np.isnan([nothing.value, *nothing.interval, nothing.p, nothing.effect]).all()


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, np.nan, 0.02]) == pytest.approx([0.5, np.nan, 0.04], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
